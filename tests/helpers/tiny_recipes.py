# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The configs of experiments on generated data, with models of a few thousand weights.

Files lie where the configs look for them, below the current folder. What is changed are sizes:
widths of the models, pixels, iterations. Everything else is the config's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from helpers import generated_annotations as generated
from helpers import tiny_models
from regionclip_mmdet import config_path
from regionclip_mmdet.datasets.preparation import (
    OVCocoSplit,
    pack_shards,
    prepare_ov_coco_train,
    prepare_ov_coco_val,
    write_all,
)
from regionclip_mmdet.datasets.preparation.ov_lvis import (
    prepare_ov_lvis_train,
    prepare_ov_lvis_val,
)
from regionclip_mmdet.models.text import TextEmbeddings
from regionclip_mmdet.pretraining import (
    ProposalMaker,
    fixed_view,
    from_config,
    precompute_proposals,
)
from regionclip_mmdet.recipes.name_lists import LISTS

# Base and novel names together, base alone, novel alone, neither; novel: cat, dog.
TRAIN = (
    ('person', 'cat'),
    ('car', 'dog'),
    ('person', 'car'),
    ('cat',),
    ('hair drier',),
    ('horse',),
)
VAL = (('person', 'cat'), ('car',), ('dog', 'horse'), ('hair drier',))
# By LVIS' ids: 1 common, 3 frequent, 13 rare.
LVIS_TRAIN = ((1, 3), (3,), (13,), (3, 13))
LVIS_VAL = ((1, 3), (3, 13), ())
WIDTH = 8


def write_images(folder: Path, names: Sequence[str]) -> None:
    """Noise of the size that the annotations say."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        pixels = np.random.default_rng(seed).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)


def make_coco(root: Path = Path('data/coco')) -> None:
    """COCO with 80 categories, OV-COCO's files and captions."""
    annotations = root / 'annotations'
    files = {}
    for part, objects in (('train', TRAIN), ('val', VAL)):
        content = generated.coco_instances(objects)
        path = generated.write(annotations / f'instances_{part}2017.json', content)
        prepare = prepare_ov_coco_train if part == 'train' else prepare_ov_coco_val
        files |= prepare(path, annotations, OVCocoSplit(), any_size=True)[0]
        write_images(root / f'{part}2017', [image['file_name'] for image in content['images']])
        if part == 'train':
            captions = [
                dict(
                    id=2 * i + j, image_id=image['id'], caption=f'a photo of {" and ".join(names)}'
                )
                for i, (image, names) in enumerate(zip(content['images'], objects, strict=True))
                for j in range(2)
            ]
            generated.write(
                annotations / 'captions_train2017.json',
                dict(images=content['images'], annotations=captions),
            )
    write_all(files)


def make_lvis(root: Path = Path('data/lvis_v1')) -> None:
    """LVIS with 1203 categories and their frequencies, and OV-LVIS' files."""
    annotations = root / 'annotations'
    files = {}
    for part, objects in (('train', LVIS_TRAIN), ('val', LVIS_VAL)):
        content = generated.lvis_instances(objects, part)
        path = generated.write(annotations / f'lvis_v1_{part}.json', content)
        prepare = prepare_ov_lvis_train if part == 'train' else prepare_ov_lvis_val
        files |= prepare(path, annotations, any_size=True)[0]
        names = [Path(image['coco_url']).name for image in content['images']]
        write_images(root / f'{part}2017', names)
    write_all(files)


def make_cc3m(root: Path = Path('data/cc3m')) -> None:
    """Six images with a caption each, as JSON lines and in shards."""
    names = [f'{i}.jpg' for i in range(6)]
    write_images(root / 'images', names)
    rows = [json.dumps(dict(image=name, caption=f'caption {name}')) for name in names]
    (root / 'train.jsonl').write_text('\n'.join(rows), encoding='utf-8')
    items = [
        dict(img_path=str(root / 'images' / name), captions=[f'caption {name}']) for name in names
    ]
    pack_shards(items, root.with_name('cc3m_shards'), per_shard=4, progress=False)


def load(name: str, iterations: int = 2) -> Config:
    """A config, by its path below configs/, made small."""
    cfg = Config.fromfile(config_path(name))
    cfg.work_dir = 'run'
    cfg.env_cfg.dist_cfg.backend = 'gloo'
    shrink_model(cfg.model)
    shrink_model(cfg.get('localizer'))
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(key)
        if loader is not None:
            loader.num_workers = 0
            loader.persistent_workers = False
            for transform in transforms(loader.dataset):
                shrink_transform(transform)
    if cfg.get('train_cfg') is not None:
        validates = cfg.train_cfg.val_interval <= cfg.train_cfg.max_iters
        cfg.train_cfg.max_iters = iterations
        cfg.train_cfg.val_interval = iterations if validates else iterations + 1
        cfg.train_dataloader.batch_size = 2
    return cfg


