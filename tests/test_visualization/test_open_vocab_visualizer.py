# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The visualizer: what mmdet's hook, tools and backends get from it."""

from __future__ import annotations

import inspect
import itertools
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from mmdet.engine.hooks import DetVisualizationHook
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData, PixelData
from mmengine.visualization import WandbVisBackend
from PIL import Image

from helpers.disks import mounted
from regionclip_mmdet.visualization import OpenVocabVisualizer, colors, name_color, views

GRAY = np.full((200, 240, 3), 128, dtype=np.uint8)
GT_BOX = (20.0, 40.0, 100.0, 120.0)
BOXES = ((60.0, 80.0, 200.0, 180.0), (60.0, 80.0, 200.0, 180.0), (5.0, 50.0, 50.0, 190.0))
CLASSES = ('cat', 'dog', 'red ball')
_names = itertools.count()


def visualizer(**settings: Any) -> OpenVocabVisualizer:
    made = VISUALIZERS.build(
        dict(type='OpenVocabVisualizer', name=f'vis_{next(_names)}', line_width=1, **settings)
    )
    made.dataset_meta = dict(classes=CLASSES)
    return made


def sample(**proposals: Any) -> DetDataSample:
    found = DetDataSample(metainfo=dict(scale_factor=(2.0, 2.0)))
    found.gt_instances = InstanceData(
        bboxes=HorizontalBoxes(torch.tensor([GT_BOX])), labels=torch.tensor([2])
    )
    found.pred_instances = InstanceData(
        bboxes=torch.tensor(BOXES), labels=torch.tensor([0, 1, 2]),
        scores=torch.tensor([0.5, 0.9, 0.2]),
    )  # fmt: skip
    if proposals:
        found.proposals = InstanceData(**proposals)
    return found


def texts_of(shown: OpenVocabVisualizer, data_sample: DetDataSample, **call: Any) -> list[list]:
    """The labels of each image, drawn by nobody."""
    with mock.patch.object(views, 'draw_marks', side_effect=lambda image, *_: image) as draw:
        shown.add_datasample('name', GRAY, data_sample, **call)
    return [[[row.text for row in m.rows] for m in call[0][1]] for call in draw.call_args_list]


def is_color(drawn: np.ndarray, name: str) -> np.ndarray:
    return (drawn == name_color(name)).all(-1)


def test_signature_is_mmdets_and_one_more() -> None:
    ours, theirs = (
        list(inspect.signature(c.add_datasample).parameters.values())
        for c in (OpenVocabVisualizer, DetLocalVisualizer)
    )
    pairs = [[(p.name, p.default) for p in parameters] for parameters in (ours, theirs)]
    assert pairs[0] == [*pairs[1], ('classes', None)]


def test_annotations_left_detections_right(tmp_path: Path) -> None:
    shown = visualizer()
    file = tmp_path / 'drawn' / 'x.png'
    shown.add_datasample('x', GRAY, sample(), out_file=str(file), pred_score_thr=0.3)
    drawn = np.asarray(Image.open(file))
    np.testing.assert_array_equal(drawn, shown.get_image())
    left, right = drawn[:, :240], drawn[:, -240:]
    assert drawn.shape == (200, 482, 3) and (drawn[:, 240:242] == 255).all()
    # outlines, below the label that stands above the box
    assert (
        is_color(left, 'red ball')[41:120, 20].all()
        and is_color(left, 'red ball')[119, 20:100].all()
    )
    assert is_color(right, 'dog')[80:180, 60].all() and is_color(right, 'dog')[179, 60:200].all()
    assert not is_color(right, 'red ball').any()  # 0.2 is below the threshold
    assert not is_color(left, 'dog').any()
    # the second name of the box stands in a row of its own
    assert is_color(right, 'cat').sum() > 200


def test_options() -> None:
    assert texts_of(visualizer(), sample(), pred_score_thr=0.0) == [
        [['red ball']],
        [['dog 0.90', 'cat 0.50'], ['red ball 0.20']],
    ]
    assert texts_of(visualizer(topk=1), sample(), draw_gt=False) == [[['dog 0.90']]]
    assert texts_of(visualizer(unique_boxes=False), sample(), draw_gt=False) == [
        [['dog 0.90'], ['cat 0.50']]
    ]
    assert texts_of(visualizer(), sample(), draw_pred=False) == [[['red ball']]]
    near = sample()
    near.pred_instances.bboxes[0, 3] -= 10
    assert len(texts_of(visualizer(), near, draw_gt=False)[0]) == 2
    assert len(texts_of(visualizer(unique_boxes=0.8), near, draw_gt=False)[0]) == 1
    assert texts_of(visualizer(), None) == []
    for wrong in (dict(topk=0), dict(draw_proposals=-1), dict(unique_boxes=1.5)):
        with pytest.raises(ValueError, match='topk and max_detections must be at least 1'):
            visualizer(**wrong)
    with pytest.raises(FileNotFoundError, match='no file absent.ttf'):
        visualizer(font='absent.ttf')


