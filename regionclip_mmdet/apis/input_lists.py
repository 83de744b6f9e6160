# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What users give as images, as a list; and names for what is written about each."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from mmdet.apis.det_inferencer import IMG_EXTENSIONS
from mmengine.fileio import get_file_backend, isdir, join_path, list_dir_or_file

from ..datasets.image_kinds import READ_ENDINGS, is_image
from .image_inputs import ImageInput


@dataclass
class InputList:
    """Images, and whether they were found by searching.

    Attributes:
        images: images in order.
        searched: folder or pattern, if that was given: images found there may be broken.
    """

    images: Sequence[ImageInput]
    searched: str | None = None


def list_inputs(inputs: ImageInput | Sequence[ImageInput]) -> InputList:
    """Images of a folder (not of those below), of a pattern (``'photos/**/*.jpg'``), or as given.

    Files are in the order of their names. Those that are images by their endings, in capitals, too,
    are listed, also of kinds that are not read (``image_kinds``): they are to be reported.

    Raises:
        FileNotFoundError: A pattern that nothing fits.
        ValueError: No images at all.
    """
    if isinstance(inputs, os.PathLike):
        inputs = os.fspath(inputs)
    if isinstance(inputs, str):
        return _from_string(inputs)
    if isinstance(inputs, Sequence):
        if not inputs:
            raise ValueError('an empty list of images.')
        return InputList(inputs)
    return InputList([inputs])


def _from_string(inputs: str) -> InputList:
    if hasattr(get_file_backend(inputs), 'isdir') and isdir(inputs):
        names = sorted(list_dir_or_file(inputs, list_dir=False))
        images = [join_path(inputs, name) for name in names if is_image(name)]
        if not images:
            raise ValueError(
                f'no images in the folder {inputs} ({len(names)} files). Endings looked for: '
                f'{" ".join(READ_ENDINGS)}; for folders below use a pattern such as '
                f"'{os.path.join(inputs, '**', '*.jpg')}'."
            )
        return InputList(images, inputs)
    if glob.has_magic(inputs) and '://' not in inputs and not os.path.exists(inputs):
        images = sorted(filter(is_image, glob.glob(inputs, recursive=True)))
        if not images:
            raise FileNotFoundError(f'no image fits the pattern {inputs!r}.')
        return InputList(images, inputs)
    return InputList([inputs])


def refuse_to_overwrite(images: Sequence[ImageInput], folder: str | os.PathLike) -> None:
    """Refuse to write visualizations, named as their images, into the folder of the images.

    Raises:
        ValueError: an image lies there.
    """
    paths = (os.fspath(image) for image in images if isinstance(image, (str, os.PathLike)))
    for source in {os.path.dirname(os.path.abspath(p)) for p in paths if '://' not in p}:
        if os.path.isdir(source) and os.path.isdir(folder) and os.path.samefile(source, folder):
            raise ValueError(
                f'visualizations would replace the images in {source}: name another output folder.'
            )


@dataclass
class OutputNames:
    """File names for what is written about images, each only once.

    Images of the same name from other folders, or with another ending, get a number.
    """

    taken: set[str] = field(default_factory=set)
    arrays: int = 0

    def __call__(self, path: str | None) -> tuple[str, str]:
        """Name without ending, and ending of a visualization."""
        if path is None:
            stem, ending = f'{self.arrays:08d}', '.jpg'
            self.arrays += 1
        else:
            name = re.split(r'[\\/]', path.split('?')[0] if '://' in path else path)[-1]
            stem, ending = os.path.splitext(name)
            ending = ending if ending.lower() in IMG_EXTENSIONS else '.jpg'
        number, unique = 1, stem
        while unique in self.taken:
            unique = f'{stem}_{number}'
            number += 1
        self.taken.add(unique)
        return unique, ending
