# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Choose the caption that a sample is trained with."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PickCaption(BaseTransform):
    """Write one of ``results['captions']`` to ``results['text']``.

    ``PackDetInputs(meta_keys=(..., 'text'))`` carries it to the model, which reads it as
    ``data_sample.text`` (the same string as ``data_sample.metainfo['text']``).

    Args:
        test_mode: True takes the first caption; False draws one at random (numpy's global
            generator, which mmengine seeds in every worker).
        first: Draw among the first so many captions only (5 in the official code; some images of
            COCO have six or seven); None: among all.
    """

    def __init__(self, test_mode: bool = False, first: int | None = None) -> None:
        if first is not None and first < 1:
            raise ValueError(f'PickCaption: first must be positive or None, not {first}.')
        self.first = first
        self.test_mode = test_mode

    def transform(self, results: dict) -> dict:
        """Add ``text`` to ``results``."""
        captions = results.get('captions')
        if not captions:
            raise ValueError(
                f'PickCaption: {results.get("img_path", "this sample")} has no captions. Use it '
                'with ImageTextDataset.'
            )
        captions = captions[: self.first]
        results['text'] = captions[0 if self.test_mode else np.random.randint(len(captions))]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(test_mode={self.test_mode}, first={self.first})'
