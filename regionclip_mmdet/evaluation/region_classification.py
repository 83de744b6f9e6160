# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""How well annotated boxes are classified: accuracy and average precision, by group of classes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from mmdet.registry import METRICS
from mmengine.logging import print_log

from .precision import class_groups
from .tested_images import ComparesImages, ImageIdentity

_SETTINGS = (
    "test_cfg.rcnn=dict(score_thr=0.0, nms=dict(type='nms', iou_threshold=1.0), max_per_img=-1, "
    "objectness='none')"
)


@METRICS.register_module()
class RegionClassificationMetric(ComparesImages):
    """Accuracy and AP of classifying ground-truth boxes: recognition without localization.

    For a detector whose proposals are the annotated boxes (``ProposalsFromGT``) and which outputs
    every (box, class) pair: no threshold, no NMS, no limit, no box regression.

    Results, with the prefix 'regions/': ``top1``, ``top5`` (share of boxes whose class scores best,
    or among the five best, of all classes; background does not count as one) and ``ap``: each
    class ranks all boxes by its score, AP is the mean of the precision at its own boxes, averaged
    over classes with boxes. Then the same of each group of classes, ``base_top1``, ``novel_ap`` and
    so on (with base and novel classes in the metainfo), ``rare_top1``, ``common_...``,
    ``frequent_...`` (of LVIS). All classes compete in every group. -1 without boxes.

    This AP ranks boxes and knows no duplicates; the zero-shot AP50 on annotated boxes that is
    published for RegionCLIP is ``OVCocoAPMetric`` with the official threshold and NMS. Boxes are
    those of the samples: mmdet loads none with ``"ignore": 1``, and crowds do not count.

    Args:
        average_precision: False leaves AP out. It keeps all scores: boxes x classes x 4 bytes,
            1.2 GB for the validation set of LVIS.
        **kwargs: ``collect_device`` and ``prefix`` as in mmengine.
    """

    default_prefix: ClassVar[str | None] = 'regions'
    TOPS = (1, 5)

    def __init__(self, average_precision: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.average_precision = average_precision

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep, of every annotated box, its label, the rank of its class and all scores.

        Raises:
            KeyError: Predictions do not say which region they belong to, or boxes were not loaded.
        """
        # MultiDatasetsEvaluator hands over a list until it has all results; names are the model's
        metas = self.dataset_meta if isinstance(self.dataset_meta, list) else [self.dataset_meta]
        classes = len(metas[0]['classes'])
        for sample in data_samples:
            found, truth = sample['pred_instances'], sample.get('gt_instances', {})
            if 'region_inds' not in found or 'labels' not in truth:
                raise KeyError(
                    'RegionClassificationMetric needs pred_instances.region_inds (of '
                    'OpenVocabRoIHead) and gt_instances (LoadAnnotations and ProposalsFromGT in '
                    f'the pipeline); {sample.get("img_path", "a sample")} lacks them.'
                )
            labels = truth['labels'].cpu().numpy()
            regions, found_labels = (found[k].cpu().numpy() for k in ('region_inds', 'labels'))
            if len(regions) and regions.max() >= len(labels):
                raise ValueError(
                    f'RegionClassificationMetric: {sample.get("img_path", "a sample")} has '
                    f'{len(labels)} annotated boxes, but there is a region {regions.max()}. The '
                    'proposals must be the annotated boxes: use ProposalsFromGT.'
                )
            scores = np.full((len(labels), classes), -np.inf, dtype=np.float32)
            scores[regions, found_labels] = found['scores'].float().cpu().numpy()
            own = scores[np.arange(len(labels)), labels][:, None]
            # of equal scores the lower label comes first
            before = (scores == own) & (np.arange(classes) < labels[:, None])
            ranks = ((scores > own) | before).sum(axis=1)
            ranks[np.isneginf(own[:, 0])] = max(classes, *self.TOPS)  # never a hit
            wanted = min(max(self.TOPS), classes)
            incomplete = int((np.isfinite(scores).sum(axis=1) < wanted).sum())
            kept = scores if self.average_precision else None
            image = ImageIdentity.of_sample(sample)
            self.results.append((labels, ranks, kept, incomplete, image))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the results over all boxes seen.

        Raises:
            ValueError: No image was tested, or one twice.
        """
        self.compare_images([result[4] for result in results])
        labels, ranks = (np.concatenate([r[k] for r in results]) for k in (0, 1))
        incomplete = sum(result[3] for result in results)
        if incomplete:
            print_log(
                f'RegionClassificationMetric: {incomplete} of {len(labels)} boxes have fewer than '
                f'{max(self.TOPS)} scored classes; what is missing counts as wrong. If this is not '
                f'rounding of scores to 0, use {_SETTINGS}.',
                logger='current',
                level=logging.WARNING,
            )
        precision = self._average_precision(labels, results) if self.average_precision else None
        metrics: dict[str, float] = {}
        for name, members in _groups(self.dataset_meta).items():
            chosen = ranks[np.isin(labels, members)]
            for top in self.TOPS:
                share = float((chosen < top).mean()) if len(chosen) else -1.0
                metrics[f'{name}top{top}'] = share
            if precision is not None:
                valid = precision[members][precision[members] >= 0]
                metrics[f'{name}ap'] = float(valid.mean()) if len(valid) else -1.0
        return metrics

    def result_keys(self, meta: Mapping[str, Any]) -> list[str]:
        """Names of the results, without prefix, of a dataset with this metainfo."""
        kinds = [f'top{top}' for top in self.TOPS] + ['ap'] * self.average_precision
        return [f'{group}{kind}' for group in _groups(meta) for kind in kinds]

    def _average_precision(self, labels: np.ndarray, results: list) -> np.ndarray:
        """AP of each class; -1 without boxes."""
        precision = np.full(len(self.dataset_meta['classes']), -1.0)
        scores = np.concatenate([result[2] for result in results])
        for label in np.unique(labels):
            column = scores[:, label]
            order = np.argsort(-column, kind='stable')
            hits = (labels == label)[order]
            at = np.flatnonzero(hits)
            found = np.isfinite(column[order[at]])  # boxes that were not scored are not found
            precision[label] = (np.arange(1, len(at) + 1) / (at + 1) * found).mean()
        return precision


def _groups(meta: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Labels of each group; keys are the results' prefixes."""
    groups = {'': np.arange(len(meta['classes']))}
    return {**groups, **{f'{name}_': labels for name, labels in class_groups(meta).items()}}
