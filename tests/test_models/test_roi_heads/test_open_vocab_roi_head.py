# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Detection RoI head: mmdet's assigning and losses on region embeddings."""

from __future__ import annotations

import pytest
import tiny_models
import torch
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi, bbox_overlaps
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from regionclip_mmdet.models.roi_heads import OpenVocabRoIHead

SIZES = ((64, 80), (64, 80))


def head(**settings: object) -> OpenVocabRoIHead:
    config = tiny_models.detector_config(**settings)
    roi_head = dict(config.roi_head, train_cfg=config.train_cfg.rcnn, test_cfg=config.test_cfg.rcnn)
    return tiny_models.fill(MODELS.build(ConfigDict(roi_head)))


def c4_map() -> tuple[Tensor]:
    return (torch.rand(2, 256, 4, 5, generator=torch.Generator().manual_seed(0)),)


def proposals() -> list[InstanceData]:
    boxes = [
        torch.tensor([[5.0, 5, 41, 35], [50.0, 40, 79, 63]]),
        torch.tensor([[0.0, 0, 10, 10], [19.0, 9, 61, 52], [40.0, 0, 80, 20]]),
    ]
    return [InstanceData(bboxes=b, objectness_logits=torch.arange(len(b)) + 0.5) for b in boxes]


def test_forward_of_regions() -> None:
    model = head()
    rois = bbox2roi([p.bboxes for p in proposals()])
    results = model._bbox_forward(c4_map(), rois)
    assert results['cls_score'].shape == (5, 4) and results['bbox_pred'].shape == (5, 4)
    embeddings = model.region_encoder(c4_map(), rois)
    torch.testing.assert_close(results['bbox_feats'], embeddings)
    torch.testing.assert_close(results['cls_score'], model.bbox_head(embeddings)[0])
    assert not model.with_mask and model.with_bbox


def test_losses_from_annotated_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ground truth joins the proposals; regions with IoU from 0.5 on take its label."""
    model = head()
    seen: dict = {}
    loss = model.bbox_head.loss

    def spy(cls_score: Tensor, bbox_pred: Tensor, rois: Tensor, labels: Tensor, *rest, **kw):
        seen.update(rois=rois, labels=labels)
        return loss(cls_score, bbox_pred, rois, labels, *rest, **kw)

    monkeypatch.setattr(model.bbox_head, 'loss', spy)
    samples = tiny_models.samples(*SIZES)
    losses = model.loss(c4_map(), proposals(), samples)
    assert set(losses) == {'loss_cls', 'loss_bbox', 'acc'}
    assert len(seen['rois']) == 2 + 3 + 4  # every proposal and every ground-truth box
    for roi, label in zip(seen['rois'], seen['labels'].tolist(), strict=True):
        overlaps = bbox_overlaps(roi[None, 1:], samples[int(roi[0])].gt_instances.bboxes)[0]
        expected = (0, 2)[int(overlaps.argmax())] if overlaps.max() >= 0.5 else 3
        assert label == expected
    assert sorted(seen['labels'].tolist()) == [0, 0, 0, 2, 2, 2, 3, 3, 3]
    (losses['loss_cls'] + losses['loss_bbox']).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad.abs().sum() > 0, name


def test_an_image_without_objects() -> None:
    samples = tiny_models.samples(*SIZES)
    for sample in samples:
        sample.gt_instances = sample.gt_instances[:0]
    losses = head().loss(c4_map(), proposals(), samples)
    assert float(losses['loss_bbox'].detach()) == 0 and float(losses['loss_cls'].detach()) > 0


@torch.no_grad()
@pytest.mark.parametrize('with_reg', [True, False])
def test_images_of_a_batch_do_not_mix(with_reg: bool) -> None:
    model = head(bbox_head=dict(with_reg=with_reg), rcnn=dict(objectness='sigmoid')).eval()
    samples = tiny_models.samples(*SIZES)
    together = model.predict(c4_map(), proposals(), samples)
    assert len(together) == 2
    for i in range(2):
        alone = model.predict((c4_map()[0][i : i + 1],), proposals()[i : i + 1], samples[i : i + 1])
        assert len(together[i]) > 1
        torch.testing.assert_close(together[i].bboxes, alone[0].bboxes, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(together[i].scores, alone[0].scores, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_an_image_without_proposals() -> None:
    found = proposals()
    found[0] = found[0][:0]
    results = head().eval().predict(c4_map(), found, tiny_models.samples(*SIZES), rescale=True)
    assert len(results[0]) == 0 and len(results[1]) > 0


def test_raw_outputs() -> None:
    cls_score, bbox_pred = head().forward(c4_map(), proposals(), tiny_models.samples(*SIZES))
    assert cls_score.shape == (5, 4) and bbox_pred.shape == (5, 4)
