# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Every experiment's config trains and evaluates, on generated files of the right formats."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from helpers import tiny_recipes
from regionclip_mmdet.config_paths import config_folder, shipped_configs

# One of each family always, all others with -m slow.
QUICK = {
    'pretrain/regionclip_rn50_32xb3-23k_coco-captions.py',
    'pretrain/regionclip_rn50_32xb3-600k_cc3m_proposals.py',
    'zero_shot/regionclip_rn50_gt_cls_coco65.py',
    'zero_shot/regionclip_rn50_rpn_zero-shot_coco65.py',
    'ov_coco/regionclip_rn50_c4_8xb2-1x_ov-coco.py',
    'ov_lvis/regionclip_rn50_fpn-lsj_mask_8xb2-180k_ov-lvis.py',
    'supervised/regionclip_rn50_c4_8xb2-1x_coco80.py',
    'localizers/rpn_r50-caffe-c4_8xb2-1x_coco48.py',
}
FAMILIES = ('localizers', 'ov_coco', 'ov_lvis', 'pretrain', 'supervised', 'zero_shot')
EXPERIMENTS = [
    path.relative_to(config_folder()).as_posix()
    for family in FAMILIES
    for path in shipped_configs(family)
]
# Images with at least one wanted object; see tiny_recipes.
IMAGES = {
    'coco48': (4, 3),
    'coco65': (5, 3),
    'coco80': (6, 4),
    'lvis866': (3, 2),
    'ov-coco': (4, 3),
    'ov-lvis': (3, 2),
    'lvis1203': (4, 2),
}
LOSSES = {
    'localizers': {'loss_rpn_cls', 'loss_rpn_bbox'},
    'ov_coco': {'loss_cls', 'loss_bbox'},
    'ov_lvis': {'loss_cls', 'loss_bbox', 'loss_mask'},
    'coco-captions': {'loss_region_distill', 'loss_region_contrast', 'loss_image_text'},
    'image-text-only': {'loss_image_text'},
    'region-text-only': {'loss_region_contrast'},
    'distill-only': {'loss_region_distill'},
}
RECALLS = {f'/{kind}@{n}' for kind in ('AR', 'R50') for n in (100, 300, 1000)}
LVIS_AP = {'AP', 'AP50', 'APr', 'APc', 'APf'}
# Rate of iteration 0 and how much the warm-up adds each time.
WARM_UP = {
    'localizers': (0.02, 0.001, 1000),
    'lsj': (0.1, 0.067, 500),
    'transfer': (0.002, 0.001, 5000),
    'pretrain': (0.002, 0.001, 1000),
}


def params(names: list[str]) -> list[Any]:
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which ``data/`` lies, as the current one."""
    monkeypatch.chdir(tmp_path)
    # a runner formats its config five times, which takes longer than everything else here
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict())))
    tiny_recipes.make_coco()
    tiny_recipes.make_lvis()
    tiny_recipes.make_cc3m()
    return tmp_path


class Keep(Hook):
    """Losses and rates of every iteration, metrics of the last validation."""

    def __init__(self) -> None:
        self.losses: list[dict[str, float]] = []
        self.rates: list[float] = []
        self.metrics: dict[str, float] = {}

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self.rates.append(runner.optim_wrapper.get_lr()['lr'][0])

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self.losses.append({key: float(value) for key, value in outputs.items()})

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self.metrics = metrics


def start(name: str) -> tuple[Runner, Keep]:
    cfg = tiny_recipes.load(name)
    tiny_recipes.make_files(cfg)
    runner = Runner.from_cfg(cfg)
    kept = Keep()
    runner.register_hook(kept, priority='LOW')
    return runner, kept


def ending(name: str, table: dict) -> Any:
    """Value of the key that the config's name ends with, or of its family."""
    stem = Path(name).stem
    return next((v for k, v in table.items() if stem.endswith(k)), table.get(name.split('/')[0]))


@pytest.mark.parametrize('name', params([n for n in EXPERIMENTS if not n.startswith('zero_shot')]))
def test_trains_and_validates(name: str, data: Path) -> None:
    runner, kept = start(name)
    runner.train()
    family = name.split('/')[0]
    assert (data / 'run' / 'iter_2.pth').is_file()

    found = {key for key in kept.losses[0] if key.startswith('loss_')}
    wanted = ending(name, LOSSES) or LOSSES['ov_lvis' if 'lvis' in name else 'ov_coco']
    if family == 'pretrain' and not found & {'loss_image_text'} == found:
        wanted = ending(name, LOSSES) if 'only' in name else LOSSES['coco-captions']
    assert found == wanted
    assert all(math.isfinite(value) for losses in kept.losses for value in losses.values())

    kind = 'transfer' if family in ('ov_coco', 'ov_lvis', 'supervised') else family
    rate, first, length = WARM_UP['lsj' if '_lsj_' in name else kind]
    assert kept.rates == pytest.approx(
        [rate * first, rate * (first + (1 - first) / length)], rel=1e-6
    )

    images = ending(name, IMAGES)
    dataset = runner.train_dataloader.dataset
    if images is None:
        assert len(dataset) == 6 and not kept.metrics  # captions, never validated
        return
    inner = getattr(dataset, 'dataset', dataset)
    assert (len(inner), len(runner.val_dataloader.dataset)) == images
    check_metrics(name, kept.metrics)


