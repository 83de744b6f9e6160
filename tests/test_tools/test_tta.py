# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""``tools/test.py --tta``: a detector that is always right stays right, whatever the views."""

from __future__ import annotations

import pickle
import runpy
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from helpers import color_detector as colors
from regionclip_mmdet import config_path
from regionclip_mmdet.datasets.transforms.unmoved import leaves_proposals_behind
from regionclip_mmdet.engine.test_time_views import views_of

ROOT = Path(__file__).resolve().parents[2]
LOAD = dict(type='LoadImageFromFile', imdecode_backend='pillow')
BOXES = dict(type='LoadAnnotations', with_bbox=True)
# three quarters as high: width and height are scaled by different factors
RESIZE = dict(type='Resize', scale=(96, 48), keep_ratio=False, interpolation='nearest')
PACK = dict(
    type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
)
PIPELINES = dict(
    localizer=[LOAD, RESIZE, BOXES, PACK],
    truth=[LOAD, BOXES, RESIZE, dict(type='ProposalsFromGT'), PACK],
    file=[
        LOAD,
        dict(type='LoadRegionProposals'),
        dict(type='MoveProposals', transforms=[RESIZE]),
        BOXES,
        dict(PACK, type='PackRegionInputs'),
    ],
)
# as mmdet's users write it: nothing here moves proposals, or says that an image is flipped
OWN_VIEWS = [
    LOAD,
    dict(type='LoadRegionProposals'),
    dict(
        type='TestTimeAug',
        transforms=[
            [RESIZE, dict(RESIZE, scale=(192, 128))],
            [
                dict(type='RandomFlip', prob=1.0, direction='vertical'),
                dict(type='RandomFlip', prob=1.0, direction='diagonal'),
                dict(type='RandomFlip', prob=0.0),
            ],
            [BOXES],
            [PACK],
        ],
    ),
]


def write_config(folder: Path, source: str, **settings: Any) -> tuple[Path, Path]:
    """Config and checkpoint of the detector on a world with proposals of some source."""
    colors.make_world(folder)
    colors.vocabulary().save(folder / 'names.pth')
    objectness = 'none' if source == 'truth' else 'logit'
    model = colors.model_config(source == 'localizer', objectness=objectness)
    model['roi_head']['bbox_head'].update(vocabulary=str(folder / 'names.pth'))
    dataset = dict(
        type='OVCocoDataset',
        metainfo=dict(classes=colors.NAMES),
        data_root=str(folder),
        ann_file='instances.json',
        data_prefix=dict(img='images/'),
        proposal_file='proposals.json' if source == 'file' else None,
        test_mode=True,
        pipeline=PIPELINES[source],
    )
    cfg = dict(
        model=model,
        test_dataloader=dict(
            batch_size=2,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dataset,
        ),
        test_cfg=dict(type='TestLoop'),
        test_evaluator=dict(type='CocoMetric', ann_file=str(folder / 'instances.json')),
        work_dir=str(folder / 'work'),
        **settings,
    )
    config = folder / 'colors.py'
    Config(cfg).dump(config)
    base = f'_base_ = [{config_path("_base_/default_runtime.py")!r}]\n'
    config.write_text(base + config.read_text())
    checkpoint = folder / 'colors.pth'
    with DefaultScope.overwrite_default_scope('mmdet'):
        torch.save(dict(state_dict=MODELS.build(model).state_dict()), checkpoint)
    return config, checkpoint


def run_tool(config: Path, checkpoint: Path, *arguments: str) -> tuple[list[dict], float]:
    """Predictions and mAP."""
    tool = runpy.run_path(str(ROOT / 'tools' / 'test.py'))
    out = config.parent / 'out.pkl'
    words = ['test.py', str(config), str(checkpoint), '--out', str(out), *arguments]
    words += ['--cfg-options', f'visualizer.name={config.parent.name}{len(arguments)}']
    metrics = []
    test = Runner.test

    def keep_metrics(runner: Runner) -> None:
        metrics.append(test(runner))

    with (
        mock.patch.object(sys, 'argv', words),
        mock.patch.dict('os.environ', LOCAL_RANK='0'),
        mock.patch.object(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict()))),
        mock.patch.object(Runner, 'test', keep_metrics),
    ):
        tool['main']()
    return pickle.loads(out.read_bytes()), metrics[0]['coco/bbox_mAP']


