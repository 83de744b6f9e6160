# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Files that must be there, JSON, checksums, and the words of errors about files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

PathLike = str | os.PathLike
CHUNK = 1 << 20


def message(text: str, remedy: str) -> str:
    """A sentence, and the one that says what to do, if there is any."""
    return f'{text}. {remedy}'.rstrip('. ') + '.'


def reason_of(error: Exception) -> str:
    """What an error says, in one line of at most 200 letters."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return ' '.join(str(error).split())[:200]


def require_file(path: PathLike, what: str = 'file', remedy: str = '') -> None:
    """Refuse a path at which no readable file is.

    Args:
        path: path of a local file.
        what: kind of file, for the message.
        remedy: what to do if it is missing, for the message.

    Raises:
        FileNotFoundError: It does not exist, is a folder, or a link that leads nowhere.
        PermissionError: It may not be read.
    """
    path, remedy = os.fspath(path), remedy or 'Correct the path'
    if os.path.isfile(path):
        if not os.access(path, os.R_OK):
            raise PermissionError(
                errno.EACCES, f'{what} {path} may not be read by this user. {remedy}'
            )
        return
    if os.path.isdir(path):
        found = 'is a folder, not a file'
    elif os.path.islink(path):
        found = f'is a link to {os.readlink(path)}, which does not exist'
    else:
        found = 'does not exist'
    raise FileNotFoundError(errno.ENOENT, f'{what} {path} {found}. {remedy}')


def sha256_of(path: PathLike) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def parse_json(text: str | bytes, path: PathLike, what: str = 'file', remedy: str = '') -> Any:
    """Content of JSON (UTF-8, with or without a byte order mark).

    Args:
        text: JSON text.
        path: path of the file it comes from, for messages.
        what: kind of file, for messages.
        remedy: what to do, for messages.

    Raises:
        ValueError: Not JSON, not UTF-8, nested too deeply, or with numbers too long to read.
        MemoryError: Too large.
    """
    try:
        return json.loads(text.decode('utf-8-sig') if isinstance(text, bytes) else text)
    except RecursionError:
        reason = 'it is nested too deeply'
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, a number too long
        reason = str(error)
    except MemoryError:
        raise MemoryError(
            f'{what} {os.fspath(path)} is too large for the available memory'
        ) from None
    raise ValueError(message(f'{what} {os.fspath(path)} is no valid JSON: {reason}', remedy))


def read_json(path: PathLike, what: str = 'file', remedy: str = '') -> Any:
    """Content of a local JSON file; arguments and errors of ``require_file``, ``parse_json``."""
    require_file(path, what, remedy)
    return parse_json(Path(path).read_bytes(), path, what, remedy)
