# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Case e: the official LVIS detector with masks, from given proposals.

Built from the shipped config. Images and sampled boxes are those of case d.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import GoldenCase, max_abs, rel
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import PolygonMasks
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from test_models.test_golden_detection import HARD_NMS, assert_same_detections
from test_models.test_golden_pretraining import assert_gradients
from torch import Tensor

from regionclip_mmdet.models.detectors import OpenVocabularyRCNN
from regionclip_mmdet.models.text import TextEmbeddings

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'models'


@lru_cache(maxsize=1)
def lvis_model() -> OpenVocabularyRCNN:
    case = GoldenCase('e_transfer_lvis_mask')
    config = Config.fromfile(CONFIGS / 'regionclip_rn50_fpn_lvis_mask.py').model
    config.localizer = None
    config.data_preprocessor = None
    head = config.roi_head.bbox_head
    head.vocabulary = TextEmbeddings.from_tensor(case['text_emb_train'])
    head.test_vocabulary = TextEmbeddings.from_tensor(case['text_emb_test'])
    model = MODELS.build(config)
    case.load_weights(model)
    return model


def batch() -> Tensor:
    return GoldenCase('d_transfer_coco').batch(['image0', 'image1'])


def sampled_regions(index: int) -> tuple[SamplingResult, InstanceData]:
    """The recorded regions of an image, as mmdet's sampler hands them on, and its objects."""
    inputs, case = GoldenCase('d_transfer_coco'), GoldenCase('e_transfer_lvis_mask')
    boxes, labels = inputs[f'proposal_boxes{index}'], case[f'proposal_classes{index}']
    height, width = inputs[f'image{index}'].shape[1:]
    polygons = case.arrays[f'gt_polygons{index}'].astype(np.float64)
    objects = InstanceData(
        bboxes=inputs[f'gt_boxes{index}'],
        labels=case[f'gt_classes{index}'],
        masks=PolygonMasks([[polygon] for polygon in polygons], height, width),
    )
    foreground = labels < case.meta['num_train_classes']
    same = (inputs[f'proposal_gt_boxes{index}'][:, None] == objects.bboxes).all(2)
    assert same[foreground].any(1).all()
    assigned = torch.where(foreground, same.long().argmax(1) + 1, 0)
    sampled = SamplingResult(
        foreground.nonzero().squeeze(1),
        (~foreground).nonzero().squeeze(1),
        boxes,
        objects.bboxes,
        AssignResult(len(objects), assigned, None, labels),
        torch.zeros(len(boxes), dtype=torch.uint8),
    )
    return sampled, objects


def test_losses_targets_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model's whole ``loss``, with the recorded regions in place of the sampler's."""
    case = GoldenCase('e_transfer_lvis_mask')
    limits = case.meta['thresholds']
    model = lvis_model().train()
    model.zero_grad()
    head = model.roi_head
    seen = {}

    def spy(owner: torch.nn.Module, method: str, name: str) -> None:
        run = getattr(owner, method)

        def recorded(*args: object, **kwargs: object) -> object:
            seen[name] = run(*args, **kwargs)
            return seen[name]

        monkeypatch.setattr(owner, method, recorded)

    spy(head.mask_head, 'forward', 'mask_logits')
    spy(head.mask_head, 'get_targets', 'mask_targets')
    spy(head.bbox_head, 'forward', 'box_head')
    regions, objects = zip(*(sampled_regions(i) for i in range(2)), strict=True)
    samples = [DetDataSample(gt_instances=instances) for instances in objects]
    for sample, sampled in zip(samples, regions, strict=True):
        sample.proposals = InstanceData(bboxes=sampled.priors)
    remaining = iter(regions)
    monkeypatch.setattr(head.bbox_assigner, 'assign', lambda *args: None)
    monkeypatch.setattr(head.bbox_sampler, 'sample', lambda *args, **kwargs: next(remaining))
    losses = model.loss(batch(), samples)
    sum(value for key, value in losses.items() if 'loss' in key).backward()

    recorded_logits = case['logits'].split(len(case['logits']) // 2)
    orders = [torch.cat([sampled.pos_inds, sampled.neg_inds]) for sampled in regions]
    expected = torch.cat([rows[o] for rows, o in zip(recorded_logits, orders, strict=True)])
    assert max_abs(seen['box_head'][0], expected) < limits['logits_max_abs']
    assert max_abs(seen['mask_logits'], case['mask_logits']) < limits['mask_logits_max_abs']
    targets = torch.cat([case[f'mask_targets{i}'] for i in range(2)])
    assert torch.equal(seen['mask_targets'], targets.float())
    names = dict(loss_cls='loss_cls', loss_bbox='loss_box_reg', loss_mask='loss_mask')
    for ours, official in names.items():
        assert rel(losses[ours], case[official]) < limits['losses_rel'], ours
    assert_gradients(model, case)
    # of all trained parameters together
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    total = torch.stack([grad.norm() for grad in grads]).norm()
    assert rel(total, case['grad_total_norm']) < limits['grad_norm_rel']


@torch.no_grad()
def test_detections_and_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes by either NMS; masks, of which 20 per image were recorded, of soft-NMS."""
    case = GoldenCase('e_transfer_lvis_mask')
    limits = case.meta['thresholds']
    model = lvis_model().eval()
    head, feats = model.roi_head, model.extract_feat(batch())
    embed, known = head.region_encoder.forward, {}

    def embed_once(x: Sequence[Tensor], rois: Tensor) -> Tensor:
        key = (x[0].data_ptr(), rois.numpy().tobytes())
        if key not in known:
            known[key] = embed(x, rois)
        return known[key]

    monkeypatch.setattr(head.region_encoder, 'forward', embed_once)
    shapes = [tuple(GoldenCase('d_transfer_coco')[f'image{i}'].shape[1:]) for i in range(2)]
    metas = [dict(img_shape=s, ori_shape=s, scale_factor=(1.0, 1.0)) for s in shapes]
    proposals = [
        InstanceData(
            bboxes=case[f'test_proposals{i}'], objectness_logits=case[f'test_objectness{i}']
        )
        for i in range(2)
    ]
    for recorded, nms in (('hardnms', HARD_NMS), ('softnms', head.test_cfg.nms)):
        results = head.predict_bbox(
            feats, metas, proposals, ConfigDict({**head.test_cfg, 'nms': nms})
        )
        for i, result in enumerate(results):
            prefix = f'det_{recorded}_img{i}_'
            assert max_abs(result.scores, case[f'{prefix}scores']) < limits['detections_scores']
            assert_same_detections(result, case, prefix, limits['detections_boxes'])
    results = head.predict_mask(feats, metas, [result[:20] for result in results])
    for i, result in enumerate(results):
        packed = case.arrays[f'det_masks_packed{i}']
        masks = np.unpackbits(packed, axis=2, count=shapes[i][1]).astype(bool)
        assert masks.any((1, 2)).all()
        # a pixel may lie on the threshold
        wrong = (result.masks.numpy() != masks).sum((1, 2))
        assert (wrong <= 2).all() and wrong.sum() <= 4, wrong
