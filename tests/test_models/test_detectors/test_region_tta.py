# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Views of an image merged: against plain predictions of the same pixels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from torch import Tensor

from helpers import tiny_models
from helpers.tiny_inference import PREPROCESSOR
from regionclip_mmdet.models.detectors import OpenVocabularyRCNN, RegionTTAModel

HEIGHT, WIDTH = 60, 84
SCALE = 0.5  # of the network input to the original image
BOXES = torch.tensor([[3.0, 5.0, 40.0, 33.0], [30.0, 10.0, 80.0, 58.0], [50.0, 2.0, 70.0, 20.0]])


def detector(with_mask: bool = True, **settings: Any) -> OpenVocabularyRCNN:
    config = tiny_models.detector_config(
        with_mask=with_mask,
        data_preprocessor=dict(PREPROCESSOR, type='mmdet.DetDataPreprocessor'),
        **settings,
    )
    model = tiny_models.fill(MODELS.build(config)).eval()
    for part in model.weight_sources():
        model.get_submodule(part).weights_source = 'this test'
    return model


def view(pixels: Tensor, direction: str | None, proposals: Tensor | None) -> tuple:
    """Pixels as they are in the view, and its sample."""
    sample = tiny_models.samples(
        (HEIGHT, WIDTH), proposals=None if proposals is None else [proposals], scale=SCALE
    )[0]
    sample.set_metainfo(dict(flip=direction is not None, flip_direction=direction))
    return pixels, sample


def merged(model: OpenVocabularyRCNN, *views: tuple, **tta_cfg: Any) -> DetDataSample:
    tta = RegionTTAModel(model, tta_cfg)
    with torch.no_grad():
        (found,) = tta.test_step(
            dict(
                inputs=[[pixels] for pixels, _ in views],
                data_samples=[[sample] for _, sample in views],
            )
        )
    return found


def plain(model: OpenVocabularyRCNN, pixels: Tensor, proposals: Tensor | None) -> DetDataSample:
    _, sample = view(pixels, None, proposals)
    data = model.data_preprocessor(dict(inputs=[pixels], data_samples=[sample]), False)
    with torch.no_grad():
        return model.predict(data['inputs'], data['data_samples'])[0]


def mirrored_boxes(boxes: Tensor, width: float) -> Tensor:
    x1, y1, x2, y2 = boxes.T
    return torch.stack([width - x2, y1, width - x1, y2], dim=1)


@pytest.fixture
def pixels() -> Tensor:
    return 120 + 60 * tiny_models.images((HEIGHT, WIDTH))[0]


@pytest.mark.parametrize(
    ('given', 'fusion'), [(True, 'none'), (False, 'none'), (False, 'logit'), (False, 'sigmoid')]
)
def test_equal_views_are_one(pixels: Tensor, given: bool, fusion: str) -> None:
    model = detector(localizer=tiny_models.localizer(), rcnn=dict(objectness=fusion))
    proposals = BOXES if given else None
    expected = plain(model, pixels, proposals).pred_instances
    found = merged(model, *[view(pixels, None, proposals)] * 3).pred_instances
    assert len(found) == len(expected) > 3
    torch.testing.assert_close(found.bboxes, expected.bboxes, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found.scores, expected.scores)
    assert torch.equal(found.labels, expected.labels)
    assert found.label_names == expected.label_names
    assert (found.masks != expected.masks).float().mean() < 1e-3


