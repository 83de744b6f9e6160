# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Test-time augmentation: the same regions in several views of an image, classified once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.config import ConfigDict
from mmengine.model import BaseTTAModel
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...contracts import Vocabulary
from ..encoded_image import complete_image_metas
from ..localizers import get_proposals
from ..post_processing import (
    add_label_names,
    detect_until_final,
    first_chunk,
    fuse_objectness,
    objectness_weight,
    select_detections,
)
from .open_vocabulary_rcnn import OpenVocabularyRCNN
from .views import agreed_proposals, from_view, joined_proposals, to_view, turn_back


@MODELS.register_module()
class RegionTTAModel(BaseTTAModel):
    """Flipped and resized views of an image, merged before anything is selected.

    mmdet's ``DetTTAModel`` detects in each view by itself and runs NMS on what was found: soft-NMS
    has lowered those scores already, lists of every pair of region and name come twice, and
    proposals are expected to be the network's own. Here all views are about the same regions:
    those that came with the data, or the localizer's of all views. Class probabilities and boxes
    are averaged over the views and go once through the model's own fusion, NMS and top-k; mask
    probabilities of the detections are averaged, too.

    Args:
        module: An ``OpenVocabularyRCNN`` or its config.
        tta_cfg: Settings in place of the model's ``test_cfg.rcnn``, as mmdet's configs give them:
            ``nms``, ``max_per_img``, ``score_thr``.
        data_preprocessor: As in mmengine.

    Raises:
        TypeError: Another model.
    """

    def __init__(
        self,
        module: nn.Module | dict,
        tta_cfg: Mapping[str, Any] | None = None,
        data_preprocessor: nn.Module | dict | None = None,
    ) -> None:
        super().__init__(module, data_preprocessor)
        if not isinstance(self.module, OpenVocabularyRCNN):
            raise TypeError(
                f'RegionTTAModel merges views of an OpenVocabularyRCNN, not of a '
                f"{type(self.module).__name__}: that one needs tta_model=dict(type='DetTTAModel')."
            )
        self.tta_cfg = ConfigDict(tta_cfg or {})

    def test_step(self, data: Mapping[str, Sequence]) -> list[DetDataSample]:
        """Detections of a batch.

        Args:
            data: Of ``TestTimeAug``: ``inputs`` and ``data_samples``, each a list of views, each
                of which is a list of ``B``.

        Returns:
            Per image the sample of its first view that is not flipped, else its first, with
            ``pred_instances`` in pixels of the original image.

        Raises:
            ValueError: Metas are missing, or given proposals were not moved with their view.
        """
        model = self.module
        model.ensure_weights()
        maps, samples, proposals = [], [], []
        for inputs, view_samples in zip(data['inputs'], data['data_samples'], strict=True):
            batch = dict(inputs=inputs, data_samples=view_samples)
            batch = model.data_preprocessor(batch, False)
            complete_image_metas(batch['data_samples'])
            maps.append(model.extract_feat(batch['inputs']))
            samples.append(batch['data_samples'])
            proposals.append(get_proposals(model.localizer, batch['inputs'], samples[-1]))
        vocabularies = model.vocabularies_of(samples[0])
        return [
            self._merge(
                [[level[i : i + 1] for level in view] for view in maps],
                [view[i] for view in samples],
                [view[i] for view in proposals],
                vocabularies[i],
            )
            for i in range(len(samples[0]))
        ]

    def merge_preds(self, data_samples_list: list[list[DetDataSample]]) -> list[DetDataSample]:
        """Not of use here: predictions of single views are not made."""
        raise NotImplementedError('RegionTTAModel merges views before it predicts: test_step.')

    def _merge(
        self,
        maps: list[list[Tensor]],
        samples: list[DetDataSample],
        proposals: list[InstanceData],
        vocabulary: Vocabulary | None,
    ) -> DetDataSample:
        """Detections of one image; all arguments but the last per view."""
        metas = [_flip_known(sample.metainfo) for sample in samples]
        # of equal views it is the first whose sample is handed on
        order = sorted(range(len(metas)), key=lambda i: bool(metas[i]['flip']))
        maps, samples, proposals, metas = (
            [values[i] for i in order] for values in (maps, samples, proposals, metas)
        )
        regions = self._regions(samples, proposals, metas)
        head = self.module.roi_head
        cfg = ConfigDict({**head.test_cfg, **self.tta_cfg})
        fusion = cfg.get('objectness', 'none')
        logits = regions.get('objectness_logits')
        weight = objectness_weight(logits, fusion)

        def score_regions(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            boxes, probs = self._score(regions.bboxes[rows], maps, metas, cfg, vocabulary)
            return boxes, fuse_objectness(probs, _rows(logits, rows), fusion), probs

        if chunk := first_chunk(cfg):
            extent = max(metas[0]['ori_shape'][:2])
            results, (_, _, probs) = detect_until_final(score_regions, weight, extent, cfg, chunk)
        else:
            everything = torch.arange(len(regions), device=regions.bboxes.device)
            boxes, scores, probs = score_regions(everything)
            results = select_detections(boxes, scores, cfg)
        results = head.bbox_head.finish_detections(results, probs, metas[0], cfg, rescale=False)
        if head.with_mask:
            results = self._add_masks(results, maps, metas, cfg)
        named_by = head.bbox_head.active_classifier if vocabulary is None else vocabulary
        samples[0].pred_instances = add_label_names(results, named_by.names)
        return samples[0]

    def _regions(
        self, samples: list[DetDataSample], proposals: list[InstanceData], metas: list[dict]
    ) -> InstanceData:
        """The regions of all views, in pixels of the original image."""
        if 'proposals' in samples[0]:
            return agreed_proposals(proposals, metas)
        cfg = getattr(self.module.localizer, 'test_cfg', None) or {}
        threshold = cfg.get('nms', {}).get('iou_threshold', 0.7)
        regions = joined_proposals(proposals, metas, threshold, cfg.get('max_per_img', -1))
        if (self.module.test_cfg or {}).get('keep_proposals', False):
            samples[0].proposals = regions.clone()
            samples[0].proposals.bboxes = to_view(regions.bboxes, metas[0])
        return regions

    def _score(
        self,
        boxes: Tensor,
        maps: list[list[Tensor]],
        metas: list[dict],
        cfg: ConfigDict,
        vocabulary: Vocabulary | None,
    ) -> tuple[Tensor, Tensor]:
        """Mean boxes ``(N, 4)`` and class probabilities ``(N, K)`` of regions over the views."""
        head = self.module.roi_head
        unfused = ConfigDict({**cfg, 'objectness': 'none'})
        found_boxes, found_probs = [], []
        for view, meta in zip(maps, metas, strict=True):
            rois = bbox2roi([to_view(boxes, meta)])
            logits, deltas = head.bbox_head(head.region_encoder(view, rois), vocabulary)
            in_view, _, probs = head.bbox_head.score_regions(
                rois, logits, deltas, meta, unfused, None
            )
            found_boxes.append(from_view(in_view, meta))
            found_probs.append(probs)
        return torch.stack(found_boxes).mean(0), torch.stack(found_probs).mean(0)

    def _add_masks(
        self,
        results: InstanceData,
        maps: list[list[Tensor]],
        metas: list[dict],
        cfg: ConfigDict,
    ) -> InstanceData:
        """Masks of the mean probabilities of all views, in the original image."""
        head = self.module.roi_head
        logits = torch.zeros(0, 1, 1, 1, device=results.bboxes.device)
        if len(results):
            probs = [
                turn_back(
                    head._mask_forward(view, bbox2roi([to_view(results.bboxes, meta)]))[
                        'mask_preds'
                    ].sigmoid(),
                    meta,
                )
                for view, meta in zip(maps, metas, strict=True)
            ]
            logits = torch.stack(probs).mean(0).logit()
        original = {**metas[0], 'scale_factor': (1.0, 1.0)}
        (results,) = head.mask_head.predict_by_feat(
            [logits], [results], [original], cfg, rescale=True
        )
        return results


def _flip_known(meta: dict) -> dict:
    if 'flip' not in meta:
        raise ValueError(
            f'A view of {meta.get("img_path", "an image")} does not say whether it is flipped: add '
            "'flip' and 'flip_direction' to meta_keys of PackDetInputs in tta_pipeline, and "
            "dict(type='RandomFlip', prob=0.0) where nothing flips."
        )
    return meta


def _rows(values: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if values is None else values[rows]
