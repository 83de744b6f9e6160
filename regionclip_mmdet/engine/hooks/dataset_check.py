# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Checks of a run's data before its first iteration."""

from __future__ import annotations

import logging
import os.path as osp
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from mmdet.datasets import CocoDataset, LVISV05Dataset
from mmdet.evaluation import OVCocoMetric
from mmdet.registry import HOOKS
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.runner.runner import _SlicedDataset

from ...datasets.annotation_file import read_annotation_file
from ...datasets.checks import check_classes, check_coco, check_masks, check_split, class_names
from ...datasets.named_splits import is_used, loads_masks
from ...datasets.transforms.unmoved import leaves_proposals_behind
from ...evaluation import OVCocoAPMetric
from ...evaluation.tested_images import ComparesImages, ImageIdentity, check_tested
from ..robust.best_results import metrics_with_datasets
from ..robust.once import OnceHook
from ..robust.ranks import on_main_process


@HOOKS.register_module()
class DatasetCheckHook(OnceHook):
    """Checks datasets and metrics before training, validation and testing.

    Serves stock datasets, too, and looks through mmengine's and mmdet's dataset wrappers.

    * COCO-format annotation files: see ``check_coco`` and ``check_classes``, and ``check_masks`` if
      the pipeline loads masks. The file is read once more, by the main process alone (our datasets
      have checked their own).
    * Pipelines: nothing may move an image and leave its proposals behind.
    * Images: a sample of files must exist; only local files are looked for.
    * ``OVCocoMetric`` needs ``base_classes`` and ``novel_classes``, which it would otherwise miss
      after the first validation; of ``OVCocoAPMetric`` one of them may be empty. Training checks
      the validation's data as well.
    * The images of a test or validation must be those of its metrics' annotation files: by id, and
      by name and size. A part is said to be one.

    Part of the default runtime config.

    Args:
        annotations: Whether to check annotation files.
        num_images: Number of images of each dataset, evenly spread, whose files must exist; None
            checks all, 0 none.
    """

    priority = 'VERY_HIGH'

    def __init__(self, annotations: bool = True, num_images: int | None = 100) -> None:
        self.annotations = annotations
        self.num_images = num_images
        self._checked: list[Any] = []
        self._compared: list[tuple[Any, Any]] = []

    def before_train(self, runner: Runner) -> None:
        self._check_dataset(runner.train_dataloader.dataset, 'training')
        if runner.val_loop is not None:
            self._check_evaluation(runner.val_loop, 'validation')

    def before_val(self, runner: Runner) -> None:
        self._check_evaluation(runner.val_loop, 'validation')

    def before_test(self, runner: Runner) -> None:
        self._check_evaluation(runner.test_loop, 'test')

    def _check_evaluation(self, loop: Any, what: str) -> None:
        dataset = loop.dataloader.dataset
        pairs = metrics_with_datasets(loop.evaluator, dataset)
        for metric, part in pairs:
            if isinstance(metric, OVCocoMetric):
                ours = isinstance(metric, OVCocoAPMetric)
                check_split(part.metainfo, f'The {what} dataset', may_be_empty=ours)
        self._check_dataset(dataset, what)
        for metric, part in pairs:
            if not any(metric is m and part is p for m, p in self._compared):
                on_main_process(partial(compare_images, metric, part))
                self._compared.append((metric, part))

    def _check_dataset(self, dataset: Any, what: str) -> None:
        for part in unwrap_datasets(dataset):
            if any(part is seen for seen in self._checked):
                continue
            on_main_process(partial(self._check_one, part, what))
            self._checked.append(part)

    def _check_one(self, dataset: Any, what: str) -> None:
        if isinstance(getattr(dataset, 'metainfo', None), Mapping):
            class_names(dataset.metainfo, f'The {what} dataset')
        if self.annotations and isinstance(dataset, CocoDataset):
            check_coco_dataset(dataset)
        check_proposals_move(dataset, what)
        if self.num_images != 0:
            self._look_for_images(dataset, what)

    def _look_for_images(self, dataset: Any, what: str) -> None:
        if not hasattr(dataset, 'get_data_info') or not len(dataset):
            return
        if getattr(dataset, 'images_in_files', False):  # found when they were indexed
            return
        loaders = getattr(dataset.pipeline, 'transforms', ())
        if getattr(dataset, 'backend_args', None) or any(
            getattr(loader, 'backend_args', None) for loader in loaders
        ):
            return
        number = len(dataset) if self.num_images is None else min(self.num_images, len(dataset))
        rows = np.linspace(0, len(dataset) - 1, number).astype(int)
        paths = [dataset.get_data_info(int(row)).get('img_path') for row in rows]
        paths = [path for path in paths if isinstance(path, str) and '://' not in path]
        missing = [path for path in paths if not osp.exists(path)]
        if not missing:
            return
        text = (
            f'The {what} dataset ({dataset.ann_file}): {len(missing)} of {len(paths)} images '
            f'looked for do not exist, e.g. {missing[0]}. Check data_root and data_prefix.'
        )
        if getattr(dataset, 'skip_broken', False) and len(missing) < len(paths):
            print_log(text, logger='current', level=logging.WARNING)
            return
        raise FileNotFoundError(text)