def test_a_flipped_view_is_turned_back(pixels: Tensor) -> None:
    """The network sees the mirrored image; what it finds is brought back, masks included."""
    model = detector()
    mirrored = pixels.flip(-1)
    moved = mirrored_boxes(BOXES, WIDTH)
    expected = plain(model, mirrored, moved).pred_instances
    found = merged(model, view(mirrored, 'horizontal', moved)).pred_instances
    assert len(found) == len(expected) > 3
    boxes = mirrored_boxes(expected.bboxes, WIDTH / SCALE)
    torch.testing.assert_close(found.bboxes, boxes, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(found.scores, expected.scores)
    assert found.masks.any() and not found.masks.all()
    assert (found.masks != expected.masks.flip(-1)).float().mean() < 0.01


def test_probabilities_and_boxes_are_means(pixels: Tensor) -> None:
    """Without NMS: every pair of region and name, by hand from the two views."""
    keep_all = dict(nms=dict(type='nms', iou_threshold=1.0), max_per_img=-1, score_thr=0.0)
    model = detector(with_mask=False, rcnn=keep_all)
    mirrored, moved = pixels.flip(-1), mirrored_boxes(BOXES, WIDTH)
    views = plain(model, pixels, BOXES), plain(model, mirrored, moved)
    tables = []
    for i, sample in enumerate(views):
        scores, boxes = torch.zeros(3, 3), torch.zeros(3, 4)
        own = sample.pred_instances
        scores[own.region_inds, own.labels] = own.scores
        boxes[own.region_inds] = mirrored_boxes(own.bboxes, WIDTH / SCALE) if i else own.bboxes
        tables.append((scores, boxes))
    found = merged(model, view(mirrored, 'horizontal', moved), view(pixels, None, BOXES))
    assert found.flip is False  # its annotations lie as those of the image do
    found = found.pred_instances
    assert len(found) == 9
    rows, labels = found.region_inds, found.labels
    scores, boxes = ((a + b) / 2 for a, b in zip(*tables))
    torch.testing.assert_close(found.scores, scores[rows, labels])
    torch.testing.assert_close(found.bboxes, boxes[rows], rtol=1e-4, atol=1e-3)
    limited = merged(model, view(pixels, None, BOXES), max_per_img=2).pred_instances
    assert len(limited) == 2


def test_a_localizers_proposals_of_all_views(pixels: Tensor) -> None:
    """With a localizer, the two views of a mirrored pair are about the same regions."""
    model = detector(with_mask=False, localizer=tiny_models.localizer())
    model.test_cfg.keep_proposals = True
    mirrored = pixels.flip(-1)
    one = merged(model, view(pixels, None, None), view(mirrored, 'horizontal', None))
    other = merged(model, view(mirrored, None, None), view(pixels, 'horizontal', None))
    a, b = one.pred_instances, other.pred_instances
    # the same two images, so the same detections, mirrored
    torch.testing.assert_close(a.scores, b.scores)
    torch.testing.assert_close(
        a.bboxes, mirrored_boxes(b.bboxes, WIDTH / SCALE), rtol=1e-4, atol=1e-2
    )
    assert 0 < len(one.proposals) <= 10
    assert one.proposals.bboxes[:, 2].max() <= WIDTH


def test_views_that_do_not_agree_are_refused(pixels: Tensor) -> None:
    model = detector(with_mask=False)
    with pytest.raises(ValueError, match=r'lie elsewhere in its flipped .*MoveProposals'):
        merged(model, view(pixels, None, BOXES), view(pixels.flip(-1), 'horizontal', BOXES))
    unknown = view(pixels, None, BOXES)
    unknown[1].pop('flip')
    with pytest.raises(ValueError, match=r"does not say whether it is flipped: add 'flip'"):
        merged(model, unknown)
    with pytest.raises(TypeError, match='DetTTAModel'):
        RegionTTAModel(MODELS.build(ConfigDict(type='ToyForViews')))


@MODELS.register_module()
class ToyForViews(torch.nn.Module):
    """Another model."""

    def test_step(self, data: dict) -> list:
        return []


def test_no_regions(pixels: Tensor) -> None:
    model = detector()
    empty = torch.zeros(0, 4)
    found = merged(model, view(pixels, None, empty), view(pixels, 'vertical', empty))
    assert len(found.pred_instances) == 0
    assert found.pred_instances.label_names == []
    assert found.pred_instances.masks.shape == (0, HEIGHT / SCALE, WIDTH / SCALE)
