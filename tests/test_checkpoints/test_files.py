# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Files of weights: every kind is known by its content, and what is none is refused by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from regionclip_mmdet.checkpoints import file_kind, read_file

WEIGHTS = {'visual.a': torch.arange(3000.0), 'b': torch.ones(2, 2, dtype=torch.half)}
RUNS_CODE = 'run code from the file; it was not loaded .*[Uu]nsupported'
NOT_READABLE = 'cannot be read as plain tensors: it is damaged, or no file of weights'


class Trap:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.visual(x)


def saved(content: object, path: Path, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def written(data: bytes, path: Path) -> Path:
    path.write_bytes(data)
    return path


def first_half(path: Path) -> Path:
    return written(path.read_bytes()[: path.stat().st_size // 2], path)


def safetensors(path: Path) -> Path:
    pytest.importorskip('safetensors.torch').save_file(WEIGHTS, path)
    return path


def equal(found: dict[str, Tensor]) -> bool:
    return found.keys() == WEIGHTS.keys() and all(torch.equal(found[k], WEIGHTS[k]) for k in found)


# the names say nothing of the content
@pytest.mark.parametrize(
    ('make', 'kind'),
    [
        (lambda path: saved(WEIGHTS, path / 'w.safetensors'), 'state dict'),
        (lambda path: saved(WEIGHTS, path / 'w.html', zipped=False), 'state dict'),
        (lambda path: safetensors(path / 'w.pth'), 'safetensors'),
    ],
)
def test_kinds_are_known_by_content(make: Callable, kind: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    assert file_kind(path) == kind
    assert read_file(path)[0] == kind
    assert equal(read_file(str(path))[1])


def test_torchscript_archives(tmp_path: Path) -> None:
    model = Scripted()
    torch.jit.save(torch.jit.script(model), tmp_path / 'RN50.pth')
    kind, content = read_file(tmp_path / 'RN50.pth')
    assert kind == 'TorchScript archive'
    assert torch.equal(content['visual.weight'], model.visual.weight)


IMPOSTORS = [
    (lambda p: p / 'absent.pth', FileNotFoundError, 'absent.pth does not exist'),
    (lambda p: p, FileNotFoundError, 'is a folder, not a file. Correct the path'),
    (lambda p: written(b'', p / 'a.pth'), ValueError, 'a.pth is empty'),
    (
        lambda p: written(b'\n<!DOCTYPE HTML><html>', p / 'a.pth'),
        ValueError,
        r'a.pth is a web page \(22 bytes\)',
    ),
    (
        lambda p: written(
            b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1234\n', p / 'a.pth'
        ),
        ValueError,
        'git-LFS pointer .66 bytes., not the file of 1234 bytes .*git lfs pull',
    ),
    (
        lambda p: first_half(saved(WEIGHTS, p / 'a.pth')),
        ValueError,
        r'a.pth is damaged: it ends too early, after \d+ bytes',
    ),
    (lambda p: first_half(saved(WEIGHTS, p / 'a.pth', zipped=False)), ValueError, NOT_READABLE),
    (
        lambda p: written(safetensors(p / 'a.pth').read_bytes()[:50], p / 'a.pth'),
        ValueError,
        'it ends too early, after 50 bytes',
    ),
    (lambda p: written(bytes(range(256)) * 9, p / 'a.pth'), ValueError, NOT_READABLE),
    (lambda p: written(b'{"names": []}', p / 'a.pth'), ValueError, 'is a text file, not tensors'),
    # as a pickle, this would name an object 'dog' of a module 'at'
    (lambda p: written(b'cat\ndog\n', p / 'a.pth'), ValueError, r'begins with .cat\\ndog'),
    (lambda p: written('狗 café\n'.encode() * 99, p / 'a.pth'), ValueError, 'is a text file'),
]


@pytest.mark.parametrize(('make', 'error', 'message'), IMPOSTORS)
def test_what_is_no_checkpoint_is_named(
    make: Callable, error: type, message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=r'^(\[Errno 2\] )?the thing .*' + message) as found:
        read_file(make(tmp_path), 'the thing')
    # torch advises to load such files with weights_only=False
    assert 'weights_only' not in str(found.value)


def test_safetensors_without_their_end(tmp_path: Path) -> None:
    path = first_half(safetensors(tmp_path / 'w.safetensors'))
    with pytest.raises(ValueError, match=NOT_READABLE):
        read_file(path)


@pytest.mark.parametrize('zipped', [True, False])
def test_code_in_a_pickle_is_refused_and_not_run(zipped: bool, tmp_path: Path) -> None:
    content = dict(state_dict=WEIGHTS, extra=Trap(tmp_path / 'ran'))
    path = saved(content, tmp_path / 'a.pth', zipped)
    with pytest.raises(ValueError, match=f'checkpoint .*{RUNS_CODE} .*mkdir'):
        read_file(path)
    assert not (tmp_path / 'ran').exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / 'ran').exists()


def test_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=RUNS_CODE):
        read_file(saved(Scripted(), tmp_path / 'a.pth'))
