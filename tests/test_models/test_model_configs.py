# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The base configs of detectors with masks build what the LVIS recipe says."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from regionclip_mmdet import config_path
from regionclip_mmdet.models.region_encoders import with_arch_of


@pytest.mark.parametrize(
    ('name', 'width', 'pooled', 'dim'), [('rn50', 2048, 7, 1024), ('rn50x4', 2560, 9, 640)]
)
def test_lvis_detectors(name: str, width: int, pooled: int, dim: int) -> None:
    config = Config.fromfile(config_path(f'_base_/models/regionclip_{name}_fpn_lvis_mask.py')).model
    localizer = config.localizer
    assert localizer.neck.norm_cfg.type == 'BN' and localizer.rpn_head.num_convs == 2
    assert localizer.test_cfg.nms_pre == localizer.test_cfg.max_per_img == 1000
    assert localizer.test_cfg.nms.iou_threshold == 0.7
    with torch.device('meta'):
        head = MODELS.build(
            {
                **config.roi_head,
                'region_encoder': with_arch_of(config.backbone, config.roi_head.region_encoder),
                'train_cfg': config.train_cfg.rcnn,
                'test_cfg': config.test_cfg.rcnn,
            }
        )
        assert head.mask_head(torch.zeros(2, width, pooled, pooled)).shape[2:] == (2 * pooled,) * 2
    encoder = head.region_encoder
    assert (encoder.arch.pooled_size, encoder.embed_dim) == (pooled, dim)
    assert head.bbox_head.fc_reg.in_features == dim
    rcnn = head.test_cfg
    assert (rcnn.score_thr, rcnn.max_per_img, rcnn.objectness) == (0.02, 300, 'logit')
    assert (rcnn.nms.type, rcnn.mask_thr_binary) == ('global_soft_nms', 0.5)
    loss = head.bbox_head.loss_cls
    assert (loss.gamma, loss.background_weight, loss.normalizer) == (0, 0.8, 'weights')


def test_the_heads_width_must_fit() -> None:
    config = Config.fromfile(config_path('_base_/models/regionclip_rn50x4_fpn_lvis_mask.py')).model
    config.roi_head.mask_head.in_channels = 2048
    config.roi_head.region_encoder = with_arch_of(config.backbone, config.roi_head.region_encoder)
    with torch.device('meta'), pytest.raises(ValueError, match='is 2048, but .* 2560 channels'):
        MODELS.build(config.roi_head)
