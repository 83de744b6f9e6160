# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Reading files of weights: what a file really is, and never running code that it brings along."""

from __future__ import annotations

import os
import re
import zipfile
from typing import Any

from ..compat.checkpoints import load_plain
from ..fileio import PathLike, naming_damage, require_file
from .torch_archive import AGAIN, check_torch_file
from .torchscript import read_torchscript

_HEAD_BYTES = 512
# What torch says of a pickle that names something other than tensors and plain types.
_NEEDS_CODE = re.compile(
    r'(?:(?:Trying to load )?unsupported (?:global|class)|Trying to (?:call|instantiate)|'
    r'Can only build)[^.]*(?:\.\w+)*',
    re.IGNORECASE,
)
_WEB_PAGE = (b'<!doctype', b'<html', b'<?xml')
_LFS_POINTER = b'version https://git-lfs'


def file_kind(path: PathLike, what: str = 'checkpoint') -> str:
    """What a file is, by its first bytes, not by its name.

    Args:
        path: path of a local file.
        what: kind of file, for messages.

    Returns:
        ``'safetensors'``, ``'TorchScript archive'`` or ``'state dict'`` (whatever else ``torch``
        may be able to read).

    Raises:
        FileNotFoundError: It does not exist.
        ValueError: It is empty, text, a web page, a git-LFS pointer or cut off.
    """
    require_file(path, what, 'Correct the path, or download the file')
    size = os.path.getsize(path)
    with open(path, 'rb') as file:
        head = file.read(_HEAD_BYTES)
    _refuse_impostors(path, what, head, size)
    # a safetensors file begins with the length of its JSON header
    header = int.from_bytes(head[:8], 'little')
    if head[8:9] == b'{' and header < 100_000_000:
        if 8 + header > size:
            raise _cut_off(path, what, size)
        return 'safetensors'
    if head.startswith(b'PK'):
        with naming_damage(path, what, AGAIN):
            whole = zipfile.is_zipfile(path)
        if not whole:
            raise _cut_off(path, what, size)
        with naming_damage(path, what, AGAIN), zipfile.ZipFile(path) as archive:
            # torch compares names without their case
            if any(name.lower().endswith('/constants.pkl') for name in archive.namelist()):
                return 'TorchScript archive'
    return 'state dict'


def read_file(
    path: PathLike, what: str = 'checkpoint', map_location: Any = 'cpu'
) -> tuple[str, Any]:
    """Kind of a file and its content.

    No code of a file is run: pickles are read as tensors and plain types only, of a TorchScript
    archive the state dict is taken without its program. What has checksums (zip archives, which
    ``torch`` writes since 1.6) is compared with them.

    Args:
        path: path of a local file.
        what: kind of file, for messages.
        map_location: device of the tensors of a state dict, as in ``torch.load``; those of the
            other kinds are on the CPU.

    Returns:
        The kind, see ``file_kind``, and the content.

    Raises:
        FileNotFoundError: It does not exist.
        ValueError: It cannot be read, is damaged, or holds objects that need code to run.
        MemoryError: It needs more memory than there is.
    """
    path = os.fspath(path)
    kind = file_kind(path, what)
    try:
        if kind == 'safetensors':
            from safetensors.torch import load_file

            return kind, load_file(path)
        if kind == 'TorchScript archive':
            return kind, read_torchscript(path, what)
        check_torch_file(path, what)
        return kind, load_plain(path, map_location)
    except ImportError:
        raise
    except MemoryError:
        raise MemoryError(f'{what} {path} asks for more memory than there is.') from None
    except Exception as error:  # what reading damaged bytes raises cannot be foreseen
        raise _unreadable(path, what, error) from None


def _refuse_impostors(path: PathLike, what: str, head: bytes, size: int) -> None:
    if size == 0:
        raise ValueError(f'{what} {path} is empty: download or copy it again.')
    start = head.lstrip(b'\xef\xbb\xbf \t\r\n').lower()
    if start.startswith(_WEB_PAGE):
        raise ValueError(
            f'{what} {path} is a web page ({size} bytes), not weights: the address it was '
            'downloaded from shows a page, or asked for a login. Download the file itself.'
        )
    if start.startswith(_LFS_POINTER):
        real = re.search(rb'\nsize (\d+)', head)
        raise ValueError(
            f'{what} {path} is a git-LFS pointer ({size} bytes), not the file of '
            f'{real[1].decode() if real else "many"} bytes it stands for: run `git lfs pull` in '
            'its repository, or download the file itself.'
        )
    text = head.decode('utf-8', errors='ignore')  # the last character may be cut
    if len(text.encode()) > len(head) - 4 and all(c.isprintable() or c.isspace() for c in text):
        raise ValueError(
            f'{what} {path} is a text file, not tensors; it begins with {text[:40]!r}.'
        )


def _cut_off(path: PathLike, what: str, size: int) -> ValueError:
    return ValueError(
        f'{what} {path} is damaged: it ends too early, after {size} bytes. Copying or downloading '
        'it was interrupted; do it again.'
    )


def _unreadable(path: PathLike, what: str, error: Exception) -> ValueError:
    text = str(error)
    if isinstance(error, ValueError) and text.startswith(f'{what} {path} '):
        return error
    code = _NEEDS_CODE.search(text)
    if code is not None:
        return ValueError(
            f'{what} {path} holds objects whose loading would run code from the file; it was not '
            f'loaded ({code[0][:200]}). If you trust it, save its state dict once with '
            'torch.save(model.state_dict(), ...) and use that.'
        )
    # torch's long advice to load it with weights_only=False is not repeated
    reason = text.rpartition('WeightsUnpickler error:')[2].strip().split('\n')[0][:200]
    return ValueError(
        f'{what} {path} cannot be read as plain tensors: it is damaged, or no file of weights '
        f'({type(error).__name__}: {reason}). Download or copy it again.'
    )
