# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Proposals of a data sample: loaded, moved with their image, and packed."""

from __future__ import annotations

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import LoadProposals, PackDetInputs, ProposalBroadcaster
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import BaseBoxes

from ..proposal_file import check_places


@TRANSFORMS.register_module()
class ProposalsFromGT(BaseTransform):
    """Use the ground-truth boxes as proposals; crowd and ignored boxes are left out.

    mmdet's Resize and RandomFlip move ``gt_bboxes`` but not ``proposals``. So place this after
    them, with the annotations loaded before them::

        LoadImageFromFile, LoadAnnotations, Resize, RandomFlip, ProposalsFromGT, PackDetInputs

    or wrap the transforms that follow it into mmdet's ``ProposalBroadcaster``. mmdet's stock
    *test* pipelines load annotations after Resize, which leaves boxes in the original image's
    pixels: such boxes would be misplaced proposals.

    Added keys: ``proposals`` (float32 ``(N, 4)``, x1 y1 x2 y2) and ``proposals_scores``
    (float32 ``(N,)``). Packed, they are ``data_sample.proposals.bboxes`` and ``.scores``.

    Args:
        score: Objectness given to every box.
        max_num: Only the first so many boxes of an image, crowd not counted (500 in the official
            code); None: all.
    """

    def __init__(self, score: float = 1.0, max_num: int | None = None) -> None:
        self.max_num = max_num
        self.score = score

    def transform(self, results: dict) -> dict:
        """Add ``proposals`` and ``proposals_scores`` to ``results``."""
        if 'gt_bboxes' not in results:
            raise KeyError(
                'ProposalsFromGT needs gt_bboxes: put LoadAnnotations(with_bbox=True) before it.'
            )
        boxes = results['gt_bboxes']
        if isinstance(boxes, BaseBoxes):
            boxes = boxes.convert_to('hbox').numpy()
        boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)  # a copy: gt must not alias it
        ignored = results.get('gt_ignore_flags')
        if ignored is not None:
            boxes = boxes[~np.asarray(ignored, dtype=bool)]
        boxes = boxes[: self.max_num]
        results['proposals'] = boxes
        results['proposals_scores'] = np.full(len(boxes), self.score, dtype=np.float32)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(score={self.score}, max_num={self.max_num})'


@TRANSFORMS.register_module()
class MoveProposals(ProposalBroadcaster):
    """mmdet's ``ProposalBroadcaster``, which does not transform images twice without need.

    mmdet's transforms move ``gt_bboxes``, not ``proposals``. Its wrapper copies the sample, image
    included, and applies the transforms to both; samples without annotated boxes, as those of
    pretraining are, need no copy. The results are the same.

    Args:
        transforms: As in mmdet.
    """

    def transform(self, results: dict) -> dict:
        """Apply the transforms to image and ``proposals`` ``(N, 4)``.

        Raises:
            KeyError: There are no proposals.
        """
        if results.get('proposals') is None:
            raise KeyError(
                f'MoveProposals: {results.get("img_path", "this sample")} has no proposals. Put it '
                'after LoadRegionProposals.'
            )
        if 'gt_bboxes' in results:
            return super().transform(results)
        results['gt_bboxes'] = results.pop('proposals')
        results = self.transforms(results)
        if results is not None:
            results['proposals'] = results.pop('gt_bboxes')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(transforms={self.transforms})'


LOGITS_KEY = 'proposals_objectness_logits'
TEACHER_KEY = 'proposals_teacher_embeddings'
# the largest float32 below 1: a score that rounding has pushed to 1 would have an infinite logit
_BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))


