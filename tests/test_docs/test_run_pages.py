# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Commands and examples of the pages about data, concepts, pretraining and the quickstart."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

from examples.quickstart import main as quickstart
from examples.shapes_world import ShapesWorldSpec, make_shapes_world
from helpers import doc_pages, page_runner, tiny_models, tiny_recipes
from regionclip_mmdet import config_path
from regionclip_mmdet.checkpoints import export_clip_state_dict
from regionclip_mmdet.datasets import ImageTextDataset, ImageTextShards
from regionclip_mmdet.datasets.shapes_world import BASE_CLASSES, CLASSES
from regionclip_mmdet.models.text import TextEmbeddings

TINY_TEXT = ['--arch', json.dumps(tiny_models.TEXT_ARCH), '--weights', 'clip.pth']
HERE = ['--workers', 0]
NOT_INSTALLED = 'installed without its dependencies'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict())))
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


def test_preparing_data(folder: Path) -> None:
    tiny_recipes.make_coco()
    tiny_recipes.make_lvis()
    expected = {path: path.read_bytes() for path in folder.glob('data/*/annotations/ov_*')}
    for path in expected:
        path.unlink()
    for part in ('train', 'val'):
        shutil.rmtree(f'data/lvis_v1/{part}2017')
    tiny_recipes.write_images(Path('data/cc3m/images'), ['a.jpg'])
    Path('data/cc3m/images/a.txt').write_text('a cat')
    any_size = {f'prepare_ov_{name}': ['--any-size'] for name in ('coco', 'lvis')}
    page_runner.run('docs/data.md', 'ln -s ../coco/train2017', any_size)
    assert len(expected) > 6 and {path: path.read_bytes() for path in expected} == expected
    # the links lead to COCO's images
    assert len(list(Path('data/lvis_v1/train2017').glob('*.jpg'))) == len(tiny_recipes.TRAIN)
    assert json.loads(Path('data/cc3m/train.jsonl').read_text())['image'] == 'a.jpg'


def test_packing_shards(folder: Path) -> None:
    tiny_recipes.make_coco()
    page_runner.run('docs/data.md', 'pack_shards.py')
    packed = ImageTextShards('data/coco_caption_shards/*.tar', caption_key='captions')
    loose = ImageTextDataset('data/coco/annotations/captions_train2017.json')
    captions = [
        sorted(tuple(d.get_data_info(i)['captions']) for i in range(len(d)))
        for d in (packed, loose)
    ]
    assert captions[0] == captions[1] and len(packed) == len(tiny_recipes.TRAIN)