@pytest.mark.parametrize('name', params([n for n in EXPERIMENTS if n.startswith('zero_shot')]))
def test_names_boxes_without_training(name: str, data: Path) -> None:
    runner, _ = start(name)
    metrics = runner.test()
    number = {'coco65': 3, 'coco48': 3, 'coco17': 2, 'lvis': 2}[name[:-3].rpartition('_')[2]]
    assert len(runner.test_dataloader.dataset) == number
    check_metrics(name, metrics)
    model = runner.model
    assert (model.localizer is None) == ('_gt_' in name)
    assert not model.roi_head.bbox_head.with_reg


def check_metrics(name: str, metrics: dict[str, float]) -> None:
    """The metrics that the experiment is about are there, as numbers; told by how they end."""
    if name.startswith('localizers'):
        # of all objects, of those that were boxed in training, and of the novel ones
        wanted = RECALLS | {f'/{g}_R50@{n}' for g in ('base', 'novel') for n in (100, 300, 1000)}
    elif 'gt_cls' in name:
        wanted = {'regions/top1', 'regions/top5', 'regions/ap'}
        wanted |= {f'_{kind}' for kind in ('top1', 'ap')}
    elif 'lvis' in name:
        kinds = ('bbox',) if 'zero-shot' in name else ('bbox', 'segm')
        wanted = {f'{kind}_{ap}' for kind in kinds for ap in LVIS_AP}
        if 'zero-shot' in name:
            assert not any('segm' in key for key in metrics)
    elif name.endswith(('ov-coco.py', 'coco65.py')):
        wanted = {'base_ap50', 'novel_ap50'}
    else:
        wanted = {'bbox_mAP', 'bbox_mAP_50'}
    for end in wanted:
        values = [value for key, value in metrics.items() if key.endswith(end)]
        assert values and all(map(math.isfinite, values)), end


@pytest.mark.parametrize(
    ('name', 'commands'),
    [
        (
            'ov_coco/regionclip_rn50_c4_8xb2-1x_ov-coco.py',
            [
                'tools/data/prepare_ov_coco.py data/coco',
                'tools/convert_checkpoint.py downloads/regionclip_pretrained-cc_rn50.pth '
                'downloads/rpn_coco_48.pth -o checkpoints/regionclip_rn50_with_rpn_coco_48.pth',
                'tools/embed_names.py ov_coco_48 --arch RN50 '
                '-o data/vocabularies/ov_coco_48_rn50.pth',
                'tools/embed_names.py ov_coco_65 --arch RN50 '
                '-o data/vocabularies/ov_coco_65_rn50.pth',
            ],
        ),
        (
            'pretrain/regionclip_rn50_rn50x4-teacher_32xb3-23k_coco-captions.py',
            [
                'annotations_trainval2017.zip',
                'tools/convert_checkpoint.py downloads/rpn_lvis_866.pth '
                '-o checkpoints/rpn_lvis_866.pth',
                'tools/embed_names.py data/vocabularies/coco_nouns_4764.txt --arch RN50 '
                '-o data/vocabularies/coco_nouns_4764_rn50.pth',
                'tools/embed_names.py data/vocabularies/coco_nouns_4764.txt --arch RN50x4 '
                '-o data/vocabularies/coco_nouns_4764_rn50x4.pth',
            ],
        ),
    ],
)
def test_errors_lead_from_nothing_to_a_run(
    name: str, commands: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each missing file ends the run before its first iteration and names its command."""
    monkeypatch.setattr(Config, 'pretty_text', property(lambda cfg: str(cfg.to_dict())))
    store = tmp_path / 'store'
    store.mkdir()
    monkeypatch.chdir(store)
    tiny_recipes.make_coco()
    tiny_recipes.make_files(tiny_recipes.load(name))
    monkeypatch.chdir(tmp_path)
    (store / 'clip.pth').rename('clip.pth')
    for command in commands:
        with pytest.raises(FileNotFoundError) as caught:
            Runner.from_cfg(tiny_recipes.load(name)).train()
        assert command in str(caught.value)
        assert not list(tmp_path.glob('run/*.pth'))
        made = command.rpartition(' ')[2]
        made = made if made.endswith('.pth') else 'data/coco'
        Path(made).parent.mkdir(parents=True, exist_ok=True)
        (store / made).rename(made)
    Runner.from_cfg(tiny_recipes.load(name)).train()
    assert (tmp_path / 'run' / 'iter_2.pth').is_file()
