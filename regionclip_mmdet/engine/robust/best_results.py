# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Names of an evaluation's results, and ``save_best`` that knows them before the first one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mmdet.evaluation.evaluator import MultiDatasetsEvaluator
from mmengine.evaluator import BaseMetric, DumpResults, Evaluator
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner


def metrics_with_datasets(evaluator: Evaluator, dataset: Any) -> list[tuple[BaseMetric, Any]]:
    """Each metric and the dataset that it evaluates.

    Args:
        evaluator: A ``MultiDatasetsEvaluator`` has a metric for each part of a ``ConcatDataset``.
        dataset: The loop's dataset.

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


class BestResults(CheckpointHook):
    """mmengine's hook, whose ``save_best`` knows the results of our metrics: more is better.

    A name that they do not have is refused at the start; where a metric does not tell its names
    before, at the first validation.
    """

    # Parts of the names of our results; mmengine has no rule for them.
    _default_greater_keys: ClassVar[list[str]] = [
        *CheckpointHook._default_greater_keys,
        *('bbox_', 'segm_', '_ap', '/ap', 'R50@'),
    ]

    def before_train(self, runner: Runner) -> None:
        """Compare ``save_best`` with what validation will find, as far as that is known.

        Raises:
            ValueError: There is no such result; says which there are.
        """
        super().before_train(runner)
        loop = runner.val_loop if self.save_best else None
        if loop is not None:
            names = result_names(loop.evaluator, loop.dataloader.dataset)
            if names is not None:
                self._require(names)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if self.save_best:
            self._require(list(metrics))
        super()._save_best_checkpoint(runner, metrics)

    def _require(self, names: Sequence[str]) -> None:
        unknown = [name for name in self.save_best if name not in ('auto', *names)]
        if unknown or not names:
            raise ValueError(
                f'save_best={unknown or self.save_best}: validation has no such result; its '
                f'results are {list(names)}.'
            )
