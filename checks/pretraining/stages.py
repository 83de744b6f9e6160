# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The stages of the check up to the training: data, weights, concepts."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.config import Config

from examples.quickstart.console import captured
from examples.quickstart.runs import LOG_FILE, test
from examples.quickstart.stages import (
    CLIP_FILE,
    LOCALIZER_FILE,
    stage_config,
    train_clip,
    train_localizer,
    write_name_captions,
)
from examples.quickstart.workspace import Job, Stage, fingerprint
from regionclip_mmdet.config_paths import config_path
from regionclip_mmdet.fileio import read_json
from regionclip_mmdet.models.text import TextEmbeddings

from . import checks
from .commands import run_tool
from .run_sizes import Sizes
from .shards import FILE as DAMAGE_FILE
from .shards import Damage, damage_shards
from .training import train, write_config

SEED = 0
MEANING = (
    'the numbers say that the evaluation works; what pretraining brings, with a good teacher and '
    'concepts, is shown by tools/quickstart.py'
)


def all_stages(
    sizes: Sizes, processes: int, weights: str | None, keep_undecodable: bool
) -> list[Stage]:
    """Every stage in order.

    Args:
        sizes: How large the check is.
        processes: That train together.
        weights: Work dir of a finished quickstart, whose CLIP and localizer are used.
        keep_undecodable: Train with the undecodable image among the data, instead of leaving it
            out by the list that the inspection made.
    """

    def stage(
        name: str, title: str, run: Any, needs: tuple[str, ...], configs: tuple[str, ...] = (),
        **settings: Any,
    ) -> Stage:  # fmt: skip
        hashes = {
            c: fingerprint(Config.fromfile(config_path(f'quickstart/{c}.py')).to_dict())
            for c in configs
        }
        common = dict(asdict(sizes), seed=SEED, configs=hashes)
        return Stage(name, title, run, needs, common | settings)

    given = dict(weights=weights)
    return [
        stage('world', 'Make scenes with captions and boxes', make_world, (), **given),
        stage(
            'clip', 'Get a tiny CLIP', get_clip, ('world',), ('clip',),
            iterations=sizes.clip_iterations, **given,
        ),
        stage(
            'localizer', 'Get a localizer', get_localizer, ('world',), ('localizer',),
            iterations=sizes.localizer_iterations, **given,
        ),
        stage('shards', 'Pack shards, break some, inspect them', make_shards, ('world',)),
        stage('concepts', 'Make and embed the concept pool', make_concepts, ('shards', 'clip')),
        stage(
            'proposals', 'Compute the proposals of all images', make_proposals,
            ('localizer', 'shards'), ('pretraining_check',), keep_undecodable=keep_undecodable,
        ),
        stage(
            'train', f'Pretrain with {processes} processes, kill one, resume', train,
            ('clip', 'shards', 'concepts', 'proposals'), ('pretraining_check',),
            processes=processes, keep_undecodable=keep_undecodable,
        ),
        stage(
            'evaluate', 'Name the annotated boxes of held-out scenes', evaluate,
            ('world', 'clip', 'train'), ('zero_shot_gt_cls',),
        ),
    ]  # fmt: skip


def make_world(job: Job) -> dict[str, Any]:
    """Scenes for training and evaluation, single objects for CLIP."""
    settings = job.stage.settings
    numbers = dict(scenes_train=settings['pairs'], scenes_val=settings['held_out'])
    if settings['weights'] is None:
        numbers.update(object_centric_train=settings['single_objects'], object_centric_val=64)
    for name, number in numbers.items():
        arguments = [job.folder, '--splits', name, '--num-images', number]
        run_tool('data/make_shapes_world.py', arguments, job.folder / f'{name}.log')
    if 'object_centric_val' in numbers:
        write_name_captions(job.folder / 'object_centric_val')
    return dict(images=numbers)


def get_clip(job: Job) -> dict[str, Any]:
    """Train a tiny CLIP a little, or take a quickstart's."""
    if job.stage.settings['weights'] is None:
        result = train_clip(job)
        return dict(told=f'single objects named right: {result["top1"]:.1f} %')
    return _copy(job, (CLIP_FILE, 'base.pth', 'all.pth'))


def get_localizer(job: Job) -> dict[str, Any]:
    """Train a localizer a little, or take a quickstart's."""
    if job.stage.settings['weights'] is None:
        recall = train_localizer(job)['recall']['all']
        return dict(told=f'objects found at IoU 0.5: {recall:.1f} %')
    return _copy(job, (LOCALIZER_FILE,))


def _copy(job: Job, names: tuple[str, ...]) -> dict[str, Any]:
    source = Path(job.stage.settings['weights']) / job.stage.name
    for name in names:
        shutil.copy2(source / name, job.folder / name)
    return dict(told=f'copied from {source}')


