# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Region encoder: open_clip's layer4 and pool on RoIs, chunking, precision."""

from __future__ import annotations

import pytest
import torch
import torchvision
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor

from helpers import tiny_models
from regionclip_mmdet.models.region_encoders import RegionEncoder

ARCH = dict(width=16, layers=(1, 1, 1, 2), embed_dim=32, image_size=64)
ROIS = torch.tensor(
    [
        [0.0, 0.0, 0.0, 160.0, 128.0],
        [1.0, 10.0, 20.0, 90.0, 70.0],
        [0.0, 33.5, 2.25, 41.0, 100.0],
        [1.0, 100.0, 90.0, 160.0, 128.0],
        [1.0, 60.0, 60.0, 65.0, 64.0],
    ]
)


def filled(**settings: object) -> RegionEncoder:
    return tiny_models.fill(RegionEncoder(ARCH, **settings), seed=1).train()


def c4_map(dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(2, 256, 8, 10, generator=generator).to(dtype).requires_grad_()


def test_equals_open_clips_layer4_and_pool_on_pooled_regions() -> None:
    encoder = filled()
    reference = ModifiedResNet(ARCH['layers'], 32, heads=8, image_size=64, width=16).eval()
    state = {k.replace('visual.', ''): v for k, v in encoder.state_dict().items()}
    result = reference.load_state_dict(state, strict=False)
    assert not result.unexpected_keys
    feats = c4_map()
    regions = torchvision.ops.roi_align(feats, ROIS, 4, 1 / 16, -1, aligned=True)
    expected = reference.attnpool(reference.layer4(regions))
    actual = encoder((feats,), ROIS)
    assert expected.std(0).mean() > 0.05  # regions differ
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    assert encoder.region_maps((feats,), ROIS).shape == (5, 512, 2, 2)


@pytest.mark.parametrize('chunk_size', [1, 2, 5, 100])
def test_chunks_change_nothing(chunk_size: int) -> None:
    results = []
    for size in (None, chunk_size):
        encoder, feats = filled(chunk_size=size), c4_map()
        out = encoder((feats,), ROIS)
        out.square().sum().backward()
        gradients = {n: p.grad for n, p in encoder.named_parameters() if p.requires_grad}
        results.append((out, feats.grad, gradients))
    (out, grad, grads), (chunked_out, chunked_grad, chunked_grads) = results
    torch.testing.assert_close(chunked_out, out, rtol=1e-5, atol=1e-5)
    assert grad.abs().sum() > 0
    torch.testing.assert_close(chunked_grad, grad, rtol=1e-4, atol=1e-5)
    assert grads and grads.keys() == chunked_grads.keys()
    for name, gradient in grads.items():
        limit = 1e-5 * float(gradient.abs().max())
        torch.testing.assert_close(chunked_grads[name], gradient, rtol=1e-4, atol=limit)


@pytest.mark.parametrize('chunk_size', [None, 2])
def test_embeddings_and_some_maps_in_one_pass(
    chunk_size: int | None,
) -> None:
    encoder, feats = filled(chunk_size=chunk_size), c4_map()
    expected = encoder((feats,), ROIS), encoder.region_maps((feats,), ROIS)
    seen = []
    encoder.layer4.register_forward_hook(lambda module, args, out: seen.append(len(out)))
    keep = torch.tensor([False, True, False, False, True])
    embeddings, maps = encoder.embed_and_keep_maps((feats,), ROIS, keep)
    assert sum(seen) == len(ROIS)
    torch.testing.assert_close(embeddings, expected[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(maps, expected[1][[1, 4]], rtol=1e-5, atol=1e-5)
    embeddings, maps = encoder.embed_and_keep_maps((feats,), ROIS[:0], keep[:0])
    assert embeddings.shape == (0, 32) and maps.shape == (0, 512, 2, 2)


@pytest.mark.parametrize('chunk_size', [None, 2])
def test_no_regions(chunk_size: int | None) -> None:
    encoder, feats = filled(chunk_size=chunk_size), c4_map()
    out = encoder((feats,), torch.zeros(0, 5))
    assert out.shape == (0, 32)
    out.sum().backward()
    assert float(feats.grad.abs().sum()) == 0


def test_boxes_stay_float32_under_bfloat16_autocast() -> None:
    """In bfloat16, 1003 is 1004 and 997 is 996: boxes would be moved by a fifth of their size."""
    seen: list[Tensor] = []
    encoder = filled()
    encoder.roi_align.register_forward_hook(lambda m, inputs, out: seen.extend((*inputs, out)))
    columns = torch.arange(64.0).expand(1, 256, 64, 64).to(torch.bfloat16)
    rois = torch.tensor([[0.0, 997.0, 997.0, 1003.0, 1003.0]])
    with torch.autocast('cpu', torch.bfloat16):
        out = encoder((columns,), rois)
    c4, boxes, regions = seen
    assert c4.dtype == boxes.dtype == regions.dtype == torch.float32
    # the map holds its column's number, so RoIAlign returns x / 16 - 0.5 at the bins' centers
    centers = (torch.tensor([0.5, 1.5, 2.5, 3.5]) * 1.5 + 997) / 16 - 0.5
    torch.testing.assert_close(regions[0, 0, 0], centers, rtol=0, atol=1e-4)
    assert out.isfinite().all()


def test_bfloat16_autocast_is_close_to_float32() -> None:
    encoder, feats = filled(), c4_map()
    expected = encoder((feats,), ROIS)
    with torch.autocast('cpu', torch.bfloat16):
        actual = encoder((feats.bfloat16(),), ROIS)
    assert torch.cosine_similarity(actual.float(), expected).min() > 0.99


def test_frozen_norms_and_sampling_ratio() -> None:
    encoder = filled(roi_sampling_ratio=2)
    assert encoder.roi_align.sampling_ratio == 2 and encoder.roi_align.aligned
    assert not any('bn' in name for name, _ in encoder.named_parameters())
    assert encoder.embed_dim == 32
    before = {k: v.clone() for k, v in encoder.named_buffers()}
    assert before
    feats = c4_map()
    trained = encoder((feats,), ROIS)
    assert torch.equal(encoder.eval()((feats,), ROIS), trained)
    assert all(torch.equal(v, before[k]) for k, v in encoder.named_buffers())


def test_memory_is_bounded_by_default() -> None:
    assert RegionEncoder(ARCH).chunk_size == 256
    assert RegionEncoder(ARCH, chunk_size=None).chunk_size is None


def test_refuses_a_bad_chunk_size() -> None:
    with pytest.raises(ValueError, match='chunk_size must be positive or None, not 0'):
        RegionEncoder(ARCH, chunk_size=0)


def test_checkpointing_changes_no_gradient() -> None:
    results = []
    for with_cp in (False, True):
        encoder, feats = filled(with_cp=with_cp, chunk_size=2), c4_map()
        out = encoder((feats,), ROIS)
        out.square().sum().backward()
        gradients = {n: p.grad for n, p in encoder.named_parameters() if p.grad is not None}
        results.append((out, feats.grad, gradients))
    (out, grad, grads), (other_out, other_grad, other_grads) = results
    torch.testing.assert_close(other_out, out)
    torch.testing.assert_close(other_grad, grad)
    assert grads.keys() == other_grads.keys() and grads
    for name, gradient in grads.items():
        torch.testing.assert_close(other_grads[name], gradient, msg=name)


@pytest.mark.parametrize('with_cp', [False, True])
def test_projecting_first_changes_nothing(with_cp: bool) -> None:
    """RoIAlign commutes with layer4's first convolution and with its shortcut.

    In float64: rounding that turns a ReLU on or off changes gradients by more than rounding.
    """
    results, projected = [], []
    rois = ROIS.repeat(3, 1)  # 15 regions of 16 positions on a batch of 160
    for project_first in (False, True):
        encoder = filled(project_first=project_first, with_cp=with_cp, chunk_size=7).double()
        encoder.roi_align.register_forward_pre_hook(
            lambda module, args: projected.append(isinstance(args[0], tuple))
        )
        feats = c4_map(torch.float64)
        out = encoder((feats,), rois)
        out.square().sum().backward()
        gradients = {n: p.grad for n, p in encoder.named_parameters() if p.grad is not None}
        kept = encoder.embed_and_keep_maps((feats,), rois, torch.arange(15) % 2 == 0)
        results.append((out, feats.grad, gradients, kept))
    assert not any(projected[: len(projected) // 2]) and all(projected[len(projected) // 2 :])
    (out, grad, grads, kept), (other_out, other_grad, other_grads, other_kept) = results
    torch.testing.assert_close(other_out, out, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(other_kept, kept, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(other_grad, grad, rtol=1e-8, atol=1e-10)
    assert grads.keys() == other_grads.keys() and 'layer4.0.conv1.weight' in grads
    for name, gradient in grads.items():
        torch.testing.assert_close(other_grads[name], gradient, rtol=1e-8, atol=1e-10, msg=name)


def test_few_regions_and_reduced_precision_are_not_projected() -> None:
    encoder, projected = filled(), []
    encoder.roi_align.register_forward_pre_hook(
        lambda module, args: projected.append(isinstance(args[0], tuple))
    )
    encoder((c4_map(),), ROIS)  # 5 * 16 positions of regions, 160 of the maps
    many = ROIS.repeat(3, 1)
    with torch.autocast('cpu', torch.bfloat16):
        encoder((c4_map(),), many)
        encoder((c4_map(torch.bfloat16),), many)
    assert projected == [False, False, False]
    assert encoder((c4_map(),), many).dtype == torch.float32 and projected[-1]
