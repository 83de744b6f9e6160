# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""``model.half()`` and ``model.bfloat16()``: weights in 16 bits, without autocast.

Roundings and limits are those of test_mixed_precision.
"""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from mmdet.models import DetDataPreprocessor
from mmdet.registry import MODELS
from torch import Tensor, nn

from helpers import tiny_inference, tiny_models
from helpers.precision_models import FP16_ON_CPU, SIZES, detector, pretrainer, samples
from regionclip_mmdet.apis import encode_images, query_image
from regionclip_mmdet.models.backbones.folding import fold
from regionclip_mmdet.models.localizers import CLIP_MEAN, CLIP_STD

CLIP = dict(
    type='ImageTextCLIP', arch=tiny_models.ARCH, text={**tiny_models.TEXT_ARCH, 'context_length': 8}
)
CLIP['text'].pop('embed_dim')
# of names in a model, those whose weights are never rounded
FLOAT32 = ('localizer', 'text_encoder', 'roi_head.bbox_head', 'bn', 'downsample.1')


@pytest.fixture(params=['bfloat16', 'float16'])
def dtype(request: pytest.FixtureRequest, device: torch.device) -> torch.dtype:
    if device.type == 'cpu' and request.param == 'float16' and not FP16_ON_CPU:
        pytest.skip(f'torch {torch.__version__} has no float16 convolutions on CPUs')
    return getattr(torch, request.param)


def reduced(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    found = copy.deepcopy(model)
    return found.half() if dtype == torch.float16 else found.bfloat16()


def preprocessor() -> nn.Module:
    return DetDataPreprocessor(mean=CLIP_MEAN, std=CLIP_STD, bgr_to_rgb=True)


def pixels() -> dict:
    """A batch as a loader brings it."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 256, (3, *size), generator=generator) for size in SIZES]
    given = samples()
    for sample in given:
        sample.proposals.objectness_logits = torch.tensor([2.0, 1.0, -0.5])
    return dict(inputs=[image.byte() for image in images], data_samples=given)


@pytest.mark.parametrize('with_mask', [False, True], ids=['boxes', 'masks'])
@pytest.mark.parametrize(
    'rcnn',
    [
        dict(),
        dict(nms=dict(type='global_soft_nms')),
        dict(objectness='sigmoid', early_exit=False),
        dict(objectness='sigmoid', early_exit=2),
        dict(objectness='logit', early_exit=2, nms=dict(type='global_soft_nms')),
    ],
    ids=['hard NMS', 'soft NMS', 'objectness', 'early exit', 'early exit, soft NMS'],
)
def test_detections_are_float32_and_close(
    rcnn: dict, with_mask: bool, dtype: torch.dtype, device: torch.device
) -> None:
    model = detector(with_mask=with_mask, rcnn=rcnn, data_preprocessor=preprocessor())
    model = model.eval().to(device)
    found = []
    for variant in (model, reduced(model, dtype)):
        results = variant.test_step(pixels())
        found.append([sample.pred_instances for sample in results])
    for exact, rounded in zip(*found, strict=True):
        assert rounded.bboxes.dtype == rounded.scores.dtype == torch.float32
        assert not torch.equal(rounded.scores, exact.scores), 'precision was not reduced'
        sure = exact[exact.scores > 0.3]
        assert len(sure) > 0
        for i in range(len(sure)):
            same = rounded[rounded.labels == sure.labels[i]]
            j = int((same.bboxes - sure.bboxes[i]).abs().sum(1).argmin())
            torch.testing.assert_close(same.bboxes[j], sure.bboxes[i], rtol=0, atol=0.5)
            torch.testing.assert_close(same.scores[j], sure.scores[i], rtol=0, atol=0.1)
            if with_mask:
                differ = (same.masks[j] != sure.masks[i]).float().mean()
                assert float(differ) < 0.05


@pytest.mark.parametrize('rounded_inputs', [False, True])
def test_pretraining_losses_are_float32_and_close(
    rounded_inputs: bool, dtype: torch.dtype, device: torch.device
) -> None:
    model = pretrainer(device).train()
    batch = tiny_models.images(*SIZES).to(device)
    expected = model.loss(batch, samples(device=device))
    variant = reduced(model, dtype)
    losses = variant.loss(batch.to(dtype) if rounded_inputs else batch, samples(device=device))
    names = [name for name in expected if name.startswith('loss')]
    assert len(names) == 3
    for name in names:
        assert losses[name].dtype == torch.float32 and expected[name] > 0.1
        torch.testing.assert_close(losses[name], expected[name], rtol=0.03, atol=0, msg=name)
        assert not torch.equal(losses[name], expected[name]), f'{name}: precision was not reduced'
    sum(losses[name] for name in names).backward()
    gradient = variant.backbone.layer3[0].conv1.weight.grad
    assert gradient.dtype == dtype and gradient.isfinite().all() and gradient.any()


