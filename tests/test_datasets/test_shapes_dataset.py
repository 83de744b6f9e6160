# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Boxes of the shapes world through mmdet: labels, metrics, configs."""

import json
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS, METRICS
from mmengine.config import Config

from regionclip_mmdet.datasets import ShapesWorldDataset
from regionclip_mmdet.datasets.shapes_world import BASE_CLASSES, CLASSES, NOVEL_CLASSES

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets'


def make_dataset(root: Path, ann_file: str, **kwargs: object) -> ShapesWorldDataset:
    return ShapesWorldDataset(
        data_root=str(root), ann_file=ann_file, data_prefix={'img': 'images/'}, **kwargs
    )


def predictions(dataset: ShapesWorldDataset, wrong: tuple[str, ...] = ()) -> list[dict]:
    """Ground truth as detections; objects of the classes ``wrong`` get another label."""
    samples = []
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        boxes = torch.tensor([o['bbox'] for o in info['instances']]).reshape(-1, 4)
        labels = [o['bbox_label'] for o in info['instances']]
        labels = [(k + 1) % 64 if CLASSES[k] in wrong else k for k in labels]
        pred = {'bboxes': boxes, 'labels': torch.tensor(labels), 'scores': torch.ones(len(boxes))}
        shape = (info['height'], info['width'])
        samples.append({'img_id': info['img_id'], 'ori_shape': shape, 'pred_instances': pred})
    return samples


def test_labels_mean_class_names(scenes: Path) -> None:
    content = json.loads((scenes / 'instances.json').read_text())
    names = {c['id']: c['name'] for c in content['categories']}
    for split, ann_file, classes in (
        ('all', 'instances.json', CLASSES),
        ('base', 'instances_base.json', BASE_CLASSES),
        ('novel', 'instances.json', NOVEL_CLASSES),
    ):
        dataset = make_dataset(scenes, ann_file, class_split=split)
        assert tuple(dataset.metainfo['classes']) == classes
        assert dataset.metainfo['novel_classes'] == (() if split == 'base' else NOVEL_CLASSES)
        assert dataset.metainfo['base_classes'] == (() if split == 'novel' else BASE_CLASSES)
        assert len(dataset.metainfo['palette']) == len(classes)
        got = [classes[o['bbox_label']] for i in range(40) for o in dataset[i]['instances']]
        expected = [names[a['category_id']] for a in content['annotations']]
        assert got == [name for name in expected if name in classes]


def test_metainfo_classes_win(scenes: Path) -> None:
    dataset = make_dataset(scenes, 'instances_base.json', metainfo={'classes': BASE_CLASSES})
    assert tuple(dataset.metainfo['classes']) == BASE_CLASSES


def test_wrong_vocabularies_are_refused(scenes: Path) -> None:
    with pytest.raises(ValueError, match=r'16 of 64 classes missing.*class_split'):
        make_dataset(scenes, 'instances_base.json')
    with pytest.raises(ValueError, match=r"place 0 it has 'red circle' instead of 'white moon'"):
        make_dataset(scenes, 'instances.json', metainfo={'classes': CLASSES[::-1]})
    with pytest.raises(ValueError, match='class_split'):
        make_dataset(scenes, 'instances.json', class_split='seen')


@pytest.mark.parametrize(
    ('wrong', 'base_ap', 'novel_ap'),
    [((), 1.0, 1.0), (NOVEL_CLASSES, None, 0.0), (BASE_CLASSES, 0.0, None)],
)
def test_ov_coco_metric(
    scenes: Path, wrong: tuple[str, ...], base_ap: float | None, novel_ap: float | None
) -> None:
    dataset = make_dataset(scenes, 'instances.json')
    metric = METRICS.build(
        {'type': 'OVCocoMetric', 'ann_file': str(scenes / 'instances.json'), 'metric': 'bbox'}
    )
    metric.dataset_meta = dataset.metainfo
    metric.process({}, predictions(dataset, wrong))
    result = metric.evaluate(len(dataset))
    for group, expected in (('base', base_ap), ('novel', novel_ap)):
        if expected is None:  # right labels, with false positives of the other group among them
            assert 0.2 < result[f'coco/{group}_ap50'] < 1
        else:
            assert result[f'coco/{group}_ap50'] == pytest.approx(expected)
    assert (result['coco/bbox_mAP_50'] == 1.0) == (wrong == ())


@pytest.mark.parametrize('name', ['shapes_detection', 'shapes_proposals', 'shapes_image_text'])
def test_configs_build(scenes: Path, name: str) -> None:
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    for loader in ('train_dataloader', 'val_dataloader'):
        if loader not in cfg:
            continue
        cfg[loader].dataset.data_root = str(scenes)
        item = DATASETS.build(cfg[loader].dataset)[0]
        assert item['inputs'].shape == (3, 128, 128)
        if name == 'shapes_image_text':
            assert isinstance(item['data_samples'].text, str)
        else:
            assert item['data_samples'].scale_factor == (1.0, 1.0)
            assert len(item['data_samples'].gt_instances) > 0
    if 'val_evaluator' in cfg:
        cfg.val_evaluator.ann_file = str(scenes / 'instances.json')
        METRICS.build(cfg.val_evaluator)


def test_gt_proposals_pipeline_follows_the_resize(scenes: Path) -> None:
    cfg = Config.fromfile(CONFIGS / 'shapes_detection.py')
    pipeline = cfg.gt_proposals_test_pipeline
    pipeline[2].scale = (256, 256)
    dataset = make_dataset(scenes, 'instances.json', pipeline=pipeline, test_mode=True)
    original = torch.tensor([o['bbox'] for o in dataset.get_data_info(0)['instances']])
    proposals = dataset[0]['data_samples'].proposals
    torch.testing.assert_close(proposals.bboxes, original * 2)
    assert proposals.scores.tolist() == [1.0] * len(original)
