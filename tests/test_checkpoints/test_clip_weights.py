# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""CLIP weights: every file form, exact filling of modules, refusals."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import open_clip
import pytest
import torch
from mmengine.model import initialize
from torch import Tensor, nn

from regionclip_mmdet.checkpoints import (
    clear_cache,
    clip_keys,
    clip_weights,
    load_clip_state_dict,
)
from regionclip_mmdet.conversion import export_clip_state_dict
from regionclip_mmdet.models.backbones import CLIPResNet
from regionclip_mmdet.models.region_encoders import RegionEncoder
from regionclip_mmdet.models.text import CLIPTextEncoder

IMAGE = dict(layers=(1, 1, 1, 1), width=64, image_size=64)
TEXT = dict(context_length=12, vocab_size=300, width=64, heads=1, layers=2)


@pytest.fixture(scope='module')
def clip() -> open_clip.CLIP:
    torch.manual_seed(0)
    model = open_clip.CLIP(32, IMAGE, TEXT, quick_gelu=True).eval()
    # Norm statistics as of a trained model, so that forgetting them would show.
    for name, buffer in model.named_buffers():
        if name.endswith(('running_mean', 'running_var')):
            buffer.uniform_(0.5, 1.5)
    return model


@pytest.fixture
def weights(clip: open_clip.CLIP) -> dict[str, Tensor]:
    clear_cache()
    return dict(clip.state_dict())


