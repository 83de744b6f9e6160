# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Bad checkpoints on every way by which mmengine and mmdet load one themselves."""

from __future__ import annotations

import functools
import http.server
import os
import pickle
import runpy
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from mmdet.apis import init_detector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint
from mmengine.runner import checkpoint as mmengine_checkpoint
from torch import Tensor, nn

from helpers import tiny_models, tiny_runner, toy_training
from regionclip_mmdet.compat.checkpoints import plain_pickle

ROOT = Path(__file__).resolve().parents[2]


class Trap:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def state() -> dict[str, Tensor]:
    return tiny_models.fill(MODELS.build(tiny_models.detector_config()), seed=3).state_dict()


def tool(name: str, checkpoint: Path, folder: Path, *arguments: str) -> None:
    Config(toy_training.config()).dump(folder / 'toy.py')
    words = [f'{name}.py', str(folder / 'toy.py'), *arguments, '--work-dir', str(folder / 'run')]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', words)
        patch.syspath_prepend(str(ROOT / 'tests'))
        runpy.run_path(str(ROOT / 'tools' / f'{name}.py'), run_name='__main__')


def toy_runner(checkpoint: Path | None, folder: Path, resume: bool) -> Runner:
    load_from = None if checkpoint is None else str(checkpoint)
    changes = dict(work_dir=str(folder / 'run'), load_from=load_from, resume=resume)
    changes['experiment_name'] = f'{folder}'.replace('/', '_')
    return Runner.from_cfg(Config(toy_training.config(**changes)))


def build(**settings: object) -> nn.Module:
    return MODELS.build(tiny_models.detector_config(**settings))


def whole_model(checkpoint: Path, folder: Path) -> None:
    build(init_cfg=dict(type='Pretrained', checkpoint=str(checkpoint))).init_weights()


def one_part(checkpoint: Path, folder: Path) -> None:
    config = tiny_models.detector_config()
    config.backbone.init_cfg = dict(
        type='Pretrained', checkpoint=str(checkpoint), prefix='backbone.'
    )
    MODELS.build(config).init_weights()


# what a user calls -> what ends in mmengine's loader
WAYS: dict[str, Callable[[Path, Path], object]] = dict(
    load_checkpoint=lambda path, folder: load_checkpoint(build(), str(path)),
    load_from=lambda path, folder: toy_runner(path, folder, resume=False).train(),
    resume=lambda path, folder: toy_runner(path, folder, resume=True).train(),
    test=lambda path, folder: toy_runner(path, folder, resume=False).test(),
    test_tool=lambda path, folder: tool('test', path, folder, str(path)),
    resume_option=lambda path, folder: tool('train', path, folder, '--resume', str(path)),
    init_detector=lambda path, folder: init_detector(
        Config(dict(model=tiny_models.detector_config())), str(path), device='cpu'
    ),
    pretrained=whole_model,
    pretrained_part=one_part,
    localizer=lambda path, folder: build(localizer=tiny_models.localizer(path)).init_weights(),
)


@pytest.fixture(params=WAYS)
def load(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Path], object]:
    return lambda path: WAYS[request.param](path, tmp_path)


def nothing_trained(folder: Path) -> bool:
    written = [p for p in folder.rglob('*') if p.suffix == '.pth' or p.name == 'last_checkpoint']
    return {p.name for p in written} <= {'bad.pth'}


def test_code_in_a_checkpoint_is_not_run(load: Callable, tmp_path: Path) -> None:
    content = dict(state_dict=state(), extra=Trap(tmp_path / 'ran'))
    torch.save(content, tmp_path / 'bad.pth')
    with pytest.raises(ValueError, match='bad.pth holds objects whose .*not loaded .*mkdir'):
        load(tmp_path / 'bad.pth')
    assert not (tmp_path / 'ran').exists()
    assert nothing_trained(tmp_path)


def test_a_truncated_checkpoint(load: Callable, tmp_path: Path) -> None:
    torch.save(dict(state_dict=state()), tmp_path / 'bad.pth')
    data = (tmp_path / 'bad.pth').read_bytes()
    (tmp_path / 'bad.pth').write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r'bad.pth is damaged: it ends too early, after \d+ byt'):
        load(tmp_path / 'bad.pth')
    assert nothing_trained(tmp_path)