@TRANSFORMS.register_module()
class LoadRegionProposals(LoadProposals):
    """mmdet's ``LoadProposals``, and the raw objectness logits that score fusion needs.

    mmdet's transform drops ``objectness_logits`` and takes the *first* boxes of a file; this one
    keeps the logits, takes the *best* boxes, and refuses boxes outside the loaded image. Boxes are
    in the original image's pixels, and mmdet's Resize and RandomFlip do not move proposals: wrap
    them, and end with ``PackRegionInputs``, which hands the logits on::

        LoadImageFromFile, LoadRegionProposals, [LoadAnnotations,]
        MoveProposals(transforms=[Resize, RandomFlip]), PackRegionInputs

    The dataset's ``proposal_file`` and its format are described in ``ProposalFile``.

    Datasets in shards hand over ``normalized_bboxes``, fractions of the image, and perhaps a
    teacher's embeddings of the boxes (``StoredProposals``).

    Added or changed keys: ``proposals`` (float32 ``(N, 4)``, x1 y1 x2 y2), ``proposals_scores``
    (float32 ``(N,)``, zero if the file has none) and, where known, ``proposals_objectness_logits``
    (float32 ``(N,)``) and ``proposals_teacher_embeddings`` ``(N, D)``. They are in
    descending order of objectness if ``num_max_proposals`` cuts.

    Args:
        num_max_proposals: Keep so many of highest logit (else score); None keeps all.
        logits_from_scores: Compute missing logits from the scores, which then must be
            probabilities (as mmdet's ``DumpProposals`` writes them for an RPN). Above about 17 the
            logit is lost: the score is 1 in float32.
    """

    def __init__(
        self, num_max_proposals: int | None = None, logits_from_scores: bool = False
    ) -> None:
        super().__init__(num_max_proposals=None)  # ours cuts after sorting
        self.max_num = num_max_proposals
        self.logits_from_scores = logits_from_scores

    def transform(self, results: dict) -> dict:
        """Replace ``proposals`` by arrays and add scores and logits."""
        given = results.get('proposals')
        if given is None:
            raise KeyError(
                f'LoadRegionProposals: {results.get("img_path", "this sample")} has no proposals. '
                'Give the dataset a proposal_file, or proposals if it is in shards.'
            )
        if 'normalized_bboxes' in given:
            given = results['proposals'] = dict(given, bboxes=self._pixels(given, results))
        logits = given.get('objectness_logits')
        embeddings = given.get('teacher_embeddings')
        results = super().transform(results)
        boxes, scores = results['proposals'], results['proposals_scores']
        if 'ori_shape' in results:  # the true size: annotation files may not tell it
            where = f'LoadRegionProposals: proposals of {results.get("img_path", "this sample")}'
            check_places(boxes, (results['ori_shape'][1], results['ori_shape'][0]), where)
        if logits is not None:
            logits = np.asarray(logits, dtype=np.float32).reshape(-1)
        elif self.logits_from_scores:
            logits = self._logits(scores, 'scores' in given, results)
        if self.max_num is not None and len(boxes) > self.max_num:
            best = np.argsort(-(scores if logits is None else logits), kind='stable')
            best = best[: self.max_num]
            boxes, scores = boxes[best], scores[best]
            logits = None if logits is None else logits[best]
            embeddings = None if embeddings is None else embeddings[best]
        results['proposals'], results['proposals_scores'] = boxes, scores
        if logits is not None:
            results[LOGITS_KEY] = logits
        if embeddings is not None:
            results[TEACHER_KEY] = embeddings
        return results

    @staticmethod
    def _pixels(given: dict, results: dict) -> np.ndarray:
        if 'img_shape' not in results:
            raise KeyError(
                f'LoadRegionProposals: the proposals of {results.get("img_path", "this sample")} '
                'are fractions of the image, which is not loaded yet. Put it after '
                'LoadImageChecked.'
            )
        height, width = results['img_shape'][:2]
        return given['normalized_bboxes'] * np.array([width, height] * 2, dtype=np.float32)

    @staticmethod
    def _logits(scores: np.ndarray, known: bool, results: dict) -> np.ndarray:
        if not known or (len(scores) and not (0 <= scores.min() and scores.max() <= 1)):
            raise ValueError(
                f'LoadRegionProposals(logits_from_scores=True): the proposals of '
                f'{results.get("img_path", "this sample")} have '
                + ('scores outside [0, 1].' if known else 'no scores.')
                + ' Logits can be computed from probabilities alone.'
            )
        p = np.clip(scores.astype(np.float64), 1 - _BELOW_ONE, _BELOW_ONE)
        return np.log(p / (1 - p)).astype(np.float32)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(num_max_proposals={self.max_num}, '
            f'logits_from_scores={self.logits_from_scores})'
        )


@TRANSFORMS.register_module()
class PackRegionInputs(PackDetInputs):
    """mmdet's ``PackDetInputs``, and what else is known of ``data_sample.proposals``.

    ``proposals_objectness_logits`` become ``objectness_logits``, ``proposals_teacher_embeddings``
    become ``teacher_embeddings``, where a transform has left them; otherwise it does what mmdet's
    does.

    Args:
        meta_keys: As in mmdet.
    """

    def transform(self, results: dict) -> dict:
        """Pack image and data sample."""
        packed = super().transform(results)
        sample = packed['data_samples']
        for key, name, words in (
            (LOGITS_KEY, 'objectness_logits', 'objectness logits'),
            (TEACHER_KEY, 'teacher_embeddings', 'embeddings of the teacher'),
        ):
            if key not in results:
                continue
            if len(results[key]) != len(sample.proposals):
                raise ValueError(
                    f'PackRegionInputs: {results.get("img_path", "this sample")} has '
                    f'{len(sample.proposals)} proposals but {len(results[key])} {words}. '
                    'Transforms that drop boxes (crops) cannot follow LoadRegionProposals.'
                )
            sample.proposals.set_field(torch.from_numpy(results[key]), name)
        return packed