def test_proposals_are_drawn_in_the_images_pixels() -> None:
    found = sample(
        bboxes=torch.tensor([[40.0, 60.0, 300.0, 320.0], [2.0, 2.0, 10.0, 10.0]]),
        objectness_logits=torch.tensor([3.0, -2.0]),
    )
    shown = visualizer(draw_proposals=1)
    shown.add_datasample('x', GRAY, found)
    drawn = shown.get_image()
    assert drawn.shape == (200, 3 * 240 + 2 * 2, 3)
    drawn = (drawn[:, -240:] != 128).any(-1)
    columns = np.flatnonzero(drawn[100])
    assert columns.tolist() == [20, 149]  # half of 40 and 300
    assert texts_of(shown, found)[2] == [['3.00']]
    with pytest.warns(UserWarning, match='keep_proposals=True'):
        assert len(texts_of(shown, sample())) == 2


def test_small_images_are_enlarged_together() -> None:
    shown = visualizer(min_side=500)
    shown.add_datasample('x', GRAY, sample(), draw_gt=False)
    drawn = shown.get_image()
    assert drawn.shape == (600, 720, 3)
    assert is_color(drawn, 'dog')[240:540, 180].all()


def test_names_of_the_call_come_before_those_of_the_dataset() -> None:
    shown = visualizer()
    assert texts_of(shown, sample(), draw_gt=False, classes=['x', 'y', 'z']) == [
        [['y 0.90', 'x 0.50']]
    ]
    own = sample()
    own.pred_instances.label_names = ['one', 'two', 'three']
    assert texts_of(shown, own, draw_gt=False) == [[['two 0.90', 'one 0.50']]]
    shown.dataset_meta = dict(classes=('a', 'b', 'c'))  # nothing is remembered
    assert texts_of(shown, sample(), draw_gt=False) == [[['b 0.90', 'a 0.50']]]
    shown.dataset_meta = {}
    assert texts_of(shown, sample(), draw_gt=False) == [[['class 1 0.90', 'class 0 0.50']]]
    shown.dataset_meta = dict(classes=('a',))
    with pytest.raises(ValueError, match=r"label 1 has no name: there are 1 \(\['a'\], ...\)"):
        texts_of(shown, sample(), draw_gt=False)


def test_a_large_vocabulary_costs_nothing_beforehand() -> None:
    """No palette is made, and colors only of names that are drawn."""
    names = tuple(f'name {i}' for i in range(20_000))
    with (
        mock.patch('mmdet.visualization.local_visualizer.get_palette', side_effect=AssertionError),
        mock.patch.object(colors, 'name_color', side_effect=name_color) as colored,
    ):
        shown = visualizer()
        shown.dataset_meta = dict(classes=names, palette='random')
        assert not colored.called
        found = sample()
        found.pred_instances.labels = torch.tensor([19_999, 7, 8])
        shown.add_datasample('x', GRAY, found, draw_gt=False)
    assert {call[0][0] for call in colored.call_args_list} == {'name 19999', 'name 7'}


@pytest.mark.parametrize('kind', ['tensor', 'bitmaps'])
def test_masks_have_the_colors_of_their_names(kind: str) -> None:
    masks = torch.zeros(3, 200, 240, dtype=torch.bool)
    masks[1, 100:150, 100:150] = True
    found = sample()
    shown = visualizer(alpha=0.5)
    found.pred_instances.masks = masks if kind == 'tensor' else BitmapMasks(masks.numpy(), 200, 240)
    shown.add_datasample('x', GRAY, found, draw_gt=False)
    inside = shown.get_image()[125, 125].astype(int)
    half = 0.5 * np.array(name_color('dog')) + 0.5 * 128
    assert np.abs(inside - half).max() <= 1
    assert (shown.get_image()[90, 125] == 128).all()


def test_no_instances_and_segmentation_maps() -> None:
    empty = DetDataSample(pred_instances=InstanceData(
        bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long),
        scores=torch.zeros(0), masks=torch.zeros(0, 200, 240, dtype=torch.bool),
    ))  # fmt: skip
    shown = visualizer()
    shown.add_datasample('x', GRAY, empty)
    np.testing.assert_array_equal(shown.get_image(), GRAY)
    maps = DetDataSample(pred_sem_seg=PixelData(sem_seg=torch.zeros(1, 200, 240)))
    shown.dataset_meta = dict(classes=CLASSES, palette=[(255, 0, 0)] * 3)
    shown.add_datasample('x', GRAY, maps, draw_gt=False)
    assert (shown.get_image()[150, 20] == (230, 26, 26)).all()  # mmdet's: 0.8 red


