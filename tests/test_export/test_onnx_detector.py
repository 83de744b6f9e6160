# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What the exported detector does outside the graphs: resizing, fusing, NMS, in NumPy alone."""

import ast
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import DefaultScope

from helpers import exported_models
from regionclip_mmdet import config_path
from regionclip_mmdet.export import onnx_detector
from regionclip_mmdet.export.settings import _resize, export_settings
from regionclip_mmdet.models.post_processing import fuse_objectness, select_detections, soft_nms

CONFIGS = [
    dict(nms=dict(type='nms', iou_threshold=0.5)),
    dict(nms=dict(type='nms', iou_threshold=0.3), max_per_img=-1),
    dict(nms=dict(type='nms', iou_threshold=0.5), objectness='sigmoid'),
    dict(nms=dict(type='nms', iou_threshold=0.9), objectness='logit', score_thr=0.2),
    dict(nms=dict(type='global_soft_nms')),
    dict(nms=dict(type='global_soft_nms', method='linear', iou_threshold=0.4)),
    dict(nms=dict(type='global_soft_nms', method='hard', class_offset='exact')),
    dict(nms=dict(type='global_soft_nms', sigma=0.3, min_score=0.1), max_per_img=500),
    dict(nms=dict(type='nms', iou_threshold=0.5), score_thr=2.0),
]


def regions(seed: int, count: int = 120, names: int = 5) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + random.uniform(5, 40, (count, 2))], axis=1)
    boxes[3], boxes[4, 2] = np.nan, boxes[4, 0]  # not finite; without extent
    probabilities = random.dirichlet(np.full(names + 1, 0.5), count)
    objectness = random.normal(0, 3, count)
    return tuple(a.astype(np.float32) for a in (boxes, probabilities, objectness))


@pytest.mark.parametrize('changes', CONFIGS)
@pytest.mark.parametrize('seed', [0, 1])
def test_selection_is_that_of_the_model(changes: dict, seed: int) -> None:
    cfg = dict(score_thr=0.05, max_per_img=30, objectness='none', report_scores='fused', **{})
    cfg.update(changes)
    boxes, probabilities, objectness = regions(seed)
    scores = fuse_objectness(*map(torch.from_numpy, (probabilities, objectness)), cfg['objectness'])
    expected = select_detections(torch.from_numpy(boxes), scores[:, :-1], cfg)
    found = onnx_detector.select(boxes, probabilities[:, :-1], objectness, cfg)
    assert len(expected) >= 10 or cfg['score_thr'] > 1
    np.testing.assert_array_equal(found['labels'], expected.labels)
    np.testing.assert_array_equal(found['regions'], expected.region_inds)
    np.testing.assert_array_equal(found['boxes'], expected.bboxes)
    np.testing.assert_allclose(found['scores'], expected.scores, rtol=1e-5)


def test_soft_nms_rounds_coordinates_of_high_labels_where_the_model_does() -> None:
    boxes = regions(0)[0][5:] / 8  # small ones, which rounding changes most
    random = np.random.default_rng(1)
    scores = random.uniform(0.1, 1, len(boxes)).astype(np.float32)
    labels = random.integers(1200, 1203, len(boxes))
    found = {}
    for offset in ('float32', 'exact'):
        rows, found[offset] = onnx_detector.soft_nms(
            boxes, scores, labels, 100, class_offset=offset
        )
        expected = soft_nms(
            *map(torch.from_numpy, (boxes, scores, labels)), max_num=100, class_offset=offset
        )
        np.testing.assert_array_equal(rows, expected[0])
        np.testing.assert_allclose(found[offset], expected[1], rtol=1e-5)
    assert np.abs(found['float32'] - found['exact']).max() > 1e-4


def test_class_scores_are_reported_where_wanted() -> None:
    boxes, probabilities, objectness = regions(0)
    cfg = dict(CONFIGS[2], score_thr=0.05, max_per_img=30, report_scores='class')
    found = onnx_detector.select(boxes, probabilities, objectness, cfg)
    fused = onnx_detector.select(boxes, probabilities, objectness, dict(cfg, report_scores='fused'))
    np.testing.assert_array_equal(found['regions'], fused['regions'])
    picked = probabilities[found['regions'], found['labels']]
    np.testing.assert_array_equal(found['scores'], picked)
    assert not np.allclose(found['scores'], fused['scores'])


def test_objectness_that_is_wanted_must_be_given() -> None:
    boxes, probabilities, _ = regions(0)
    cfg = dict(CONFIGS[2], score_thr=0.05, max_per_img=30, report_scores='fused')
    with pytest.raises(ValueError, match="need the localizer's regions"):
        onnx_detector.select(boxes, probabilities, None, cfg)


