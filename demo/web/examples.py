# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Images to try, made when the server starts: no network, no files of others."""

from __future__ import annotations

from importlib import import_module, util
from pathlib import Path

from PIL import Image

from regionclip_mmdet.datasets.shapes_world import CLASSES
from regionclip_mmdet.models.text import TextEmbeddings

# scikit-image brings these files along; they are used where it is installed.
_PHOTOGRAPHS = {
    'astronaut': 'person . flag . space suit . model rocket .',
    'chelsea': 'cat . dog . whisker .',
    'coffee': 'cup . saucer . spoon . table .',
}


def write_examples(
    folder: Path, known: frozenset[str] | None = None, own: TextEmbeddings | None = None
) -> list[tuple[str, str]]:
    """Write images into a folder: photographs, and colored shapes for a detector of shapes.

    Args:
        folder: folder for the files.
        known: the only names that can be used, where there is no text encoder; an example has
            those of its names that are among them, and is left out without any.
        own: The checkpoint's own names, which tell a detector of shapes; others have seen none.

    Returns:
        Paths and words.
    """
    knows_shapes = own is not None and own.is_named and set(own.names) <= set(CLASSES)
    made = _write_shapes(folder) if knows_shapes else []
    if util.find_spec('skimage') is not None:
        data = import_module('skimage.data')
        for name, words in _PHOTOGRAPHS.items():
            Image.fromarray(getattr(data, name)()).save(folder / f'{name}.jpg', quality=90)
            made.append((f'{name}.jpg', words))
    examples = []
    for file, words in made:
        names = [word.strip() for word in words.split(' .') if word.strip()]
        names = [word for word in names if known is None or word in known]
        if names:
            examples.append((str(folder / file), ' . '.join(names) + ' .'))
    return examples


def _write_shapes(folder: Path) -> list[tuple[str, str]]:
    if util.find_spec('examples.shapes_world') is None:  # the wheel's page has no generator
        return []
    from examples.shapes_world import ShapesWorldSpec, sample_image

    spec = ShapesWorldSpec('scenes', num_images=2, image_size=256, object_size=(36, 86))
    made = []
    for index in range(spec.num_images):
        image, objects, _ = sample_image(spec, index)
        image.save(folder / f'shapes_{index + 1}.png')
        there = list(dict.fromkeys(obj.name for obj in objects))
        absent = [name for name in CLASSES if name not in there][:: len(CLASSES) // 3]
        made.append((f'shapes_{index + 1}.png', ' . '.join([*there, *absent]) + ' .'))
    return made
