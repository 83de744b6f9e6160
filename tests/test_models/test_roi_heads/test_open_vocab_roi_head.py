# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Detection RoI head: mmdet's assigning and losses on region embeddings."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi, bbox_overlaps
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from helpers import tiny_models
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


def test_a_box_head_of_another_width_is_refused() -> None:
    wide = dict(embed_dim=16, vocabulary=tiny_models.vocabulary(dim=16))
    with pytest.raises(ValueError, match='embed_dim is 16, but this region encoder makes 32-dim'):
        head(bbox_head=wide)


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


def test_foreground_regions_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONLY_SAMPLE_FG_PROPOSALS of the official code, by mmdet's sampler."""
    model = head()
    sampler = dict(type='RandomSampler', num=512, pos_fraction=0.25, neg_pos_ub=0)
    model.train_cfg.sampler = sampler
    model.init_assigner_sampler()
    seen = []
    loss = model.bbox_head.loss
    monkeypatch.setattr(
        model.bbox_head, 'loss', lambda *a, **kw: seen.append(a[3].tolist()) or loss(*a, **kw)
    )
    samples = tiny_models.samples(*SIZES)
    losses = model.loss(c4_map(), proposals(), samples)
    assert sorted(seen[0]) == [0, 0, 0, 2, 2, 2]  # those of all regions, without the background
    for sample in samples:  # and none at all
        sample.gt_instances = sample.gt_instances[:0]
    some, losses = losses, model.loss(c4_map(), proposals(), samples)
    assert seen[1] == [] and losses.keys() == some.keys()
    assert all(losses[key].shape == some[key].shape for key in some)
    (losses['loss_cls'] + losses['loss_bbox']).backward()
    assert float(losses['loss_cls'].detach()) == 0


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


def many_proposals(count: int) -> list[InstanceData]:
    """Boxes all over both images; every third objectness logit is negative."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for _ in SIZES:
        corners = torch.rand(count, 2, generator=generator) * torch.tensor([60.0, 44.0])
        boxes = torch.cat([corners, corners + 20], 1)
        logits = torch.rand(count, generator=generator) * 6 - 2
        found.append(InstanceData(bboxes=boxes, objectness_logits=logits))
    return found


@torch.no_grad()
@pytest.mark.parametrize('objectness', ['logit', 'sigmoid'])
@pytest.mark.parametrize('nms', [dict(type='nms', iou_threshold=0.5), dict(type='global_soft_nms')])
def test_early_exit_changes_no_detection(objectness: str, nms: dict) -> None:
    results, counts = [], []
    for early_exit in (False, 4):
        rcnn = dict(objectness=objectness, early_exit=early_exit, max_per_img=3, nms=nms)
        model = head(rcnn=rcnn).eval()
        counted: list[int] = []
        model.region_encoder.roi_align.register_forward_hook(
            lambda module, args, output, counted=counted: counted.append(len(args[1]))
        )
        samples = tiny_models.samples(*SIZES, scale=0.5)
        results.append(model.predict(c4_map(), many_proposals(30), samples, rescale=True))
        counts.append(sum(counted))
    assert counts[0] == 60
    assert counts[1] < (45 if objectness == 'logit' else 61)
    for full, exited in zip(*results, strict=True):
        assert len(full) == 3
        assert torch.equal(full.region_inds, exited.region_inds)
        assert torch.equal(full.labels, exited.labels)
        torch.testing.assert_close(full.scores, exited.scores, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(full.bboxes, exited.bboxes, rtol=1e-5, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize('early_exit', [False, 2])
def test_scores_before_fusion_can_be_reported(early_exit: bool | int) -> None:
    reported = {}
    for which in ('fused', 'class'):
        rcnn = dict(objectness='logit', report_scores=which, early_exit=early_exit)
        model = head(rcnn=rcnn).eval()
        reported[which] = model.predict(c4_map(), many_proposals(9), tiny_models.samples(*SIZES))
    for i, given in enumerate(many_proposals(9)):
        fused, by_class = reported['fused'][i], reported['class'][i]
        assert torch.equal(fused.region_inds, by_class.region_inds) and len(fused) > 3
        logits = given.objectness_logits[fused.region_inds]
        torch.testing.assert_close(fused.scores, (by_class.scores * logits).sqrt())
    with pytest.raises(ValueError, match="report_scores must be one of .*'clas'"):
        head(rcnn=dict(report_scores='clas')).eval().predict(
            c4_map(), many_proposals(9), tiny_models.samples(*SIZES)
        )


@torch.no_grad()
def test_mixed_precision_keeps_boxes_and_scores_in_float32() -> None:
    model = head(rcnn=dict(objectness='sigmoid')).eval()
    exact = model.predict(c4_map(), proposals(), tiny_models.samples(*SIZES))
    with torch.autocast('cpu', torch.bfloat16):
        reduced = model.predict(c4_map(), proposals(), tiny_models.samples(*SIZES))
    for a, b in zip(exact, reduced, strict=True):
        assert b.bboxes.dtype == b.scores.dtype == torch.float32
        assert len(b) > 0
        assert abs(float(a.scores[0]) - float(b.scores[0])) < 0.1


@torch.no_grad()
def test_boxes_that_are_not_finite_are_dropped_and_not_clipped() -> None:
    found = proposals()
    found[0].bboxes[1, 2] = float('inf')
    found[1].bboxes[0, 0] = float('nan')
    model = head(bbox_head=dict(with_reg=False)).eval()
    rois = bbox2roi([p.bboxes for p in found])
    logits = torch.zeros(5, 4)
    results = model.bbox_head.predict_by_feat(
        rois.split([2, 3]),
        logits.split([2, 3]),
        [None, None],
        [sample.metainfo for sample in tiny_models.samples(*SIZES)],
        rcnn_test_cfg=model.test_cfg,
    )
    assert set(results[0].region_inds.tolist()) == {0}
    assert set(results[1].region_inds.tolist()) == {1, 2}
