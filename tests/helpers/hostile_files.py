# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Files that would run code, never end, or ask for more than there is, if they were let."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class Trap:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


class Writes(nn.Module):
    """A module whose TorchScript archive writes two files when ``torch.jit.load`` reads it."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.weight = nn.Parameter(torch.ones(2, 2))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight

    @torch.jit.export
    def __getstate__(self) -> tuple[str, Tensor, bool]:
        return self.path, self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, Tensor, bool]) -> None:
        torch.save(torch.ones(3), state[0])
        self.path = state[0]
        self.weight = torch.from_file(state[0] + '.mapped', True, 4).reshape(2, 2)
        self.training = state[2]


class Hangs(nn.Module):
    """A module whose TorchScript archive never finishes to load."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        self.training = state[1]
        self.weight = state[0]
        while bool(self.weight.sum() == self.weight.sum()):
            pass


class Around(nn.Module):
    """A harmless module around another one, as CLIP has ``visual``."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual
        self.text_projection = nn.Parameter(torch.ones(2, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.visual(x) @ self.text_projection


def script_that_writes(file: Path, target: Path) -> Path:
    """An archive that writes ``target`` and ``target.mapped`` when torch loads it."""
    torch.jit.save(torch.jit.script(Around(Writes(str(target)))), file)
    return file


def script_that_hangs(file: Path) -> Path:
    """An archive that torch never finishes to load."""
    torch.jit.save(torch.jit.script(Around(Hangs())), file)
    return file


def with_pickle(file: Path, content: bytes, template: Any = None, method: int = 0) -> Path:
    """A zip archive of torch with another pickle in it.

    Args:
        file: To be written.
        content: The pickle.
        template: What the archive holds otherwise: its storages.
        method: Of zipfile: 0 stored, 8 deflated.
    """
    buffer = io.BytesIO()
    torch.save({} if template is None else template, buffer)
    with zipfile.ZipFile(buffer) as archive, zipfile.ZipFile(file, 'w', method) as changed:
        for name in archive.namelist():
            own = name.endswith('data.pkl')
            changed.writestr(name, content if own else archive.read(name))
    return file


def changed_pickle(file: Path, template: Any, change: Callable[[bytes], bytes]) -> Path:
    """What ``torch.save(template)`` writes, with its pickle changed."""
    buffer = io.BytesIO()
    torch.save(template, buffer)
    with zipfile.ZipFile(buffer) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith('data.pkl'))
        old = archive.read(name)
    new = change(old)
    assert new != old
    return with_pickle(file, new, template)


def global_pickle(module: str, name: str, *args: str) -> bytes:
    """A pickle that calls a function with strings."""
    words = b''.join(b'X' + struct.pack('<I', len(a)) + a.encode() for a in args)
    return b'\x80\x02c' + f'{module}\n{name}\n'.encode() + b'(' + words + b'tR.'


def nested(depth: int) -> bytes:
    """A pickle of lists in one another."""
    return b'\x80\x02' + b']' * depth + b'a' * (depth - 1) + b'.'


def laughs(levels: int) -> bytes:
    """A pickle of lists, each holding the one before ten times: 10 to the power of ``levels``."""
    step = b''.join(
        b'](' + b'h' + bytes([level]) + (b'h' + bytes([level])) * 9 + b'eq' + bytes([level + 1])
        for level in range(levels)
    )
    return b'\x80\x02]q\x00' + step + b'.'


def in_itself() -> dict:
    """A state dict that is its own ``state_dict``."""
    content: dict = dict(state_dict={})
    content['state_dict'] = content
    return content


def steps(number: int) -> bytes:
    """A pickle that does nothing so many times."""
    return b'\x80\x02}' + b'N0' * (number // 2) + b'.'


def optimized(content: Any, protocol: int) -> bytes:
    """Another form of a pickle: without what is never referred to."""
    return pickletools.optimize(pickle.dumps(content, protocol))
