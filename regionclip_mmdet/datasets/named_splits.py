# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Datasets whose classes are one of several named lists, and whose files a command makes."""

from __future__ import annotations

import contextlib
import io
import os.path as osp
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mmdet.datasets import CocoDataset, LVISV05Dataset
from mmdet.datasets.api_wrappers import COCO
from mmengine.fileio import list_from_file

from .annotation_file import read_annotation_file
from .checks import CocoReport, check_classes, check_coco, check_masks

_PUBLIC = 'http://images.cocodataset.org/'


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
        metainfo: As in mmdet; its ``classes``, if given, win over ``class_split``. A text in place
            of a list of names is one name, or a file with a name a line.
        *args: For the dataset class.
        **kwargs: For the dataset class.
    """

    CLASS_SPLITS: ClassVar[Mapping[str, Sequence[str]]] = {}
    FILE_HINT: ClassVar[str] = 'Choose ann_file and class_split that belong together.'
    # Which of them says where an image lies, below the image folder.
    IMAGE_KEYS: ClassVar[tuple[str, str]] = ('file_name', 'coco_url')
    # Of the annotation file, once it has been read and checked; for ``DatasetCheckHook``.
    coco_report: CocoReport | None = None

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
        metainfo = {key: _names(key, value) for key, value in (metainfo or {}).items()}
        own = self.CLASS_SPLITS[class_split]
        classes = metainfo.get('classes', own)
        if tuple(classes) != tuple(own):
            self.FILE_HINT = (
                'These classes are those of metainfo in the config, inherited perhaps, which win '
                f'over the ones of {type(self).__name__}; metainfo=None takes these. '
                + type(self).FILE_HINT
            )
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

        Raises:
            ValueError: Nothing is left.
        """
        items = super().filter_data()
        if not self.test_mode and (self.filter_cfg or {}).get('filter_empty_gt', False):
            items = [
                item
                for item in items
                if any(not instance['ignore_flag'] for instance in item['instances'])
            ]
        if not items:
            raise ValueError(
                f'{self.ann_file}: no image is left for this {type(self).__name__} '
                f'(filter_cfg={self.filter_cfg}): {self.coco_report}.'
            )
        return items

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """One image, as mmdet has it, with polygons of whole numbers as floats.

        mmdet keeps the type of a polygon's numbers when it scales them, so integers would be cut
        to whole pixels of the *resized* image.
        """
        info = super().parse_data_info(raw_data_info)
        for instance in info['instances']:
            mask = instance.get('mask')
            if isinstance(mask, list) and all(isinstance(polygon, list) for polygon in mask):
                instance['mask'] = [
                    [float(v) for v in polygon]
                    if all(isinstance(v, int) for v in polygon)
                    else polygon
                    for polygon in mask
                ]
        return info

    def load_data_list(self) -> list[dict]:
        """Load the annotations; the file is read once and checked before mmdet parses it.

        Raises:
            FileNotFoundError: No annotation file; says how to get it.
            ValueError: It is damaged, see ``check_coco``; it has no masks, which the pipeline
                loads; its categories are not the classes.
        """
        who = type(self).__name__
        content = read_annotation_file(self.ann_file, self.backend_args, who, self.get_with)
        self.coco_report = check_coco(content, self.ann_file)
        self.check_categories([category['name'] for category in content['categories']])
        if loads_masks(self.pipeline):
            check_masks(content, self.ann_file, 'LoadAnnotations(with_mask=True)', is_used)
        for image in content['images']:
            image['file_name'] = self._file_name(image)
        # What mmdet would read from the file once more.
        self.COCOAPI = lambda path: _api(content)
        try:
            if isinstance(self, LVISV05Dataset):  # its own loader reads with the lvis package
                return CocoDataset.load_data_list(self)
            return super().load_data_list()
        finally:
            del self.COCOAPI

    def _file_name(self, image: Mapping[str, Any]) -> str:
        """Where an image lies below the image folder."""
        key = next(key for key in self.IMAGE_KEYS if image.get(key))
        name = image[key]
        if key == 'file_name':
            return name
        if name.startswith(_PUBLIC):
            return name.removeprefix(_PUBLIC)
        return '/'.join(name.split('/')[-2:])  # of other addresses folder and file


def loads_masks(pipeline: Any) -> bool:
    """Whether a pipeline, or a transform in it, loads the masks of annotations."""
    parts = getattr(pipeline, 'transforms', None) or ()
    if getattr(pipeline, 'with_mask', False):
        return True
    return isinstance(parts, Sequence) and any(loads_masks(part) for part in parts)


def _names(key: str, value: Any) -> Any:
    """A metainfo's value; a text in place of names is one name, or a file of them."""
    if key not in ('classes', 'base_classes', 'novel_classes') or not isinstance(value, str):
        return value
    return tuple(list_from_file(value)) if osp.isfile(value) else (value,)


def is_used(ann: Mapping[str, Any]) -> bool:
    """Whether mmdet keeps an annotation, as far as that does not depend on its image."""
    return not ann.get('ignore') and ann['area'] > 0 and min(ann['bbox'][2:]) >= 1


def _api(content: dict[str, Any]) -> COCO:
    """Pycocotools' view of a file that was read already."""
    api = COCO()
    api.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        api.createIndex()
    api.img_ann_map, api.cat_img_map = api.imgToAnns, api.catToImgs
    return api
