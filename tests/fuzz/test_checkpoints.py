# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Damaged and hostile files of weights: the same values, or one error that names the file.

No case may run code, end without the file's name, or take long; what has checksums may never give
other values than were written.
"""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzz.damaged_bytes import both_kinds, damaged, outcome
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from helpers import hostile_files
from regionclip_mmdet.checkpoints import read_file
from regionclip_mmdet.checkpoints.state_dicts import find_state_dict
from regionclip_mmdet.datasets.proposal_content import read_content
from regionclip_mmdet.models.text import TextEmbeddings

pytestmark = pytest.mark.slow
CASES = 150


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).half()
        self.tied = self.visual[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.visual(x)


def checkpoint() -> dict[str, Any]:
    """What a run of mmengine saves, in small."""
    torch.manual_seed(0)
    state = OrderedDict(Small().state_dict())
    state._metadata = OrderedDict({'': dict(version=1)})
    return dict(
        meta=dict(epoch=1, iter=3, cfg='a = 1', dataset_meta=dict(classes=('cat', 'dog'))),
        state_dict=state,
        message_hub=dict(log_scalars=OrderedDict(loss=HistoryBuffer([0.5, 1.0], [1, 1]))),
        optimizer=dict(state={0: dict(exp_avg=torch.ones(3))}, param_groups=[dict(lr=0.1)]),
        random=np.random.default_rng(0).random(4),
    )


def zipped(path: Path, checksums: bool = True) -> None:
    if checksums:
        torch.save(checkpoint(), path)
        return
    if not hasattr(torch.serialization, 'set_crc32_options'):
        pytest.skip('of a later torch')
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(checkpoint(), path)
    finally:
        torch.serialization.set_crc32_options(True)


def safetensors(path: Path) -> None:
    from safetensors.torch import save_file

    save_file({k: v.clone() for k, v in Small().state_dict().items()}, path)


MAKERS: dict[str, Callable[[Path], object]] = dict(
    zip=zipped,
    zip_without_checksums=lambda path: zipped(path, checksums=False),
    older=lambda path: torch.save(checkpoint(), path, _use_new_zipfile_serialization=False),
    torchscript=lambda path: torch.jit.save(torch.jit.script(Small()), path),
    safetensors=safetensors,
    embeddings=lambda path: TextEmbeddings(('cat', 'dog'), torch.eye(2, 9), dict(a=1)).save(path),
)
READERS: dict[str, Callable[[Path], Any]] = dict(
    read_file=lambda path: read_file(path)[1],
    state_dict=lambda path: find_state_dict(read_file(path)[1], str(path)),
    mmengine=lambda path: CheckpointLoader.load_checkpoint(str(path), map_location='cpu'),
    embeddings=lambda path: vars(TextEmbeddings.load(path)),
    matrix=lambda path: vars(TextEmbeddings.from_tensor(path)),
)


def as_plain(value: Any) -> Any:
    """Something that can be compared: bytes of tensors, attributes of objects."""
    if isinstance(value, Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, (np.ndarray, np.generic)):
        return str(value.dtype), np.shape(value), value.tobytes()
    if isinstance(value, dict):
        return [(as_plain(k), as_plain(v)) for k, v in value.items()]
    if isinstance(value, (list, tuple)):
        return [as_plain(v) for v in value]
    return as_plain(value.data) if isinstance(value, HistoryBuffer) else value


@pytest.mark.parametrize('kind', MAKERS)
def test_damage(kind: str, tmp_path: Path) -> None:
    rng = random.Random(kind)
    path = tmp_path / 'weights.pth'
    MAKERS[kind](path)
    whole = path.read_bytes()
    sound = {name: outcome(read, path) for name, read in READERS.items()}
    assert sound['read_file'][0] == 'read'
    counts: Counter = Counter()
    for _ in range(CASES):
        path.write_bytes(damaged(rng, whole))
        for name, read in READERS.items():
            found, content = outcome(read, path)
            counts[found] += 1
            if found == 'read' and kind in ('zip', 'torchscript', 'embeddings'):
                assert as_plain(content) == as_plain(sound[name][1])
    both_kinds(counts)


TEXTS = (
    ('posix', 'mkdir'),
    ('builtins', 'exec'),
    ('__builtin__', 'eval'),
    ('builtins', 'getattr'),
    ('torch', 'load'),
    ('torch.storage', '_load_from_bytes'),
    ('torch._utils', '_rebuild_tensor_v2'),
    ('torch._utils', '_rebuild_parameter'),
    ('torch', 'Tensor'),
    ('torch', 'FloatStorage'),
    ('torch.jit', 'load'),
    ('torch.hub', 'load'),
    ('collections', 'OrderedDict'),
    ('_codecs', 'encode'),
    ('_codecs', 'decode'),
    ('numpy', 'load'),
    ('numpy', 'ndarray'),
    ('numpy.core.multiarray', '_reconstruct'),
    ('mmengine.logging.history_buffer', 'HistoryBuffer'),
    ('mmengine.structures.instance_data', 'InstanceData'),
    ('__torch__', 'Small'),
    ('mmengine.config', 'Config.fromstring'),
)


def program(rng: random.Random, target: str) -> bytes:
    """Any instructions, some of which would make a folder; seldom a sound pickle."""
    word = rng.choice((target, f'__import__("os").mkdir({target!r})', 'storage', '0', 'cpu', 'a'))
    number = rng.choice((0, 1, 10, 2**31 - 1, 2**62))
    module, name = rng.choice(TEXTS)
    steps = (
        f'c{module}\n{name}\n'.encode(),
        b'X' + struct.pack('<I', len(word.encode())) + word.encode(),
        b'\x8a\x08' + struct.pack('<q', number),
        b'q' + bytes([rng.randrange(4)]),
        b'h' + bytes([rng.randrange(4)]),
        *(b'(', b')', b']', b'}', b'N', b'0', b'1', b'2', b'\x85', b'\x86', b't', b'l', b'd'),
        *(b'R', b'R', b'\x81', b'b', b'b', b'a', b'e', b's', b'u', b'Q', b'\x93', b'\x94', b'\x92'),
        f'(V{target}\ni{module}\n{name}\n'.encode(),
        b'(' + f'c{module}\n{name}\n'.encode() + b'o',
    )
    return rng.choice(steps)


def call(rng: random.Random, target: str) -> bytes:
    """A sound pickle that calls something with a path, or with code, possibly inside of more."""
    module, name = rng.choice(TEXTS)
    words = rng.choice(((target,), (f'__import__("os").mkdir({target!r})',), (target, 'w')))
    inner = hostile_files.global_pickle(module, name, *words)[2:-1]
    state = rng.choice((b'', b'}b', b'N}\x86b', b'}X\x01\x00\x00\x00aNsb'))
    around = rng.choice(((b'', b''), (b'}X\x01\x00\x00\x00a', b's'), (b']', b'a'), (b'}', b'Ns')))
    return b'\x80\x02' + around[0] + inner + state + around[1] + b'.'


def in_older_format(content: bytes) -> bytes:
    buffer = io.BytesIO()
    torch.save({}, buffer, _use_new_zipfile_serialization=False)
    empty = b'\x80\x02}q\x00.'
    assert buffer.getvalue().count(empty) == 1
    return buffer.getvalue().replace(empty, content)


def in_torchscript(path: Path, content: bytes) -> None:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(Small()), buffer)
    with zipfile.ZipFile(buffer) as archive, zipfile.ZipFile(path, 'w') as changed:
        for name in archive.namelist():
            own = name.endswith('/data.pkl')
            changed.writestr(name, content if own else archive.read(name))


def write(kind: str, path: Path, content: bytes) -> None:
    if kind == 'zip':
        hostile_files.with_pickle(path, content, checkpoint())
    elif kind == 'torchscript':
        in_torchscript(path, content)
    else:
        path.write_bytes(in_older_format(content))


@pytest.mark.parametrize('kind', ['zip', 'older', 'torchscript', 'proposals'])
@pytest.mark.parametrize('make', ['program', 'call'])
def test_hostile_pickles(kind: str, make: str, tmp_path: Path) -> None:
    rng = random.Random(f'{kind} {make}')
    target = tmp_path / 'ran'
    counts: Counter = Counter()
    for _ in range(CASES):
        if make == 'call':
            content = call(rng, str(target))
        else:
            steps = [program(rng, str(target)) for _ in range(rng.choice((2, 5, 20, 100)))]
            content = b'\x80\x02' + b''.join(steps) + b'.'
        if kind == 'proposals':
            path = tmp_path / 'proposals.pkl'
            path.write_bytes(content)
            readers = dict(proposals=proposals)
        else:
            path = tmp_path / 'weights.pth'
            write(kind, path, content)
            readers = READERS
        for read in readers.values():
            counts[outcome(read, path)[0]] += 1
        assert not target.exists(), content
    assert counts['refused'], counts


def proposals(path: Path) -> dict:
    """As a dataset reads them, which names the file."""
    try:
        content = read_content(str(path))
        return dict(content) if hasattr(content, 'items') else content
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None


def odd(rng: random.Random, depth: int = 3) -> Any:
    """Any content that torch saves."""
    if depth and rng.random() < 0.7:
        below = [odd(rng, depth - 1) for _ in range(rng.randrange(5))]
        keys = ['state_dict', 'model', 'meta', 'names', 'matrix', 'version', 'format', 'a', 0, None]
        keys += [(1, 2), 1.5, True, b'x', 'visual.conv1.weight', 'provenance', 'config']
        rng.shuffle(keys)
        kinds: list[Callable] = [list, tuple, OrderedDict, dict, dict, dict]
        kind = rng.choice(kinds)
        return kind(zip(keys, below, strict=False) if issubclass(kind, dict) else below)
    tensors = [torch.ones(2), torch.zeros(0, 3), torch.tensor(1j), torch.ones(2, 2).half()]
    tensors += [torch.full((2, 3), float('nan')), torch.ones(1).expand(3, 4), torch.eye(2).int()]
    others = [None, True, 3, 10**400, 0.5, 'cat', 'regionclip_mmdet.text_embeddings', b'x', {1}]
    arrays = [np.ones(3), np.float32(1), np.array(['a']), np.array([True])]
    return rng.choice([*tensors, *others, *arrays, torch.Size([1]), torch.float32])


@pytest.mark.parametrize('older', [False, True])
def test_odd_content(older: bool, tmp_path: Path) -> None:
    rng = random.Random(older)
    path = tmp_path / 'weights.pth'
    counts: Counter = Counter()
    for _ in range(2 * CASES):
        content = odd(rng)
        if isinstance(content, dict) and rng.random() < 0.3:
            content = dict(TEXT, **{str(k): v for k, v in content.items()})
        torch.save(content, path, _use_new_zipfile_serialization=not older)
        for read in READERS.values():
            counts[outcome(read, path)[0]] += 1
    both_kinds(counts)


TEXT = dict(
    format='regionclip_mmdet.text_embeddings',
    version=1,
    names=['cat', 'dog'],
    matrix=torch.eye(2),
    provenance={},
)
