# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What must be known of an image to bring boxes back to it."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet.structures import DetDataSample


def complete_image_metas(samples: Sequence[DetDataSample]) -> None:
    """Add ``scale_factor`` and ``ori_shape`` of images that no transform has resized.

    Args:
        samples: Changed: an image without ``scale_factor`` gets ``(1.0, 1.0)`` if its original
            size is its present one or is not known.

    Raises:
        ValueError: Metas are missing that cannot be told from others; names image and remedy.
    """
    for sample in samples:
        meta = sample.metainfo
        shape = meta.get('img_shape')
        original = meta.get('ori_shape')
        lacking = 'img_shape' if shape is None else 'scale_factor'
        if meta.get(lacking) is not None:
            continue
        same = original is None or tuple(original[:2]) == tuple((shape or ())[:2])
        if lacking == 'img_shape' or not same:
            size = '' if original is None else f', originally {tuple(original[:2])},'
            raise ValueError(
                f'Image {meta.get("img_path", meta.get("img_id", "without a name"))}{size} comes '
                f'without {lacking}, so its detections cannot be brought back to it. Add '
                f"'{lacking}' to meta_keys of PackDetInputs in the test pipeline; a transform that "
                'resizes must set it (mmdet: Resize).'
            )
        sample.set_metainfo(dict(scale_factor=(1.0, 1.0), ori_shape=tuple(shape[:2])))
