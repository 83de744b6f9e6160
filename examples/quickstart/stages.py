# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The stages that make, train and test; each is a few standard runs.

A stage gets a ``Job`` and returns JSON-ready results for the report.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import load_checkpoint

from examples.shapes_world import ShapesWorldSpec, make_shapes_world
from regionclip_mmdet.checkpoints.files import read_file
from regionclip_mmdet.compat.checkpoints import save_whole
from regionclip_mmdet.config_paths import config_path
from regionclip_mmdet.datasets.shapes_world import BASE_CLASSES, CLASSES, NOVEL_CLASSES
from regionclip_mmdet.fileio import write_json
from regionclip_mmdet.models.text import CLIPTextEncoder

from .compute_once import pack_scenes, propose_regions
from .concepts import concept_pool, read_captions
from .console import captured
from .pseudo_labels import predict_pseudo_labels
from .runs import LOG_FILE, load_config, relocated, test, train
from .statistics import DetectionScores, difference, proposal_recall, to_estimate
from .workspace import Job, Stage, fingerprint

CLASS_SPLITS = dict(base=BASE_CLASSES, novel=NOVEL_CLASSES)
INITIALIZATIONS = ('clip', 'regionclip')
CLIP_FILE = 'clip.pth'
LOCALIZER_FILE = 'localizer.pth'
REGIONCLIP_FILE = 'regionclip.pth'
WORLD_KINDS = dict(
    object_centric_train=dict(kind='object_centric', split='train', object_size=(44, 92)),
    object_centric_val=dict(
        kind='object_centric', split='val', object_size=(44, 92), object_counts=(1,)
    ),
    scenes_train=dict(kind='scenes', split='train'),
    scenes_val=dict(kind='scenes', split='val'),
)
NAME_CAPTION = 'a photo of a {}'


def training_stages(sizes: Mapping[str, Any], seed: int, prefix: str = '') -> list[Stage]:
    """Stages 1 to 6 for one seed.

    Args:
        sizes: An edition of ``configs/quickstart/sizes.py``.
        seed: Seed of worlds and runs.
        prefix: Put in front of stage names where several seeds share a folder.
    """
    common = dict(seed=seed, bootstrap=sizes['bootstrap'])

    def stage(
        name: str, title: str, run: Any, needs: tuple[str, ...] = (), configs: tuple[str, ...] = ()
    ) -> Stage:
        settings = dict(
            common,
            iterations=sizes['iterations'].get(name),
            configs={c: fingerprint_of(c) for c in configs},
        )
        return Stage(prefix + name, title, run, tuple(prefix + n for n in needs), settings)

    world = stage('world', 'Make the shapes world', make_world)
    world.settings['images'] = dict(sizes['images'])
    pretraining = stage(
        'pretrain', 'Region-text pretraining: CLIP becomes RegionCLIP', pretrain,
        ('world', 'clip', 'localizer'), ('pretrain',),
    )  # fmt: skip
    pretraining.settings['pairs_per_shard'] = sizes['pairs_per_shard']
    return [
        world,
        stage('clip', 'Train a tiny CLIP on captions', train_clip, ('world',), ('clip',)),
        stage(
            'localizer', 'Train the localizer on base boxes', train_localizer, ('world',),
            ('localizer',),
        ),
        pretraining,
        stage(
            'zero_shot', 'Zero-shot on held-out scenes', zero_shot,
            ('world', 'clip', 'localizer', 'pretrain'), ('zero_shot_gt', 'zero_shot_rpn'),
        ),
        stage(
            'transfer', 'Transfer: fine-tune on base boxes', transfer,
            ('world', 'clip', 'localizer', 'pretrain'), ('transfer',),
        ),
    ]  # fmt: skip


def _config(name: str) -> Config:
    return load_config(config_path(f'quickstart/{name}.py'))


def fingerprint_of(name: str) -> str:
    """Hash of a quickstart config's content."""
    return fingerprint(_config(name).to_dict())


def stage_config(job: Job, name: str, iterations: int | None = None) -> Config:
    """A quickstart config whose files lie in this run's folders.

    Args:
        job: The running stage.
        name: Config name without folder and ending.
        iterations: Length of the run.
    """
    cfg = load_config(config_path(f'quickstart/{name}.py'), iterations=iterations)
    folders = {'work_dirs/quickstart': str(job.sibling('')), 'data/shapes_world': str(job.world)}
    return relocated(cfg, folders)


def make_world(job: Job) -> dict[str, Any]:
    """Stage 1: object-centric images and scenes, for training and held out."""
    for name, number in job.stage.settings['images'].items():
        spec = ShapesWorldSpec(
            num_images=number, seed=job.stage.settings['seed'], **WORLD_KINDS[name]
        )
        make_shapes_world(job.folder / name, spec, progress=False)
        job.progress(f'{name}: {number} images')
    write_name_captions(job.folder / 'object_centric_val')
    return dict(images=job.stage.settings['images'])


