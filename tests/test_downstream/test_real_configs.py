# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The pages' configs for real, made small, on a COCO file like those of photographs."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from pycocotools import mask as rle

from helpers import tiny_models, tiny_recipes
from regionclip_mmdet import config_path
from regionclip_mmdet.models.text import TextEmbeddings

PROJECT = Path(__file__).parents[1] / 'downstream_project'
LOCALIZER = 'custom/rpn_r50_fpn_custom.py'


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict())))


@pytest.fixture
def signs(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The page's project, imported."""
    monkeypatch.syspath_prepend(str(PROJECT))
    import signs

    yield signs
    for name in ('signs', 'signs.dataset'):
        sys.modules.pop(name, None)
    DATASETS.module_dict.pop('SignDataset', None)


def write_photographs(root: Path, part: str, names: Sequence[str], count: int = 4) -> None:
    """A file with everything that COCO's own have: polygons, crowds, licenses, addresses."""
    files = [f'{139 + 7 * i:012d}.jpg' for i in range(count)]
    tiny_recipes.write_images(root / part, files)
    images, annotations = [], []
    for number, file in enumerate(files):
        images.append(
            dict(
                license=2, file_name=file, coco_url=f'http://images.example/{part}/{file}',
                height=60, width=80, date_captured='2013-11-21 01:34:01',
                flickr_url=f'http://farm.example/{file}', id=139 + 7 * number,
            )
        )  # fmt: skip
        for place in range(2):
            x, y = 5.5 + 30 * place, 4.25
            annotations.append(
                dict(
                    segmentation=[[x, y, x + 25, y, x + 25, y + 40.5, x, y + 40.5]],
                    area=1012.5, iscrowd=0, image_id=139 + 7 * number, bbox=[x, y, 25, 40.5],
                    category_id=10 * (1 + (number + place) % len(names)),
                    id=900100 + 13 * len(annotations),
                )
            )  # fmt: skip
    crowd = rle.encode(torch.ones(60, 80, dtype=torch.uint8).numpy().copy(order='F'))
    counts = dict(size=[60, 80], counts=crowd['counts'].decode())
    annotations.append(
        dict(segmentation=counts, area=4800, iscrowd=1, image_id=139, bbox=[0, 0, 80, 60],
             category_id=10, id=900100000001)
    )  # fmt: skip
    categories = [
        dict(supercategory='thing', id=10 * (1 + i), name=name) for i, name in enumerate(names)
    ]
    path = root / 'annotations' / f'{part}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    licenses = [dict(url='http://license.example', id=2, name='Attribution License')]
    path.write_text(
        json.dumps(
            dict(info=dict(year=2017), licenses=licenses, images=images, annotations=annotations,
                 categories=categories)
        )
    )  # fmt: skip


def test_a_project_inherits_the_real_config(signs: ModuleType, tmp_path: Path) -> None:
    names = dict(train=signs.dataset.BASE, val=signs.dataset.BASE + signs.dataset.NOVEL)
    generator = torch.Generator().manual_seed(0)
    for part, kind in (('train', 'base'), ('val', 'all')):
        write_photographs(Path('data/signs'), part, names[part])
        embeddings = torch.randn(len(names[part]), 32, generator=generator)
        TextEmbeddings(names[part], embeddings).save(f'data/signs/{kind}_names.pth')
    cfg = tiny_recipes.load(str(PROJECT / 'configs' / 'signs_rn50.py'))
    tiny_recipes.make_files(cfg)
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert type(runner.train_dataloader.dataset).__name__ == 'SignDataset'
    assert runner.train_dataloader.dataset.metainfo['classes'] == names['train']
    assert runner.val_dataloader.dataset.metainfo['classes'] == names['val']
    assert runner.val_dataloader.dataset.metainfo['novel_classes'] == signs.dataset.NOVEL
    for key in ('novel_ap50', 'base_ap50', 'all_ap50'):
        assert math.isfinite(runner.message_hub.get_scalar(f'val/coco/bbox_{key}').current())


def test_names_of_an_inherited_config_are_told(signs: ModuleType) -> None:
    write_photographs(Path('data/signs'), 'train', signs.dataset.BASE)
    cfg = tiny_recipes.load(str(PROJECT / 'configs' / 'signs_rn50.py'))
    cfg.train_dataloader.dataset.metainfo = dict(classes=('mug', 'teapot'))
    with pytest.raises(ValueError, match='metainfo=None takes these. Files of the signs project'):
        DATASETS.build(cfg.train_dataloader.dataset)


def small_localizer() -> Config:
    cfg = tiny_recipes.load(LOCALIZER)
    shipped = Config.fromfile(config_path(LOCALIZER))
    cfg.model.backbone.init_cfg = shipped.model.backbone.init_cfg  # small ones are random
    names = dict(train=cfg.base_classes, val=cfg.base_classes + cfg.novel_classes)
    for part in names:
        write_photographs(Path(cfg.data_root), part, names[part])
    return cfg


def test_the_localizer_trains_on_from_a_converted_one() -> None:
    cfg = small_localizer()
    own = Config.fromfile(config_path('_base_/localizers/rpn_r50_fpn.py'))
    tiny_recipes.shrink_model(own.localizer)
    with DefaultScope.overwrite_default_scope('mmdet'):
        filled = tiny_models.fill(MODELS.build(own.localizer))
    given = {f'localizer.{key}': value for key, value in filled.state_dict().items()}
    Path('checkpoints').mkdir()
    torch.save(dict(state_dict=given), cfg.start)

    cfg.optim_wrapper.optimizer.lr = 0.0  # what is saved is what was given
    cfg.optim_wrapper.optimizer.weight_decay = 0.0
    runner = Runner.from_cfg(cfg)
    runner.train()
    state = torch.load('run/iter_2.pth', map_location='cpu', weights_only=False)['state_dict']
    for key, value in state.items():
        name = 'localizer.' + key.replace('bbox_head.', 'rpn_head.')
        if not key.endswith('num_batches_tracked'):
            torch.testing.assert_close(value, given[name], msg=key)
    recall = runner.message_hub.get_scalar('val/proposals/R50@100').current()
    assert 0 <= recall <= 1


@pytest.mark.parametrize('fault', ['no file', 'another layout'])
def test_a_localizer_that_cannot_begin_is_refused(fault: str) -> None:
    cfg = small_localizer()
    if fault == 'no file':
        with pytest.raises(FileNotFoundError, match='rpn_lvis_866.pth.*convert_checkpoint.py'):
            Runner.from_cfg(cfg).train()
        return
    Path('checkpoints').mkdir()
    torch.save(dict(state_dict={'backbone.conv1.weight': torch.zeros(1)}), cfg.start)
    with pytest.raises(RuntimeError, match="rpn_lvis_866.pth does not fill .*'localizer."):
        Runner.from_cfg(cfg).train()


def test_backbones_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    import urllib.error

    from mmengine.runner.checkpoint import CheckpointLoader

    def no_network(*args: object, **kwargs: object) -> None:
        raise urllib.error.URLError('no route')

    monkeypatch.setattr(CheckpointLoader, 'load_checkpoint', no_network)
    model = Config.fromfile(config_path('localizers/rpn_r50-caffe_fpn_8xb2-180k_lvis866.py')).model
    with DefaultScope.overwrite_default_scope('mmdet'):
        backbone = MODELS.build(model.backbone)
    with pytest.raises(ConnectionError, match='resnet50_caffe could not be downloaded .no route'):
        backbone.init_weights()
