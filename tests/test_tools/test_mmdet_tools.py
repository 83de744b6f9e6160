# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""mmdet's own analysis tools with the configs of this package."""

from __future__ import annotations

import json
import pickle
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import mmdet
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch.utils.flop_counter import FlopCounterMode

from helpers import page_runner, tiny_recipes
from regionclip_mmdet.__main__ import main

TOOLS = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'analysis_tools'
TRANSFER = 'ov_coco/regionclip_rn50_c4_8xb2-1x_ov-coco.py'
ANNOTATIONS = Path('data/coco/annotations/ov_coco_val_all.json')


@pytest.fixture
def config(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Config]:
    """A config in a file ``config.py`` beside its data and vocabularies, without any weights."""
    if not TOOLS.is_dir():
        pytest.skip('this installation of mmdet came without its tools')
    monkeypatch.chdir(tmp_path)
    tiny_recipes.make_coco()
    cfg = tiny_recipes.load(request.param)
    tiny_recipes.make_files(cfg)
    page_runner.write_config(cfg, Path('config.py'))
    for file in (*Path().glob('*.pth'), *Path().glob('checkpoints/*')):
        file.unlink()
    return cfg


def run(monkeypatch: pytest.MonkeyPatch, tool: str, *arguments: str) -> None:
    monkeypatch.setattr(sys, 'argv', ['regionclip_mmdet', str(TOOLS / tool), *arguments])
    monkeypatch.setattr(sys, 'path', list(sys.path))
    main()


def counted_flops(cfg: Config) -> float:
    """Multiplications of one image, the mean over the data, by torch's own counter."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model).eval()
        loader = Runner.build_dataloader(cfg.val_dataloader)
    for part in model.weight_sources():
        model.get_submodule(part).weights_source = 'this test'
    counts = []
    for batch in loader:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(**model.data_preprocessor(batch), mode='tensor')
        counts.append(counter.get_total_flops() / 2)
    return sum(counts) / len(counts)


@pytest.mark.parametrize(
    ('config', 'parts'),
    [
        ('zero_shot/clip_rn50_gt_zero-shot_coco65.py', ['backbone', 'roi_head.region_encoder']),
        (TRANSFER, ['backbone', 'roi_head.region_encoder', 'roi_head.bbox_head.fc_reg']),
    ],
    indirect=['config'],
)
def test_get_flops(
    config: Config,
    parts: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The random weights it runs on are said."""
    every = 'localizer' not in config.model
    run(monkeypatch, 'get_flops.py', 'config.py', *([] if every else ['--num-images', '1']))
    said = capfd.readouterr()
    warnings = re.findall(r'random weights is traced: .* \((.*)\)', said.out + said.err)
    assert len(warnings) == 1 and warnings[0].startswith(', '.join(parts))
    number, unit = re.search(r'^Flops: ([\d.]+)([MG])$', said.out, re.M).groups()
    found = float(number) * dict(M=1e6, G=1e9)[unit]
    if every:
        assert found == pytest.approx(counted_flops(config), rel=1e-3)
    else:  # how many proposals the random localizer makes, varies
        assert found > 1e8


@pytest.mark.parametrize('config', [TRANSFER], indirect=True)
def test_analyze_results(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Perfect detections of one image, none of the others: the file names say an AP of 1 and 0."""
    content = json.loads(ANNOTATIONS.read_text())
    labels = {category['id']: i for i, category in enumerate(content['categories'])}
    perfect = content['images'][1]
    results = []
    for image in content['images']:
        own = [a for a in content['annotations'] if a['image_id'] == image['id'] == perfect['id']]
        boxes = torch.tensor([a['bbox'] for a in own]).reshape(-1, 4).float()
        boxes[:, 2:] += boxes[:, :2]
        results.append(
            dict(
                img_id=image['id'],
                pred_instances=dict(
                    bboxes=boxes,
                    scores=torch.full((len(own),), 0.9),
                    labels=torch.tensor([labels[a['category_id']] for a in own], dtype=torch.long),
                ),
            )
        )
    Path('results.pkl').write_bytes(pickle.dumps(results))
    run(monkeypatch, 'analyze_results.py', 'config.py', 'results.pkl', 'shown', '--topk', '1')
    stem = Path(perfect['file_name']).stem
    assert [path.name for path in Path('shown/good').iterdir()] == [f'{stem}_1.0.jpg']
    (bad,) = Path('shown/bad').iterdir()
    assert bad.name.endswith('_0.0.jpg') and not bad.name.startswith(stem)


def test_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in ([], ['no_such_file.py']):
        monkeypatch.setattr(sys, 'argv', ['regionclip_mmdet', *arguments])
        with pytest.raises(SystemExit, match='python -m regionclip_mmdet SCRIPT'):
            main()


def test_a_script_is_run_as_python_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'module_beside.py').write_text('VALUE = 7')
    script = tmp_path / 'script.py'
    script.write_text(
        'import sys\nimport module_beside\nfrom mmcv.ops import nms\n'
        'print(__name__, sys.argv[1:], module_beside.VALUE, callable(nms), sys.argv[0] == __file__)'
    )
    monkeypatch.setattr(sys, 'argv', ['regionclip_mmdet', str(script), '--flag', 'a'])
    monkeypatch.setattr(sys, 'path', list(sys.path))
    main()
    assert capsys.readouterr().out == "__main__ ['--flag', 'a'] 7 True True\n"
