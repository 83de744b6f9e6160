# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The student of a pretraining classifies annotated boxes, and the training does not notice."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from mmengine.config import Config
from mmengine.runner import Runner

from helpers import gloo_ranks, tiny_models, tiny_runner
from helpers import watched_pretraining as watched
from regionclip_mmdet.datasets.shapes_world import CLASSES
from regionclip_mmdet.engine.loops import RegionClassificationLoop
from regionclip_mmdet.engine.robust.randomness import untouched_generators
from regionclip_mmdet.models.text import TextEmbeddingClassifier


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('watched')
    watched.make_files(root)
    return root


@pytest.fixture(scope='module')
def trained(folder: Path) -> Path:
    watched.train(folder, folder / 'trained')
    return folder / 'trained'


def accuracies(work_dir: Path) -> list[dict]:
    return [line for line in watched.scalars(work_dir) if 'regions/top1' in line]


def test_names_the_nearest_name() -> None:
    """By hand: cosines of each box's embedding, alone in its image, with every name."""
    model = MODELS.build(tiny_models.regionclip_config())
    for seed, part in enumerate((model, model.teacher, model.text_encoder, model.localizer)):
        tiny_models.fill(part, seed)
    sizes = ((64, 80), (80, 64))
    boxes = [torch.tensor([[4.0, 4, 40, 36], [30, 20, 70, 60]]), torch.tensor([[0.0, 0, 64, 80]])]
    batch, names = tiny_models.images(*sizes), tiny_models.vocabulary(seed=5)
    found = model.eval().name_regions(
        batch,
        tiny_models.samples(*sizes, proposals=boxes),
        TextEmbeddingClassifier(32, names, temperature=0.2),
    )
    for i, sample in enumerate(found):
        embeddings = model.roi_head.region_encoder(
            model.backbone(batch[i : i + 1]), bbox2roi([boxes[i]])
        )
        logits = F.normalize(embeddings) @ F.normalize(names.matrix).T / 0.2
        # the background's logit is 0, as in the detector
        probs = logits.exp() / (logits.exp().sum(1, keepdim=True) + 1)
        pairs = sample.pred_instances
        assert pairs.region_inds.tolist() == [i for i in range(len(boxes[i])) for _ in range(3)]
        assert pairs.labels.tolist() == [0, 1, 2] * len(boxes[i])
        torch.testing.assert_close(pairs.scores.view(-1, 3), probs, rtol=1e-3, atol=1e-5)
        assert torch.equal(pairs.bboxes, boxes[i].repeat_interleave(3, 0))


def test_figures_are_those_of_a_detector_with_the_students_weights(
    folder: Path, trained: Path
) -> None:
    detector = tiny_models.detector_config(
        bbox_head=dict(embed_dim=32, vocabulary=str(folder / 'names.pth'), with_reg=False),
        rcnn=dict(nms=dict(type='nms', iou_threshold=1.0), max_per_img=-1, objectness='none'),
        data_preprocessor=tiny_runner.PREPROCESSOR,
    )
    runner = Runner.from_cfg(
        Config(
            dict(
                default_scope='mmdet',
                model=detector,
                work_dir=str(folder / 'detector'),
                experiment_name='detector',
                load_from=str(trained / 'iter_4.pth'),
                test_dataloader=watched.loader(watched.annotated(folder)),
                test_cfg=dict(),
                test_evaluator=dict(type='RegionClassificationMetric'),
            )
        )
    )
    expected = runner.test()
    assert 0.05 < expected['regions/top1'] < expected['regions/top5'] < 1
    (found,) = [line for line in accuracies(trained) if line['step'] == 4]
    keys = [key for key in expected if key.startswith('regions/')]
    assert len(keys) == 9  # top1, top5, ap; all, base, novel
    for key in keys:
        assert found[key] == pytest.approx(expected[key], abs=1e-6), key


def test_is_in_the_log_and_among_the_scalars(trained: Path) -> None:
    assert [line['step'] for line in accuracies(trained)] == [2, 4, 6]
    assert len({line['regions/ap'] for line in accuracies(trained)}) == 3  # it learns
    (log,) = trained.glob('*/*.log')
    told = [line for line in log.read_text().splitlines() if 'regions/top1: ' in line]
    assert len(told) == 3 and 'Iter(val) [4/4]' in told[0]


# mmengine's loop takes random numbers from where it is, ours derives them from the position
@pytest.mark.parametrize('loop', ['IterBasedTrainLoop', 'ResumableIterTrainLoop'])
def test_training_does_not_notice(folder: Path, tmp_path: Path, loop: str) -> None:
    for name, validates in (('with', True), ('without', False)):
        train_cfg = dict(type=loop, max_iters=6, val_interval=2)
        watched.train(folder, tmp_path / name, validates=validates, train_cfg=train_cfg)
    one, other = (watched.losses(tmp_path / name) for name in ('with', 'without'))
    assert len(one) == 6 and one == other
    assert len({entry['loss_region_distill'] for entry in one}) == 6
    files = [tmp_path / name / 'iter_6.pth' for name in ('with', 'without')]
    assert watched.equal_weights(*files)


