# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The mask branch of the detection RoI head on tiny models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmdet.structures.mask import PolygonMasks
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from helpers import tiny_models
from regionclip_mmdet.models.roi_heads import OpenVocabRoIHead

SIZES = ((64, 80), (64, 80))


def head(chunk_size: int | None = None, **settings: object) -> OpenVocabRoIHead:
    config = tiny_models.detector_config(with_mask=True, **settings)
    config.roi_head.region_encoder.chunk_size = chunk_size
    roi_head = dict(config.roi_head, train_cfg=config.train_cfg.rcnn, test_cfg=config.test_cfg.rcnn)
    return tiny_models.fill(MODELS.build(ConfigDict(roi_head)))


def c4_map() -> tuple[Tensor]:
    return (torch.rand(2, 256, 4, 5, generator=torch.Generator().manual_seed(0)),)


def proposals() -> list[InstanceData]:
    boxes = [
        torch.tensor([[5.0, 5, 41, 35], [50.0, 40, 79, 63]]),
        torch.tensor([[0.0, 0, 10, 10], [19.0, 9, 61, 52], [40.0, 0, 80, 20]]),
    ]
    return [InstanceData(bboxes=b) for b in boxes]


def annotated(*counts: int, scale: float = 1.0) -> list[DetDataSample]:
    """Samples with the first so many objects; the polygon of each fills its box's left half."""
    samples = tiny_models.samples(*SIZES, scale=scale)
    for sample, count in zip(samples, counts or (2, 2), strict=True):
        objects = sample.gt_instances[:count]
        corners = []
        for x1, y1, x2, y2 in objects.bboxes.tolist():
            middle = (x1 + x2) / 2
            corners.append([np.array([x1, y1, middle, y1, middle, y2, x1, y2])])
        objects.masks = PolygonMasks(corners, *SIZES[0])
        sample.gt_instances = objects
    return samples


def gradients(model: OpenVocabRoIHead, loss: Tensor) -> dict[str, Tensor | None]:
    model.zero_grad()
    loss.sum().backward()
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize('chunk_size', [None, 2])
def test_the_loss_of_the_sampled_foreground(chunk_size: int | None) -> None:
    """Every region passes layer4 once; ground truth and the proposals near it bear masks."""
    model = head(chunk_size)
    seen = []
    handle = model.region_encoder.layer4.register_forward_hook(
        lambda module, args, out: seen.append(len(out))
    )
    feats = c4_map()
    losses = model.loss(feats, proposals(), annotated())
    handle.remove()
    assert set(losses) == {'loss_cls', 'loss_bbox', 'acc', 'loss_mask'}
    assert sum(seen) == 2 + 3 + 4
    gt = annotated()[0].gt_instances.bboxes
    # near ground truth: the first proposal of image 0, the second one of image 1
    boxes = [
        torch.cat([gt, proposals()[0].bboxes[:1]]),
        torch.cat([gt, proposals()[1].bboxes[1:2]]),
    ]
    logits = model.mask_head(model.region_encoder.region_maps(feats, bbox2roi(boxes)))[:, 0]
    near = [[0, 1, 0], [0, 1, 1]]
    expected = 0
    for rows, box, objects in zip(logits.split(3), boxes, near, strict=True):
        for row, (x1, _, x2, _), index in zip(rows, box.tolist(), objects, strict=True):
            left, right = float(gt[index, 0]), float(gt[index, [0, 2]].mean())
            centers = x1 + (torch.arange(4) + 0.5) * (x2 - x1) / 4
            inside = ((centers > left) & (centers < right)).expand(4, 4)
            p = row.sigmoid()
            expected = expected - torch.where(inside, p, 1 - p).log().mean() / 6
    torch.testing.assert_close(losses['loss_mask'].squeeze(), expected, rtol=1e-4, atol=1e-5)


def test_mask_gradients_reach_layer4_but_not_the_box_branch() -> None:
    model = head()
    found = gradients(model, model.loss(c4_map(), proposals(), annotated())['loss_mask'])
    for name, grad in found.items():
        if name.startswith(('mask_head', 'region_encoder.layer4')):
            if '.bn' not in name and 'downsample.1' not in name:
                assert grad is not None and grad.any(), name
        else:
            assert grad is None or not grad.any(), name