def unwrap_datasets(dataset: Any) -> Iterator[Any]:
    """The datasets inside mmengine's and mmdet's wrappers."""
    if isinstance(dataset, _SlicedDataset):  # num_batch_per_epoch of a loader
        yield from unwrap_datasets(dataset._dataset)
    elif hasattr(dataset, 'datasets'):
        for part in dataset.datasets:
            yield from unwrap_datasets(part)
    elif hasattr(dataset, 'dataset'):
        yield from unwrap_datasets(dataset.dataset)
    else:
        yield dataset


def check_proposals_move(dataset: Any, what: str) -> None:
    """Refuse a pipeline that moves the image and not its proposals.

    Raises:
        ValueError: Names the transform.
    """
    pipeline = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    left_behind = leaves_proposals_behind(pipeline)
    if left_behind is not None:
        kind = type(left_behind).__name__
        raise ValueError(
            f'The {what} dataset ({getattr(dataset, "ann_file", type(dataset).__name__)}): {kind} '
            'comes after the proposals and does not move them, so they would lie elsewhere than '
            f"the regions meant. Wrap it: dict(type='MoveProposals', transforms=[dict(type={kind!r}"
            ', ...)]); tools/test.py --tta of this package does it.'
        )


def check_coco_dataset(dataset: CocoDataset) -> None:
    """Check the annotation file of a COCO-format dataset and log what it holds.

    Our datasets did so when they were built; of theirs the file is not read again.

    Raises:
        ValueError: See ``check_coco``, ``check_classes`` and ``check_masks``.
    """
    path = dataset.ann_file
    report = getattr(dataset, 'coco_report', None)
    if report is None:
        backend_args = getattr(dataset, 'backend_args', None)
        content = read_annotation_file(path, backend_args, type(dataset).__name__)
        report = check_coco(content, path)
        if loads_masks(dataset.pipeline):
            check_masks(content, path, 'LoadAnnotations(with_mask=True)', is_used)
        if not isinstance(dataset, LVISV05Dataset):  # mmdet takes all of an LVIS file's categories
            names = [category['name'] for category in content['categories']]
            hint = (
                "Set the dataset's metainfo=dict(classes=...) to names of the file, in its order."
            )
            check_classes(names, dataset.metainfo['classes'], path, hint)
    level = logging.WARNING if report.left_out or report.ignored else logging.INFO
    print_log(f'{path}: {report}', logger='current', level=level)


def compare_images(metric: BaseMetric, dataset: Any) -> None:
    """Compare the images that will be tested with those of a metric's annotation file.

    Stock metrics count the objects of all images of their file, so of a part they are warned of.

    Raises:
        ValueError: They are others, or an id comes twice.
    """
    if not hasattr(dataset, 'get_data_info'):
        return
    api: Any = getattr(metric, '_coco_api', None) or getattr(metric, '_lvis_api', None)
    if not isinstance(metric, ComparesImages) and api is None:
        return
    infos = map(dataset.get_data_info, range(len(dataset)))
    images = [ImageIdentity.of_dataset(info) for info in infos]
    if isinstance(metric, ComparesImages):
        metric.compare_images(images)
        return
    who = type(metric).__name__
    known = {id: ImageIdentity.annotated(image) for id, image in api.imgs.items()}
    part = f'{who} misses the objects of the others; ours (docs/data.md) evaluate a part as a part.'
    check_tested(images, known, 'its ann_file', who, part)
    wrong = [id for id in api.anns if type(id) is not int or id < 1]
    if wrong:
        print_log(
            f'{who}: {len(wrong)} annotation ids are no whole numbers from 1 on, e.g. '
            f'{wrong[0]!r}, which pycocotools takes for granted: an object of id 0 counts as '
            'missed. Renumber them, or use our metrics (docs/data.md), which do that.',
            logger='current',
            level=logging.WARNING,
        )