class Scripted(nn.Module):
    """Any module with CLIP's keys, in half precision like OpenAI's archives."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Linear(3, 2).half()
        self.register_buffer('input_resolution', torch.tensor(224))

    def forward(self, x: Tensor) -> Tensor:
        return self.visual(x)


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(
    'wrap',
    [
        lambda state: state,
        lambda state: dict(state_dict=state, epoch=3),
        lambda state: dict(model=dict(state_dict=state)),
        lambda state: {'module.' + key: value for key, value in state.items()},
        lambda state: dict(model={'module.clip.' + key: value for key, value in state.items()}),
    ],
)
def test_state_dict_files(wrap: callable, weights: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(wrap(weights), tmp_path / 'clip.pt')
    loaded, notes = load_clip_state_dict(tmp_path / 'clip.pt')
    assert equal(loaded, weights)
    assert notes['source'] == str(tmp_path / 'clip.pt') and notes['format'] == 'state dict'


def test_prefix_is_kept_where_not_all_keys_have_it(tmp_path: Path) -> None:
    state = {'clip.weight': torch.ones(2), 'visual.conv1.weight': torch.ones(1)}
    torch.save(state, tmp_path / 'clip.pt')
    assert set(load_clip_state_dict(tmp_path / 'clip.pt')[0]) == set(state)


def test_torchscript_archive(tmp_path: Path) -> None:
    model = Scripted()
    torch.jit.save(torch.jit.script(model), tmp_path / 'RN50.pt')
    loaded, notes = load_clip_state_dict(tmp_path / 'RN50.pt')
    assert notes['format'] == 'TorchScript archive'
    assert loaded['visual.weight'].dtype == torch.float32
    assert torch.equal(loaded['visual.weight'], model.visual.weight.float())


def test_safetensors(weights: dict[str, Tensor], tmp_path: Path) -> None:
    safetensors = pytest.importorskip('safetensors.torch')
    halved = {key: v.half() if v.is_floating_point() else v for key, v in weights.items()}
    safetensors.save_file(halved, tmp_path / 'clip.safetensors')
    loaded, notes = load_clip_state_dict(tmp_path / 'clip.safetensors')
    assert notes['format'] == 'safetensors'
    assert equal(loaded, {k: v.float() if v.is_floating_point() else v for k, v in halved.items()})


def test_file_that_needs_code_is_refused(tmp_path: Path) -> None:
    torch.save(Scripted(), tmp_path / 'object.pt')
    with pytest.raises(ValueError, match='would run code'):
        load_clip_state_dict(tmp_path / 'object.pt')
    (tmp_path / 'plain.pt').write_bytes(pickle.dumps(Path))
    # what a bare pickle is refused for depends on the version of torch
    with pytest.raises(ValueError, match='plain tensors|would run code'):
        load_clip_state_dict(tmp_path / 'plain.pt')


def test_other_models_are_refused(tmp_path: Path) -> None:
    torch.save({'fc.weight': torch.ones(2)}, tmp_path / 'resnet.pth')
    with pytest.raises(ValueError, match=r'not a CLIP checkpoint.*fc\.weight'):
        load_clip_state_dict(tmp_path / 'resnet.pth')
    torch.save(torch.ones(2), tmp_path / 'tensor.pth')
    with pytest.raises(ValueError, match='not a state dict'):
        load_clip_state_dict(tmp_path / 'tensor.pth')


@pytest.mark.parametrize(
    ('name', 'tag'), [('RN50', 'openai'), ('RN50/openai', 'openai'), ('RN50@yfcc15m', 'yfcc15m')]
)
def test_names_of_open_clip(
    name: str,
    tag: str,
    weights: dict[str, Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.save(weights, tmp_path / 'cached.pt')
    asked: list[dict] = []

    def fake(config: dict, prefer_hf_hub: bool) -> str:
        asked.append(config)
        return str(tmp_path / 'cached.pt')

    monkeypatch.setattr(open_clip.pretrained, 'download_pretrained', fake)
    loaded, notes = load_clip_state_dict(name)
    assert equal(loaded, weights) and notes['source'] == name
    assert asked == [open_clip.pretrained.get_pretrained_cfg('RN50', tag)]


def test_offline_names_the_local_alternative(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[bool] = []

    def offline(config: dict, prefer_hf_hub: bool) -> str:
        tried.append(prefer_hf_hub)
        raise OSError('network is unreachable')

    monkeypatch.setattr(open_clip.pretrained, 'download_pretrained', offline)
    with pytest.raises(FileNotFoundError, match=r'unreachable.*local file'):
        load_clip_state_dict('RN50/openai')
    assert tried == [True, False]


def test_unknown_sources() -> None:
    with pytest.raises(FileNotFoundError, match=r'weights/RN50\.pt.*no such file'):
        load_clip_state_dict('weights/RN50.pt')
    with pytest.raises(FileNotFoundError, match=r"tags \['openai'"):
        load_clip_state_dict('RN50/openia')


def test_one_read_serves_all_modules_until_the_file_changes(
    weights: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'clip.pt'
    torch.save(weights, path)
    reads: list[str] = []
    read = clip_weights.read_file
    monkeypatch.setattr(
        clip_weights, 'read_file', lambda path, what: reads.append(path) or read(path, what)
    )
    first, _ = load_clip_state_dict(path)
    first.clear()
    assert load_clip_state_dict(str(path))[0].keys() == weights.keys()
    assert len(reads) == 1
    torch.save({'visual.x': torch.ones(1)}, path)
    assert list(load_clip_state_dict(path)[0]) == ['visual.x']
    assert len(reads) == 2


def modules(checkpoint: Path) -> tuple[CLIPResNet, RegionEncoder, CLIPTextEncoder]:
    init_cfg = dict(type='CLIPPretrained', checkpoint=str(checkpoint))
    arch = dict(layers=(1, 1, 1, 1), width=64, embed_dim=32, image_size=64)
    return (
        CLIPResNet(arch, init_cfg=init_cfg),
        RegionEncoder(arch, init_cfg=init_cfg),
        CLIPTextEncoder(dict(TEXT, embed_dim=32), init_cfg=init_cfg),
    )


def test_modules_are_filled_completely(
    clip: open_clip.CLIP, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(weights, tmp_path / 'clip.pt')
    parts = modules(tmp_path / 'clip.pt')
    for part in parts:
        part.init_weights()
        assert part.weights_source == str(tmp_path / 'clip.pt')
        own = part.state_dict()
        for key, clip_key in clip_keys(part).items():
            assert torch.equal(own[key], weights[clip_key]), key
    # Together they are all of CLIP but its temperature and counters, and the round trip is exact.
    exported = export_clip_state_dict(*parts)
    left = {k for k in weights if 'num_batches_tracked' not in k} - exported.keys()
    assert left == {'logit_scale'}
    assert all(torch.equal(exported[key], weights[key]) for key in exported)
    ids = torch.randint(1, 299, (3, 12), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(parts[2](ids), clip.encode_text(ids).detach())
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    stem = clip.visual.stem(image)
    expected = clip.visual.layer3(clip.visual.layer2(clip.visual.layer1(stem)))
    with torch.no_grad():
        torch.testing.assert_close(parts[0].eval()(image)[-1], expected, atol=1e-5, rtol=1e-4)


def test_a_module_that_is_not_filled_fails_by_name(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    backbone, encoder, _ = modules(tmp_path / 'clip.pt')
    del weights['visual.layer2.0.bn1.running_var']
    weights['visual.attnpool.c_proj.bias'] = torch.zeros(7)
    torch.save(weights, tmp_path / 'clip.pt')
    before = copy.deepcopy(backbone.state_dict())
    with pytest.raises(RuntimeError, match=r'no visual\.layer2\.0\.bn1\.running_var'):
        backbone.init_weights()
    assert equal(dict(backbone.state_dict()), dict(before))
    assert getattr(backbone, 'weights_source', None) is None
    with pytest.raises(RuntimeError, match=r'attnpool\.c_proj\.bias: \(32,\) here, .* \(7,\)'):
        encoder.init_weights()


def test_modules_without_a_place_in_clip_are_refused(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(weights, tmp_path / 'clip.pt')
    init_cfg = dict(type='CLIPPretrained', checkpoint=str(tmp_path / 'clip.pt'))
    with pytest.raises(TypeError, match='Linear does not say'):
        initialize(nn.Linear(2, 2), init_cfg)
