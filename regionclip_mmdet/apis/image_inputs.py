# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""From a path or an array to what a model takes, by the test pipeline of its config."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.fileio import get
from PIL import Image

from ..datasets.image_kinds import is_read, why_not_read
from ..datasets.transforms import BrokenImageError, LoadImageChecked
from ..datasets.transforms.load_image import as_rgb
from ..default_scope import default_scope

ImageInput = str | os.PathLike | np.ndarray | Image.Image
# They read annotations, which a user's image has not.
OF_ANNOTATIONS = ('LoadAnnotations', 'ProposalsFromGT', 'LoadProposals', 'LoadRegionProposals')


class ImageInputs:
    """The test pipeline for images without annotations.

    Files are read by ``LoadImageChecked`` where the config decodes with Pillow: the same pixels,
    16-bit gray images keep their content, and errors name the file. Transforms that read
    annotations or proposals from a dataset are left out.

    Args:
        cfg: config with ``test_dataloader.dataset.pipeline``, also below wrappers of datasets.

    Raises:
        ValueError: The config has no test pipeline, or one that does not begin with loading.
    """

    def __init__(self, cfg: Config) -> None:
        steps = [dict(step) for step in _test_pipeline(cfg)]
        kinds = [_kind(step) for step in steps]
        loaders = [i for i, kind in enumerate(kinds) if kind == 'LoadImageFromFile']
        if not loaders:
            raise ValueError(
                f'The test pipeline has no LoadImageFromFile, only {kinds}: own images cannot be '
                'put in.'
            )
        loader = steps[loaders[0]]
        self.backend_args = loader.get('backend_args')
        with default_scope():
            if loader.get('imdecode_backend') == 'pillow':
                self.load_file = LoadImageChecked(backend_args=self.backend_args)
            else:
                self.load_file = Compose([loader])
            self.transform = Compose(
                [
                    _without_ids(step)
                    for i, (step, kind) in enumerate(zip(steps, kinds))
                    if i > loaders[0] and kind not in OF_ANNOTATIONS
                ]
            )

    def __call__(self, image: ImageInput) -> dict[str, Any]:
        """Load and transform one image.

        Args:
            image: path, address, array or PIL image, see ``encode_images``.

        Returns:
            ``inputs``, uint8 ``(3, H, W)``, and ``data_samples``.

        Raises:
            BrokenImageError: A file is missing, damaged or too large, or an image is too thin.
            ValueError: An array is no image.
        """
        return self.prepare(self.load(image))

    def load(self, image: ImageInput) -> dict[str, Any]:
        """``img`` (uint8 ``(H, W, 3)``, BGR), ``img_path``, ``img_shape``, ``ori_shape``."""
        if not isinstance(image, str | os.PathLike):
            pixels = as_bgr(image)
            shape = pixels.shape[:2]
            return dict(img=pixels, img_path=None, img_shape=shape, ori_shape=shape)
        path = os.fspath(image)
        if not is_read(path):
            raise BrokenImageError(why_not_read(path))
        try:
            return self.load_file(dict(img_path=path))
        except Exception as error:  # decoders raise whatever they like
            raise _explained(path, self.backend_args, error) from error

    def prepare(self, loaded: dict[str, Any]) -> dict[str, Any]:
        """What ``load`` returned, through the rest of the pipeline.

        Raises:
            BrokenImageError: It ends with an error: of 3000 x 1 pixels resizing leaves nothing.
        """
        name, (height, width) = loaded['img_path'] or 'an array', loaded['ori_shape'][:2]
        try:
            return self.transform(loaded)
        except Exception as error:  # transforms raise whatever they like
            raise BrokenImageError(
                f'{name}: the image of {width} x {height} pixels cannot be prepared: {error}'
            ) from error

    def pixels(self, image: ImageInput) -> np.ndarray:
        """The image as the model sees it before resizing: uint8 ``(H, W, 3)``, BGR."""
        return self.load(image)['img']


def as_bgr(image: np.ndarray | Image.Image) -> np.ndarray:
    """An array as mmdet wants it.

    Args:
        image: uint8 ``(H, W, 3)`` BGR; gray ``(H, W)`` or ``(H, W, 1)``; BGR with alpha
            ``(H, W, 4)``, which is dropped. Or an image of Pillow, read as its file would be:
            turned as its EXIF tag says, 16-bit gray scaled to 8 bits.

    Returns:
        uint8 ``(H, W, 3)``, BGR, contiguous.

    Raises:
        TypeError: It is neither.
        ValueError: Another shape or type of numbers; says what to do.
    """
    if isinstance(image, Image.Image):
        return np.ascontiguousarray(as_rgb(image)[..., ::-1])
    if not isinstance(image, np.ndarray):
        raise TypeError(
            'an image is a path, a uint8 array (height, width, 3) in BGR, or a PIL image, not a '
            f'{type(image).__name__}.'
        )
    if image.dtype != np.uint8:
        raise ValueError(
            f'an image array holds {image.dtype}, shape {image.shape}; uint8 from 0 to 255 is '
            'needed. From values between 0 and 1: (image * 255).round().astype("uint8").'
        )
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise ValueError(
            f'an image array has shape {image.shape}, not (height, width, 3). Channels come last: '
            'image.transpose(1, 2, 0) turns (3, height, width).'
        )
    if image.shape[2] == 1:
        image = image.repeat(3, axis=2)
    return np.ascontiguousarray(image[..., :3])


def _test_pipeline(cfg: Config) -> list:
    dataset = (cfg.get('test_dataloader') or {}).get('dataset')
    while dataset is not None and 'pipeline' not in dataset:
        dataset = dataset.get('dataset')
    if not dataset:
        raise ValueError(
            'The config has no test_dataloader.dataset.pipeline, which says how images are resized '
            'and packed.'
        )
    return dataset['pipeline']


def _kind(step: dict) -> str:
    kind = step['type']
    name = kind if isinstance(kind, str) else kind.__name__
    return name.rpartition('.')[2]


def _without_ids(step: dict) -> dict:
    """Packing without the dataset's number of the image."""
    keys = step.get('meta_keys')
    return dict(step, meta_keys=tuple(k for k in keys if k != 'img_id')) if keys else step


def _explained(path: str, backend_args: dict | None, error: Exception) -> BrokenImageError:
    """The same in a user's terms; a dataset's remedies do not help here."""
    try:
        content = get(path, backend_args=backend_args)
    except FileNotFoundError:
        return BrokenImageError(f'{path}: there is no such image.')
    except Exception as reading:
        return BrokenImageError(f'{path}: the image cannot be read: {reading}')
    return BrokenImageError(
        f'{path}: the image cannot be decoded ({len(content)} bytes): {error.__cause__ or error}. '
        'Is it an image, and whole?'
    )
