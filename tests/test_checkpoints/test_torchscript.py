# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""TorchScript archives: their tensors are those that torch would load; their programs never run."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from torch import Tensor, nn

from helpers import hostile_files
from regionclip_mmdet.checkpoints import file_kind, read_file

IMAGE = dict(layers=(1, 1, 1, 1), width=64, image_size=64)
TEXT = dict(context_length=12, vocab_size=300, width=64, heads=1, layers=2)


class Odd(nn.Module):
    """What state dicts can be tripped by: shared, expanded, absent and foreign tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 2)
        self.again = self.first  # a module under two names
        self.tied = nn.Linear(3, 2, bias=False)
        self.tied.weight = self.first.weight
        self.blocks = nn.ModuleList([nn.BatchNorm2d(2), nn.Sequential(nn.Conv2d(1, 2, 1))])
        self.named = nn.ModuleDict({'a b': nn.PReLU()})
        self.wide = nn.Parameter(torch.arange(6.0).reshape(2, 3).t())
        self.part = nn.Parameter(torch.arange(10.0)[3:7])
        self.register_buffer('steps', torch.tensor(7))
        self.register_buffer('hidden', torch.ones(2), persistent=False)
        self.register_buffer('absent', None)
        self.register_parameter('nothing', None)
        self.register_buffer('flags', torch.tensor([True, False]))
        self.register_buffer('complex', torch.tensor([1 + 2j]))
        self.register_buffer('empty', torch.zeros(0, 4))
        self.maybe = torch.ones(3)  # an attribute, no part of a state dict
        self.names = ['x', 'y']
        self.sizes = {'a': 1}

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x)


def clip() -> nn.Module:
    """CLIP traced in half precision, as OpenAI's archives are."""
    torch.manual_seed(0)
    model = open_clip.CLIP(32, IMAGE, TEXT, quick_gelu=True).eval()
    inputs = torch.zeros(1, 3, 64, 64), torch.zeros(1, 12, dtype=torch.long)
    return torch.jit.trace(model, inputs, check_trace=False).half()


MODULES: dict[str, Callable[[], nn.Module]] = dict(
    scripted=lambda: torch.jit.script(Odd()),
    half=lambda: torch.jit.script(Odd().half()),
    traced=lambda: torch.jit.trace(Odd(), torch.ones(1, 3)),
    frozen=lambda: torch.jit.freeze(torch.jit.script(Odd().eval())),
    clip=clip,
)


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for key, value in expected.items():
        own = found[key]
        assert (own.dtype, own.shape, own.stride()) == (value.dtype, value.shape, value.stride())
        assert own.contiguous().numpy().tobytes() == value.contiguous().numpy().tobytes()

    def sharing(state: dict[str, Tensor]) -> list[list[str]]:
        keys: dict[int, list[str]] = {}
        for key, value in state.items():
            if value.numel():
                keys.setdefault(value.untyped_storage().data_ptr(), []).append(key)
        return sorted(keys.values())

    assert sharing(found) == sharing(expected)


@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')
@pytest.mark.parametrize('name', MODULES)
def test_tensors_are_those_that_torch_loads(name: str, tmp_path: Path) -> None:
    path = tmp_path / 'weights.pt'
    torch.jit.save(MODULES[name](), path)
    kind, found = read_file(path)
    assert kind == 'TorchScript archive'
    assert_equal(found, torch.jit.load(path).state_dict())
    assert bool(found) == (name != 'frozen')


def test_tensors_can_be_written_to(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(Odd()), tmp_path / 'weights.pt')
    found = read_file(tmp_path / 'weights.pt')[1]
    found['first.weight'].fill_(3)
    assert torch.equal(found['again.weight'], torch.full((2, 3), 3.0))


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, 'w') as changed:
        for name in archive.namelist():
            data = change(name, archive.read(name))
            if data is not None:
                changed.writestr(name, data)
    return target


def test_archives_that_do_not_list_buffers(tmp_path: Path) -> None:
    """As torch has it: what no class lists is neither parameter nor buffer."""
    torch.jit.save(torch.jit.script(Odd()), tmp_path / 'new.pt')

    def older(name: str, data: bytes) -> bytes:
        return re.sub(rb'\n  __buffers__ = .*', b'', data) if name.endswith('.py') else data

    path = rewritten(tmp_path / 'new.pt', tmp_path / 'old.pt', older)
    expected = torch.jit.load(path).state_dict()
    assert 'steps' not in expected
    assert_equal(read_file(path)[1], expected)


def test_a_program_that_writes_is_not_run(tmp_path: Path) -> None:
    target = tmp_path / 'written'
    path = hostile_files.script_that_writes(tmp_path / 'RN50.pt', target)
    with pytest.raises(
        ValueError, match=r'RN50\.pt.*Writes is restored by code of its own \(__setstate__\)'
    ):
        read_file(path)
    assert not target.exists() and not Path(f'{target}.mapped').exists()
    torch.jit.load(path)  # the trap is one
    assert target.exists() and Path(f'{target}.mapped').exists()


def test_a_program_without_end_is_not_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'RN50\.pt.*Hangs is restored by code of its own'):
        read_file(hostile_files.script_that_hangs(tmp_path / 'RN50.pt'))


BROKEN: list[tuple[Callable[[str, bytes], bytes | None], str]] = [
    (lambda name, data: None if name.endswith('/data/0') else data, "data of storage '0' are miss"),
    (lambda name, data: data[:-1] if name.endswith('/data/0') else data, 'bytes, not the'),
    (lambda name, data: None if name.endswith('/data.pkl') else data, 'no data.pkl'),
    (lambda name, data: None if '/code/' in name else data, 'holds no module'),
    (lambda name, data: b'big' if name.endswith('/byteorder') else data, 'order of another mach'),
    (lambda name, data: b'N.' if name.endswith('/data.pkl') else data, 'holds no module'),
]


@pytest.mark.parametrize(('change', 'message'), BROKEN)
def test_what_is_missing_is_named(change: Callable, message: str, tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / 'whole.pt')
    path = rewritten(tmp_path / 'whole.pt', tmp_path / 'broken.pt', change)
    assert file_kind(path) == 'TorchScript archive'
    with pytest.raises(ValueError, match=rf'broken\.pt.*({message})'):
        read_file(path)
