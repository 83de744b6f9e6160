# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Images on the command line."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import mmcv
import pytest
from PIL import Image

from demo.image_demo import main, summary
from helpers import tiny_inference
from regionclip_mmdet.apis import RegionCLIPInferencer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / 'photos'
    folder.mkdir()
    for seed, name in enumerate(('a.png', 'b.png')):
        tiny_inference.save_image(folder / name, seed=seed)
    return folder


def run(*args: object) -> None:
    main([str(arg) for arg in args])


@pytest.mark.parametrize('given', ['vis', 'vis/a.png', 'vis/*.png'])
def test_images_are_not_replaced(
    files: tiny_inference.DetectorFiles,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: str,
) -> None:
    monkeypatch.chdir(photos)
    (photos / 'vis').mkdir()
    (photos / 'a.png').rename('vis/a.png')
    before = Path('vis/a.png').read_bytes()
    words = [given, files.bare_config, files.bare_checkpoint, '--texts', files.names]
    with pytest.raises(SystemExit, match='would replace the images in'):
        run(*words, '--out', '.')
    assert Path('vis/a.png').read_bytes() == before
    run(*words, '--out', '.', '--no-save-vis')  # writes nothing there
    assert Path('preds/a.json').is_file() and Path('vis/a.png').read_bytes() == before


def test_visualizations_and_detections_are_written(
    files: tiny_inference.DetectorFiles,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / 'out'
    run(photos, files.config, files.checkpoint, '--texts', 'tram . a river', '--out', out,
        '--score-thr', 0.1, '--max-per-img', 3, '--batch-size', 2, '--device', 'cpu')  # fmt: skip
    inferencer = RegionCLIPInferencer(files.config, files.checkpoint, 'cpu', show_progress=False)
    expected = inferencer(photos, texts='tram . a river', max_per_img=3)['predictions']
    for name, result in zip('ab', expected, strict=True):
        written = json.loads((out / 'preds' / f'{name}.json').read_text())
        assert written['labels'] == result['labels'] and len(written['labels']) == 3
        assert written['scores'] == pytest.approx(result['scores'], rel=1e-4)
        assert mmcv.imread(str(out / 'vis' / f'{name}.png')) is not None
    told = capsys.readouterr().out
    assert 'Found in 2 images, scores above 0.1:' in told and f'{out}/vis' in told


def test_nothing_is_written_on_demand(
    files: tiny_inference.DetectorFiles, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / 'out'
    run(photos / 'a.png', files.bare_config, files.bare_checkpoint, '--texts', files.names,
        '--out', out, '--no-save-vis', '--no-save-pred')  # fmt: skip
    assert not out.exists()


def test_text_encoder_and_options(
    files: tiny_inference.DetectorFiles, photos: Path, tmp_path: Path
) -> None:
    run(photos / 'a.png', files.config, files.bare_checkpoint, '--text-encoder', files.clip,
        '--texts', 'tram', '--templates', 'plain', '--embedding-cache', tmp_path / 'cache',
        '--out', tmp_path, '--cfg-options', 'model.test_cfg.rcnn.max_per_img=2')  # fmt: skip
    assert len(json.loads((tmp_path / 'preds' / 'a.json').read_text())['labels']) == 2
    assert len(list((tmp_path / 'cache').rglob('*.pth'))) == 1


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(input='nowhere.jpg'), 'BrokenImageError: nowhere.jpg: there is no such image'),
        (dict(texts=' . '), 'ValueError: no names to look for'),
        (dict(texts='no/names.txt'), 'FileNotFoundError: there is no file no/names.txt'),
        (dict(config='nothing.py'), 'FileNotFoundError: There is no config'),
        (dict(config='unfinished.py'), 'SyntaxError: '),
        (dict(config='schedule.py'), 'ValueError: schedule.py describes no model'),
        (dict(checkpoint='nothing.pth'), 'nothing.pth'),
        (dict(input='thin.png'), 'BrokenImageError: thin.png: the image of 3000 x 1 pixels'),
    ],
)
def test_mistakes_end_with_a_message(
    files: tiny_inference.DetectorFiles,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict,
    message: str,
) -> None:
    monkeypatch.chdir(photos)
    Path('unfinished.py').write_text('model = dict(\n')
    Path('schedule.py').write_text('max_iters = 90000\n')
    Image.new('RGB', (3000, 1)).save('thin.png')
    given = dict(
        input=photos / 'a.png', config=files.config, checkpoint=files.checkpoint, texts='tram'
    )
    given.update(change)
    with pytest.raises(SystemExit) as caught:
        run(given['input'], given['config'], given['checkpoint'], '--texts', given['texts'])
    assert message in str(caught.value.code)


def test_no_detections_at_all_cannot_be_asked_for(
    files: tiny_inference.DetectorFiles, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(photos / 'a.png', files.config, files.checkpoint, '--max-per-img', '0')
    assert '0 is not above 0' in capsys.readouterr().err


def test_summary() -> None:
    results = [
        dict(label_names=['cat', 'dog', 'cat'], scores=[0.9, 0.8, 0.2]),
        dict(label_names=['dog'], scores=[0.5]),
    ]
    assert summary(results, 0.3) == [
        'Found in 2 images, scores above 0.3:',
        '     2 x dog (best 0.800)',
        '     1 x cat (best 0.900)',
    ]
    (nothing,) = summary(results[1:], 0.6)
    assert 'Nothing in 1 image scores above 0.6 (the best: 0.500)' in nothing


@pytest.mark.slow
def test_generated_weights_of_full_size(photos: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match='generated at random'):
        run(photos / 'a.png', 'regionclip_rn50_rpn_zero-shot_lvis', 'random', '--texts',
            'cat . dog', '--templates', 'plain', '--out', tmp_path)  # fmt: skip
    found = json.loads((tmp_path / 'preds' / 'a.json').read_text())
    assert set(found['label_names']) <= {'cat', 'dog'} and len(found['scores']) > 20
    for x1, y1, x2, y2 in found['bboxes']:
        assert 0 <= x1 < x2 <= 80 and 0 <= y1 < y2 <= 60


@pytest.mark.parametrize('name', ['image_demo', 'video_demo'])
def test_help(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', '--help'])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(ROOT / 'demo' / f'{name}.py'), run_name='__main__')
    assert caught.value.code == 0
    told = capsys.readouterr().out
    for part in (f'python demo/{name}.py', '--texts', '--score-thr', "'random'", '--text-encoder'):
        assert part in told


def test_nothing_found_is_said() -> None:
    """A lower threshold is named only where it would draw more."""
    nothing = dict(label_names=[], scores=[])
    little = dict(label_names=['cat'], scores=[0.2])
    for results, threshold in (([nothing], 0.0), ([nothing, nothing], 0.3)):
        (line,) = summary(results, threshold)
        assert 'a lower --score-thr' not in line
        assert 'model.test_cfg.rcnn.score_thr=0.0 may' in line
    (line,) = summary([nothing, little], 0.3)
    assert 'above 0.3 (the best: 0.200); a lower --score-thr draws more' in line
    assert summary([little], 0.0)[0] == 'Found in 1 image, scores above 0.0:'
