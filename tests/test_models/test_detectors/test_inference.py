# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""mmdet's two calls for one image, with other names, on either device."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config

from helpers import tiny_models, tiny_runner

NAMES = ('zebra', 'green cube', 'cat', 'dog')
PIPELINE = [
    dict(type='mmdet.LoadImageFromNDArray'),
    dict(type='mmdet.Resize', scale=(90, 72), keep_ratio=True),  # the size that it has
    dict(
        type='mmdet.PackDetInputs',
        meta_keys=('img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]


def config(**rcnn: object) -> Config:
    model = tiny_models.detector_config(
        localizer=tiny_models.localizer(),
        text_encoder=tiny_models.text_encoder(),
        data_preprocessor=dict(tiny_runner.PREPROCESSOR),
        with_mask=True,
        rcnn=dict(objectness='sigmoid', **rcnn),
    )
    return Config(dict(model=model, test_dataloader=dict(dataset=dict(pipeline=PIPELINE))))


@pytest.mark.parametrize(
    'rcnn',
    [dict(), dict(nms=dict(type='global_soft_nms')), dict(early_exit=4)],
    ids=['hard NMS', 'soft NMS', 'early exit'],
)
def test_one_image(rcnn: dict, device: torch.device, tmp_path: Path) -> None:
    model = tiny_models.fill(MODELS.build(config().model), seed=1)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    model = init_detector(
        config(**rcnn), str(tmp_path / 'weights.pth'), palette='random', device=str(device)
    )
    # frozen, so no part of the checkpoint
    tiny_models.fill(model.text_encoder, seed=2)
    model.set_vocabulary(NAMES)
    image = np.random.default_rng(0).integers(0, 256, (72, 90, 3), dtype=np.uint8)
    found = inference_detector(model, image).pred_instances
    assert found.label_names == [NAMES[label] for label in found.labels.tolist()]
    tensors = [value for value in found.values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 5 and {tensor.device.type for tensor in tensors} == {device.type}
    assert len(found) > 4 and found.masks.shape == (len(found), 72, 90)

    # by hand, always on the CPU
    by_hand = copy.deepcopy(model).cpu()
    rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1).float()
    mean, std = (
        torch.tensor(tiny_runner.PREPROCESSOR[key]).view(3, 1, 1) for key in ('mean', 'std')
    )
    sample = DetDataSample(
        metainfo=dict(img_shape=(72, 90), ori_shape=(72, 90), scale_factor=(1.0, 1.0))
    )
    with torch.no_grad():
        (expected,) = by_hand.predict(((rgb - mean) / std)[None], [sample])
    expected = expected.pred_instances
    assert len(found) == len(expected)
    torch.testing.assert_close(found.scores.cpu(), expected.scores, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.bboxes.cpu(), expected.bboxes, rtol=0, atol=1e-2)
    assert torch.equal(found.labels.cpu(), expected.labels)
    differing = (found.masks.cpu() != expected.masks).flatten(1).sum(1)
    assert found.masks.any() and int(differing.max()) <= 2
