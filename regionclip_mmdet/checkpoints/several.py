# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Files that become one checkpoint: what one of them lacks may be in another."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from . import conversion
from .conversion import Conversion
from .expected import CLASS_EMBEDDINGS

# Parts that users know as files of their own. A recognizer that is not whole stays an error.
FROM_ELSEWHERE = ('localizer', 'text_encoder')


def convert_several(
    contents: Sequence[tuple[str, Any]],
    allow_missing: Collection[str] = (),
    custom_sizes: bool = False,
    with_vocabulary: bool = False,
) -> list[Conversion]:
    """Convert the contents of several files, see ``conversion.convert``.

    Args:
        contents: Name and content of each.
        allow_missing: Parts that all of them may do without.
        custom_sizes: As in ``convert``.
        with_vocabulary: Whether a vocabulary is put in afterwards, which serves for the class
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
            converted.append(conversion.convert(content, passed_over, custom_sizes, name))
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