@pytest.fixture
def shards(folder: Path) -> Path:
    """Six pairs in two shards; the image of the first is cut off."""
    names = [f'{i}.jpg' for i in range(6)]
    tiny_recipes.write_images(Path('images'), names)
    cut = Path('images/0.jpg').read_bytes()
    Path('images/0.jpg').write_bytes(cut[: len(cut) // 2])
    items = [dict(img_path=f'images/{name}', captions=['two cats']) for name in names]
    tiny_recipes.pack_shards(items, Path('data/cc3m_shards'), per_shard=4, progress=False)
    return Path('data/cc3m_shards')


def broken(shards: Path) -> list[str]:
    """Lines of the list, and that the dataset leaves their pairs out."""
    lines = (shards / 'broken.tsv').read_text().splitlines()
    left = ImageTextShards('*.tar', data_root=f'{shards}/', exclude='broken.tsv')
    assert len(left) == 5
    return [line for line in lines if '00000.tar' in line]


def test_inspecting_shards(shards: Path) -> None:
    page_runner.run('docs/data.md', 'inspect_image_text.py', dict(inspect_image_text=HERE))
    assert len(broken(shards)) == 1


def test_inspecting_with_a_sheet(shards: Path) -> None:
    page_runner.run('docs/pretraining.md', 'inspect_image_text.py', dict(inspect_image_text=HERE))
    assert len(broken(shards)) == 1 and Path('sheet.jpg').stat().st_size > 1000


def test_indices_of_shards(shards: Path, capsys: pytest.CaptureFixture) -> None:
    one = dict(index_shards=['--processes', 1])
    page_runner.run('docs/pretraining.md', 'index_shards.py', one)
    assert '2 shards, 6 pairs' in capsys.readouterr().out
    assert len(list(shards.glob('*.index.npz'))) == 2


def concepts(page: str, part: str) -> None:
    for package in ('textblob', 'simplemma'):
        pytest.importorskip(package, reason=NOT_INSTALLED)
    tiny_models.save_clip(Path('clip.pth'))
    small = ['--min-count', 2, '--processes', 1]
    page_runner.run(page, part, dict(build_concept_pool=small, embed_concepts=TINY_TEXT))


def test_a_concept_pool(folder: Path) -> None:
    tiny_recipes.make_coco()
    concepts('docs/concepts.md', 'build_concept_pool.py')
    lines = Path('data/vocabularies/coco_nouns.txt').read_text().splitlines()
    pool = dict(line.split('\t') for line in lines)
    # 'a photo of person and cat', twice for an image
    assert (pool['photo'], pool['cat'], pool['person']) == ('12', '4', '4')
    made = TextEmbeddings.load('data/vocabularies/coco_nouns_rn50.pth')
    assert set(made.names) == set(pool)


def test_concepts_of_shards(shards: Path) -> None:
    concepts('docs/pretraining.md', 'build_concept_pool.py')
    assert Path('data/vocabularies/cc3m_nouns.txt').read_text() == 'cat\t6\n'
    assert TextEmbeddings.load('data/vocabularies/cc3m_nouns_rn50.pth').names == ('cat',)


def test_contamination(folder: Path, capsys: pytest.CaptureFixture) -> None:
    tiny_recipes.make_coco()
    tiny_recipes.make_lvis()
    page_runner.run('docs/data.md', 'check_contamination.py')
    # two captions each of three images with a cat
    assert '  cat: 4 texts (cat 4)' in capsys.readouterr().out


def test_benchmark_of_embedding(folder: Path, capsys: pytest.CaptureFixture) -> None:
    arch = json.dumps(dict(tiny_models.TEXT_ARCH, context_length=24))
    small = ['--arch', arch, '--sample', 3, '--naive-sample', 2, '--threads', 1]
    page_runner.run('docs/benchmarks.md', 'embed-concepts --sample 64', dict(benchmark=small))
    printed = capsys.readouterr().out
    assert '| whole context | 2 |' in printed and '| shared beginnings | 3 |' in printed


def test_chosen_stages_of_the_quickstart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def record(workspace: Any, stages: Any, forced: set[str], *_: Any) -> None:
        asked.append((workspace.root, [stage.name for stage in stages], forced))

    monkeypatch.setattr(quickstart, 'run_stages', record)
    monkeypatch.setattr(quickstart, 'set_console', lambda console: None)
    page_runner.run('docs/quickstart.md', '--skip real_size')
    usual = folder / 'work_dirs' / 'quickstart'
    sizes = Config.fromfile(config_path('quickstart/sizes.py')).demo
    stages = [stage.name for stage in quickstart.all_stages(sizes, [0], 'demo')]
    later = stages[stages.index('pretrain') :]
    assert later[:3] == ['pretrain', 'zero_shot', 'transfer'] and len(later) < len(stages)
    assert asked == [
        (usual, ['transfer'], {'transfer'}),
        (usual, later, set(later)),
        (usual, [stage for stage in stages if stage != 'real_size'], set()),
        (folder / 'OTHER_FOLDER', stages, set()),
    ]


def test_configs_of_the_quickstart_alone(folder: Path, capsys: pytest.CaptureFixture) -> None:
    work = Path('work_dirs/quickstart')
    for part, number in (('train', 8), ('val', 3)):
        spec = ShapesWorldSpec('scenes', number)
        make_shapes_world(work / 'world' / f'scenes_{part}', spec, progress=False)
    for name, names in (('base', BASE_CLASSES), ('all', CLASSES)):
        tiny_models.vocabulary(names, dim=128).save(work / 'clip' / f'{name}.pth')
    with DefaultScope.overwrite_default_scope('mmdet'):
        cfg = Config.fromfile(config_path('quickstart/transfer.py'))
        model = tiny_models.fill(MODELS.build(cfg.model))
    torch.save(
        export_clip_state_dict(model.backbone, model.roi_head.region_encoder), cfg.clip_weights
    )
    tiny_recipes.save(model.localizer.state_dict(), cfg.localizer_weights, 'localizer.')
    for name in ('pretrain', 'transfer'):
        tiny_recipes.save(model.state_dict(), work / name / 'regionclip.pth')
    (folder / 'configs').symlink_to(doc_pages.ROOT / 'configs')
    here = ['num_workers=0', 'persistent_workers=False']
    short = [f'{part}_dataloader.{word}' for part in ('train', 'val', 'test') for word in here]
    short += ['train_cfg.max_iters=1', 'train_dataloader.batch_size=2']
    added = dict(train=short, test=['--cfg-options', *short])
    page_runner.run('docs/quickstart.md', 'ln -s ../work_dirs', added)
    assert Path('work_dirs/transfer/iter_1.pth').is_file()
    assert 'coco/novel_ap50: ' in ''.join(capsys.readouterr())


def test_a_scaled_schedule(folder: Path, capsys: pytest.CaptureFixture) -> None:
    tiny_recipes.make_coco()
    name = 'ov_coco/regionclip_rn50_c4_8xb2-1x_ov-coco.py'
    cfg = tiny_recipes.load(name, iterations=90000)
    tiny_recipes.make_files(cfg)
    page_runner.write_config(cfg, Path('configs') / name)
    train, scale = page_runner.block('docs/recipes.md', 'scale_schedule.py').commands()
    capsys.readouterr()
    page_runner.call(scale, {}, {})
    printed = capsys.readouterr().out.split()
    # the printed words take the place of $(...); then two iterations of many
    at = train.index(doc_pages.PRINTED)
    words = [*train[:at], *printed, *train[at + 1 :]]
    short = ['train_cfg.max_iters=2', 'train_cfg.val_interval=9', 'work_dir=run']
    page_runner.call(words, dict(train=short), {})
    kept = torch.load('run/iter_2.pth', weights_only=False)
    assert kept['optimizer']['param_groups'][0]['initial_lr'] == 0.0005
    assert "'train_dataloader': {'batch_size': 4" in kept['meta']['cfg']


def test_words_of_a_scaled_schedule(folder: Path, capsys: pytest.CaptureFixture) -> None:
    config = Path(doc_pages.ROOT / 'configs/ov_coco/regionclip_rn50_c4_8xb2-1x_ov-coco.py')
    page_runner.run('docs/running.md', 'scale_schedule.py', instead=dict(CONFIG=config))
    printed = capsys.readouterr().out
    assert 'train_dataloader.batch_size=4' in printed and 'optimizer.lr=0.0005' in printed


def test_own_configs(folder: Path) -> None:
    """Examples that inherit from our configs, in a folder that has them."""
    (folder / 'configs' / 'pretrain').mkdir(parents=True)
    for name in ('_base_', 'pretrain'):
        path = folder / 'configs' / name
        for source in (doc_pages.ROOT / 'configs' / name).glob('*'):
            path.mkdir(exist_ok=True)
            (path / source.name).symlink_to(source)
    watched = folder / 'my_pretraining.py'
    watched.write_text(page_runner.block('docs/pretraining.md', 'coco65_region_naming').text)
    cfg = Config.fromfile(watched)
    assert (cfg.val_cfg.type, cfg.train_cfg.val_interval) == ('RegionNamingLoop', 10000)
    assert cfg.train_cfg.max_iters == 600000 and len(cfg.visualizer.vis_backends) == 2
    packed = folder / 'configs' / 'pretrain' / 'mine.py'
    packed.write_text(page_runner.block('docs/data.md', 'cc3m_shards_image_text.py').text)
    loader = Config.fromfile(packed).train_dataloader
    assert (loader.dataset.type, loader.sampler.buffer_shards) == ('ImageTextShards', 16)
    assert loader.dataset.shards == '{00000..00331}.tar'


def test_settings_of_shards_elsewhere() -> None:
    """No object store is at hand; the dataset has these arguments."""
    found: dict[str, Any] = {}
    exec(page_runner.block('docs/data.md', "type='ImageTextShards'").text, found)
    settings = dict(found['dataset'])
    assert settings.pop('type') == 'ImageTextShards'
    known = {
        name for kind in ImageTextShards.__mro__ for name in inspect.signature(kind).parameters
    }
    assert set(settings) <= known