def shrink_model(model: Any) -> None:
    """Widths and numbers of regions; the number of stages, anchors, settings and losses stay."""
    for part in walk(model):
        kind = part.get('type')
        if kind in ('CLIPResNet', 'RegionEncoder'):
            part.arch = tiny_models.ARCH
        elif kind == 'CLIPTextEncoder':
            part.arch = tiny_models.TEXT_ARCH
        elif kind == 'TextEmbeddingBBoxHead':
            part.embed_dim = tiny_models.ARCH['embed_dim']
        elif kind == 'RegionMaskHead':
            part.in_channels, part.conv_out_channels = 512, 8
        elif kind == 'CLIPPretrained':
            part.checkpoint = 'clip.pth'
        elif kind == 'FoldedResNet':
            part.base_channels = WIDTH
            if part.get('init_cfg') is not None:
                part.init_cfg = None  # no download
        elif kind == 'FPN':
            part.in_channels, part.out_channels = [4 * WIDTH * 2**i for i in range(4)], 16
        elif kind == 'RPNHead':
            width = 16 if part.in_channels == 256 else 16 * WIDTH
            part.in_channels = part.feat_channels = width
        elif kind == 'BatchFixedSizePad':
            part.size = (128, 128)
        elif kind == 'RPNLocalizer':
            part.test_cfg.max_per_img = 20
        elif kind == 'RandomSampler' and part.num == 512:
            part.num = 32


def shrink_transform(transform: Any) -> None:
    """Pixels."""
    kind = transform.type
    if kind in ('ResizeShortestEdge', 'ResizeShortestEdgeTruncated'):
        transform.update(scale=96, max_size=160)
    elif kind == 'RandomChoiceResize':
        transform.update(scales=[64, 96], max_size=160)
    elif kind == 'RandomResize':
        transform.scale = (128, 128)
    elif kind == 'RandomCrop':
        transform.crop_size = (128, 128)
    elif kind == 'RandomProposals':
        transform.num_proposals = 5


def walk(value: Any) -> Iterator[Any]:
    """All dicts inside."""
    if isinstance(value, dict):
        yield value
        value = value.values()
    if not isinstance(value, str) and hasattr(value, '__iter__'):
        for inner in list(value):
            yield from walk(inner)


def transforms(dataset: Any) -> Iterator[Any]:
    while 'pipeline' not in dataset:
        dataset = dataset.dataset
    for transform in dataset.pipeline:
        yield from transform.get('transforms', [transform])


@DefaultScope.overwrite_default_scope('mmdet')
def make_files(cfg: Config) -> None:
    """The vocabularies, concepts, CLIP weights and checkpoints that a small config names."""
    generator = torch.Generator().manual_seed(0)
    for part in walk([cfg.model, cfg.get('val_cfg')]):
        for key in ('vocabulary', 'test_vocabulary', 'concept_pool', 'teacher_concept_pool'):
            path = part.get(key)
            if path is None or Path(path).is_file():
                continue
            known = Path(path).stem.rpartition('_')[0]
            names = LISTS.get(known, tiny_models.NAMES)
            TextEmbeddings(names, torch.randn(len(names), 32, generator=generator)).save(path)
    tiny_models.save_clip(Path('clip.pth'))
    localizer = cfg.model.get('localizer') or cfg.get('localizer')
    if localizer is not None and localizer.get('init_cfg') is not None:
        model = tiny_models.fill(MODELS.build({**localizer, 'init_cfg': None}))
        save(model.state_dict(), localizer.init_cfg.checkpoint, 'localizer.')
    if cfg.get('load_from') is not None:
        model = tiny_models.fill(MODELS.build(cfg.model))
        # as after pretraining: neither box head nor mask head
        state = {
            k: v
            for k, v in model.state_dict().items()
            if not k.startswith(('roi_head.bbox_head.', 'roi_head.mask_head.'))
        }
        save(state, cfg.load_from)
    if cfg.get('train_dataloader') and cfg.train_dataloader.dataset.get('proposals'):
        make_proposals(cfg)


def make_proposals(cfg: Config) -> None:
    """What tools/pretrain/precompute_proposals.py makes of a small config."""
    pipeline = fixed_view(from_config.dataset_config(cfg).pipeline)
    maker = ProposalMaker(from_config.localizer_config(cfg), cfg.model.data_preprocessor)
    maker.ensure_weights()
    dataset = from_config.build_dataset(cfg, pipeline)
    folder = from_config.proposals_folder(cfg, dataset)
    precompute_proposals(dataset, maker, pipeline, folder, progress=False)


def save(state: dict[str, torch.Tensor], path: str, prefix: str = '') -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict={prefix + k: v for k, v in state.items()}), path)