def write_name_captions(folder: Path) -> None:
    """Write ``names.json``: every single-object image captioned with its name alone."""
    content = json.loads((folder / 'instances.json').read_text(encoding='utf-8'))
    names = {category['id']: category['name'] for category in content['categories']}
    captions = {i: NAME_CAPTION.format(name) for i, name in names.items()}
    annotations = [
        dict(id=a['id'], image_id=a['image_id'], caption=captions[a['category_id']])
        for a in content['annotations']
    ]
    content = dict(images=content['images'], annotations=annotations)
    write_json(folder / 'names.json', content)


def train_clip(job: Job) -> dict[str, Any]:
    """Stage 2: CLIP from captions; its weights in open_clip's layout and the vocabularies."""
    cfg = stage_config(job, 'clip', job.stage.settings['iterations'])
    checkpoint = train(cfg, job.folder / 'train', job.stage.settings['seed'], 'training')
    model = MODELS.build(cfg.model)
    with captured(job.folder / LOG_FILE):
        load_checkpoint(model, str(checkpoint), map_location='cpu')
    save_whole(model.export_state_dict(), job.folder / CLIP_FILE)
    checkpoint.unlink()
    encoder, prompts = build_text_encoder(job)
    encoder.encode_names(BASE_CLASSES, prompts).save(job.folder / 'base.pth')
    encoder.encode_names(CLASSES, prompts).save(job.folder / 'all.pth')
    cfg = stage_config(job, 'clip')
    save_whole(model.state_dict(), job.folder / 'whole.pth')
    metrics = test(cfg, job.folder / 'test', 0, 'testing', job.folder / 'whole.pth')
    (job.folder / 'whole.pth').unlink()
    return dict(top1=metrics['clip/top1'], logit_scale=float(model.clip.logit_scale.exp()))


def build_text_encoder(job: Job) -> tuple[CLIPTextEncoder, list[str]]:
    """The tiny CLIP's text encoder and the prompts for names."""
    cfg = stage_config(job, 'tiny_base')
    with captured(job.folder / LOG_FILE):
        encoder = MODELS.build(cfg.text_encoder)
        encoder.init_weights()
    return encoder, list(cfg.prompts)


def train_localizer(job: Job) -> dict[str, Any]:
    """Stage 3: where objects are, whatever they are."""
    cfg = stage_config(job, 'localizer', job.stage.settings['iterations'])
    checkpoint = train(cfg, job.folder / 'train', job.stage.settings['seed'], 'training')
    state = read_file(checkpoint)[1]['state_dict']
    save_whole(dict(state_dict=state), job.folder / LOCALIZER_FILE)
    checkpoint.unlink()
    cfg = stage_config(job, 'localizer')
    cfg.test_evaluator.outfile_prefix = str(job.folder / 'proposals')
    test(cfg, job.folder / 'test', 0, 'testing', job.folder / LOCALIZER_FILE)
    truth = job.world / 'scenes_val' / 'instances.json'
    recall = proposal_recall(truth, job.folder / 'proposals.bbox.json', CLASS_SPLITS)
    return dict(recall=recall, num_proposals=cfg.num_proposals)


def pretrain(job: Job) -> dict[str, Any]:
    """Stage 4: concepts from captions, pseudo labels from CLIP, the student learns regions."""
    concepts = concept_pool(read_captions(job.world / 'scenes_train' / 'captions.json'))
    encoder, prompts = build_text_encoder(job)
    encoder.encode_names(list(concepts), prompts).save(job.folder / 'concepts.pth')
    write_json(job.folder / 'concepts.json', concepts, indent=1)
    job.progress('packing scenes and captions into shards')
    for name in ('shards', 'proposals'):  # of an earlier world
        shutil.rmtree(job.folder / name, ignore_errors=True)
    pack_scenes(
        job.world / 'scenes_train', job.folder / 'shards', job.stage.settings['pairs_per_shard']
    )
    job.progress('proposals of all scenes')
    with captured(job.folder / LOG_FILE):
        proposals = propose_regions(stage_config(job, 'pretrain'))
    cfg = stage_config(job, 'pretrain', job.stage.settings['iterations'])
    checkpoint = train(cfg, job.folder / 'train', job.stage.settings['seed'], 'training')
    state = read_file(checkpoint)[1]['state_dict']
    save_whole(dict(state_dict=state), job.folder / REGIONCLIP_FILE)
    checkpoint.unlink()
    with captured(job.folder / LOG_FILE):
        cfg = stage_config(job, 'pretrain')
        cfg.model.localizer = cfg.localizer
        quality = predict_pseudo_labels(
            cfg,
            job.folder / REGIONCLIP_FILE,
            job.world / 'scenes_train' / 'instances.json',
            job.folder / 'pseudo_labels.json',
        )
    return dict(
        concepts=len(concepts),
        shards=proposals.shards,
        proposals_per_second=proposals.images / proposals.seconds,
        pseudo_labels=quality,
    )