def test_images_are_painted_again_only_if_something_was_added() -> None:
    shown = visualizer()
    shown.add_datasample('x', GRAY, sample())
    with mock.patch('mmengine.visualization.visualizer.img_from_canvas') as painted:
        drawn = shown.get_image()
        assert not painted.called
    drawn[:] = 0  # a copy
    assert shown.get_image().any()
    shown.draw_bboxes(torch.tensor([[10.0, 10.0, 30.0, 30.0]]), edge_colors='r', line_widths=4)
    red, green, _ = shown.get_image()[20, 10].tolist()
    assert red > 200 > 50 > green
    shown.set_image(GRAY)
    np.testing.assert_array_equal(shown.get_image(), GRAY)


def test_mmdets_hook_writes_and_records(tmp_path: Path) -> None:
    photo = tmp_path / 'photo.png'
    Image.fromarray(GRAY).save(photo)
    shown = visualizer(vis_backends=[dict(type='LocalVisBackend')], save_dir=str(tmp_path))
    found = sample()
    found.set_metainfo(dict(img_path=str(photo)))
    runner = SimpleNamespace(work_dir=str(tmp_path), timestamp='now', iter=50)
    for folder in (None, 'drawn'):
        hook = DetVisualizationHook(draw=True, test_out_dir=folder)
        hook._visualizer = shown
        hook.after_test_iter(runner, 0, {}, [found])
    hook.after_val_iter(runner, 0, {}, [found])
    files = [
        tmp_path / 'now' / 'drawn' / 'photo.png',
        tmp_path / 'vis_data' / 'vis_image' / 'test_img_1.png',
        tmp_path / 'vis_data' / 'vis_image' / 'val_img_50.png',
    ]
    images = [np.asarray(Image.open(file)) for file in files]
    for drawn in images:
        np.testing.assert_array_equal(drawn, images[0])
    assert is_color(images[0][:, -240:], 'dog')[80:180, 60].all()


def test_tensorboard_shows_the_image(tmp_path: Path) -> None:
    events = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    shown = visualizer(vis_backends=[dict(type='TensorboardVisBackend')], save_dir=str(tmp_path))
    shown.add_datasample('val_img', GRAY, sample(), step=7)
    shown.close()
    read = events.EventAccumulator(str(tmp_path / 'vis_data'), size_guidance=dict(images=0))
    read.Reload()
    (image,) = read.Images('val_img')
    file = tmp_path / 'read.png'
    file.write_bytes(image.encoded_image_string)
    assert image.step == 7
    np.testing.assert_array_equal(np.asarray(Image.open(file)), shown.get_image())


def test_wandb_gets_the_image(tmp_path: Path) -> None:
    """Through mmengine's backend, with a module that notes what it is given."""
    noted: list[Any] = []
    fake = ModuleType('wandb')
    fake.init = lambda **kwargs: SimpleNamespace(log_code=lambda **_: None)
    fake.Image = lambda image: ('image', image)
    fake.log = lambda content, **_: noted.append(content)
    fake.run = SimpleNamespace(log_code=lambda **_: None)
    fake.join = lambda: None
    with mock.patch.dict('sys.modules', wandb=fake):
        backend = WandbVisBackend(save_dir=str(tmp_path))
        shown = visualizer(vis_backends=[backend])
        shown.add_datasample('val_img', GRAY, sample())
    ((kind, drawn),) = [content['val_img'] for content in noted]
    assert kind == 'image'
    np.testing.assert_array_equal(drawn, shown.get_image())


def test_only_the_best_are_drawn() -> None:
    shown = visualizer(max_detections=2, unique_boxes=False)
    (found,) = texts_of(shown, sample(), draw_gt=False, pred_score_thr=0.1)
    assert sorted(row for rows in found for row in rows) == ['cat 0.50', 'dog 0.90']
    (found,) = texts_of(shown, sample(), draw_gt=False, pred_score_thr=0.6)
    assert found == [['dog 0.90']]
    with pytest.raises(ValueError, match='max_detections'):
        visualizer(max_detections=0)


def test_a_full_disk_is_an_error_with_the_file(tmp_path: Path) -> None:
    """OpenCV, with which mmengine's backend writes, says nothing."""
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    with mounted(tmp_path / 'disk', 'size=256k') as folder:
        shown = visualizer(vis_backends=[dict(type='LocalVisBackend')], save_dir=str(folder))
        with pytest.raises(OSError, match=r'vis_image/val_img_7\.png could not be written'):
            shown.add_datasample('val_img', pixels, step=7)
        assert not list(folder.rglob('*.png'))
