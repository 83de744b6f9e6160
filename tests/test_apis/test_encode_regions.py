# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Embeddings of given boxes are those of the region encoder, whatever is computed together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import Tensor

from checks.parity import find_cases, models, open_case
from helpers import tiny_inference
from regionclip_mmdet.apis import RegionCLIPInferencer, encode_regions
from regionclip_mmdet.models.detectors import OpenVocabularyRCNN
from regionclip_mmdet.models.localizers import CLIP_MEAN, CLIP_STD

GOLDEN = Path(__file__).resolve().parents[1] / 'data' / 'golden'
# fits the test pipeline's 120 x 96 as it is
SAME_SIZE = dict(height=96, width=120)


@pytest.fixture(scope='module')
def model() -> OpenVocabularyRCNN:
    return tiny_inference.detector()


def embed_by_hand(model: OpenVocabularyRCNN, pixels: np.ndarray, boxes: list) -> Tensor:
    """Of an image that is not resized: BGR to normalized RGB, map, regions."""
    rgb = torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1).float()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    rois = torch.tensor([[0.0, *box] for box in boxes])
    with torch.no_grad():
        return model.roi_head.region_encoder(model.backbone(((rgb - mean) / std)[None]), rois)


def test_they_are_the_region_encoders(model: OpenVocabularyRCNN) -> None:
    boxes = [[10.0, 20, 50, 60], [0, 0, 120, 96], [70.5, 3.25, 71.5, 4]]
    pixels = tiny_inference.image(**SAME_SIZE)
    (found,) = encode_regions(model, pixels, [boxes])
    wanted = embed_by_hand(model, pixels, boxes)
    torch.testing.assert_close(found.raw, wanted, rtol=1e-5, atol=1e-5)
    lengths = wanted.pow(2).sum(1).sqrt()
    assert lengths.sub(1).abs().min() > 0.01  # normalizing changes something
    torch.testing.assert_close(found.normalized, wanted / lengths[:, None], rtol=1e-5, atol=1e-5)


def test_boxes_follow_the_image_to_another_size(model: OpenVocabularyRCNN) -> None:
    """Half as large: the pipeline doubles it, and the boxes are those of the doubled image."""
    from mmdet.datasets.transforms import Resize

    small = tiny_inference.image(height=48, width=60)
    resize = Resize(scale=(120, 96), keep_ratio=True, backend='pillow')
    large = resize(dict(img=small, img_shape=small.shape[:2]))['img']
    boxes = [[5.0, 10, 25, 30], [0, 0, 60, 48]]
    (found,) = encode_regions(model, [small], [np.array(boxes)])
    wanted = embed_by_hand(model, large, [[2 * value for value in box] for box in boxes])
    torch.testing.assert_close(found.raw, wanted, rtol=1e-5, atol=1e-5)


def test_neither_order_nor_company_matters(model: OpenVocabularyRCNN) -> None:
    sizes = [(60, 80), (48, 96), (60, 80), (96, 120), (60, 80)]
    images = [tiny_inference.image(*size, seed=i) for i, size in enumerate(sizes)]
    generator = torch.Generator().manual_seed(0)
    boxes = []
    for number, (height, width) in enumerate(sizes):
        corners = torch.rand(number, 2, 2, generator=generator).sort(dim=1).values
        boxes.append((corners * torch.tensor([width, height])).flatten(1))
    one_by_one = encode_regions(model, images, boxes)
    assert [len(found.raw) for found in one_by_one] == [0, 1, 2, 3, 4]
    assert one_by_one[0].raw.shape == one_by_one[0].normalized.shape == (0, 32)
    for batch_size in (2, 5):
        together = encode_regions(model, images, boxes, batch_size=batch_size)
        for one, other in zip(one_by_one, together, strict=True):
            torch.testing.assert_close(other.raw, one.raw, rtol=1e-4, atol=1e-5)
    order = torch.tensor([2, 0, 3, 1])
    (turned,) = encode_regions(model, [images[4]], [boxes[4][order]])
    torch.testing.assert_close(turned.raw, one_by_one[4].raw[order], rtol=1e-5, atol=1e-5)


def test_an_inferencer_serves_as_well(tmp_path: Path, files: tiny_inference.DetectorFiles) -> None:
    inferencer = RegionCLIPInferencer(files.config, files.checkpoint, device='cpu')
    path = tiny_inference.save_image(tmp_path / 'a.png')
    boxes = [[[1, 2, 30, 40]]]
    (found,) = encode_regions(inferencer, str(path), boxes)
    (wanted,) = encode_regions(inferencer.model, tiny_inference.image(), boxes)
    assert torch.equal(found.raw, wanted.raw)


def test_what_reaches_out_is_cut_off(model: OpenVocabularyRCNN) -> None:
    pixels = tiny_inference.image(**SAME_SIZE)
    (found,) = encode_regions(model, pixels, [[[-30.0, 50, 60, 400]]])
    wanted = embed_by_hand(model, pixels, [[0, 50, 60, 96]])
    torch.testing.assert_close(found.raw, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ('box', 'words'),
    [
        ([130, 10, 150, 20], r'box 1 of image 0 is .*no area within the image of 120 x 96'),
        ([10, 10, 10, 20], 'no area'),
        ([30, 10, 20, 20], 'x1 y1 x2 y2'),
        ([0, 0, float('nan'), 20], 'x1 y1 x2 y2'),
        ([0, 0, 10], None),
    ],
)
def test_boxes_without_a_region_are_refused(
    model: OpenVocabularyRCNN, box: list, words: str | None
) -> None:
    with pytest.raises(ValueError, match=words):
        encode_regions(model, tiny_inference.image(**SAME_SIZE), [[[0, 0, 10, 10], box]])


def test_as_many_lists_of_boxes_as_images(model: OpenVocabularyRCNN) -> None:
    with pytest.raises(ValueError, match='1 images but boxes for 2'):
        encode_regions(model, tiny_inference.image(), [[[0, 0, 9, 9]], [[0, 0, 9, 9]]])


@pytest.mark.slow
def test_recorded_from_the_official_code() -> None:
    """RN50 at full size: features of twelve boxes of an image that is not resized."""
    case = open_case(find_cases(GOLDEN)['a_backbone_rn50'])
    model = models.build(models.detector_config(models.DETECTOR, 'RN50')).eval()
    models.load_detector(model, models.official_weights(case, 'detector_shapes', 'RN50'))
    pipeline = [tiny_inference.PIPELINE[0], tiny_inference.PIPELINE[-1]]
    model.cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))
    bgr = case['image'].numpy()[::-1].transpose(1, 2, 0)  # recorded as RGB
    (found,) = encode_regions(model, bgr, [case['boxes']])
    assert found.raw.shape == (12, 1024)
    torch.testing.assert_close(found.raw, case['region_features'], rtol=0, atol=2e-4)