@pytest.mark.parametrize('way', ['load_checkpoint', 'init_detector', 'test', 'pretrained_part'])
@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([torch.ones(2)], 'bad.pth holds a list, not a state dict'),
        (None, 'bad.pth holds a NoneType, not a state dict'),
        (dict(state_dict=[torch.ones(2)]), 'bad.pth holds a list, not a state dict'),
        (
            {0: torch.ones(2), 'a': torch.ones(1)},
            r'bad.pth .*keys that are no names, e.g. 0 \(1 of 2\)',
        ),
        (torch.ones(65, 8), r'bad.pth .* of shape \(65, 8\), .*convert_checkpoint.py FILE --names'),
    ],
)
def test_content_that_is_no_state_dict(
    way: str, content: object, message: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / 'bad.pth')
    with pytest.raises(ValueError, match=message):
        WAYS[way](tmp_path / 'bad.pth', tmp_path)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda w: w.fill_(float('nan')), '1 tensors with NaN or infinite values, e.g. backbone.c'),
        (lambda w: w.to(torch.complex64), r"'backbone': 1 of another .*complex64"),
        (lambda w: w.to(torch.int8), r"'backbone': 1 of another shape or type, .*torch.int8"),
        (lambda w: w.to_sparse(), r"'backbone': 1 of another .*sparse_coo"),
        (lambda w: w.tolist(), r"'backbone': 1 of another .*file holds a list"),
    ],
)
def test_weights_that_are_none(change: Callable, message: str, tmp_path: Path) -> None:
    content = dict(state())
    content['backbone.conv1.weight'] = change(content['backbone.conv1.weight'])
    torch.save(dict(state_dict=content), tmp_path / 'bad.pth')
    with pytest.raises(
        RuntimeError, match=f'The checkpoint .*bad.pth does not fit.*\\s.*{message}'
    ):
        WAYS['load_checkpoint'](tmp_path / 'bad.pth', tmp_path)
    with pytest.raises((RuntimeError, ValueError), match='bad.pth'):
        WAYS['pretrained_part'](tmp_path / 'bad.pth', tmp_path)


