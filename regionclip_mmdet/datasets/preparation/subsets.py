# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Parts of COCO-format annotations. Ids stay as they are; inputs are not changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..checks import LVIS_LISTS


def keep_categories(
    content: Mapping[str, Any], ids: Collection[int], keep_empty: bool = False
) -> dict[str, Any]:
    """Annotations of some categories.

    Args:
        content: COCO or LVIS annotations.
        ids: Categories to keep.
        keep_empty: Keep images that none of the kept annotations refers to, too. Crowd
            annotations count like others, as in the public splits.

    Returns:
        The same with other lists; images, annotations and categories in their order.
    """
    ids = set(ids)
    annotations = [ann for ann in content['annotations'] if ann['category_id'] in ids]
    used = {ann['image_id'] for ann in annotations}
    images = [
        _limit(image, ids) for image in content['images'] if keep_empty or image['id'] in used
    ]
    return {
        **content,
        'images': images,
        'annotations': annotations,
        'categories': [category for category in content['categories'] if category['id'] in ids],
    }


def _limit(image: dict[str, Any], ids: set[int]) -> dict[str, Any]:
    lists = {key: [i for i in image[key] if i in ids] for key in LVIS_LISTS if key in image}
    return {**image, **lists} if lists else image


def keep_images(content: Mapping[str, Any], ids: Collection[int]) -> dict[str, Any]:
    """Some images with their annotations; all categories stay.

    Raises:
        ValueError: Ids that the annotations do not have.
    """
    ids = set(ids)
    unknown = ids - {image['id'] for image in content['images']}
    if unknown:
        raise ValueError(
            f'{len(unknown)} of {len(ids)} image ids are not in the annotations, e.g. '
            f'{sorted(unknown)[:5]}.'
        )
    return {
        **content,
        'images': [image for image in content['images'] if image['id'] in ids],
        'annotations': [ann for ann in content['annotations'] if ann['image_id'] in ids],
    }


@dataclass(frozen=True)
class Counts:
    """What a file of the public data holds.

    Attributes:
        known: Lengths of 'images', 'annotations' or 'categories' that others reported or that
            follow from the names; another one is refused.
    """

    known: Mapping[str, int] = field(default_factory=dict)


def check_counts(
    content: Mapping[str, Any], expected: Counts, what: str, any_size: bool
) -> list[str]:
    """Compare the lengths of lists with those of the public data.

    Args:
        content: Annotations.
        expected: Lengths of the public data.
        what: Name that the error message begins with.
        any_size: Do not compare: other data than the public one.

    Returns:
        One line that says what is there.

    Raises:
        ValueError: Another count than is known.
    """
    line = ', '.join(f'{len(content[p])} {p}' for p in ('images', 'annotations', 'categories'))
    if any_size:
        return [f'{what}: {line} (not compared with known counts)']
    for part, count in expected.known.items():
        if len(content[part]) != count:
            raise ValueError(
                f'{what} has {len(content[part])} {part}; of the public data it would be {count}. '
                'Use the complete public file, or --any-size for data of your own or a part.'
            )
    known = f'; compared: {", ".join(expected.known)}' if expected.known else ''
    return [f'{what}: {line}{known}']