def make_shards(job: Job) -> dict[str, Any]:
    """Whole shards, then three broken pairs and a truncated shard, then an inspection."""
    settings = job.stage.settings
    for path in [*job.folder.glob('*.tar*'), *job.folder.glob('*.json')]:
        path.unlink()
    scenes = job.sibling('world') / 'scenes_train'
    per_shard = settings['pairs'] // settings['shards']
    run_tool(
        'data/pack_shards.py',
        [scenes / 'captions.json', job.folder, '--images', scenes / 'images', '--per-shard',
         per_shard, '--seed', SEED],
        job.folder / 'pack.log',
    )  # fmt: skip
    damage = damage_shards(job.folder, settings['keep'])
    damage.save(job.folder / DAMAGE_FILE)
    broken = job.folder / 'broken.tsv'
    told = run_tool(
        'data/inspect_image_text.py',
        [job.folder / '*.tar', '--workers', 2, '--broken', broken],
        job.folder / 'inspect.log',
    )
    pairs = [*damage.unusable, *damage.undecodable, damage.truncated]
    found = [
        checks.named('inspection names what is broken by shard and key', told, pairs),
        checks.usable(told, damage),
        checks.excluded(broken.read_text(encoding='utf-8'), damage),
    ]
    counts = f'{settings["pairs"]} pairs in {settings["shards"]} shards, {len(pairs) - 1} broken, '
    counts += f'{len(damage.lost)} lost with the end of {damage.truncated[0]}'
    return dict(told=f'{counts}; {len(damage.good)} good ones', checks=found)


def make_concepts(job: Job) -> dict[str, Any]:
    """Nouns of the captions, embedded by the tiny CLIP."""
    min_count = job.stage.settings['min_count']
    names = job.folder / 'concepts.txt'
    run_tool(
        'concepts/build_concept_pool.py',
        [job.sibling('shards') / '*.tar', '-o', names, '--min-count', min_count, '--kind', 'both'],
        job.folder / 'pool.log',
    )
    encoder = stage_config(job, 'tiny_base').text_encoder
    embedded = job.folder / 'concepts.pth'
    run_tool(
        'embed_names.py',
        [names, '--arch', json.dumps(encoder.arch), '--weights', encoder.init_cfg.checkpoint,
         '--templates', 'single', '-o', embedded],
        job.folder / 'embed.log',
    )  # fmt: skip
    rows = [line.split('\t') for line in names.read_text(encoding='utf-8').splitlines()]
    concepts = [name for name, _ in rows]
    vocabulary = TextEmbeddings.load(embedded)
    captions = Damage.load(job.sibling('shards') / DAMAGE_FILE).captions
    found = [
        checks.pool({name: int(count) for name, count in rows}, captions),
        checks.Check(
            'embeddings',
            f'{len(vocabulary)} of {len(concepts)} concepts, width {vocabulary.embed_dim}',
            list(vocabulary.names) == concepts,
        ),
    ]
    return dict(checks=found)


def make_proposals(job: Job) -> dict[str, Any]:
    """The localizer's boxes of all images, a file for each shard."""
    for path in job.folder.glob('*.npz'):
        path.unlink()
    config = write_config(job)
    told = run_tool(
        'pretrain/precompute_proposals.py',
        [config, '--batch-size', 16, '--workers', 1],
        job.folder / 'proposals.log',
    )
    damage = Damage.load(job.sibling('shards') / DAMAGE_FILE)
    found = [checks.proposals(job.folder, damage.good)]
    if job.stage.settings['keep_undecodable']:
        what = 'images without proposals are named by shard and key'
        found.append(checks.named(what, told, damage.undecodable))
    return dict(checks=found)


def evaluate(job: Job) -> dict[str, Any]:
    """CLIP and the pretrained student name the annotated boxes of held-out scenes."""
    cfg = stage_config(job, 'zero_shot_gt_cls')
    before = test(cfg, job.folder / 'clip', SEED, 'CLIP')
    config = job.folder / 'zero_shot.py'
    with captured(job.folder / LOG_FILE):
        stage_config(job, 'zero_shot_gt_cls').dump(config)
    checkpoint = job.workspace.marker('train')['result']['checkpoint']
    run = job.folder / 'pretrained'
    shutil.rmtree(run, ignore_errors=True)
    arguments = [config, checkpoint, '--work-dir', run]
    run_tool('test.py', arguments, job.folder / 'test.log')
    (metrics,) = run.glob('*/*.json')
    after = read_json(metrics)
    return dict(
        told=MEANING,
        checks=[checks.naming(before, after)],
        before=before,
        after=after,
    )
