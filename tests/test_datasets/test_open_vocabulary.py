# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""COCO and LVIS with named splits: metainfo, and files that do not fit."""

import copy
from pathlib import Path

import pytest
from mmdet.datasets import CocoDataset, LVISV1Dataset
from mmengine.registry import init_default_scope

from helpers import generated_annotations as generated
from regionclip_mmdet.datasets import OVCocoDataset, OVLVISDataset
from regionclip_mmdet.datasets.categories import COCO_80, LVIS_V1_NAMES, OV_COCO_BASE, OV_COCO_NOVEL
from regionclip_mmdet.datasets.preparation import keep_categories
from regionclip_mmdet.engine.hooks.dataset_check import check_coco_dataset


def coco(path: Path, **kwargs: object) -> OVCocoDataset:
    return OVCocoDataset(ann_file=str(path), data_prefix=dict(img=''), test_mode=True, **kwargs)


def test_metainfo_of_a_split(tmp_path: Path) -> None:
    path = generated.write(tmp_path / 'a.json', generated.coco_instances([['cat'], ['person']]))
    meta = {split: coco(path, class_split=split).metainfo for split in OVCocoDataset.CLASS_SPLITS}
    assert meta['all']['base_classes'] == meta['base']['classes'] == OV_COCO_BASE
    assert meta['coco80']['novel_classes'] == meta['novel']['classes'] == OV_COCO_NOVEL
    assert meta['base']['novel_classes'] == meta['novel']['base_classes'] == ()
    assert meta['coco80']['classes'] == COCO_80
    cat = CocoDataset.METAINFO['palette'][COCO_80.index('cat')]
    for split in ('all', 'novel', 'coco80'):
        assert meta[split]['palette'][meta[split]['classes'].index('cat')] == cat
    own = coco(path, metainfo=dict(classes=('stop sign', 'cat'))).metainfo
    assert own['classes'] == ('stop sign', 'cat') and len(own['palette']) == 2
    assert own['novel_classes'] == ('cat',) and own['base_classes'] == ()


def test_images_with_crowds_alone_are_not_trained_on(tmp_path: Path) -> None:
    content = generated.coco_instances([['cat'], ['cat', 'person'], ['cat'], []])
    for number in (1, 2):  # the first two cats
        content['annotations'][number - 1]['iscrowd'] = 1
    path = generated.write(tmp_path / 'a.json', content)
    prefix = dict(img='')
    for filter_cfg, images in ((dict(filter_empty_gt=True), [102, 103]), (None, range(101, 105))):
        dataset = OVCocoDataset(ann_file=str(path), data_prefix=prefix, filter_cfg=filter_cfg)
        assert [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))] == [*images]
    assert len(coco(path, filter_cfg=dict(filter_empty_gt=True))) == 4  # in testing all count


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    whole = generated.coco_instances([['cat']])
    base = keep_categories(whole, {generated.COCO_IDS[n] for n in OV_COCO_BASE}, keep_empty=True)
    path = generated.write(tmp_path / 'base.json', base)
    with pytest.raises(
        ValueError, match=r'base\.json has no categories .* \(17 of 65 classes missing\)\. Choose'
    ):
        coco(path)
    with pytest.raises(ValueError, match=r"no categories \['cta'\] \(1 of 2 classes missing"):
        coco(path, metainfo=dict(classes=('person', 'cta')))
    whole['categories'] = whole['categories'][::-1]
    with pytest.raises(ValueError, match=r"place 0 it has 'toothbrush' instead of 'person'"):
        coco(generated.write(tmp_path / 'turned.json', whole))


def test_lvis_files_that_do_not_fit(tmp_path: Path) -> None:
    content = generated.lvis_instances([[1, 13]])
    path = str(generated.write(tmp_path / 'lvis.json', content))
    with pytest.raises(ValueError, match='has 337 categories beside the 866 classes'):
        OVLVISDataset(ann_file=path, data_prefix=dict(img=''), class_split='base', test_mode=True)
    dataset = OVLVISDataset(ann_file=path, data_prefix=dict(img=''), test_mode=True)
    check_coco_dataset(dataset)
    assert dataset.metainfo['classes'] == LVIS_V1_NAMES
    content['categories'][5]['name'] = 'gnu'
    generated.write(Path(path), content)
    with pytest.raises(ValueError, match=r"no categories \['alligator'\]"):
        OVLVISDataset(ann_file=path, data_prefix=dict(img=''), test_mode=True)
    with pytest.raises(ValueError, match=r"1 categories beside the 1203 classes, e\.g\. 'gnu'"):
        dataset.check_categories([*LVIS_V1_NAMES, 'gnu'])


def test_boxes_under_a_pixel_are_left_out(tmp_path: Path) -> None:
    content = generated.coco_instances([['cat', 'cat', 'cat']])
    for annotation, side in zip(content['annotations'], (0.5, 1.0, 9.0), strict=True):
        annotation.update(bbox=[2.0, 3.0, side, 8.0], area=side * 8.0)
    path = generated.write(tmp_path / 'a.json', content)
    instances = coco(path, class_split='all').get_data_info(0)['instances']
    assert [instance['bbox'] for instance in instances] == [[2, 3, 3, 11], [2, 3, 11, 11]]


