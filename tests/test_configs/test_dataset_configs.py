# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Base configs of datasets: labels, sizes and pixels on generated files in the wanted layout."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmdet.registry import DATA_SAMPLERS, DATASETS, METRICS
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from PIL import Image

from helpers import generated_annotations as generated
from regionclip_mmdet import config_path
from regionclip_mmdet.datasets.categories import (
    COCO_80,
    LVIS_V1_NAMES,
    OV_COCO_ALL,
    OV_COCO_BASE,
    OV_COCO_NOVEL,
    OV_LVIS_BASE,
)
from regionclip_mmdet.datasets.shards.proposal_format import proposals_path, write_proposals

TOOLS = Path(__file__).parents[2] / 'tools' / 'data'
# name of the config: images and classes in training, in evaluation
DETECTION = {
    'coco_detection': (4, COCO_80, 5, COCO_80),
    'ov_coco_detection': (2, OV_COCO_BASE, 3, OV_COCO_ALL),
    'ov_coco_detection_base48': (2, OV_COCO_BASE, 2, OV_COCO_BASE),
    'ov_coco_detection_novel17': (2, OV_COCO_BASE, 2, OV_COCO_NOVEL),
    'ov_coco_detection_all5000': (2, OV_COCO_BASE, 5, OV_COCO_ALL),
    'lvis_detection': (3, LVIS_V1_NAMES, 3, LVIS_V1_NAMES),
    'ov_lvis_detection': (2, OV_LVIS_BASE, 3, LVIS_V1_NAMES),
    'ov_lvis_detection_minival': (2, OV_LVIS_BASE, 1, LVIS_V1_NAMES),
}
SHARDS = ('cc3m_shards_image_text', 'cc3m_shards_proposals_image_text')
IMAGE_TEXT = ('coco_captions_image_text', 'cc3m_image_text')
# cat, dog and cow: novel; stop sign: neither
COCO_OBJECTS = [['person', 'cat'], ['dog', 'cow'], ['stop sign'], [], ['chair', 'stop sign']]
LVIS_OBJECTS = [[1, 3, 13], [13, 14], [], [3]]  # 1 and 3: base; 13 and 14: rare


def load(name: str) -> Config:
    return Config.fromfile(config_path(f'_base_/datasets/{name}.py'))


def run_tool(monkeypatch: pytest.MonkeyPatch, name: str, *args: object) -> None:
    monkeypatch.setattr(sys, 'argv', [name, *map(str, args)])
    runpy.run_path(str(TOOLS / f'{name}.py'), run_name='__main__')


def draw(path: Path, width: int = 80, height: int = 60, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=95)