def test_whole_images_keep_their_coordinates(dtype: torch.dtype) -> None:
    """Boxes of images in 16 bits: 1066 would become 1064 in bfloat16."""
    config = tiny_models.regionclip_config(teacher=None, roi_head=dict(region_text_head=None))
    model = reduced(tiny_models.fill(MODELS.build(config)), dtype)
    seen: list[Tensor] = []
    model.roi_head.region_encoder.roi_align.register_forward_pre_hook(
        lambda module, args: seen.append(args[1])
    )
    batch = tiny_models.images((64, 1066)).to(dtype)
    model.loss(batch, tiny_models.samples((64, 1066), captions=['a cat']))
    assert seen[0].tolist() == [[0, 0, 0, 1066, 64]]


def test_what_needs_float32_keeps_it(dtype: torch.dtype) -> None:
    model = detector(
        with_mask=True,
        localizer=tiny_models.localizer(),
        text_encoder=tiny_models.text_encoder(),
        data_preprocessor=preprocessor(),
    ).eval()
    half = reduced(model, dtype)
    kept, rounded = 0, 0
    for name, tensor in half.state_dict().items():
        before = model.state_dict()[name]
        if any(part in name for part in FLOAT32):
            assert torch.equal(tensor, before) and tensor.dtype == before.dtype, name
            kept += 1
        elif before.is_floating_point():
            assert tensor.dtype == dtype, name
            rounded += 1
    assert kept > 50 and rounded > 20
    assert torch.equal(half.data_preprocessor.mean, model.data_preprocessor.mean)
    batch, metas = tiny_models.images(*SIZES), [dict(img_shape=size) for size in SIZES]
    for exact, found in zip(model.localizer(batch, metas), half.localizer(batch, metas)):
        assert torch.equal(found.bboxes, exact.bboxes)
    for variant in (model, half):
        variant.text_encoder.weights_source = 'this test'
        variant.set_vocabulary(['owl', 'fox'], ['a {}'])
    exact, found = (variant.roi_head.bbox_head.test_classifier for variant in (model, half))
    assert torch.equal(found.embeddings, exact.embeddings)


def test_folded_norms_are_computed_in_float32() -> None:
    """A variance beyond float16's range: rounded to infinity, it would silence its channel."""
    model = detector()
    conv, norm = model.backbone.conv1, model.backbone.bn1
    norm.running_var[0], conv.weight.data[0] = 1e6, 1000.0
    expected = norm.weight[0] / (1e6 + norm.eps) ** 0.5 * 1000
    half = reduced(model, torch.float16).backbone
    weight, shift = fold(half.conv1, half.bn1)
    assert weight.dtype == shift.dtype == torch.float16
    torch.testing.assert_close(weight[0].float(), expected.expand(3, 3, 3), rtol=1e-3, atol=0)


def test_checkpoints_cross_types(dtype: torch.dtype) -> None:
    """A float32 model takes a reduced one's weights, and the other way round."""
    model = detector()
    half = reduced(model, dtype)
    again = detector()
    again.load_state_dict(half.state_dict())
    assert {value.dtype for value in again.state_dict().values()} <= {torch.float32, torch.uint8}
    half.load_state_dict(model.state_dict())
    weight = half.backbone.conv1.weight
    assert weight.dtype == dtype and torch.equal(weight, model.backbone.conv1.weight.to(dtype))


def test_an_image_that_is_encoded_once(dtype: torch.dtype, device: torch.device) -> None:
    """Its map, kept for masks, has 16 bits; embeddings and scores are float32."""
    model = tiny_inference.detector(with_mask=True, bbox_head=dict(temperature=0.1)).to(device)
    scores = []
    for variant in (model, reduced(model, dtype)):
        (encoded,) = encode_images(variant, tiny_inference.image())
        found = query_image(variant, encoded, tiny_models.vocabulary(('owl', 'fox')))
        assert encoded.embeddings.dtype == found.scores.dtype == torch.float32
        assert len(found.masks) == len(found) > 10
        scores.append(found.scores[:10])
    assert encoded.feature_map.dtype == dtype
    torch.testing.assert_close(*scores, rtol=0, atol=0.02)


def test_an_image_text_model(dtype: torch.dtype) -> None:
    model = tiny_models.fill(MODELS.build(CLIP)).eval()
    images = tiny_models.images((64, 64), (64, 64))
    expected = model.encode_images(images)
    found = reduced(model, dtype).encode_images(images).float()
    assert F.cosine_similarity(found, expected).min() > 0.99
    assert not torch.equal(found, expected)
