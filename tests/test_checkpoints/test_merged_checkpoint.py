# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""One merged checkpoint is all that mmdet's entry points need, and it says where it is from."""

from __future__ import annotations

import hashlib
import json
import pickle
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from PIL import Image

from checks.parity.generated_weights import fill_tensors
from checks.parity.official_shapes import localizer_shapes
from helpers import tiny_models, tiny_runner
from regionclip_mmdet import config_path, conversion
from regionclip_mmdet.checkpoints.official import FILE_PREFIXES, MODEL_PREFIXES, official_key
from regionclip_mmdet.conversion import convert_several
from regionclip_mmdet.models.text import TextEmbeddings

ROOT = Path(__file__).resolve().parents[2]
NAMES = ('cat', 'dog', 'red ball', 'traffic light')


def model_config() -> ConfigDict:
    """A tiny detector with the shipped R50-C4 localizer; its vocabulary's file does not exist."""
    config = tiny_models.detector_config(
        bbox_head=dict(vocabulary='nowhere/names_rn50.pth'), rcnn=dict(objectness='logit')
    )
    for part in (config.backbone, config.roi_head.region_encoder):
        part.init_cfg = None
    config.localizer = Config.fromfile(config_path('_base_/localizers/rpn_r50_c4.py')).localizer
    config.localizer.test_cfg.max_per_img = 20
    config.data_preprocessor = dict(tiny_runner.PREPROCESSOR)
    return config


@pytest.fixture(scope='module')
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tool's output for a detector's file, a localizer's file and a vocabulary."""
    folder = tmp_path_factory.mktemp('merged')
    with DefaultScope.overwrite_default_scope('mmdet'):
        detector = tiny_models.fill(MODELS.build(tiny_models.detector_config()), 1)
    state = {
        official_key(key): value
        for key, value in detector.state_dict().items()
        if 'classifier' not in key and not key.endswith('num_batches_tracked')
    }
    torch.save(dict(model=state, iteration=7), folder / 'finetuned.pth')
    localizer = fill_tensors(localizer_shapes('c4'), seed=5)
    for prefix, own in zip(MODEL_PREFIXES, FILE_PREFIXES, strict=True):
        localizer = {
            own + k[len(prefix) :] if k.startswith(prefix) else k: v for k, v in localizer.items()
        }
    torch.save(dict(model=localizer), folder / 'rpn.pth')
    matrix = torch.randn(4, 32, generator=torch.Generator().manual_seed(2))
    notes = dict(model='RN50', weights='openai', templates='ensemble81')
    TextEmbeddings(NAMES, matrix, notes).save(folder / 'names.pth')
    inputs = [str(folder / name) for name in ('finetuned.pth', 'rpn.pth')]
    options = ['--vocabulary', str(folder / 'names.pth'), '--custom-sizes']
    arguments = [*inputs, *options, '-o']
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', ['convert_checkpoint.py', *arguments, str(folder / 'all.pth')])
        runpy.run_path(str(ROOT / 'tools' / 'convert_checkpoint.py'), run_name='__main__')
    return folder / 'all.pth'


def write_config(folder: Path) -> Path:
    """A config whose data do not exist either."""
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(96, 64), keep_ratio=True),
        dict(
            type='PackDetInputs',
            meta_keys=('img_path', 'img_id', 'ori_shape', 'img_shape', 'scale_factor'),
        ),
    ]
    dataset = dict(type='CocoDataset', ann_file='nowhere.json', pipeline=pipeline)
    config = Config(
        dict(
            default_scope='mmdet',
            model=model_config(),
            test_dataloader=dict(dataset=dataset),
            visualizer=dict(type='DetLocalVisualizer', name='merged_checkpoint'),
        )
    )
    config.dump(folder / 'config.py')
    return folder / 'config.py'


def test_it_says_where_it_is_from(merged: Path) -> None:
    meta = torch.load(merged, weights_only=True)['meta']
    first, second = meta['sources']
    assert (first['file'], second['file']) == ('finetuned.pth', 'rpn.pth')
    assert second['parts'] == ['localizer'] and 'localizer' not in first['parts']
    assert first['parts'] == ['backbone', 'roi_head.region_encoder', 'roi_head.bbox_head.fc_reg']
    content = merged.with_name('rpn.pth').read_bytes()
    assert second['sha256'] == hashlib.sha256(content).hexdigest()
    assert second['bytes'] == len(content)
    assert meta['dataset_meta'] == dict(classes=list(NAMES))
    assert meta['vocabularies']['classifier']['templates'] == 'ensemble81'
    assert meta['kind'] == 'official finetuned detector + official localizer'


