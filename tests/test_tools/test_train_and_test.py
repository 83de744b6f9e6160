# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""``tools/train.py`` and ``tools/test.py`` with a toy model: train, resume, test, two processes."""

import os
import pickle
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]

TOY = """
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmdet.registry import DATASETS, METRICS, MODELS


@MODELS.register_module()
class ToyLine(BaseModel):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(self.line.weight)

    def forward(self, x, mode='tensor'):
        x = torch.stack(x)
        y = self.line(x)
        if mode == 'loss':
            return dict(loss=((y - 3 * x) ** 2).mean())
        return [dict(slope=self.line.weight.item())] * len(x)


@DATASETS.register_module()
class ToyPoints(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(x=torch.tensor([index / 8 + 0.1]))


@METRICS.register_module()
class ToySlope(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.extend(sample['slope'] for sample in data_samples)

    def compute_metrics(self, results):
        return dict(slope=sum(results) / len(results), count=len(results))
"""

CONFIG = """
custom_imports = dict(imports=['regionclip_mmdet', 'toy'], allow_failed_imports=False)
default_scope = 'mmdet'
model = dict(type='ToyLine')
train_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dict(type='ToyPoints'),
    sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dict(type='ToyPoints'),
    sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type='ToySlope')
test_evaluator = val_evaluator
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.5))
auto_scale_lr = dict(enable=False, base_batch_size=4)
randomness = dict(seed=0)
"""


@pytest.fixture()
def toy(tmp_path: Path) -> Path:
    (tmp_path / 'toy.py').write_text(TOY)
    (tmp_path / 'toy_config.py').write_text(CONFIG)
    return tmp_path


def run(folder: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> str:
    """Run a tool in ``folder``; returns what it printed, with exit code 0 required."""
    tool, *rest = arguments
    environment = dict(os.environ, PYTHONPATH=f'{ROOT}:{folder}', OMP_NUM_THREADS='1')
    result = subprocess.run(
        [sys.executable, *launcher, str(ROOT / 'tools' / tool), *rest],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def slope_of(checkpoint: Path) -> float:
    return torch.load(checkpoint, weights_only=False)['state_dict']['line.weight'].item()


def test_train_then_resume_then_test(toy: Path) -> None:
    run(toy, 'train.py', 'toy_config.py')
    work = toy / 'work_dirs' / 'toy_config'
    first = slope_of(work / 'epoch_2.pth')
    assert 0 < first < 3
    printed = run(
        toy, 'train.py', 'toy_config.py', '--resume', '--cfg-options', 'train_cfg.max_epochs=3'
    )
    assert 'resumed epoch: 2' in printed
    assert first < slope_of(work / 'epoch_3.pth') < 3
    printed = run(
        toy,
        'test.py',
        'toy_config.py',
        str(work / 'epoch_2.pth'),
        '--work-dir',
        'elsewhere',
        '--out',
        'out.pkl',
    )
    (measured,) = re.findall(r'slope: ([\d.]+)', printed)
    assert float(measured) == pytest.approx(first, abs=1e-3)
    assert len(pickle.loads((toy / 'out.pkl').read_bytes())) == 8


@pytest.mark.skipif(torch.cuda.is_available(), reason='about machines without CUDA')
def test_two_processes_without_cuda(toy: Path) -> None:
    launcher = ('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2')
    printed = run(
        toy, 'train.py', 'toy_config.py', '--launcher', 'pytorch', '--auto-scale-lr',
        launcher=launcher,
    )  # fmt: skip
    # Each process saw half of the data, and validation gathered all of it.
    assert re.search(r'Epoch\(train\)\s+\[2\]\[2/2\]|Epoch\(val\)\s+\[2\]\[2/2\]', printed)
    assert 'count: 8' in printed
    assert 0 < slope_of(toy / 'work_dirs' / 'toy_config' / 'epoch_2.pth') < 3


def config_of(tool_arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> Config:
    """The config a tool makes of its arguments."""
    monkeypatch.setenv('LOCAL_RANK', '0')
    tool = runpy.run_path(str(ROOT / 'tools' / tool_arguments[0]))
    monkeypatch.setattr(sys, 'argv', tool_arguments)
    return tool['load_config'](tool['parse_args']())


def test_accumulated_images_count_for_the_learning_rate(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(toy))
    arguments = ['train.py', str(toy / 'toy_config.py'), '--auto-scale-lr']
    assert config_of(arguments, monkeypatch).auto_scale_lr.base_batch_size == 4
    arguments += ['--cfg-options', 'optim_wrapper.accumulative_counts=2']
    cfg = config_of(arguments, monkeypatch)
    # two images an iteration, two iterations an update: the batch the rate was made for
    assert cfg.train_dataloader.batch_size / cfg.auto_scale_lr.base_batch_size == 1


@pytest.mark.parametrize(
    ('config_type', 'expected'),
    [
        ("type='OptimWrapper', ", 'AmpOptimWrapper'),
        ('', 'AmpOptimWrapper'),
        ("type='PerTensorClipOptimWrapper', ", 'PerTensorClipAmpOptimWrapper'),
        ("type='PerTensorClipAmpOptimWrapper', ", 'PerTensorClipAmpOptimWrapper'),
    ],
)
def test_mixed_precision_keeps_the_rest_of_the_wrapper(
    toy: Path, monkeypatch: pytest.MonkeyPatch, config_type: str, expected: str
) -> None:
    import mmengine.device

    monkeypatch.setattr(mmengine.device, 'get_device', lambda: 'cuda')
    config = toy / 'amp.py'
    config.write_text(f"optim_wrapper = dict({config_type}optimizer=dict(type='SGD', lr=0.5))\n")
    arguments = ['train.py', str(config), '--amp', '--cfg-options', 'optim_wrapper.dtype=bfloat16']
    wrapper = config_of(arguments, monkeypatch).optim_wrapper
    assert wrapper.type == expected and wrapper.loss_scale == 'dynamic'
    assert wrapper.dtype == 'bfloat16' and wrapper.optimizer.lr == 0.5


def stopped_by(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *arguments: str
) -> str:
    """Message with which a tool refuses its arguments, in this process."""
    tool = runpy.run_path(str(ROOT / 'tools' / arguments[0]))
    monkeypatch.setattr(sys, 'argv', list(arguments))
    with pytest.raises(SystemExit) as caught:
        tool['load_config'](tool['parse_args']())
    return f'{caught.value} {capsys.readouterr().err}'


def test_wrong_arguments_are_explained(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv('LOCAL_RANK', '0')
    config = str(toy / 'plain.py')
    Path(config).write_text("optim_wrapper = dict(type='OptimWrapper')\n")
    message = stopped_by(monkeypatch, capsys, 'train.py', 'no_such.py')
    assert 'there is no config file no_such.py' in message
    message = stopped_by(monkeypatch, capsys, 'train.py', config, '--auto-scale-lr')
    assert 'has no auto_scale_lr.base_batch_size' in message
    message = stopped_by(monkeypatch, capsys, 'test.py', config, 'x.pth', '--out', 'x.json')
    assert 'must end with .pkl' in message
    if not torch.cuda.is_available():
        message = stopped_by(monkeypatch, capsys, 'train.py', config, '--amp')
        assert '--amp needs an accelerator' in message