def test_resuming_does_not_notice_either(folder: Path, trained: Path, tmp_path: Path) -> None:
    run = tmp_path / 'resumed'
    watched.train(folder, run, validates=False, load_from=str(trained / 'iter_2.pth'), resume=True)
    assert watched.losses(run) == watched.losses(trained)[2:]


def test_at_most_so_many_images(folder: Path, trained: Path, tmp_path: Path) -> None:
    def validate(name: str, most: int, *images: int) -> Runner:
        val_cfg = dict(vocabulary=str(folder / 'names.pth'), type='RegionClassificationLoop')
        val = watched.loader(watched.annotated(folder, **(dict(indices=images) if images else {})))
        return watched.train(
            folder,
            tmp_path / name,
            val_cfg=val_cfg | dict(max_images=most),
            val_dataloader=val,
            train_cfg=dict(type='ResumableIterTrainLoop', max_iters=2, val_interval=2),
        )

    assert len(validate('a', 3).val_dataloader.dataset) == 3
    # the first, the middle, the last
    assert len(validate('b', 9, 0, 3, 6).val_dataloader.dataset) == 3
    validate('c', 7)
    chosen, by_hand, all_of_them = (
        {key: value for key, value in accuracies(tmp_path / name)[0].items() if 'regions' in key}
        for name in 'abc'
    )
    assert chosen == by_hand != all_of_them
    (log,) = (tmp_path / 'a').glob('*/*.log')
    assert 'RegionClassificationLoop: only 3 of 7 images are evaluated' in log.read_text()
    assert all_of_them.items() <= accuracies(trained)[0].items()


def test_generators_are_put_back() -> None:
    for generators in (torch.rand, np.random.rand, lambda n: random.random()):
        with untouched_generators():
            expected = generators(1)
        with untouched_generators():
            generators(3)
        assert generators(1) == expected


class TestRefusals:
    HOOKS = (dict(type='VocabularyCheckHook'),)

    def refuse(self, folder: Path, tmp_path: Path, vocabulary: Any, error: type, text: str) -> None:
        val_cfg = dict(type='RegionClassificationLoop', vocabulary=vocabulary)
        with pytest.raises(error, match=text):
            watched.train(folder, tmp_path / 'run', val_cfg=val_cfg, hooks=self.HOOKS)
        assert not list((tmp_path / 'run').glob('*.pth'))
        assert not (tmp_path / 'run' / 'losses_0.jsonl').exists()

    def test_a_missing_vocabulary(self, folder: Path, tmp_path: Path) -> None:
        path = 'v/ov_coco_65_rn50.pth'
        text = 'embed_names.py ov_coco_65 --arch RN50 -o v/ov_coco_65_rn50.pth'
        self.refuse(folder, tmp_path, path, FileNotFoundError, text)

    def test_names_in_another_order(self, folder: Path, tmp_path: Path) -> None:
        swapped = (CLASSES[1], CLASSES[0], *CLASSES[2:])
        tiny_models.vocabulary(swapped).save(tmp_path / 'swapped.pth')
        text = 'evaluation dataset .* differ at position 0.*the same in another order'
        self.refuse(folder, tmp_path, str(tmp_path / 'swapped.pth'), ValueError, text)

    def test_another_text_space(self, folder: Path, tmp_path: Path) -> None:
        tiny_models.vocabulary(CLASSES, dim=16).save(tmp_path / 'wide.pth')
        self.refuse(folder, tmp_path, str(tmp_path / 'wide.pth'), ValueError, 'of width 16')

    def test_a_limit_of_a_loader_that_is_built(self) -> None:
        loader = torch.utils.data.DataLoader([0])
        with pytest.raises(ValueError, match='given as a config'):
            RegionClassificationLoop(None, loader, {}, 'v.pth', max_images=3)

    def test_another_model(self, tmp_path: Path) -> None:
        model = MODELS.build(
            tiny_models.detector_config(data_preprocessor=tiny_runner.PREPROCESSOR)
        )
        runner = tiny_runner.make_runner(model, tmp_path)
        with pytest.raises(TypeError, match="is a OpenVocabularyRCNN: use .*type='ValLoop'"):
            RegionClassificationLoop(runner, runner.val_dataloader, runner.val_evaluator, 'v.pth')


def work(rank: int) -> dict:
    """One of two processes."""
    os.environ['LOCAL_RANK'] = str(rank)
    folder = Path(os.environ['FOLDER'])
    runner = watched.train(
        folder,
        folder / 'two',
        launcher='pytorch',
        load_from=str(folder / 'trained' / 'iter_6.pth'),
        train_cfg=dict(type='ResumableIterTrainLoop', max_iters=1, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
    )
    shares = runner.message_hub.log_scalars
    return {key: shares[key].current() for key in shares if key.startswith('val/regions/')}


@pytest.mark.slow
def test_two_processes_find_the_same(folder: Path, trained: Path) -> None:
    with mock.patch.dict(os.environ, FOLDER=str(folder)):
        ranks = gloo_ranks.run_ranks(__file__, 2, folder)
    assert ranks[0] == ranks[1] and len(ranks[0]) == 9
    alone = accuracies(trained)[-1]
    for key, value in ranks[0].items():
        assert value == pytest.approx(alone[key.removeprefix('val/')], abs=1e-6), key


if __name__ == '__main__':
    gloo_ranks.main(work)
