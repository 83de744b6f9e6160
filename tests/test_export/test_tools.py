# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The commands, on a tiny detector's config and checkpoint."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from helpers import exported_models, tiny_models

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
TOOLS = Path(__file__).resolve().parents[2] / 'tools'


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, TOOLS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
    threads = torch.get_num_threads()
    try:
        return tool(name).main()
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def detector(tmp_path: Path) -> tuple[Path, Path]:
    """Config and checkpoint."""
    model, config = exported_models.build_with_config('c4', bbox_head=dict(temperature=0.05))
    config.roi_head.bbox_head.vocabulary = None  # the checkpoint has it
    dataset = dict(type='CocoDataset', pipeline=exported_models.PIPELINE)
    cfg = Config(dict(default_scope='mmdet', model=config, test_dataloader=dict(dataset=dataset)))
    cfg.dump(tmp_path / 'tiny.py')
    meta = dict(dataset_meta=dict(classes=model.roi_head.bbox_head.active_classifier.names))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), tmp_path / 'tiny.pth')
    return tmp_path / 'tiny.py', tmp_path / 'tiny.pth'


def test_export_and_compare(
    detector: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    folder = tmp_path / 'exported'
    assert run('export_onnx', monkeypatch, *detector, folder) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        'backbone.onnx',
        'detector.json',
        'localizer.onnx',
        'onnx_detector.py',
        'regions.onnx',
        'vocabulary.npz',
    ]
    photo = tmp_path / 'photo.png'
    Image.fromarray(exported_models.photograph(150, 221)).save(photo)
    options = ('--folder', folder, '--images', photo, '--repeats', 1)
    capsys.readouterr()
    assert run('compare_onnx', monkeypatch, *detector, *options) == 0
    assert '1 of 1 images: the same detections above 0.05' in capsys.readouterr().out
    # no score is as high: nothing is compared, so nothing is proved
    options = (*options, '--score-thr', 1.5)
    assert run('compare_onnx', monkeypatch, *detector, *options) == 1
    assert 'DIFFERENT' in capsys.readouterr().out


def test_a_graph_that_the_model_lacks_is_an_error_message(
    detector: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    arguments = (*detector, tmp_path / 'exported', '--graphs', 'text_encoder')
    assert run('export_onnx', monkeypatch, *arguments) == 1
    assert 'needs a model with a text_encoder' in capsys.readouterr().err


def test_generated_weights_or_a_checkpoint(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    with pytest.raises(SystemExit):
        run('compare_onnx', monkeypatch, 'config.py')
    assert 'either a checkpoint or --generated' in capsys.readouterr().err


def test_other_names_and_missing_files_are_no_differences(
    detector: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    folder, names = tmp_path / 'exported', tmp_path / 'names.pth'
    tiny_models.vocabulary(('zebra', 'horse')).save(names)
    assert run('export_onnx', monkeypatch, *detector, folder, '--vocabulary', names) == 0
    photos = [tmp_path / name / 'photo.png' for name in 'ab']
    for seed, photo in enumerate(photos):
        photo.parent.mkdir()
        Image.fromarray(exported_models.photograph(90, 120, seed)).save(photo)
    options = ('--folder', folder, '--images', *photos, '--repeats', 1)
    assert run('compare_onnx', monkeypatch, *detector, *options) == 2
    assert 'exported with other names' in capsys.readouterr().err
    assert run('compare_onnx', monkeypatch, *detector, *options, '--vocabulary', names) == 0
    assert '2 of 2 images' in capsys.readouterr().out
    photos[0].unlink()
    assert run('compare_onnx', monkeypatch, *detector, *options, '--vocabulary', names) == 2
    assert 'photo.png' in capsys.readouterr().err