@pytest.mark.parametrize('size', [(150, 220), (301, 203), (203, 301), (64, 64), (33, 500)])
@pytest.mark.parametrize(
    'transform',
    [
        dict(type='Resize', scale=(200, 120), keep_ratio=True, backend='pillow'),
        dict(type='Resize', scale=(200, 120), keep_ratio=True),
        dict(type='Resize', scale=(90, 70), keep_ratio=False, backend='pillow'),
        dict(type='ResizeShortestEdge', scale=80, max_size=133, backend='pillow'),
        dict(type='ResizeShortestEdge', scale=100, max_size=None, backend='cv2'),
    ],
)
def test_images_are_resized_as_by_the_test_pipeline(transform: dict, size: tuple[int, int]) -> None:
    image = exported_models.photograph(*size)
    with DefaultScope.overwrite_default_scope('mmdet'):
        pipeline = Compose([dict(transform)])
    expected = pipeline(dict(img=image))
    found, scale = onnx_detector.resize(image, _resize([transform]))
    np.testing.assert_array_equal(found, expected['img'])
    assert scale == pytest.approx(expected['scale_factor'])


@pytest.mark.parametrize(
    ('transform', 'message'),
    [
        (dict(type='RandomFlip'), 'has RandomFlip'),
        (dict(type='ResizeShortestEdgeTruncated', scale=80), 'ResizeShortestEdgeTruncated'),
        (dict(type='Resize', scale_factor=2.0), 'cannot be exported'),
        (dict(type='Resize', scale=(9, 9), interpolation='bicubic'), 'cannot be exported'),
        (dict(type='Resize', scale=(9, 9), backend='tifffile'), 'backend'),
    ],
)
def test_pipelines_that_would_not_be_followed_are_refused(transform: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _resize([dict(type='LoadImageFromFile'), transform, dict(type='PackDetInputs')])


def test_settings_that_would_not_be_followed_are_refused() -> None:
    model = exported_models.build('none', rcnn=dict(nms=dict(type='soft_nms', iou_threshold=0.5)))
    with pytest.raises(ValueError, match='nms'):
        export_settings(model, None)
    model = exported_models.build('none')
    model.data_preprocessor.pad_size_divisor = 32
    with pytest.raises(ValueError, match='pad_size_divisor'):
        export_settings(model, None)


@pytest.mark.parametrize(
    'name',
    [
        'ov_coco/regionclip_rn50_c4_8xb2-1x_ov-coco.py',
        'ov_lvis/regionclip_rn50_fpn-lsj_mask_8xb2-180k_ov-lvis.py',
        'zero_shot/regionclip_rn50_rpn_zero-shot_coco65.py',
        'quickstart/zero_shot_rpn.py',
        'quickstart/real_size_rn50.py',
    ],
)
def test_pipelines_of_shipped_configs_can_be_followed(name: str) -> None:
    cfg = Config.fromfile(config_path(name))
    assert _resize(cfg.test_dataloader.dataset.pipeline)['backend'] == 'pillow'


def test_the_runtime_imports_nothing_of_the_package() -> None:
    tree = ast.parse(Path(onnx_detector.__file__).read_text(encoding='utf-8'))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module)
    allowed = {'__future__', 'collections.abc', 'contextlib', 'json', 'pathlib', 'typing'}
    assert imported == allowed | {'numpy', 'onnxruntime', 'PIL', 'cv2'}


def folder_of(path: Path) -> Path:
    settings = dict(test_cfg=dict(score_thr=0.1), resize=None)
    (path / 'detector.json').write_text(json.dumps(settings))
    np.savez(path / 'vocabulary.npz', names=['a', 'b'], embeddings=np.ones((2, 3), np.float32))
    return path


DAMAGE = [
    ('detector.json', lambda data: data[:-1]),
    ('detector.json', lambda data: b'[' * 100_000),
    ('detector.json', lambda data: b'\xff' + data),
    ('detector.json', lambda data: b'[]'),
    ('detector.json', lambda data: data.replace(b'resize', b'other')),
    ('vocabulary.npz', lambda data: data[:-9]),
    ('vocabulary.npz', lambda data: data[:300] + bytes([data[300] ^ 1]) + data[301:]),
    ('vocabulary.npz', lambda data: data.replace(b'names', b'other')),
    ('vocabulary.npz', lambda data: b''),
]


@pytest.mark.parametrize(('name', 'damage'), DAMAGE)
def test_damaged_files_are_named(name: str, damage: Callable, tmp_path: Path) -> None:
    path = folder_of(tmp_path) / name
    assert onnx_detector.OnnxDetector(tmp_path).names == ('a', 'b')
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=rf'{name} is damaged.*Export or copy it again'):
        onnx_detector.OnnxDetector(tmp_path)
    path.unlink()
    if name == 'detector.json':
        with pytest.raises(FileNotFoundError, match=name):
            onnx_detector.OnnxDetector(tmp_path)
    else:
        assert onnx_detector.OnnxDetector(tmp_path).text is None


def test_a_vocabulary_that_does_not_fit_together(tmp_path: Path) -> None:
    folder_of(tmp_path)
    for names, text in ((['a'], np.ones((2, 3))), (['a'], np.ones(3)), ([{}], np.ones((1, 3)))):
        np.savez(tmp_path / 'vocabulary.npz', names=names, embeddings=text)
        with pytest.raises(ValueError, match=r'vocabulary\.npz is damaged'):
            onnx_detector.OnnxDetector(tmp_path)
