# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Images with captions, from COCO-caption JSON or JSON-lines files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset
from mmengine.fileio import get_local_path, join_path
from mmengine.logging import print_log

from ..fileio import parse_json
from .annotation_file import require_annotation_file
from .broken_images import BrokenImagePolicy
from .proposal_file import ProposalFile
from .shards import is_unicode

_ID = (str, int, float)


@DATASETS.register_module()
class ImageTextDataset(BrokenImagePolicy, ProposalFile, BaseDataset):
    """Image-text pairs; every item carries all captions of one image.

    Two file formats, told apart by the suffix:

    * ``.json``: COCO captions, ``{"images": [{"id", "file_name", ...}], "annotations":
      [{"image_id", "caption"}]}``.
    * ``.jsonl``: one object a line, ``{"image": path, "caption": str}`` or ``{"image": path,
      "captions": [str, ...]}``; ``id``, ``height`` and ``width`` are optional.

    Items: ``img_path``, ``img_id``, ``captions`` (list of str), ``height``, ``width`` where the
    file has them, and ``proposals`` (see ``ProposalFile``) with a ``proposal_file``. A caption
    that is no string is an error that names its place. Empty captions, and images left without
    any, are skipped and counted in ``num_skipped_captions`` and ``num_skipped_images`` (a warning
    says how many).

    Args:
        ann_file: Annotation file, relative to ``data_root``.
        data_prefix: ``img_path`` is the image folder, relative to ``data_root``.
        skip_empty: False makes an empty caption, or an image without captions, an error.
        proposal_file: Precomputed proposals, relative to ``data_root``; to be read by
            ``LoadRegionProposals``.
        get_with: A command that makes or downloads the annotation file; an error says so if the
            file is missing.
        backend_args: mmengine file backend of the annotation and proposal files.
        **kwargs: As in mmengine's ``BaseDataset``; ``skip_broken`` as in ``BrokenImagePolicy``.
    """

    METAINFO: ClassVar[dict] = {'dataset_type': 'image_text'}

    def __init__(
        self,
        ann_file: str,
        data_prefix: Mapping[str, str] | None = None,
        skip_empty: bool = True,
        proposal_file: str | None = None,
        get_with: str | None = None,
        backend_args: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.skip_empty = skip_empty
        self.proposal_file = proposal_file
        self.get_with = get_with
        self.backend_args = backend_args
        self.num_skipped_captions = 0
        self.num_skipped_images = 0
        prefix = dict(data_prefix) if data_prefix else {'img_path': ''}
        super().__init__(ann_file=ann_file, data_prefix=prefix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the annotation file into a list of items."""
        data_list = list(self.read_items())
        if self.num_skipped_captions or self.num_skipped_images:
            print_log(
                f'{self.ann_file}: skipped {self.num_skipped_captions} empty captions and '
                f'{self.num_skipped_images} images without a caption',
                logger='current',
                level=30,  # logging.WARNING
            )
        if not data_list:
            raise ValueError(f'{self.ann_file} has no image with a caption.')
        if self.proposal_file is not None:
            self.attach_proposals(data_list)
        return data_list

    def read_items(self) -> Iterator[dict[str, Any]]:
        """Items of the annotation file in its order; JSON-lines files are read line by line.

        Counts what is skipped; proposals are not attached. A dataset built with
        ``lazy_init=True`` can be read so without holding all items.

        Raises:
            FileNotFoundError: No such file.
            ValueError: An unknown suffix, or a damaged file, by its place.
            TypeError: A caption is no string.
            MemoryError: The file is too large.
        """
        require_annotation_file(
            self.ann_file, self.backend_args, type(self).__name__, self.get_with
        )
        readers = {'.json': self._read_coco, '.jsonl': self._read_json_lines}
        suffix = next((s for s in readers if self.ann_file.endswith(s)), None)
        if suffix is None:
            raise ValueError(
                f'ImageTextDataset: cannot tell the format of {self.ann_file}; its name must end '
                'in .json (COCO captions) or .jsonl (JSON lines).'
            )
        self.num_skipped_captions = self.num_skipped_images = 0
        with get_local_path(self.ann_file, backend_args=self.backend_args) as path:
            yield from (item for item in readers[suffix](path) if item is not None)

    def _read_coco(self, path: str) -> Iterator[dict[str, Any] | None]:
        """Items of a COCO-caption file."""
        content = parse_json(Path(path).read_bytes(), self.ann_file, 'caption file')
        lists = isinstance(content, dict) and all(
            isinstance(content.get(part), list) for part in ('images', 'annotations')
        )
        if not lists:
            raise ValueError(
                f"{self.ann_file} is no COCO-caption file: it needs the keys 'images' and "
                "'annotations', both lists. One JSON object a line belongs into a .jsonl file."
            )
        captions: dict[Any, list[tuple[str, Any]]] = {}
        for number, image in enumerate(content['images']):
            where = f'image {number}'
            if not isinstance(image, dict) or not {'id', 'file_name'} <= set(image):
                raise ValueError(f"{self.ann_file}, {where}: needs the keys 'id' and 'file_name'.")
            self._check_image(image['file_name'], image['id'], image, where)
            if image['id'] in captions:
                raise ValueError(f'{self.ann_file}: image ids are not unique: {image["id"]!r}.')
            captions[image['id']] = []
        for number, ann in enumerate(content['annotations']):
            ann = ann if isinstance(ann, dict) else {}
            where = f'annotation {number} (id {_shown(ann.get("id"))})'
            image_id = ann.get('image_id')
            if not isinstance(image_id, _ID) or image_id not in captions:
                raise ValueError(
                    f'{self.ann_file}, {where}: image_id {_shown(image_id)} is not among '
                    'the images.'
                )
            captions[image_id].append((where, ann.get('caption')))
        for image in content['images']:
            yield self._item(
                image['file_name'],
                image['id'],
                captions[image['id']],
                image,
                f'image {image["id"]}',
            )

    def _read_json_lines(self, path: str) -> Iterator[dict[str, Any] | None]:
        """Items of a JSON-lines file, read line by line."""
        with open(path, 'rb') as file:  # decoded line by line, so that errors can name theirs
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                where = f'line {number}'
                row = parse_json(line, f'{self.ann_file}, {where}', 'caption file')
                image = row.get('image') if isinstance(row, dict) else None
                if not isinstance(image, str):
                    raise ValueError(
                        f"{self.ann_file}, {where}: needs an object with the key 'image' (a path)."
                    )
                img_id = number if row.get('id') is None else row['id']
                self._check_image(image, img_id, row, where)
                captions = row['captions'] if 'captions' in row else row.get('caption', [])
                if not isinstance(captions, list):
                    captions = [captions]
                yield self._item(
                    image,
                    img_id,
                    [(where, caption) for caption in captions],
                    row,
                    where,
                )

    def _item(
        self,
        file_name: str,
        img_id: Any,
        captions: list[tuple[str, Any]],
        sizes: Mapping[str, Any],
        where: str,
    ) -> dict[str, Any] | None:
        """One item, or ``None`` if no caption is left. Captions come with their places."""
        kept = [c for c in (self._clean_caption(*caption) for caption in captions) if c]
        if not kept:
            if not self.skip_empty:
                raise ValueError(f'{self.ann_file}, {where}: {file_name} has no caption.')
            self.num_skipped_images += 1
            return None
        item = {
            'img_path': join_path(self.data_prefix['img_path'], file_name),
            'img_id': img_id,
            'captions': kept,
        }
        item.update({key: sizes[key] for key in ('height', 'width') if key in sizes})
        return item

    def _check_image(self, name: Any, img_id: Any, sizes: Mapping[str, Any], where: str) -> None:
        """Refuse what is no path, no id, or no size."""
        if not isinstance(name, str) or not name.strip('\0') or not is_unicode(name):
            raise ValueError(f'{self.ann_file}, {where}: {_shown(name)} is no path of an image.')
        if not isinstance(img_id, _ID):
            raise ValueError(
                f'{self.ann_file}, {where}: id {_shown(img_id)} is neither a number nor a string.'
            )
        for key in ('height', 'width'):
            size = sizes.get(key)
            if size is None:
                continue
            if not isinstance(size, (int, float)) or not 1 <= size == size // 1:
                raise ValueError(
                    f'{self.ann_file}, {where}: {key} {_shown(size)} is no number of pixels.'
                )

    def _clean_caption(self, where: str, caption: Any) -> str:
        """The caption without outer white space; '' if it is empty and to be skipped."""
        if not isinstance(caption, str):
            raise TypeError(
                f'{self.ann_file}, {where}: a caption must be a string, got '
                f'{type(caption).__name__} {_shown(caption)}.'
            )
        if not is_unicode(caption):
            raise ValueError(
                f'{self.ann_file}, {where}: the caption {_shown(caption)} holds half a surrogate '
                'pair, which is no character.'
            )
        caption = caption.strip()
        if not caption:
            if not self.skip_empty:
                raise ValueError(f'{self.ann_file}, {where}: the caption is empty.')
            self.num_skipped_captions += 1
        return caption


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f'{text[:80]}...'
