# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Files of precomputed proposals, checked before the first image is read."""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.fileio import exists
from mmengine.structures import BaseDataElement
from mmengine.utils import is_abs

from .proposal_content import read_content

# Boxes may end this far outside their image: rounding, and the inclusive ends of old formats.
_SLACK = 1.0


def proposal_key(img_path: str) -> str:
    """The key under which mmdet looks an image's proposals up: last folder and file name."""
    folder, name = osp.split(img_path)
    return osp.join(osp.split(folder)[-1], name)


class ProposalFile:
    """A dataset with ``proposal_file``: mix in before mmdet's or mmengine's dataset class.

    The file is a pickle (what mmdet's ``DumpProposals`` writes), a JSON or a YAML file of one
    mapping::

        {'train2017/000000000009.jpg': {'bboxes': (N, 4), 'scores': (N,),
                                        'objectness_logits': (N,)}, ...}

    * The key is the image's *last folder and file name*, as mmdet has it. Two images of a dataset
      with the same key are refused, since nothing tells them apart.
    * ``bboxes`` are x1, y1, x2, y2 in pixels of the *original* image. ``scores`` and
      ``objectness_logits`` are optional; an image without proposals has ``(0, 4)`` boxes.
    * Every image of the dataset needs an entry; entries of other images are ignored.

    Nothing of a file is run: pickles may hold plain types, arrays, tensors and ``InstanceData``.
    """

    def load_proposals(self) -> None:
        """Put proposals into every item of ``data_list``; called by mmdet's dataset classes."""
        self.attach_proposals(self.data_list)

    def attach_proposals(self, items: Sequence[dict]) -> None:
        """Put ``proposals`` (a dict of float32 arrays) into items.

        Args:
            items: With ``img_path`` and, where known, ``width`` and ``height``.

        Raises:
            FileNotFoundError: No such file.
            ValueError: Old or unknown formats, missing images, ambiguous keys, wrong shapes, NaN,
                boxes outside their image.
        """
        if not is_abs(self.proposal_file) and self.data_root:
            self.proposal_file = osp.join(self.data_root, self.proposal_file)
        who = f'{type(self).__name__}: proposal_file {self.proposal_file}'
        content = _read(self.proposal_file, self.backend_args, who)
        paths: dict[str, str] = {}
        for item in items:
            key, path = proposal_key(item['img_path']), item['img_path']
            if paths.setdefault(key, path) != path:
                raise ValueError(
                    f'{who}: the images {paths[key]} and {path} share the key {key!r} (last folder '
                    'and file name), so their proposals cannot be told apart. Rename a folder.'
                )
        missing = [key for key in paths if key not in content]
        if missing:
            example = next(iter(content), None)
            raise ValueError(
                f'{who} has no proposals for {len(missing)} of {len(paths)} images, e.g. '
                f'{missing[0]!r}; its keys look like {example!r}. A key is the last folder and the '
                'file name of an image.'
            )
        for item in items:
            key = proposal_key(item['img_path'])
            size = (item.get('width'), item.get('height'))
            where = f'{who}, entry {key!r}'
            try:
                entry = content[key]
            except ValueError as error:
                raise ValueError(f'{where} cannot be read: {error}') from None
            item['proposals'] = check_proposals(entry, size, where)


def _read(path: str, backend_args: dict | None, who: str) -> Mapping[str, Any]:
    if not exists(path, backend_args=backend_args):
        raise FileNotFoundError(f'{who} does not exist. Check it and data_root.')
    try:
        content = read_content(path, backend_args)
    except MemoryError:
        raise MemoryError(f'{who} asks for more memory than there is.') from None
    except Exception as error:
        raise ValueError(f'{who} cannot be read: {type(error).__name__}: {error}') from None
    if isinstance(content, Sequence):
        raise ValueError(
            f'{who} holds a list, as mmdet 2.x wrote them (arrays in the order of the dataset). It '
            "must map '<last folder>/<file name>' to dict(bboxes=..., scores=...); write it again "
            "with mmdet 3's DumpProposals, or convert it."
        )
    if not isinstance(content, Mapping):
        raise ValueError(f'{who} must hold a mapping, not a {type(content).__name__}.')
    return content


def check_proposals(
    entry: Any, size: tuple[int | None, int | None], where: str
) -> dict[str, np.ndarray]:
    """Proposals of one image as float32 arrays.

    Args:
        entry: Mapping or ``InstanceData`` with ``bboxes`` and, optionally, ``scores`` and
            ``objectness_logits``; arrays, tensors or lists.
        size: Width and height of the image, None where unknown (then boxes may lie anywhere).
        where: Name that error messages begin with.

    Raises:
        ValueError: Anything else.
    """
    if not isinstance(entry, (Mapping, BaseDataElement)) or 'bboxes' not in entry:
        raise ValueError(
            f'{where}: must be dict(bboxes=..., scores=...), not {type(entry).__name__} without '
            "'bboxes'. Arrays (N, 5) of mmdet 2.x must be split into both."
        )
    boxes = _array(entry.get('bboxes'), 'bboxes', where)
    boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        hint = (
            ' Old (N, 5) boxes have the score last: split it off.' if boxes.shape[-1] == 5 else ''
        )
        raise ValueError(f'{where}: bboxes must have shape (N, 4), not {boxes.shape}.{hint}')
    found = {'bboxes': boxes}
    for name in ('scores', 'objectness_logits'):
        if name in entry:
            found[name] = _array(entry.get(name), name, where)
            if found[name].shape != (len(boxes),):
                raise ValueError(
                    f'{where}: {name} must have shape ({len(boxes)},), one for each box, not '
                    f'{found[name].shape}.'
                )
    for name, values in found.items():
        bad = np.flatnonzero(~np.isfinite(np.atleast_2d(values.T)).all(axis=0))
        if len(bad):
            raise ValueError(
                f'{where}: {name} of {len(bad)} of {len(boxes)} proposals are not finite; the '
                f'first is number {bad[0]}: {values[bad[0]].tolist()}.'
            )
    check_places(boxes, size, where)
    return found


def _array(values: Any, name: str, where: str) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    try:
        return np.array(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f'{where}: {name} is no array of numbers ({error}).') from None


def check_places(boxes: np.ndarray, size: tuple[int | None, int | None], where: str) -> None:
    """Refuse boxes ``(N, 4)`` that end before they begin, or lie outside an image.

    Args:
        boxes: x1, y1, x2, y2.
        size: Width and height of the image, None where unknown.
        where: Name that error messages begin with.
    """
    turned = np.flatnonzero((boxes[:, 2:] < boxes[:, :2]).any(axis=1))
    if len(turned):
        raise ValueError(
            f'{where}: proposal {turned[0]} is {boxes[turned[0]].tolist()}, which ends before it '
            'begins. Boxes are (x1, y1, x2, y2), not (x, y, width, height).'
        )
    if None in size:
        return
    limits = np.array([*size, *size], dtype=np.float32)
    outside = ((boxes < -_SLACK) | (boxes > limits + _SLACK)).any(axis=1)
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise ValueError(
            f'{where}: {int(outside.sum())} of {len(boxes)} proposals reach out of the image of '
            f'{size[0]} x {size[1]} pixels (width x height); the first is number {first}: '
            f'{boxes[first].tolist()}. Boxes must be in pixels of the original image, before any '
            'resizing.'
        )