@pytest.fixture(autouse=True)
def _default_scope() -> None:
    init_default_scope('mmdet')


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/coco, data/lvis_v1 and data/cc3m, made by the tools."""
    root = tmp_path_factory.mktemp('layout')
    coco, lvis, cc3m = (root / 'data' / name for name in ('coco', 'lvis_v1', 'cc3m'))
    with pytest.MonkeyPatch.context() as patch:
        for split in ('train', 'val'):
            content = generated.coco_instances(COCO_OBJECTS)
            generated.write(coco / f'annotations/instances_{split}2017.json', content)
            captions = dict(
                images=content['images'],
                annotations=[
                    dict(image_id=image['id'], caption=f'caption {k} of {image["id"]}')
                    for image in content['images']
                    for k in range(2)
                ],
            )
            generated.write(coco / f'annotations/captions_{split}2017.json', captions)
            content = generated.lvis_instances(LVIS_OBJECTS, split)
            generated.write(lvis / f'annotations/lvis_v1_{split}.json', content)
            for folder, first in ((coco, 101), (lvis, 201)):
                for i in range(5):
                    draw(folder / f'{split}2017/{first + i:012d}.jpg', seed=i)
        run_tool(patch, 'prepare_ov_coco', coco, '--any-size')
        minival = generated.write(root / 'ids.json', [202])
        run_tool(patch, 'prepare_ov_lvis', lvis, '--any-size', '--minival', minival)
        for name, size in (('00000/0', (300, 200)), ('00001/1', (320, 640))):
            draw(cc3m / f'images/{name}.jpg', *size)
            (cc3m / f'images/{name}.txt').write_text(f'caption of {name}\n')
        (cc3m / 'images/00001/1.txt').unlink()
        (cc3m / 'images/00001/1.json').write_text(json.dumps(dict(caption='a tall one')))
        draw(cc3m / 'images/00001/2.jpg')
        run_tool(patch, 'index_image_text', cc3m)
    return root


def unwrap_dataset(dataset: Any) -> Any:
    return getattr(dataset, 'dataset', dataset)


@pytest.mark.parametrize('name', DETECTION)
def test_labels_mean_names(name: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    config = load(name)
    train_images, train_names, val_images, val_names = DETECTION[name]
    lvis = 'lvis' in name
    for loader, number, names in (
        (config.train_dataloader, train_images, train_names),
        (config.val_dataloader, val_images, val_names),
    ):
        dataset = unwrap_dataset(DATASETS.build(loader.dataset))
        assert len(dataset) == number
        assert tuple(dataset.metainfo['classes']) == names
        objects = {
            (201 if lvis else 101) + i: [LVIS_V1_NAMES[c - 1] if lvis else c for c in found]
            for i, found in enumerate(LVIS_OBJECTS if lvis else COCO_OBJECTS)
        }
        for i in range(number):
            info = dataset.get_data_info(i)
            labels = [instance['bbox_label'] for instance in info['instances']]
            wanted = [n for n in objects[info['img_id']] if n in names]
            assert [dataset.metainfo['classes'][label] for label in labels] == wanted
            assert Path(info['img_path']).exists()
    assert config.test_dataloader == config.val_dataloader
    assert config.test_evaluator == config.val_evaluator
    METRICS.build(config.val_evaluator)


@pytest.mark.parametrize('name', ['coco_detection', 'ov_lvis_detection'])
def test_training_samples(name: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    dataset = DATASETS.build(load(name).train_dataloader.dataset)
    seen = set()
    for draw_number in range(12):
        np.random.seed(draw_number)
        packed = dataset[0]
        sample = packed['data_samples']
        short = min(sample.img_shape)
        assert packed['inputs'].shape[1:] == sample.img_shape
        assert sample.img_shape == (short, int(short / 60 * 80 + 0.5))
        seen.add(short)
        masks = sample.gt_instances.get('masks')
        if 'lvis' in name:  # the generated polygon is the box
            x, y = masks.masks[0][0].reshape(-1, 2).T
            box = sample.gt_instances.bboxes[0].numpy().ravel()
            np.testing.assert_allclose([x.min(), y.min(), x.max(), y.max()], box, atol=1e-3)
    assert seen <= {640, 672, 704, 736, 768, 800} and len(seen) > 3


def official_size(height: int, width: int, short: int = 800, longest: int = 1333) -> tuple:
    """Detection: rounded at the end (section 'preprocessing' of detectron2's transform)."""
    factor = short / min(height, width)
    height, width = (short, width * factor) if height < width else (height * factor, short)
    if max(height, width) > longest:
        factor = longest / max(height, width)
        height, width = height * factor, width * factor
    return int(height + 0.5), int(width + 0.5)


def truncated_size(height: int, width: int, short: int = 800, longest: int = 1333) -> tuple:
    """Pretraining: every side cut to whole pixels as soon as it is computed."""
    if min(height, width) == short:
        return height, width
    wide = width > height
    long = int(short * (width / height if wide else height / width) + 1e-9)
    if long > longest:
        short, long = int(longest * short / long), longest
    return (short, long) if wide else (long, short)


SIZES = [(480, 640), (640, 510), (320, 640), (427, 640), (500, 333), (333, 640), (800, 1400)]


def transformed(pipeline: list, path: Path, **more: Any) -> dict:
    return Compose(pipeline)(dict(img_path=str(path), img_id=1, instances=[], **more))


@pytest.mark.parametrize(('height', 'width'), SIZES)
def test_pixels_of_detection(height: int, width: int, tmp_path: Path) -> None:
    path = tmp_path / 'a.jpg'
    draw(path, width, height)
    packed = transformed(load('coco_detection').test_pipeline, path)
    size = official_size(height, width)
    assert packed['inputs'].shape[1:] == size
    with Image.open(path) as image:
        wanted = np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(packed['inputs'].numpy()[::-1], wanted.transpose(2, 0, 1))


@pytest.mark.parametrize(('height', 'width'), SIZES)
def test_pixels_of_pretraining(height: int, width: int, tmp_path: Path) -> None:
    path = tmp_path / 'a.jpg'
    draw(path, width, height)
    pipeline = load('coco_captions_image_text').train_pipeline
    pipeline[2].prob = 0.0
    packed = transformed(pipeline, path, captions=['x'])
    size = truncated_size(height, width)
    assert packed['inputs'].shape[1:] == size
    assert packed['data_samples'].text == 'x'
    with Image.open(path) as image:
        wanted = np.asarray(image.resize(size[::-1], Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(packed['inputs'].numpy()[::-1], wanted.transpose(2, 0, 1))


def test_orientation_in_pretraining_and_detection(tmp_path: Path) -> None:
    """The official TSV reader does not look at EXIF; the official detection code does."""
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter of a turn
    path = tmp_path / 'a.jpg'
    Image.new('RGB', (800, 1000), 'red').save(path, exif=exif)
    captions = load('coco_captions_image_text')
    pipelines = [captions.train_pipeline, captions.random_regions_pipeline]
    pipelines += [load(name).train_dataloader.dataset.pipeline for name in SHARDS]
    for pipeline in pipelines:
        more: dict[str, Any] = {}
        if any(transform.type == 'LoadRegionProposals' for transform in pipeline):
            boxes, logits = np.zeros((1, 4), np.float32), np.zeros(1, np.float32)
            more['proposals'] = dict(normalized_bboxes=boxes, objectness_logits=logits)
        sample = transformed(pipeline, path, captions=['x'], **more)
        assert sample['inputs'].shape == (3, 1000, 800)
    assert transformed(load('coco_detection').test_pipeline, path)['inputs'].shape == (3, 800, 1000)


def test_sizes_differ_where_they_should() -> None:
    # what a rounding in the wrong place would change
    assert official_size(320, 640) == (667, 1333) and truncated_size(320, 640) == (666, 1333)
    assert official_size(640, 510) == (1004, 800) and truncated_size(640, 510) == (1003, 800)
    assert official_size(333, 640) == (694, 1333) and truncated_size(333, 640) == (693, 1333)
    assert truncated_size(800, 1400) == (800, 1400) and official_size(800, 1400) == (762, 1333)


def test_image_text(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    dataset = DATASETS.build(load('coco_captions_image_text').train_dataloader.dataset)
    assert len(dataset) == 5
    assert dataset.get_data_info(1)['captions'] == ['caption 0 of 102', 'caption 1 of 102']
    sample = dataset[1]['data_samples']
    assert sample.text in dataset.get_data_info(1)['captions']
    assert sample.img_shape == (800, 1066)
    dataset = DATASETS.build(load('cc3m_image_text').train_dataloader.dataset)
    assert [dataset.get_data_info(i)['captions'] for i in range(len(dataset))] == [
        ['caption of 00000/0'],
        ['a tall one'],
    ]
    assert dataset[0]['data_samples'].img_shape == (800, 1200)
    assert dataset[1]['data_samples'].img_shape == (1333, 666)
    assert dataset.skip_broken
    config = load('coco_captions_image_text')
    config.train_dataloader.dataset.pipeline = config.random_regions_pipeline
    assert len(DATASETS.build(config.train_dataloader.dataset)[0]['data_samples'].proposals) == 100


def test_image_text_in_shards(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load('cc3m_shards_image_text')
    assert config.train_dataloader.batch_size == 3 and config.train_dataloader.drop_last
    with pytest.raises(FileNotFoundError, match=r'\*\.tar.* Get them with: img2dataset .*800'):
        DATASETS.build(config.train_dataloader.dataset)
    images = data / 'data' / 'cc3m'
    arguments = ('--images', images / 'images', '--per-shard', 1)
    run_tool(monkeypatch, 'pack_shards', images / 'train.jsonl', 'data/cc3m_shards', *arguments)
    dataset = DATASETS.build(config.train_dataloader.dataset)
    assert [dataset[i]['data_samples'].text for i in range(2)] == [
        'caption of 00000/0',
        'a tall one',
    ]
    assert dataset[0]['data_samples'].img_shape == (800, 1200)
    sampler = DATA_SAMPLERS.build(
        config.train_dataloader.sampler, default_args=dict(dataset=dataset, seed=0)
    )
    assert sorted(sampler) == [0, 1]


def test_image_text_in_shards_with_proposals(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = data / 'data' / 'cc3m'
    arguments = ('--images', images / 'images', '--per-shard', 1)
    run_tool(monkeypatch, 'pack_shards', images / 'train.jsonl', 'data/cc3m_shards', *arguments)
    config = load('cc3m_shards_proposals_image_text')
    folder = 'data/cc3m_shards/proposals_rpn_lvis_866'
    command = rf'precompute_proposals\.py CONFIG --out {folder}'
    with pytest.raises(FileNotFoundError, match=rf'2 of 2 shards have no proposals.*{command}'):
        DATASETS.build(config.train_dataloader.dataset)
    plain = DATASETS.build(load('cc3m_shards_image_text').train_dataloader.dataset)
    for shard, index in zip(plain.shards, plain.indices, strict=True):
        boxes = np.array([[0.0, 0.25, 0.5, 1.0]], dtype=np.float32)
        logits = np.array([3.0], dtype=np.float32)
        write_proposals(proposals_path(folder, shard), index, [boxes], [logits], {}, {})
    dataset = DATASETS.build(config.train_dataloader.dataset)
    sides = set()
    for _ in range(20):
        sample = dataset[0]['data_samples']
        assert sample.img_shape == (800, 1200) and sample.text == 'caption of 00000/0'
        x1, y1, x2, y2 = sample.proposals.bboxes[0].tolist()
        assert (y1, y2) == (200, 800)
        assert (x1, x2) == ((600, 1200) if sample.flip else (0, 600))
        assert sample.proposals.objectness_logits.tolist() == [3.0]
        sides.add(x1)
    assert sides == {0, 600}


def test_proposals_of_tests_on_gt_boxes(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    for name in ('ov_coco_detection', 'ov_lvis_detection'):
        config = load(name)
        config.val_dataloader.dataset.pipeline = config.gt_proposals_test_pipeline
        dataset = DATASETS.build(config.val_dataloader.dataset)
        sample = dataset[0]['data_samples']
        boxes = np.array([i['bbox'] for i in dataset.get_data_info(0)['instances']])
        wanted = boxes * [1067 / 80, 800 / 60, 1067 / 80, 800 / 60]
        np.testing.assert_allclose(sample.proposals.bboxes, wanted, rtol=1e-5)


@pytest.mark.parametrize('name', [*DETECTION, *IMAGE_TEXT])
def test_missing_files_name_their_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # nothing there: reading the config needs no file
    config = load(name)
    expected = {
        'ov_coco': r'python tools/data/prepare_ov_coco\.py data/coco',
        'ov_lvis': r'python tools/data/prepare_ov_lvis\.py data/lvis_v1',
        'lvis_det': r'wget .*lvis_v1_train\.json\.zip .*unzip',
        'coco_': r'wget .*annotations_trainval2017\.zip .*unzip',
        'cc3m': r'python tools/data/index_image_text\.py data/cc3m',
    }
    command = next(value for key, value in expected.items() if name.startswith(key))
    loaders = [config.train_dataloader] + ([config.val_dataloader] if name in DETECTION else [])
    for loader in loaders[:1] if name == 'lvis_detection' else loaders:
        with pytest.raises(FileNotFoundError, match=f'annotation file .*Get it with: {command}'):
            DATASETS.build(loader.dataset)
