# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Checkpoints of other projects to ours, every tensor accounted for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ..checkpoints.layouts import FINETUNED, NEEDED
from ..checkpoints.parts import (
    CLASS_EMBEDDINGS,
    IMAGE_TOWER,
    LOCALIZER,
    MASK_HEAD,
    PARTS,
    TEXT_ENCODER,
    part_of,
)
from ..checkpoints.translation import Conversion, translate
from ..version import __version__
from .expected import UNPUBLISHED, IncompleteError, arch_name, expected_shapes, infer_arch

# Parts that users know as files of their own. A recognizer that is not whole stays an error.
FROM_ELSEWHERE = (LOCALIZER, TEXT_ENCODER)


def convert(
    content: Any,
    allow_missing: Collection[str] = (),
    custom_sizes: bool = False,
    what: str = 'The file',
) -> Conversion:
    """Convert the content of a checkpoint; its kind is recognized.

    Args:
        content: state dict, possibly nested under ``state_dict`` or ``model``.
        allow_missing: parts (``checkpoints.parts.PARTS``, or ``CLASS_EMBEDDINGS``) that the file
            may do without.
        custom_sizes: True allows CLIP ResNets of sizes that were never published.
        what: name of the file, for messages.

    Returns:
        The conversion; every part in it is complete.

    Raises:
        ValueError: See ``translate``; a part incomplete, of other shapes or types, or absent
            although a file of this kind has it; tensors of unknown names.
    """
    result = translate(content, what)
    _check_parts(result, allow_missing, custom_sizes)
    result.notes.update(kind=result.kind, converter=f'regionclip_mmdet {__version__}')
    return result


def convert_several(
    contents: Sequence[tuple[str, Any]],
    allow_missing: Collection[str] = (),
    custom_sizes: bool = False,
    with_vocabulary: bool = False,
) -> list[Conversion]:
    """Convert the contents of several files, see ``convert``.

    Args:
        contents: name and content of each file.
        allow_missing: parts that all of them may do without.
        custom_sizes: see ``convert``.
        with_vocabulary: whether a vocabulary is put in afterwards, which serves for the class
            embeddings of a finetuned detector.

    Returns:
        The conversions, in that order.

    Raises:
        ValueError: As ``convert``, with the name of the file; or a part that one should have is
            in none of them.
    """
    permitted = {*allow_missing, *([CLASS_EMBEDDINGS] if with_vocabulary else [])}
    passed_over = {*permitted, *(FROM_ELSEWHERE if len(contents) > 1 else ())}
    converted = []
    for name, content in contents:
        try:
            converted.append(convert(content, passed_over, custom_sizes, name))
        except ValueError as error:
            text = str(error)
            raise ValueError(text if text.startswith(name) else f'{name}: {text}') from None
    found = {part for one in converted for part in one.parts}
    for (name, _), one in zip(contents, converted, strict=True):
        lost = [part for part in one.absent if part not in found and part not in permitted]
        if lost:
            raise ValueError(
                f"{name}: {one.kind}, but '{lost[0]}' is absent, and no other file has it "
                f'(allow_missing={lost[0]!r} if that is meant)'
            )
    return converted


def _check_parts(result: Conversion, allow_missing: Collection[str], custom_sizes: bool) -> None:
    wrong_names = sorted(set(allow_missing) - {*PARTS, CLASS_EMBEDDINGS})
    if wrong_names:
        raise ValueError(f'No parts: {wrong_names}. Parts are: {", ".join(PARTS)}.')
    present = dict.fromkeys(part_of(key) for key in result.state_dict)
    problems = []
    for part in (*NEEDED[result.kind], *_needed_heads(result)):
        if part in present:
            continue
        if part in allow_missing:
            result.absent.append(part)
        else:
            problems.append(f"'{part}' is absent (allow_missing={part!r} if that is meant)")
    for part in filter(None, present):
        try:
            wanted, words = expected_shapes(part, result.state_dict)
        except IncompleteError as error:
            problems.append(f"'{part}' is incomplete: {error}")
            continue
        except (
            ValueError,
            TypeError,
            LookupError,
            ArithmeticError,
            RuntimeError,
            AssertionError,
        ) as error:
            problems.append(f"'{part}' has sizes that none of its kind has: {error}")
            continue
        own = {k: v for k, v in result.state_dict.items() if part_of(k) == part}
        missing = [key for key in wanted if key not in own]
        extra = [key for key in own if key not in wanted]
        other = [
            f'{key} {tuple(own[key].shape)} instead of {shape}'
            for key, shape in wanted.items()
            if key in own and tuple(own[key].shape) != shape
        ]
        integers = [f'{k} ({v.dtype})' for k, v in own.items() if not v.is_floating_point()]
        for what, keys in (
            ('missing', missing),
            ('unknown', extra),
            ('misshapen', other),
            ('no floating point numbers', integers),
        ):
            if keys:
                problems.append(f"'{part}': {len(keys)} tensors {what}, e.g. {keys[0]}")
        if words.startswith(UNPUBLISHED) and not custom_sizes:
            problems.append(
                f"'{part}' is {words}. A stage may be cut off; custom_sizes=True if it is not"
            )
        result.parts[part] = (words, len(wanted))
    unknown = result.unused.get('unknown here')
    if unknown:
        problems.append(f'{len(unknown)} tensors of unknown names, e.g. {", ".join(unknown[:3])}')
    if problems:
        raise ValueError(f'{result.kind}, but:\n  ' + '\n  '.join(problems))
    if present.keys() >= set(IMAGE_TOWER):
        result.notes['arch'] = arch_name(infer_arch(result.state_dict)) or 'custom'


def _needed_heads(result: Conversion) -> list[str]:
    """What an official finetuned detector has besides: class embeddings; LVIS' also masks.

    Detectors of LVIS are told by their FPN localizer; those of COCO have R50-C4 and no masks.
    """
    if result.kind != FINETUNED:
        return []
    heads = [] if 'classifier' in result.embeddings else [CLASS_EMBEDDINGS]
    fpn = any(key.startswith(f'{LOCALIZER}.neck.') for key in result.state_dict)
    return [*heads, MASK_HEAD] if fpn else heads
