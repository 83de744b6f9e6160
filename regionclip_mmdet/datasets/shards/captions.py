# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Captions as image-text shards hold them."""

from __future__ import annotations

import json
from typing import Any


def read_captions(content: bytes, is_json: bool, key: str) -> list[str]:
    """Captions of one pair.

    Args:
        content: UTF-8 text that is the caption, or a JSON object.
        is_json: Which of both.
        key: Of the object; its value is a string or a list of strings.

    Returns:
        Captions without outer white space, at least one; empty ones are left out.

    Raises:
        ValueError: There is none; the message says why.
    """
    try:
        text = content.decode('utf-8-sig')
        value: Any = text
        if is_json:
            value = json.loads(text)
            if not isinstance(value, dict) or key not in value:
                raise ValueError(f'no key {key!r} in its JSON')
            value = value[key]
    except UnicodeDecodeError:
        raise ValueError('text is not UTF-8') from None
    except json.JSONDecodeError:
        raise ValueError('text is no valid JSON') from None
    values = value if isinstance(value, list) else [value]
    for caption in values:
        if not isinstance(caption, str):
            raise ValueError(f'caption is no string but {type(caption).__name__}')
    captions = [caption.strip() for caption in values if caption.strip()]
    if not captions:
        raise ValueError('empty caption')
    return captions