def weights_of(job: Job, initialization: str) -> Path | None:
    """Checkpoint of an initialization; CLIP's weights are named in the configs themselves."""
    return None if initialization == 'clip' else job.sibling('pretrain') / REGIONCLIP_FILE


def zero_shot(job: Job) -> dict[str, Any]:
    """Stage 5: name annotated boxes and the localizer's boxes, without any training for it."""
    for name in INITIALIZATIONS:
        for boxes in ('gt', 'rpn'):
            cfg = stage_config(job, f'zero_shot_{boxes}')
            cfg.test_evaluator.outfile_prefix = str(job.folder / f'{name}_{boxes}')
            label = f'{name}, {"annotated" if boxes == "gt" else "localizer"} boxes'
            test(cfg, job.folder / f'{name}_{boxes}', 0, label, weights_of(job, name))
    teacher_file = test_teacher_view(job)
    scores = detection_scores(job)
    gt = {name: job.folder / f'{name}_gt.bbox.json' for name in INITIALIZATIONS}
    rpn = {name: job.folder / f'{name}_rpn.bbox.json' for name in INITIALIZATIONS}
    return dict(
        gt_accuracy=compare({n: scores.region_accuracy(f) for n, f in gt.items()}),
        gt_ap50=compare({n: scores.ap50(f) for n, f in gt.items()}),
        rpn_ap50=compare({n: scores.ap50(f) for n, f in rpn.items()}),
        teacher_accuracy={
            split: [estimate.value, estimate.error]
            for split, values in scores.region_accuracy(teacher_file).items()
            for estimate in (to_estimate(values),)
        },
    )


def test_teacher_view(job: Job) -> Path:
    """Name the annotated boxes with CLIP as the teacher sees them: in enlarged scenes.

    Returns:
        The detections, one per box and name.
    """
    scale = stage_config(job, 'pretrain').model.teacher.scale
    cfg = stage_config(job, 'zero_shot_gt')
    for transform in cfg.test_dataloader.dataset.pipeline:
        if transform.type == 'Resize':
            transform.scale = tuple(round(side * scale) for side in transform.scale)
    cfg.test_evaluator.outfile_prefix = str(job.folder / 'teacher_gt')
    test(cfg, job.folder / 'teacher_gt', 0, "clip at the teacher's scale, annotated boxes")
    return job.folder / 'teacher_gt.bbox.json'


def transfer(job: Job) -> dict[str, Any]:
    """Stage 6: fine-tune the detector on base boxes from both initializations."""
    seed = job.stage.settings['seed']
    for name in INITIALIZATIONS:
        cfg = stage_config(job, 'transfer', job.stage.settings['iterations'])
        weights = weights_of(job, name)
        cfg.load_from = str(weights) if weights else None
        checkpoint = train(cfg, job.folder / name / 'train', seed, f'from {name}: training')
        cfg = stage_config(job, 'transfer')
        cfg.test_evaluator.outfile_prefix = str(job.folder / name)
        test(cfg, job.folder / name / 'test', 0, f'from {name}: testing', checkpoint)
        checkpoint.replace(job.folder / f'{name}.pth')
    scores = detection_scores(job)
    files = {n: job.folder / f'{n}.bbox.json' for n in INITIALIZATIONS}
    return dict(ap50=compare({n: scores.ap50(f) for n, f in files.items()}))


def detection_scores(job: Job) -> DetectionScores:
    """Scores on the held-out scenes."""
    return DetectionScores(
        job.world / 'scenes_val' / 'instances.json', CLASS_SPLITS, job.stage.settings['bootstrap']
    )


def compare(scores: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, list[float]]]:
    """Estimates of both initializations and of their paired difference, per split.

    Args:
        scores: ``'clip'`` and ``'regionclip'``, each split to ``(1 + replicates,)``.

    Returns:
        Split to ``clip``, ``regionclip``, ``difference``, each ``[value, standard error]``.
    """
    clip, regionclip = scores['clip'], scores['regionclip']
    table = {}
    for split in clip:
        estimates = dict(
            clip=to_estimate(clip[split]),
            regionclip=to_estimate(regionclip[split]),
            difference=difference(clip[split], regionclip[split]),
        )
        table[split] = {k: [e.value, e.error] for k, e in estimates.items()}
    return table
