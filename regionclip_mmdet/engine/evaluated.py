# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What an evaluation consists of: which metric sees which dataset, and the names of results."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mmdet.evaluation.evaluator import MultiDatasetsEvaluator
from mmengine.evaluator import BaseMetric, DumpResults, Evaluator
from mmengine.logging import print_log

from ..evaluation.tested_images import ComparesImages, ImageIdentity, check_tested


def metrics_with_datasets(evaluator: Evaluator, dataset: Any) -> list[tuple[BaseMetric, Any]]:
    """Each metric and the dataset that it evaluates.

    Args:
        evaluator: A ``MultiDatasetsEvaluator`` has a metric for each part of a ``ConcatDataset``.
        dataset: Of the loop.

    Raises:
        ValueError: Metrics and datasets do not fit, which mmdet says after the last image.
    """
    if isinstance(evaluator, MultiDatasetsEvaluator):
        parts = getattr(dataset, 'datasets', ())
        counts = (len(parts), len(evaluator.metrics), len(evaluator.dataset_prefixes))
        if not parts or len(set(counts)) > 1:
            raise ValueError(
                'MultiDatasetsEvaluator needs a ConcatDataset, and as many metrics and '
                f'dataset_prefixes as it has datasets, but there are {counts[0]} datasets, '
                f'{counts[1]} metrics, {counts[2]} dataset_prefixes.'
            )
        return list(zip(evaluator.metrics, parts, strict=True))
    if not isinstance(getattr(dataset, 'metainfo', {}), Mapping):
        raise ValueError(
            'The datasets that are put together have different metainfo: they need a metric each, '
            "test_evaluator=dict(type='MultiDatasetsEvaluator', metrics=[...], "
            'dataset_prefixes=[...]).'
        )
    return [(metric, dataset) for metric in evaluator.metrics]


def result_names(evaluator: Evaluator, dataset: Any) -> list[str] | None:
    """Names of all results, prefixes included; None if a metric does not tell its own before."""
    prefixes = getattr(evaluator, 'dataset_prefixes', None)
    names: list[str] = []
    for place, (metric, part) in enumerate(metrics_with_datasets(evaluator, dataset)):
        if isinstance(metric, DumpResults):
            continue
        if not hasattr(metric, 'result_keys'):
            return None
        heads = [prefixes[place]] if prefixes else []
        heads += [metric.prefix] if metric.prefix else []
        names += ['/'.join((*heads, key)) for key in metric.result_keys(part.metainfo)]
    return names


def compare_images(metric: BaseMetric, dataset: Any) -> None:
    """Compare the images that will be tested with those of a metric's annotation file.

    Stock metrics count the objects of all images of their file, so of a part they are warned of.

    Raises:
        ValueError: They are others, or an id comes twice.
    """
    if not hasattr(dataset, 'get_data_info'):
        return
    api = getattr(metric, '_coco_api', None) or getattr(metric, '_lvis_api', None)
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
            'missed. Number them anew, or use our metrics (docs/data.md), which do that.',
            logger='current',
            level=logging.WARNING,
        )
