# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Annotation files where mmengine's file backends find them: on this machine or elsewhere."""

from __future__ import annotations

from typing import Any

from mmengine.fileio import LocalBackend, get_file_backend

from .. import fileio

REMEDY = 'Check ann_file and data_root.'


def require_annotation_file(
    path: str,
    backend_args: dict | None = None,
    who: str = 'The dataset',
    get_with: str | None = None,
) -> None:
    """Refuse an annotation file that is not there.

    Args:
        path: A file.
        backend_args: mmengine file backend.
        who: Name that the error message begins with.
        get_with: A command that makes or downloads the file, for the message.

    Raises:
        FileNotFoundError: No such file.
        PermissionError: It may not be read.
    """
    what, remedy = _words(who, get_with)
    backend = get_file_backend(path, backend_args=backend_args)
    if isinstance(backend, LocalBackend):
        fileio.require_file(path, what, remedy)
    elif not backend.exists(path):
        raise FileNotFoundError(f'{what} {path} does not exist. {remedy}')


def read_annotation_file(
    path: str,
    backend_args: dict | None = None,
    who: str = 'The dataset',
    get_with: str | None = None,
) -> Any:
    """Content of an annotation file; arguments and errors as ``require_annotation_file``.

    Raises:
        ValueError: Not JSON, or not UTF-8.
    """
    what, remedy = _words(who, get_with)
    backend = get_file_backend(path, backend_args=backend_args)
    if isinstance(backend, LocalBackend):
        return fileio.read_json(path, what, remedy)
    require_annotation_file(path, backend_args, who, get_with)
    return fileio.parse_json(backend.get(path), path, what)


def _words(who: str, get_with: str | None) -> tuple[str, str]:
    return f'{who}: annotation file', REMEDY + (f' Get it with: {get_with}' if get_with else '')
