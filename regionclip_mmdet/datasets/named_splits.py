# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Datasets whose classes are one of several named lists, and whose files a command makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from .checks import check_classes, read_json, require_file


class NamedSplits:
    """A COCO-format dataset with several lists of classes: mix in before mmdet's class.

    Subclasses have ``CLASS_SPLITS`` and, in ``METAINFO``, all ``classes``, ``palette`` and, for
    LVIS, ``frequencies`` (one entry a class, or None), ``base_classes`` and ``novel_classes``. The
    metainfo of an instance has the classes of its split, in the split's order, and those of them
    that are base and novel.

    Args:
        class_split: Key of ``CLASS_SPLITS``: which classes the labels count through. The annotation
            file must hold them in that order.
        get_with: A command that makes or downloads the annotation file; an error says so if the
            file is missing.
        metainfo: As in mmdet; its ``classes``, if given, win over ``class_split``.
        *args: For the dataset class.
        **kwargs: For the dataset class.
    """

    CLASS_SPLITS: ClassVar[Mapping[str, Sequence[str]]] = {}
    FILE_HINT: ClassVar[str] = 'Choose ann_file and class_split that belong together.'

    def __init__(
        self,
        *args: Any,
        class_split: str = 'all',
        get_with: str | None = None,
        metainfo: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if class_split not in self.CLASS_SPLITS:
            raise ValueError(
                f'{type(self).__name__}: unknown class_split {class_split!r}; choose from '
                f'{list(self.CLASS_SPLITS)}'
            )
        self.get_with = get_with
        metainfo = metainfo or {}
        classes = metainfo.get('classes', self.CLASS_SPLITS[class_split])
        super().__init__(*args, metainfo={**self._of_classes(classes), **metainfo}, **kwargs)

    @classmethod
    def _of_classes(cls, classes: Sequence[str]) -> dict[str, Any]:
        """Metainfo of some classes."""
        found: dict[str, Any] = {'classes': tuple(classes)}
        for key in ('base_classes', 'novel_classes'):
            names = set(cls.METAINFO[key])
            found[key] = tuple(name for name in classes if name in names)
        for key in ('palette', 'frequencies'):
            values = dict(zip(cls.METAINFO['classes'], cls.METAINFO.get(key) or (), strict=False))
            complete = set(classes) <= set(values)
            found[key] = [values[name] for name in classes] if complete else None
        return found

    def check_categories(self, names: Sequence[str]) -> None:
        """Refuse a file whose categories would give other labels; for ``DatasetCheckHook``.

        Args:
            names: Category names in the order of the file.

        Raises:
            ValueError: See ``check_classes``.
        """
        check_classes(names, self.metainfo['classes'], self.ann_file, self.FILE_HINT)

    def filter_data(self) -> list[dict]:
        """The filter of mmdet; with ``filter_empty_gt``, images with nothing but crowds go, too.

        detectron2 drops them as well: in training all their regions would be background.
        """
        items = super().filter_data()
        if self.test_mode or not (self.filter_cfg or {}).get('filter_empty_gt', False):
            return items
        return [
            item
            for item in items
            if any(not instance['ignore_flag'] for instance in item['instances'])
        ]

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """One image, as mmdet has it, with polygons of whole numbers as floats.

        mmdet keeps the type of a polygon's numbers when it scales them, so integers would be cut
        to whole pixels of the *resized* image.
        """
        info = super().parse_data_info(raw_data_info)
        for instance in info['instances']:
            mask = instance.get('mask')
            if isinstance(mask, list):
                instance['mask'] = [
                    [float(v) for v in polygon]
                    if all(isinstance(v, int) for v in polygon)
                    else polygon
                    for polygon in mask
                ]
        return info

    def load_data_list(self) -> list[dict]:
        """Load the annotations.

        Raises:
            FileNotFoundError: No annotation file; says how to get it.
            ValueError: The file has another number of the classes.
        """
        require_file(self.ann_file, self.backend_args, type(self).__name__, self.get_with)
        items = super().load_data_list()
        classes = self.metainfo['classes']
        if len(self.cat_ids) != len(classes):
            categories = read_json(self.ann_file, self.backend_args)['categories']
            there = {category['name'] for category in categories}
            lost = [name for name in classes if name not in there]  # misspelled, perhaps
            raise ValueError(
                f'{self.ann_file} has {len(self.cat_ids)} categories for the {len(classes)} '
                f'classes of this {type(self).__name__}'
                f'{f", none for {lost[:5]}" if lost else ""}. {self.FILE_HINT}'
            )
        return items
