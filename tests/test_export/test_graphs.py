# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The graphs' modules give the numbers of the model's own modules."""

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from torchvision.ops import box_iou

from helpers import exported_models, tiny_models
from regionclip_mmdet.export.graphs import (
    BackboneGraph,
    DetectorGraph,
    LocalizerGraph,
    RegionGraph,
    TextGraph,
)

SIZES = [(96, 128), (71, 150)]


def image(size: tuple[int, int]) -> torch.Tensor:
    pixels = exported_models.photograph(*size)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float()


def normalized(model: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    bgr = pixels[0].flip(0)
    return model.data_preprocessor(dict(inputs=[bgr]), training=False)['inputs']


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('kind', ['c4', 'fpn'])
@torch.no_grad()
def test_localizer_proposes_what_the_model_proposes(kind: str, size: tuple[int, int]) -> None:
    model = exported_models.build(kind)
    meta = dict(img_shape=size)
    (expected,) = model.localizer(normalized(model, image(size)), [meta])
    boxes, logits = LocalizerGraph(model)(image(size))
    assert len(expected) >= 5
    torch.testing.assert_close(boxes, expected.bboxes, rtol=0, atol=2e-3)
    torch.testing.assert_close(logits, expected.objectness_logits, rtol=0, atol=1e-4)


@torch.no_grad()
def test_boxes_of_other_levels_do_not_suppress_each_other() -> None:
    model = exported_models.build('fpn')
    model.localizer.test_cfg.update(max_per_img=-1, nms=dict(type='nms', iou_threshold=0.05))
    (expected,) = model.localizer(normalized(model, image(SIZES[0])), [dict(img_shape=SIZES[0])])
    boxes, _ = LocalizerGraph(model)(image(SIZES[0]))
    torch.testing.assert_close(boxes, expected.bboxes, rtol=0, atol=2e-3)
    overlap = box_iou(boxes, boxes).fill_diagonal_(0)
    assert overlap.max() > 0.1  # of two levels


@torch.no_grad()
def test_localizer_with_few_anchors_and_without_any_box() -> None:
    model = exported_models.build('c4')
    model.localizer.test_cfg.update(nms_pre=10000)  # more than the map has
    (expected,) = model.localizer(normalized(model, image((40, 40))), [dict(img_shape=(40, 40))])
    boxes, _ = LocalizerGraph(model)(image((40, 40)))
    torch.testing.assert_close(boxes, expected.bboxes, rtol=0, atol=2e-3)
    model.localizer.test_cfg.update(min_bbox_size=1000)  # no box is as large
    boxes, logits = LocalizerGraph(model)(image((40, 40)))
    assert boxes.shape == (0, 4) and logits.shape == (0,)


@torch.no_grad()
def test_regions_get_the_models_embeddings_probabilities_and_boxes() -> None:
    model = exported_models.build('c4', bbox_head=dict(temperature=0.5))
    pixels, size = image(SIZES[0]), SIZES[0]
    boxes = torch.tensor([[3.0, 5.0, 60.5, 70.25], [0, 0, 128, 96], [100, 20, 127, 90]])
    text = tiny_models.vocabulary().matrix
    c4 = BackboneGraph(model)(pixels)
    feats = model.extract_feat(normalized(model, pixels))
    torch.testing.assert_close(c4, feats[0], rtol=1e-5, atol=1e-5)
    rois = bbox2roi([boxes])
    found = model.roi_head._bbox_forward(feats, rois)
    expected_boxes, _, expected = model.roi_head.bbox_head.score_regions(
        rois, found['cls_score'], found['bbox_pred'], dict(img_shape=size), {}, None
    )
    embeddings, probabilities, refined = RegionGraph(model)(c4, boxes, text * 7)
    torch.testing.assert_close(embeddings, found['bbox_feats'], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(probabilities, expected, rtol=1e-4, atol=1e-5)
    limits = torch.tensor([size[1], size[0]] * 2)
    clipped = refined.minimum(limits).clamp_min(0)
    torch.testing.assert_close(clipped, expected_boxes, rtol=0, atol=1e-3)
    assert (probabilities > 0.01).all()  # or nothing would have been compared


@torch.no_grad()
def test_without_a_regressor_boxes_stay_as_they_are() -> None:
    model = exported_models.build('none', bbox_head=dict(with_reg=False))
    boxes = torch.tensor([[3.0, 5.0, 60.5, 70.25]])
    c4 = BackboneGraph(model)(image(SIZES[0]))
    _, _, refined = RegionGraph(model)(c4, boxes, tiny_models.vocabulary().matrix)
    assert torch.equal(refined, boxes)


@torch.no_grad()
def test_detector_is_the_parts_one_after_another() -> None:
    model = exported_models.build('c4')
    pixels, text = image(SIZES[1]), tiny_models.vocabulary().matrix
    boxes, logits, *regions = DetectorGraph(model)(pixels, text)
    expected_boxes, expected_logits = LocalizerGraph(model)(pixels)
    expected = RegionGraph(model)(BackboneGraph(model)(pixels), boxes, text)
    assert torch.equal(boxes, expected_boxes) and torch.equal(logits, expected_logits)
    for mine, theirs in zip(regions, expected, strict=True):
        assert torch.equal(mine, theirs)


@torch.no_grad()
def test_text_encoder_reads_the_end_token_at_any_length() -> None:
    encoder = tiny_models.fill(MODELS.build(tiny_models.text_encoder()))
    tokens = encoder.tokenize(['a photo of a cat', 'dog'])
    expected = encoder(tokens)
    for length in (9, encoder.context_length):
        found = TextGraph(encoder)(tokens[:, :length])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert F.cosine_similarity(expected[0], expected[1], dim=0) < 0.999
