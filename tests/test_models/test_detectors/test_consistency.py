# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Parts that do not fit one another are refused when a model is built."""

from __future__ import annotations

import pytest
from mmdet.registry import MODELS

from helpers import tiny_models

CLIP_PREPROCESSOR = dict(
    type='mmdet.DetDataPreprocessor',
    mean=[122.7709383, 116.7460125, 104.09373615],
    std=[68.5005327, 66.6321579, 70.32316305],
    bgr_to_rgb=True,
)


@pytest.mark.parametrize('make', [tiny_models.detector_config, tiny_models.regionclip_config])
def test_localizer_undoes_the_normalization_of_the_images(make: object) -> None:
    fitting = make(localizer=tiny_models.localizer(), data_preprocessor=CLIP_PREPROCESSOR)
    MODELS.build(fitting)
    imagenet = dict(CLIP_PREPROCESSOR, mean=[123.675, 116.28, 103.53])
    config = make(localizer=tiny_models.localizer(), data_preprocessor=imagenet)
    with pytest.raises(ValueError, match=r'undoes a normalization with mean .* input_mean='):
        MODELS.build(config)


def test_concept_pool_has_the_width_of_the_embeddings() -> None:
    narrow = tiny_models.vocabulary(dim=16)
    for key, whose in (('concept_pool', 'student'), ('teacher_concept_pool', 'teacher')):
        config = tiny_models.regionclip_config(region_text_head={key: narrow})
        with pytest.raises(ValueError, match=f'The {whose} makes embeddings of width 32.*16'):
            MODELS.build(config)


def test_set_vocabulary_renames_what_visualizers_show() -> None:
    model = MODELS.build(tiny_models.detector_config()).eval()
    model.dataset_meta = dict(classes=('old',), palette=[(0, 0, 0)])
    model.set_vocabulary(tiny_models.vocabulary(('tree', 'house')))
    assert model.dataset_meta['classes'] == ('tree', 'house')
