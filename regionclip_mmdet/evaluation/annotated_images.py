# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""The images and objects of an annotation file, as metrics need them: checked and numbered by us.

pycocotools and lvis take ids for granted that are whole numbers from 1 on: an object with id 0
counts as missed though it was found. What they get has images, objects and categories numbered
from 1 in the order of the file, whatever the ids are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..datasets.annotation_file import read_annotation_file
from ..datasets.checks import check_coco, check_masks, class_names
from .tested_images import ImageIdentity


class AnnotatedImages:
    """An annotation file in COCO's or LVIS' format, read and checked.

    Args:
        content: Content of the file, parsed.
        path: Path of the file, for messages.
        masks: Why masks are needed, for messages; None if they are not.

    Attributes:
        path: Path of the file.
        images: Images by their id in the file.
        entries: The file's list of images.
        numbers: Number of each image by its id in the file, from 1 on.
        categories: The file's list of categories.
        category_numbers: Number of each category by its id in the file, from 1 on.
        numbers_by_name: The same by its name.
        objects: Annotations with these numbers; see ``dataset``.

    Raises:
        ValueError: See ``check_coco``; masks are wanted, and one is missing or malformed.
    """

    def __init__(self, content: Any, path: str, masks: str | None = None) -> None:
        check_coco(content, path, files=False)
        if masks:
            check_masks(content, path, masks)
        self.path = path
        self.masks = masks is not None
        self.images = {image['id']: ImageIdentity.annotated(image) for image in content['images']}
        self.numbers = {id: number for number, id in enumerate(self.images, start=1)}
        self.entries: list[dict] = content['images']
        self.categories: list[dict] = content['categories']
        self.category_numbers = {c['id']: n for n, c in enumerate(self.categories, start=1)}
        self.numbers_by_name = {c['name']: n for n, c in enumerate(self.categories, start=1)}
        self.objects = self._objects(content['annotations'])

    @classmethod
    def read(
        cls, path: str, who: str, backend_args: dict | None = None, masks: str | None = None
    ) -> AnnotatedImages:
        """Read a file.

        Args:
            path: Path of the file.
            who: Name of the metric, for messages.
            backend_args: Settings of mmengine's file backend.
            masks: Why masks are needed, for messages; None if they are not.

        Raises:
            FileNotFoundError: No such file.
            ValueError: It is damaged.
        """
        return cls(read_annotation_file(path, backend_args, who), path, masks)

    def _objects(self, annotations: Iterable[dict]) -> list[dict]:
        objects = []
        for number, ann in enumerate(annotations, start=1):
            found = {
                'id': number,
                'image_id': self.numbers[ann['image_id']],
                'category_id': self.category_numbers[ann['category_id']],
                'bbox': ann['bbox'],
                'area': ann['area'],
                'iscrowd': int(bool(ann.get('iscrowd'))),
                'left_out': int(bool(ann.get('ignore') or ann.get('iscrowd'))),
            }
            if self.masks:
                found['segmentation'] = ann['segmentation']
            objects.append(found)
        return objects

    def dataset(self) -> dict[str, list[dict]]:
        """The file's lists with our numbers, for pycocotools and lvis.

        Objects have 'left_out' 1 if they neither must be found nor are wrong to be found: crowds,
        and those with ``"ignore": 1``.
        """
        return dict(
            images=[
                {
                    'id': self.numbers[entry['id']],
                    **{k: int(entry[k]) for k in ('height', 'width') if entry.get(k) is not None},
                }
                for entry in self.entries
            ],
            annotations=self.objects,
            categories=[
                {'id': number, 'name': category['name']}
                for number, category in enumerate(self.categories, start=1)
            ],
        )

    def numbers_of(self, meta: Mapping[str, Any], who: str) -> list[int]:
        """Number of the category of each class of a dataset.

        Args:
            meta: The dataset's metainfo.
            who: The metric, for messages.

        Raises:
            ValueError: The file lacks a class, or classes are no list of names.
        """
        names = class_names(meta, who)
        known = self.numbers_by_name
        missing = [name for name in names if name not in known]
        if missing:
            raise ValueError(
                f'{who}: the annotation file lacks {missing[:5]} ({len(missing)} of '
                f'{len(names)} classes of the dataset): {self.path}. Give metric and dataset the '
                'same file.'
            )
        return [known[name] for name in names]
