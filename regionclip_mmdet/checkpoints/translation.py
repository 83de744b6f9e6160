# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Tensors of other projects' checkpoints by our names, on the way into a file or a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mmengine.logging import print_log
from torch import Tensor

from .layouts import (
    BACKGROUND,
    EMBEDDINGS,
    LOCALIZER,
    LOGIT_SCALE,
    NAMELESS,
    OFFICIAL,
    UnknownKindError,
    Unused,
    clip_key,
    is_ours,
    our_key,
    recognize,
)
from .official import check_anchors, other_normalization
from .state_dicts import find_state_dict, refuse_non_finite


@dataclass
class Conversion:
    """A converted checkpoint and what became of its tensors.

    Attributes:
        kind: kind of the file, see ``layouts.KINDS``.
        state_dict: tensors by our names.
        notes: JSON-able notes: kind, sizes, logit scale, ...
        parts: description and number of tensors of each part.
        unused: names of tensors that are not used, by reason.
        absent: parts that such a file should have, absent by permission.
        embeddings: class embeddings found in the file without their names, ``(K, D)`` each, by
            classifier.
    """

    kind: str
    state_dict: dict[str, Tensor] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, tuple[str, int]] = field(default_factory=dict)
    unused: dict[str, list[str]] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    embeddings: dict[str, Tensor] = field(default_factory=dict)

    def __str__(self) -> str:
        rows = [self.kind]
        rows += [f'  {p:<28}{n:>5} of {n} tensors   {w}' for p, (w, n) in self.parts.items()]
        for classifier, notes in self.notes.get('vocabularies', {}).items():
            place = f'roi_head.bbox_head.{classifier}'
            rows.append(f'  {place:<36} {notes["names"]:>5} names, with their embeddings')
        rows += [f'  {part:<28}    absent, as allowed' for part in self.absent]
        if 'normalization' in self.notes:
            rows.append(
                f'  It normalizes images by {self.notes["normalization"]}: give these to the '
                'localizer of the model config (and bgr), which has others.'
            )
        for reason, keys in self.unused.items():
            rows.append(f'  not used: {len(keys)}, {reason}, e.g. {keys[0]}')
        return '\n'.join(rows)


def translate(content: Any, what: str = 'The file') -> Conversion:
    """Rename the tensors of a checkpoint, whatever of a kind it holds.

    Args:
        content: content of a file, see ``find_state_dict``.
        what: name of the file, for messages.

    Returns:
        A conversion without ``parts``: nothing says that it is complete.

    Raises:
        UnknownKindError: None of the kinds.
        ValueError: No state dict; a mixture of kinds; weights that are not finite; a localizer
            with other anchors, a detector with a background embedding of its own.
    """
    state = find_state_dict(content, what)
    try:
        return _renamed(state, what)
    except ValueError as error:
        text = str(error)
        raise type(error)(text if text.startswith(what) else f'{what}: {text}') from None


def _renamed(state: dict[str, Tensor], what: str) -> Conversion:
    result = Conversion(recognize(state))
    for key, tensor in state.items():
        place = our_key(key, result.kind)
        if isinstance(place, Unused):
            result.unused.setdefault(place.reason, []).append(key)
            if key.endswith(LOGIT_SCALE) and tensor.numel() == 1:
                result.notes['logit_scale'] = float(tensor)
            if key in EMBEDDINGS and place.reason == NAMELESS:
                if tensor.ndim != 2 or not tensor.is_floating_point():
                    raise ValueError(
                        f'{key} should hold class embeddings (classes, width), but is '
                        f'{tuple(tensor.shape)}, {tensor.dtype}.'
                    )
                result.embeddings[EMBEDDINGS[key]] = tensor
        elif place in result.state_dict:
            raise ValueError(f'Two tensors of the file are {place} here; one of them is {key}.')
        else:
            result.state_dict[place] = tensor
    refuse_non_finite({k: v for k, v in state.items() if _matters(k, result)}, what)
    _check_background(state)
    check_anchors(state)
    if result.kind == LOCALIZER and (difference := other_normalization(state)):
        result.notes['normalization'] = difference
    return result


def into_our_names(
    state_dict: dict[str, Any], path: str | None = None, quiet: bool = False
) -> Conversion | None:
    """Rename the tensors of an official file that was given to a model as a checkpoint.

    Args:
        state_dict: state dict that a model is to load; changed, if it is of an official kind.
        path: path of its file, if that is known.
        quiet: whether to log nothing.

    Returns:
        What became of it; None if it was left as it is.

    Raises:
        ValueError: See ``translate``.
    """
    source = 'checkpoint' if path is None else f'checkpoint {path}'
    if not state_dict or is_ours(key for key in state_dict if isinstance(key, str)):
        return None
    try:
        result = translate(state_dict, source)
    except UnknownKindError:
        return None
    if result.kind not in OFFICIAL or result.state_dict.keys() == state_dict.keys():
        return None  # a backbone alone has the same names
    unknown = result.unused.get('unknown here', ())
    left = {key: state_dict[key] for key in unknown if key in state_dict}
    state_dict.clear()
    state_dict.update(result.state_dict)
    state_dict.update(left)  # for the model to refuse
    if not quiet:
        words = f'{source}: {result.kind}, its tensors are renamed as they are loaded.'
        for matrix in result.embeddings.values():
            words += (
                f' Its embeddings of {len(matrix)} classes have no names and are left out, for '
                f'those of the config. To take them: {command(path)} --names NAMES'
            )
        print_log(words, 'current')
    return result


def command(*paths: str | None) -> str:
    """The command line that converts files."""
    files = ' '.join(path or 'FILE' for path in paths)
    return f'python tools/convert_checkpoint.py {files} -o CONVERTED.pth'


def by_clips_names(state: Mapping[str, Tensor], what: str = 'The file') -> dict[str, Tensor]:
    """Image and text tower of a file of ours or of RegionCLIP, as CLIP names them.

    Args:
        state: state dict, as ``find_state_dict`` returns it.
        what: name of the file, for messages.

    Returns:
        What there is of them; empty if that is nothing, or the file none of the kinds.
    """
    try:
        result = translate(state, what)
    except UnknownKindError:
        return {}
    named = ((clip_key(key), value) for key, value in result.state_dict.items())
    return {key: value for key, value in named if key is not None}


def _matters(key: str, result: Conversion) -> bool:
    """Whether a tensor will be computed with."""
    place = our_key(key, result.kind)
    return not isinstance(place, Unused) or place.reason == NAMELESS


def _check_background(state: Mapping[str, Tensor]) -> None:
    if BACKGROUND in state and bool(state[BACKGROUND].any()):
        raise ValueError(
            f'{BACKGROUND} is not zero: this detector was trained with a background embedding of '
            'its own, which the classifier here does not have.'
        )
