# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Captions as image-text shards hold them."""

from __future__ import annotations

from typing import Any

from ...fileio import parse_json

# No caption is; reading it would need as much memory.
_LONGEST_TEXT = 1 << 24


class NoCaptionKey(ValueError):
    """JSON that is none of a caption."""


def check_text_length(length: int) -> None:
    """Refuse texts that are too long to be captions.

    Raises:
        ValueError: It has more than 16 MiB.
    """
    if length > _LONGEST_TEXT:
        raise ValueError(f'text of {length} bytes')


def read_captions(content: bytes, is_json: bool, key: str) -> list[str]:
    """Captions of one pair.

    Args:
        content: UTF-8 text that is the caption, or a JSON object.
        is_json: Whether it is JSON.
        key: Key of the captions in the object; its value is a string or a list of strings.

    Returns:
        Captions without outer white space, at least one; empty ones are left out.

    Raises:
        NoCaptionKey: A ValueError: the JSON has no such key.
        ValueError: There is no caption; the message says why.
    """
    check_text_length(len(content))
    try:
        value: Any = content.decode('utf-8-sig')
    except UnicodeDecodeError:
        raise ValueError('text is not UTF-8') from None
    if is_json:
        try:
            value = parse_json(value, '')
        except (ValueError, MemoryError):
            raise ValueError('text is no valid JSON') from None
        if not isinstance(value, dict) or key not in value:
            raise NoCaptionKey(f'no key {key!r} in its JSON')
        value = '' if value[key] is None else value[key]
    values = value if isinstance(value, list) else [value]
    for caption in values:
        if not isinstance(caption, str):
            raise ValueError(f'caption is no string but {type(caption).__name__}')
        if '\0' in caption:
            raise ValueError('caption with zero bytes')
        if not is_unicode(caption):
            raise ValueError('caption with half a surrogate pair, which is no character')
    captions = [caption.strip() for caption in values if caption.strip()]
    if not captions:
        raise ValueError('empty caption')
    return captions


def is_unicode(text: str) -> bool:
    """Whether a text can be written: JSON may hold halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