def test_an_image_without_objects_adds_no_masks() -> None:
    model = head()
    both = model.loss(c4_map(), proposals(), annotated(2, 0))['loss_mask']
    first = model.loss((c4_map()[0][:1],), proposals()[:1], annotated(2, 0)[:1])['loss_mask']
    torch.testing.assert_close(both, first, rtol=1e-4, atol=1e-5)
    assert float(both.detach()) > 0.1


def test_no_foreground_at_all() -> None:
    """The loss is 0; every trained parameter still gets a gradient, as DDP waits for it."""
    model = head()
    losses = model.loss(c4_map(), proposals(), annotated(0, 0))
    assert float(losses['loss_mask'].detach()) == 0
    found = gradients(model, sum(v for k, v in losses.items() if 'loss' in k))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert found[name] is not None and found[name].isfinite().all(), name
        if name.startswith('mask_head'):
            assert not found[name].any()


@torch.no_grad()
@pytest.mark.parametrize('chunk_size', [None, 3])
def test_masks_are_pooled_from_the_final_boxes(chunk_size: int | None) -> None:
    model = head(chunk_size).eval()
    found = model.predict(c4_map(), proposals(), annotated())
    compared = []
    for i, result in enumerate(found):
        assert len(result) > 3 and result.masks.shape == (len(result), *SIZES[0])
        rois = torch.nn.functional.pad(result.bboxes, (1, 0), value=i)
        logits = model.mask_head(model.region_encoder.region_maps(c4_map(), rois))[:, 0]
        for mask, box, row in zip(result.masks, result.bboxes, logits.sigmoid(), strict=True):
            x1, y1, x2, y2 = box.tolist()
            # centers of the four corner cells, where nothing is interpolated beyond the map
            for y, x in ((0, 0), (0, 3), (3, 0), (3, 3)):
                px = int(x1 + (x + 0.5) * (x2 - x1) / 4)
                py = int(y1 + (y + 0.5) * (y2 - y1) / 4)
                if abs(float(row[y, x]) - 0.5) > 0.2 and min(x2 - x1, y2 - y1) > 20:
                    compared.append(bool(mask[py, px]))
                    assert compared[-1] == (float(row[y, x]) > 0.5)
            outside = mask.clone()
            outside[int(y1) : int(y2) + 1, int(x1) : int(x2) + 1] = False
            assert not outside.any()
    assert min(compared.count(True), compared.count(False)) > 2


@torch.no_grad()
def test_rescaling_to_the_original_image() -> None:
    model = head().eval()
    network, original = (
        model.predict(c4_map(), proposals(), annotated(scale=2.0), rescale=rescale)
        for rescale in (False, True)
    )
    for a, b in zip(network, original, strict=True):
        torch.testing.assert_close(a.bboxes / 2, b.bboxes)
        assert a.masks.shape[1:] == (64, 80) and b.masks.shape[1:] == (32, 40)
        assert torch.equal(a.labels, b.labels)


@torch.no_grad()
def test_images_without_detections() -> None:
    model = head(rcnn=dict(score_thr=1.0)).eval()
    for result in model.predict(c4_map(), proposals(), annotated(scale=2.0), rescale=True):
        assert len(result) == 0 and result.masks.shape == (0, 32, 40)
        assert result.masks.dtype == torch.bool
    given = proposals()
    given[0] = given[0][:0]
    empty, other = head().eval().predict(c4_map(), given, annotated(), rescale=True)
    assert empty.masks.shape == (0, 64, 80) and len(other.masks) == len(other) > 0


@torch.no_grad()
def test_the_threshold_is_a_test_setting() -> None:
    count = {
        thr: int(
            head(rcnn=dict(mask_thr_binary=thr))
            .eval()
            .predict(c4_map(), proposals(), annotated())[1]
            .masks.sum()
        )
        for thr in (0.01, 0.5, 0.99)
    }
    default = int(head().eval().predict(c4_map(), proposals(), annotated())[1].masks.sum())
    assert count[0.01] > count[0.5] > count[0.99] and default == count[0.5]


@torch.no_grad()
def test_raw_outputs_hold_mask_logits() -> None:
    *_, masks = head().forward(c4_map(), proposals(), annotated())
    assert masks.shape == (5, 1, 4, 4)
