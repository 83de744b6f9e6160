# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""CLIP's ResNet up to layer3: equal to open_clip's, frozen where it should be."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn

from helpers import tiny_models
from regionclip_mmdet.models.backbones import CLIPResNet

ARCH = dict(width=16, layers=(2, 1, 2, 1), embed_dim=32, image_size=64)


def open_clip_resnet() -> ModifiedResNet:
    torch.manual_seed(0)
    model = ModifiedResNet(ARCH['layers'], 32, heads=8, image_size=64, width=16)
    return tiny_models.fill(model).eval()


def stage_outputs(model: ModifiedResNet, x: Tensor) -> list[Tensor]:
    x = model.stem(x)
    outputs = []
    for stage in (model.layer1, model.layer2, model.layer3):
        x = stage(x)
        outputs.append(x)
    return outputs


def filled(**settings: object) -> CLIPResNet:
    model = CLIPResNet(ARCH, **settings)
    own = model.state_dict()
    reference = open_clip_resnet().state_dict()
    model.load_state_dict({key: reference[key] for key in own})
    return model


@torch.no_grad()
@pytest.mark.parametrize('size', [(64, 64), (75, 90)])
def test_equals_open_clip_at_every_stage(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    expected = stage_outputs(open_clip_resnet(), x)
    actual = filled(out_indices=(0, 1, 2)).eval()(x)
    assert len(actual) == 3
    for ours, theirs in zip(actual, expected, strict=True):
        assert theirs.abs().mean() > 0.05
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    (only,) = filled(out_indices=(1,)).eval()(x)
    assert torch.equal(only, actual[1])


def test_all_keys_are_clips() -> None:
    ours = {k: v.shape for k, v in CLIPResNet(ARCH).state_dict().items()}
    theirs = {k: v.shape for k, v in open_clip_resnet().state_dict().items()}
    assert ours == {
        k: v
        for k, v in theirs.items()
        if not k.startswith(('layer4', 'attnpool')) and not k.endswith('num_batches_tracked')
    }


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 2, 3])
def test_frozen_stages_take_no_gradients_and_others_do(frozen_stages: int) -> None:
    model = filled(frozen_stages=frozen_stages).train()
    model.zero_grad()
    out = model(torch.randn(1, 3, 64, 64))[0]
    if out.requires_grad:
        out.square().sum().backward()
    depth = dict(conv=0, layer1=1, layer2=2, layer3=3)
    for name, parameter in model.named_parameters():
        stage = next(d for start, d in depth.items() if name.startswith(start))
        if stage <= frozen_stages:
            assert parameter.grad is None and not parameter.requires_grad, name
        else:
            assert parameter.grad.abs().sum() > 0, name


def test_norms_stay_frozen_in_training() -> None:
    model = filled(frozen_stages=-1).train()
    before = {k: v.clone() for k, v in model.named_buffers()}
    assert {'bn1.weight', 'layer2.0.bn3.running_var'} <= set(before)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert not any('bn' in name for name, _ in model.named_parameters())
    x = torch.randn(2, 3, 64, 64)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    in_training = model(x)[0]
    assert torch.equal(model.eval()(x)[0], in_training)
    in_training.square().mean().backward()
    optimizer.step()
    assert all(torch.equal(v, before[k]) for k, v in model.named_buffers())
    assert not torch.allclose(model(x)[0], in_training)


@pytest.mark.parametrize(
    ('arch', 'channels', 'pooled', 'heads', 'embed_dim', 'bottlenecks'),
    [
        ('RN50', 1024, 7, 32, 1024, 3 + 4 + 6),
        ('RN101', 1024, 7, 32, 512, 3 + 4 + 23),
        ('RN50x4', 1280, 9, 40, 640, 4 + 6 + 10),
        ('RN50x16', 1536, 12, 48, 768, 6 + 8 + 18),
        ('RN50x64', 2048, 14, 64, 1024, 3 + 15 + 36),
    ],
)
def test_published_sizes(
    arch: str, channels: int, pooled: int, heads: int, embed_dim: int, bottlenecks: int
) -> None:
    with torch.device('meta'):
        model = CLIPResNet(arch)
        (c4,) = model(torch.zeros(1, 3, 64, 96))
    assert c4.shape == (1, channels, 4, 6) and model.out_channels == (channels,)
    assert sum(len(getattr(model, f'layer{i}')) for i in (1, 2, 3)) == bottlenecks
    sizes = model.arch
    assert (sizes.pooled_size, sizes.roi_size) == (pooled, 2 * pooled)
    assert (sizes.num_heads, sizes.embed_dim) == (heads, embed_dim)


def test_trained_tensors_of_the_paper() -> None:
    """Official: 51 trained and 13 frozen tensors, layer4 (10) and attention pool (9) included."""
    with torch.device('meta'):
        trained = [p.requires_grad for p in CLIPResNet('RN50', frozen_stages=1).parameters()]
    assert sum(trained) == 51 - 10 - 9
    assert trained.count(False) == 13


def test_built_from_a_config_with_clips_weights(tmp_path: object) -> None:
    weights = tiny_models.save_clip(tmp_path / 'clip.pth')
    model = MODELS.build(tiny_models.backbone(weights))
    model.init_weights()
    assert torch.equal(model.conv2.weight, torch.load(weights)['visual.conv2.weight'])


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(arch='RN51'), r"Unknown CLIP ResNet 'RN51'. Known: RN50, .*or give a dict"),
        (dict(arch={**ARCH, 'layers': (1, 1, 1)}), r'four positive numbers, not \(1, 1, 1\)'),
        (dict(arch={**ARCH, 'layers': (1, 1, 0, 1)}), 'four positive numbers'),
        (dict(arch={**ARCH, 'width': 15}), 'width must be even.*15'),
        (dict(arch={**ARCH, 'image_size': 72}), 'image_size must be a multiple of 32, not 72'),
        (dict(arch={'width': 16}), 'width, layers, embed_dim and image_size'),
        (dict(arch={**ARCH, 'depth': 50}), 'width, layers, embed_dim and image_size'),
        (dict(arch=ARCH, frozen_stages=4), r'frozen_stages must be within \[-1, 3\]: 4'),
        (dict(arch=ARCH, frozen_stages=-2), 'frozen_stages'),
        (dict(arch=ARCH, out_indices=(3,)), r'out_indices must name stages 0 to 2: \(3,\)'),
        (dict(arch=ARCH, out_indices=()), 'out_indices'),
    ],
)
def test_errors_say_what_is_wrong(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CLIPResNet(**settings)


@pytest.mark.parametrize('frozen_stages', [-1, 1])
def test_checkpointing_changes_no_gradient(frozen_stages: int) -> None:
    results = []
    for with_cp in (False, True):
        model = filled(frozen_stages=frozen_stages, with_cp=with_cp).train()
        x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        blocks: list[nn.Module] = []
        for block in model.layer3:
            # before: recomputation stops as soon as the last saved tensor is there
            block.register_forward_pre_hook(lambda module, args, seen=blocks: seen.append(module))
        model(x)[0].square().sum().backward()
        assert len(blocks) == (2 if with_cp else 1) * len(model.layer3)
        results.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    plain, checkpointed = results
    assert plain.keys() == checkpointed.keys() and plain
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, msg=name)
    with torch.no_grad():
        assert torch.equal(filled(with_cp=True)(x)[0], filled()(x)[0])
