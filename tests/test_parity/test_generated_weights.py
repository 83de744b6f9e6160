# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The weight generator is bit-exact: golden outputs depend on it."""

import numpy as np
import pytest

from checks.parity import generated_weights as gw


@pytest.mark.parametrize(
    ('key', 'shape', 'seed', 'expected'),
    [
        ('backbone.conv1.weight', (32, 3, 3, 3), 1, 0xE62DAB0B),
        ('lang_encoder.text_projection', (512, 1024), 7, 0x4B319C58),
    ],
)
def test_fingerprints(key: str, shape: tuple[int, ...], seed: int, expected: int) -> None:
    assert gw.fingerprint(key, shape, seed) == expected


def test_inputs_and_counters_are_left_out() -> None:
    shapes = {
        'roi_heads.box_predictor.cls_score.weight': (3, 4),
        'roi_heads.box_predictor.bbox_pred.bias': (4,),
        'backbone.bn1.num_batches_tracked': (),
        'concept_emb': (5, 4),
        'pixel_mean': (3, 1, 1),
    }
    assert set(gw.fill_state_dict(shapes, 3)) == {'roi_heads.box_predictor.bbox_pred.bias'}


def test_unknown_key_is_an_error() -> None:
    with pytest.raises(KeyError, match='logit_scale'):
        gw.make_array('logit_scale', (), 0)


def test_range_rule_bounds() -> None:
    damped = gw.make_array('backbone.layer4.2.bn3.weight', (2048,), 1)
    plain = gw.make_array('backbone.layer4.2.bn2.weight', (2048,), 1)
    assert 0.15 <= damped.min() < 0.16 and 0.54 < damped.max() <= 0.55
    assert 0.5 <= plain.min() < 0.51 and 1.49 < plain.max() <= 1.5
    assert damped.dtype == np.float32