@pytest.mark.parametrize('make', ['safetensors', 'torchscript'])
def test_other_kinds_in_place_of_a_checkpoint(make: str, tmp_path: Path) -> None:
    path = tmp_path / 'other.pth'
    if make == 'torchscript':
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
    else:
        pytest.importorskip('safetensors.torch').save_file(dict(a=torch.ones(2)), path)
    with pytest.raises(ValueError, match=r'other.pth is a .* file of something .* None of the'):
        CheckpointLoader.load_checkpoint(str(path))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serves a folder of the test; downloads go to another one."""
    (tmp_path / 'served').mkdir()
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('no_proxy', '127.0.0.1')

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=tmp_path / 'served')
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{httpd.server_port}'
        httpd.shutdown()


@pytest.mark.parametrize('scheme', ['http', 'torchvision'])
def test_code_from_an_address_is_not_run(
    scheme: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = dict(state_dict={}, extra=Trap(tmp_path / 'ran'))
    torch.save(trap, tmp_path / 'served' / 'bad.pth')
    torch.save(dict(state_dict=dict(w=torch.ones(2))), tmp_path / 'served' / 'good.pth')
    models = {name: f'{server}/{name}.pth' for name in ('bad', 'good')}
    monkeypatch.setattr(mmengine_checkpoint, 'get_torchvision_models', lambda: models)
    names = models if scheme == 'http' else {n: f'torchvision://{n}' for n in models}
    with pytest.raises(ValueError, match=r'checkpoints/bad\.pth holds objects whose'):
        CheckpointLoader.load_checkpoint(names['bad'], map_location='cpu')
    assert not (tmp_path / 'ran').exists()
    for _ in ('downloaded', 'kept'):
        content = CheckpointLoader.load_checkpoint(names['good'], map_location='cpu')
        assert torch.equal(content['state_dict']['w'], torch.ones(2))
        (tmp_path / 'served' / 'good.pth').unlink(missing_ok=True)


def test_the_config_in_a_checkpoint_is_not_executed(tmp_path: Path) -> None:
    """mmengine executes ``meta['config']`` when it resumes, a leftover of mmcv 1.x."""
    toy_runner(None, tmp_path, resume=False).train()
    content = torch.load(tmp_path / 'run' / 'iter_4.pth')
    content['meta']['config'] = f"import os\nos.mkdir('{tmp_path}/ran')\n"
    torch.save(content, tmp_path / 'spoiled.pth')
    runner = toy_runner(tmp_path / 'spoiled.pth', tmp_path / 'again', resume=True)
    runner.train()
    assert runner.iter == 20
    assert not (tmp_path / 'ran').exists()


def test_resuming_from_weights_alone(tmp_path: Path) -> None:
    torch.save(dict(state_dict=toy_training.NoisyLine().state_dict()), tmp_path / 'bad.pth')
    with pytest.raises(ValueError, match='cannot be resumed.*no iteration.*load_from'):
        toy_runner(tmp_path / 'bad.pth', tmp_path, resume=True).train()
    assert nothing_trained(tmp_path)


class TestSources:
    def test_a_checkpoint_is_named(self, tmp_path: Path) -> None:
        for name, content in (('nested', dict(state_dict=dict(state()))), ('bare', dict(state()))):
            torch.save(content, tmp_path / f'{name}.pth')
            model = build()
            load_checkpoint(model, str(tmp_path / f'{name}.pth'))
            assert set(model.weight_sources().values()) == {f'checkpoint {tmp_path}/{name}.pth'}
            assert tiny_models.fill(build(), seed=3).state_dict().keys() == state().keys()
            assert torch.equal(model.backbone.conv1.weight, state()['backbone.conv1.weight'])

    def test_through_the_runner(self, tmp_path: Path) -> None:
        torch.save(dict(state_dict=state()), tmp_path / 'weights.pth')
        model = build(data_preprocessor=tiny_runner.PREPROCESSOR)
        load_from = str(tmp_path / 'weights.pth')
        runner = tiny_runner.make_runner(model, tmp_path / 'run', load_from=load_from)
        runner.test()
        assert set(model.weight_sources().values()) == {f'checkpoint {load_from}'}

    def test_names_do_not_leak_into_what_is_saved(self, tmp_path: Path) -> None:
        torch.save(dict(state_dict=state()), tmp_path / 'weights.pth')
        model = build()
        load_checkpoint(model, str(tmp_path / 'weights.pth'))
        assert 'checkpoint' not in model.state_dict()._metadata['']


class TestOlderTorch:
    """Before 2.6, torch cannot be told what to allow; see ``compat.checkpoints``."""

    @pytest.mark.parametrize('zipped', [True, False])
    def test_a_whole_checkpoint_is_read(self, tmp_path: Path, zipped: bool) -> None:
        toy_runner(None, tmp_path, resume=False).train()
        path = tmp_path / 'run' / 'iter_4.pth'
        expected = torch.load(path)
        extra = dict(half=torch.ones(3).half(), flag=torch.tensor([True]), size=torch.Size([2]))
        extra['parameter'] = nn.Parameter(torch.arange(3.0))
        torch.save(expected | extra, path, _use_new_zipfile_serialization=zipped)
        found = torch.load(
            path, map_location='cpu', pickle_module=plain_pickle(), weights_only=False
        )
        assert found.keys() == expected.keys() | extra.keys()
        for key, value in expected['state_dict'].items():
            assert torch.equal(found['state_dict'][key], value)
        history = found['message_hub']['log_scalars']['train/loss']
        assert history.mean() == expected['message_hub']['log_scalars']['train/loss'].mean()
        assert isinstance(found['parameter'], nn.Parameter)
        assert (found['half'].dtype, found['flag'].dtype) == (torch.half, torch.bool)
        assert found['size'] == (2,)

    @pytest.mark.parametrize('zipped', [True, False])
    def test_nothing_else_is(self, tmp_path: Path, zipped: bool) -> None:
        torch.save(
            dict(w=torch.ones(2), x=Trap(tmp_path / 'ran')),
            tmp_path / 'bad.pth',
            _use_new_zipfile_serialization=zipped,
        )
        with pytest.raises(pickle.UnpicklingError, match='Unsupported global: .*mkdir'):
            torch.load(tmp_path / 'bad.pth', pickle_module=plain_pickle(), weights_only=False)
        assert not (tmp_path / 'ran').exists()