def test_boxes_with_degenerate_polygons_are_trained_on(tmp_path: Path) -> None:
    content = generated.coco_instances([['cat', 'person']])
    content['annotations'][0]['segmentation'] = [[1.0, 1.0, 5.0, 5.0]]  # two corners
    path = generated.write(tmp_path / 'a.json', content)
    arguments = dict(ann_file=str(path), data_prefix=dict(img=''), class_split='all')
    dataset = OVCocoDataset(**arguments, pipeline=[dict(type='LoadAnnotations', with_bbox=True)])
    assert dataset[0]['gt_ignore_flags'].tolist() == [False, False]
    masks = [dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]
    with pytest.raises(ValueError, match='a polygon has 4 numbers; three corners have six'):
        OVCocoDataset(**arguments, pipeline=masks)


def test_a_text_is_one_name_or_a_file_of_names(tmp_path: Path) -> None:
    """Not its letters: ``classes=('cat')`` lacks a comma."""
    content = generated.coco_instances([['cat'], ['stop sign']])
    path = generated.write(tmp_path / 'a.json', content)
    meta = coco(path, metainfo=dict(classes='cat')).metainfo
    assert meta['classes'] == ('cat',) and meta['novel_classes'] == ('cat',)
    meta = coco(
        path, metainfo=dict(classes=('cat',), novel_classes='cat', base_classes=())
    ).metainfo
    assert meta['novel_classes'] == ('cat',)
    with pytest.raises(ValueError, match=r"no categories \['cat, dog'\]"):
        coco(path, metainfo=dict(classes='cat, dog'))
    (tmp_path / 'names.txt').write_text('stop sign\ncat\n')
    meta = coco(path, metainfo=dict(classes=str(tmp_path / 'names.txt'))).metainfo
    assert meta['classes'] == ('stop sign', 'cat') and meta['base_classes'] == ()


def test_files_are_checked_when_built_and_before_mmdet_parses_them(tmp_path: Path) -> None:
    content = generated.coco_instances([['cat'], ['person']])
    content['annotations'][0]['image_id'] = [101]
    with pytest.raises(ValueError, match=r'a\.json, annotation 0 .*image_id \[101\]'):
        coco(generated.write(tmp_path / 'a.json', content))
    for lost in ('annotations', 'images', 'categories'):
        part = {key: value for key, value in content.items() if key != lost}
        with pytest.raises(ValueError, match=rf"a\.json is no COCO .*missing: \['{lost}'\]"):
            coco(generated.write(tmp_path / 'a.json', part))
    content = generated.lvis_instances([[1, 13]])
    content['annotations'][0]['bbox'][0] = None
    path = str(generated.write(tmp_path / 'lvis.json', content))
    with pytest.raises(ValueError, match=r'lvis\.json, annotation 0 .*four finite numbers'):
        OVLVISDataset(ann_file=path, data_prefix=dict(img=''), test_mode=True)
    content = generated.coco_instances([['cat'], ['person']])
    for annotation in content['annotations']:
        annotation['iscrowd'] = 1
    path = generated.write(tmp_path / 'a.json', content)
    with pytest.raises(ValueError, match=r'a\.json: no image is left .*filter_empty_gt.*2 images'):
        OVCocoDataset(
            ann_file=str(path),
            data_prefix=dict(img=''),
            filter_cfg=dict(filter_empty_gt=True),
        )


def test_masks_are_checked_where_they_are_loaded(tmp_path: Path) -> None:
    content = generated.coco_instances([['cat', 'cat'], ['person']])
    for annotation in content['annotations']:
        annotation['segmentation'] = [[2, 3, 9, 3, 9, 9]]
    content['annotations'][1].update(segmentation=[], ignore=1)  # not used, so not needed
    annotated = [dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]
    init_default_scope('mmdet')
    for broken in (None, [2, 3, 9, 3], 'x', [['2'] * 6]):
        path = generated.write(tmp_path / 'a.json', content)
        data = coco(path, pipeline=annotated)
        assert data.get_data_info(0)['instances'][0]['mask'] == [[2.0, 3, 9, 3, 9, 9]]
        bad = copy.deepcopy(content)
        bad['annotations'][2]['segmentation'] = broken
        path = generated.write(tmp_path / 'bad.json', bad)
        with pytest.raises(ValueError, match=r'bad\.json, annotation 2 .*with_mask=True'):
            coco(path, pipeline=annotated)
        assert len(coco(path).get_data_info(1)['instances']) == 1  # boxes alone


def test_where_images_of_lvis_files_lie(tmp_path: Path) -> None:
    """As mmdet has it; files of one's own may have names alone."""
    content = generated.lvis_instances([[1], [13], [3]])
    names = [f'val2017/{i:012d}.jpg' for i in (201, 202, 203)]
    path = str(generated.write(tmp_path / 'a.json', content))
    settings = dict(ann_file=path, data_prefix=dict(img='im'), test_mode=True)
    items = [data[i] for data in (LVISV1Dataset(**settings),) for i in range(3)]
    ours = OVLVISDataset(**settings)
    assert [ours[i]['img_path'] for i in range(3)] == [f'im/{name}' for name in names]
    assert [ours[i] for i in range(3)] == items
    del content['images'][0]['coco_url']
    content['images'][0]['file_name'] = 'own/a.jpg'
    content['images'][1]['coco_url'] = 'https://example.org/x/train2017/b.jpg'
    generated.write(Path(path), content)
    ours = OVLVISDataset(**settings)
    paths = ['im/own/a.jpg', 'im/train2017/b.jpg', f'im/{names[2]}']
    assert [ours[i]['img_path'] for i in range(3)] == paths
