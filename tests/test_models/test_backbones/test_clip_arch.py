# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""All of CLIP's ResNets, at their real sizes, without weights."""

from __future__ import annotations

import open_clip
import pytest
import torch
from open_clip.modified_resnet import ModifiedResNet

from regionclip_mmdet.models.backbones import CLIPResNet
from regionclip_mmdet.models.backbones.clip_arch import CLIP_RESNETS
from regionclip_mmdet.models.region_encoders import RegionEncoder

# RoIAlign size, pooled size, heads, C4 channels, embedding
SIZES = {
    'RN50': (14, 7, 32, 1024, 1024),
    'RN101': (14, 7, 32, 1024, 512),
    'RN50x4': (18, 9, 40, 1280, 640),
    'RN50x16': (24, 12, 48, 1536, 768),
    'RN50x64': (28, 14, 64, 2048, 1024),
}


def test_every_resnet_is_listed() -> None:
    assert set(CLIP_RESNETS) == set(SIZES)


@pytest.mark.parametrize('name', SIZES)
def test_tensors_are_those_of_open_clips_model(name: str) -> None:
    config = open_clip.get_model_config(name)
    vision = config['vision_cfg']
    with torch.device('meta'):
        theirs = ModifiedResNet(
            layers=vision['layers'],
            output_dim=config['embed_dim'],
            heads=vision['width'] * 32 // 64,
            image_size=vision['image_size'],
            width=vision['width'],
        )
        backbone, encoder = CLIPResNet(name), RegionEncoder(name)
    ours = {k: tuple(v.shape) for m in (backbone, encoder) for k, v in m.state_dict().items()}
    wanted = {k: tuple(v.shape) for k, v in theirs.state_dict().items() if 'num_batches' not in k}
    assert ours == wanted
    assert ours['attnpool.positional_embedding'][0] == SIZES[name][1] ** 2 + 1
    assert encoder.attnpool.num_heads == theirs.attnpool.num_heads


@pytest.mark.parametrize('name', SIZES)
def test_shapes_from_image_to_embedding(name: str) -> None:
    roi_size, pooled, heads, channels, embed_dim = SIZES[name]
    with torch.device('meta'):
        backbone, encoder = CLIPResNet(name), RegionEncoder(name)
        (c4,) = backbone(torch.zeros(1, 3, 800, 1066))
        maps = encoder.layer4(torch.zeros(3, channels, roi_size, roi_size))
        embeddings = encoder.attnpool(maps)
    assert c4.shape == (1, channels, 50, 66)
    assert encoder.roi_align.output_size == (roi_size, roi_size)
    assert maps.shape == (3, 2 * channels, pooled, pooled)
    assert embeddings.shape == (3, embed_dim) and encoder.embed_dim == embed_dim
    assert encoder.attnpool.num_heads == heads
