# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Proposals that follow their image through resizes and flips."""

from __future__ import annotations

from mmdet.datasets.transforms import ProposalBroadcaster
from mmdet.registry import TRANSFORMS


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