def check_truth(results: list[dict]) -> None:
    """Every object of every image, with its box in the original image's pixels and its name."""
    assert len(results) == len(colors.IMAGES)
    for result in results:
        expected = {(name, box) for name, box in colors.IMAGES[result['img_id'] - 1]}
        found = result['pred_instances']
        boxes = [tuple(round(value) for value in box) for box in found['bboxes'].tolist()]
        assert len(boxes) == len(expected)
        for name, box in zip(found['label_names'], boxes, strict=True):
            near = [b for n, b in expected if n == name]
            assert len(near) == 1 and max(abs(u - v) for u, v in zip(near[0], box)) <= 1


@pytest.mark.parametrize('source', list(PIPELINES))
def test_mirrored_views_change_nothing(tmp_path: Path, source: str) -> None:
    config, checkpoint = write_config(tmp_path / 'run', source)
    plain, plain_ap = run_tool(config, checkpoint)
    check_truth(plain)
    merged, merged_ap = run_tool(config, checkpoint, '--tta', '--show-dir', 'drawn')
    check_truth(merged)
    # what resizing rounds away is the same in both
    assert merged_ap == pytest.approx(plain_ap) and merged_ap > 0.7
    if source != 'localizer':
        assert merged_ap == 1
    for a, b in zip(plain, merged, strict=True):
        assert a['pred_instances']['label_names'] == b['pred_instances']['label_names']
        torch.testing.assert_close(a['pred_instances']['scores'], b['pred_instances']['scores'])
    (folder,) = (tmp_path / 'run' / 'work').glob('*/drawn')
    assert len(list(folder.iterdir())) == len(colors.IMAGES)


def test_a_configs_own_views(tmp_path: Path) -> None:
    """Two sizes and three flips, none of which moves proposals by itself."""
    config, checkpoint = write_config(tmp_path / 'run', 'file', tta_pipeline=OWN_VIEWS)
    results, ap = run_tool(config, checkpoint, '--tta')
    check_truth(results)
    assert ap == 1


def test_soft_nms_sees_each_region_once(tmp_path: Path) -> None:
    """A box found in both views would be left with a lowered score, above worse but true ones."""
    soft = dict(type='global_soft_nms', method='gaussian', sigma=0.5, iou_threshold=0.5,
                min_score=0.001)  # fmt: skip
    for source in ('truth', 'localizer'):
        config, checkpoint = write_config(tmp_path / source, source)
        text = config.read_text()
        config.write_text(text + f'model["test_cfg"]["rcnn"]["nms"] = {soft!r}\n')
        results, _ = run_tool(config, checkpoint, '--tta')
        check_truth(results)


def test_proposals_left_behind_are_refused(tmp_path: Path) -> None:
    """What mmdet's own ``tools/test.py --tta`` makes of such a config."""
    config, checkpoint = write_config(tmp_path / 'run', 'file')
    flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
    stock = [*PIPELINES['file'][:-1], dict(type='TestTimeAug', transforms=[flips, [PACK]])]
    text = config.read_text()
    config.write_text(text + f'test_dataloader["dataset"]["pipeline"] = {stock!r}\n')
    with pytest.raises(ValueError, match=r'RandomFlip comes after the proposals .*MoveProposals'):
        run_tool(config, checkpoint)


def test_pipelines_of_views() -> None:
    with DefaultScope.overwrite_default_scope('mmdet'):
        for pipeline in (*PIPELINES.values(), OWN_VIEWS):
            made = views_of(pipeline)
            assert leaves_proposals_behind(Compose(deepcopy(made)).transforms) is None
            (views,) = [transform for transform in made if transform['type'] == 'TestTimeAug']
            (pack,) = views['transforms'][-1]
            assert {*PACK['meta_keys'], 'flip', 'flip_direction'} == set(pack['meta_keys'])
            loads = any(transform['type'] == 'LoadRegionProposals' for transform in pipeline)
            assert pack['type'] == ('PackRegionInputs' if loads else 'PackDetInputs')
            assert leaves_proposals_behind(Compose(deepcopy(pipeline)).transforms) is None or (
                pipeline is OWN_VIEWS
            )
        # nothing flips: said to the model, which must know
        bare = dict(type='PackDetInputs', meta_keys=('img_id',))
        sizes = [LOAD, dict(type='TestTimeAug', transforms=[[RESIZE, RESIZE], [bare]])]
        steps = views_of(sizes)[-1]['transforms']
        assert [dict(type='RandomFlip', prob=0.0)] in steps
        assert {'ori_shape', 'img_shape', 'scale_factor'} < set(steps[-1][0]['meta_keys'])
        # random boxes need not follow, but those of all views are the same
        made = views_of([LOAD, dict(type='GridProposals'), PACK])
        assert all(flip['type'] == 'MoveProposals' for flip in made[-1]['transforms'][0])