def test_init_detector_inferencer_and_runner_need_nothing_else(
    merged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path)
    model = init_detector(str(config), str(merged), device='cpu')
    assert tuple(model.dataset_meta['classes']) == NAMES
    assert all(str(merged) in source for source in model.weight_sources().values())
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    found = inference_detector(model, image).pred_instances
    assert len(found) > 3 and bool(found.scores.isfinite().all())
    assert int(found.labels.max()) < len(NAMES)

    inferencer = DetInferencer(str(config), str(merged), device='cpu', show_progress=False)
    again = inferencer(image, return_datasamples=True, no_save_vis=True)['predictions'][0]
    assert torch.equal(again.pred_instances.bboxes, found.bboxes)
    assert torch.equal(again.pred_instances.scores, found.scores)

    with DefaultScope.overwrite_default_scope('mmdet'):
        fresh = MODELS.build(model_config())
    runner = tiny_runner.make_runner(
        fresh, tmp_path / 'run', train=None, test=NAMES, with_proposals=False,
        load_from=str(merged), visualizer=None,
    )  # fmt: skip
    result = runner.test()
    assert result['found/count'] > 3 and np.isfinite(result['found/sum'])


def test_without_the_vocabulary_the_missing_file_is_named(merged: Path, tmp_path: Path) -> None:
    content = torch.load(merged, weights_only=True)
    state = {k: v for k, v in content['state_dict'].items() if 'classifier' not in k}
    torch.save(dict(state_dict=state, meta=content['meta']), tmp_path / 'nameless.pth')
    model = init_detector(str(write_config(tmp_path)), str(tmp_path / 'nameless.pth'), device='cpu')
    image = np.zeros((60, 80, 3), dtype=np.uint8)
    with pytest.raises((RuntimeError, FileNotFoundError), match='names_rn50.pth'):
        inference_detector(model, image)


def test_what_is_absent_is_reported(merged: Path) -> None:
    content = torch.load(merged.with_name('finetuned.pth'), weights_only=True)
    absent = ('localizer', 'roi_head.bbox_head.classifier')
    result = conversion.convert(content, allow_missing=absent, custom_sizes=True)
    assert result.absent == list(absent)
    assert 'localizer                       absent, as allowed' in str(result)


def test_what_a_file_lacks_must_be_in_another(merged: Path) -> None:
    detector, localizer = (
        torch.load(merged.with_name(name), weights_only=True)
        for name in ('finetuned.pth', 'rpn.pth')
    )
    settings = dict(custom_sizes=True, with_vocabulary=True)
    both = convert_several([('a.pth', detector), ('b.pth', localizer)], **settings)
    assert both[0].absent == ['localizer', 'roi_head.bbox_head.classifier']
    with pytest.raises(ValueError, match="a.pth: .*\\s.*'localizer' is absent"):
        convert_several([('a.pth', detector)], **settings)
    with pytest.raises(ValueError, match="a.pth: .* but 'localizer' is absent, and no other file"):
        convert_several([('a.pth', detector), ('b.pth', detector)], **settings)
    whole = dict(model={k: v for k, v in detector['model'].items() if 'layer3' not in k})
    with pytest.raises(ValueError, match="b.pth: .*\\s.*'backbone' is incomplete"):
        convert_several([('a.pth', localizer), ('b.pth', whole)], **settings)


def write_test_config(folder: Path, image: np.ndarray) -> Path:
    """A COCO-format set of one image, and a config that tests on it."""
    Image.fromarray(image[..., ::-1]).save(folder / 'image.png')
    annotation = dict(id=1, image_id=1, category_id=1, bbox=[8, 8, 30, 20], area=600, iscrowd=0)
    content = dict(
        images=[dict(id=1, file_name='image.png', height=image.shape[0], width=image.shape[1])],
        annotations=[annotation],
        categories=[dict(id=number, name=name) for number, name in enumerate(NAMES, 1)],
    )
    (folder / 'annotations.json').write_text(json.dumps(content))
    config = Config.fromfile(write_config(folder))
    config.custom_imports = dict(imports=['regionclip_mmdet'])
    config.test_dataloader = dict(
        batch_size=1,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            config.test_dataloader.dataset,
            ann_file=str(folder / 'annotations.json'),
            data_prefix=dict(img=str(folder)),
            metainfo=dict(classes=NAMES),
            test_mode=True,
        ),
    )
    config.test_cfg = dict(type='TestLoop')
    ann_file = str(folder / 'annotations.json')
    config.test_evaluator = dict(type='CocoMetric', ann_file=ann_file, metric='bbox')
    config.dump(folder / 'config.py')
    return folder / 'config.py'


def test_the_test_tool_needs_nothing_else(
    merged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    config = write_test_config(tmp_path, image)
    command = ['test.py', str(config), str(merged), '--work-dir', str(tmp_path / 'run')]
    monkeypatch.setattr(sys, 'argv', [*command, '--out', str(tmp_path / 'found.pkl')])
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict())))
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / 'tools' / 'test.py'), run_name='__main__')
    assert 'coco/bbox_mAP' in ''.join(capsys.readouterr())
    (found,) = pickle.loads((tmp_path / 'found.pkl').read_bytes())
    model = init_detector(str(config), str(merged), device='cpu')
    expected = inference_detector(model, image).pred_instances
    torch.testing.assert_close(found['pred_instances']['bboxes'], expected.bboxes)
    torch.testing.assert_close(found['pred_instances']['scores'], expected.scores)
