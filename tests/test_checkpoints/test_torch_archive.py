# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Files of torch: compared with their checksums, and bounded, before anything is made of them."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from helpers import hostile_files
from regionclip_mmdet.checkpoints import read_file
from regionclip_mmdet.fileio import archives
from regionclip_mmdet.inert import pickles

WEIGHTS = {'a': torch.arange(500.0), 'b': torch.ones(2, 2, dtype=torch.half)}


def refused(path: Path, message: str) -> None:
    with pytest.raises(ValueError, match=rf'checkpoint .*{path.name}.*({message})'):
        read_file(path)


@pytest.mark.parametrize('scripted', [False, True])
def test_a_flipped_bit_is_never_loaded(scripted: bool, tmp_path: Path) -> None:
    path = tmp_path / 'w.pth'
    if scripted:
        torch.jit.save(torch.jit.script(nn.Linear(20, 20)), path)
    else:
        torch.save(WEIGHTS, path)
    whole = path.read_bytes()
    expected = read_file(path)[1]
    with zipfile.ZipFile(path) as archive:
        (data,) = (m for m in archive.infolist() if m.filename.endswith('/data/0'))
    inside = range(data.header_offset + 200, data.header_offset + 1500, 100)
    noticed = 0
    for place in [*inside, *range(0, len(whole), 61)]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            found = read_file(path)[1]
        except ValueError as error:
            assert str(path) in str(error)
            noticed += 1
            continue
        assert place not in inside
        # in what fills gaps, or in a date
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in found)
    assert noticed > len(inside)


@pytest.mark.skipif(
    not hasattr(torch.serialization, 'set_crc32_options'), reason='of a later torch'
)
def test_files_without_checksums_are_read(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / 'with.pth')
    stock = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(WEIGHTS, tmp_path / 'w.pth')
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / 's.pt')
    finally:
        torch.serialization.set_crc32_options(stock)
    with zipfile.ZipFile(tmp_path / 'w.pth') as archive, pytest.raises(zipfile.BadZipFile):
        archive.read(archive.namelist()[0])
    found = read_file(tmp_path / 'w.pth')[1]
    assert all(torch.equal(found[key], WEIGHTS[key]) for key in WEIGHTS)
    expected = torch.jit.load(tmp_path / 's.pt').state_dict()
    found = read_file(tmp_path / 's.pt')[1]
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    whole = (tmp_path / 'w.pth').read_bytes()
    (tmp_path / 'w.pth').write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / 'w.pth', 'too early')


@pytest.mark.parametrize('zipped', [True, False])
def test_all_that_checkpoints_hold(zipped: bool, tmp_path: Path) -> None:
    """What is checked first is loaded by torch itself, unchanged."""
    shared = torch.arange(12.0)
    content = dict(
        state_dict=OrderedDict(w=shared.reshape(3, 4).t(), part=shared[2:5], zero=torch.zeros(0)),
        expanded=torch.ones(1).expand(7, 5),
        parameter=nn.Parameter(torch.ones(2)),
        optimizer=dict(state={0: dict(step=torch.tensor(3.0))}, param_groups=[dict(lr=0.1)]),
        numbers=np.arange(3.0),
        scalar=np.float64(2.5),
        size=torch.Size([1, 2]),
        dtype=torch.float16,
        device=torch.device('cpu'),
        keys={(1, 'a'): 2, None: 3, 1.5: 4},
        long=[None, True, 10**40, b'bytes', {1, 2}, 1j],
        bits=torch.tensor([True]),
        brain=torch.ones(3, dtype=torch.bfloat16),
    )
    # which torch's older format, and its older releases, cannot hold
    small = zipped and hasattr(torch.serialization, 'add_safe_globals')
    if small:
        content['small'] = torch.ones(3).to(torch.float8_e4m3fn)
    content['state_dict']._metadata = OrderedDict({'': dict(version=2)})
    path = tmp_path / 'w.pth'
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    found = read_file(path)[1]
    expected = torch.load(path)
    assert found.keys() == expected.keys()
    assert found['state_dict']._metadata == content['state_dict']._metadata
    assert torch.equal(found['state_dict']['w'], shared.reshape(3, 4).t())
    assert found['state_dict']['w'].data_ptr() != found['expanded'].data_ptr()
    same = found['state_dict']['part'].untyped_storage().data_ptr()
    assert found['state_dict']['w'].untyped_storage().data_ptr() == same
    assert torch.equal(found['expanded'], torch.ones(7, 5))
    assert found['keys'] == content['keys'] and found['long'] == content['long']
    assert found['scalar'] == 2.5 and np.array_equal(found['numbers'], np.arange(3.0))
    assert not small or torch.equal(found['small'].float(), torch.ones(3))


def changed(change: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    return lambda path: hostile_files.changed_pickle(path, WEIGHTS, change)


def given(content: bytes, method: int = 0) -> Callable[[Path], Path]:
    return lambda path: hostile_files.with_pickle(path, content, WEIGHTS, method)


def itself(zipped: bool) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        content = hostile_files.in_itself()
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        return path

    return make


def list_in_itself(path: Path) -> Path:
    content: list = []
    content.append({'a': (content,)})
    torch.save(content, path)
    return path


def two_of_one_name(path: Path) -> Path:
    torch.save(WEIGHTS, path)
    with zipfile.ZipFile(path, 'a') as archive:
        name = next(n for n in archive.namelist() if n.endswith('data.pkl'))
        archive.writestr(name.replace('data.pkl', 'DATA.pkl'), b'N.')
    return path


# 500 as the pickle writes it, where the tensor's size is; the storage's length comes first
FIVE_HUNDRED = b'M\xf4\x01'


def longer_tensor(data: bytes) -> bytes:
    head, tail = data.split(b'Q', 1)
    return head + b'Q' + tail.replace(FIVE_HUNDRED, b'M\xff\xff', 1)


BAD: dict[str, tuple[Callable[[Path], Path], str]] = dict(
    itself=(itself(True), 'contains itself'),
    itself_in_the_older_format=(itself(False), 'contains itself'),
    list_in_itself=(list_in_itself, 'contains itself'),
    laughs=(given(hostile_files.laughs(30)), 'more than .* values'),
    nested=(given(hostile_files.nested(20_000)), 'nested more than 200 deep'),
    nested_key=(given(b'\x80\x02})' + b'\x85' * 100_000 + b'Ns.'), 'a tuple as a key'),
    memo=(given(b'\x80\x02}r\xff\xff\xff\x7f.'), 'memo'),
    state_of_a_name=(given(b'\x80\x02ctorch\nTensor\n}b.'), 'gives a state to a Named'),
    longer_storage=(changed(lambda d: d.replace(FIVE_HUNDRED, b'M\xff\xff', 1)), 'bytes, not'),
    longer_tensor=(changed(longer_tensor), 'reaches out of its storage'),
    more_than_memory=(
        changed(lambda d: d.replace(FIVE_HUNDRED, b'\x8a\x06\x00\x00\x00\x00\x00\x10', 1)),
        'bytes, not',
    ),
    without_data=(
        changed(lambda d: d.replace(b'X\x01\x00\x00\x000', b'X\x01\x00\x00\x009')),
        'miss',
    ),
    two_of_one_name=(two_of_one_name, 'have one name'),
    no_pickle=(given(b'\x80\x02}'), 'cannot be read'),
)


@pytest.mark.parametrize('name', BAD)
def test_what_asks_for_too_much_is_refused(name: str, tmp_path: Path) -> None:
    make, message = BAD[name]
    refused(make(tmp_path / 'bad.pth'), message)


def test_a_long_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, 'MAX_STEPS', 10_000)
    path = hostile_files.with_pickle(tmp_path / 'bad.pth', hostile_files.steps(20_000), method=8)
    refused(path, 'more than 10000 instructions')
    torch.save(list(range(4000)), path)
    assert read_file(path)[1] == list(range(4000))


def test_an_archive_that_unpacks_to_far_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, '_UNPACKED', 1 << 20)
    with zipfile.ZipFile(tmp_path / 'bad.pth', 'w', 8) as archive:
        archive.writestr('a/data/0', bytes(2 << 20))
    refused(tmp_path / 'bad.pth', 'would unpack to 2097152 bytes')


def test_the_older_format_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / 'old.pth'
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    assert torch.equal(read_file(path)[1]['a'], WEIGHTS['a'])
    path.write_bytes(whole + b'x')
    refused(path, 'something follows its end')
    path.write_bytes(whole[:-1])
    refused(path, 'ends too early')
    # the length before the data of a storage
    length = (500).to_bytes(8, 'little')
    path.write_bytes(whole.replace(length, (1 << 40).to_bytes(8, 'little')))
    refused(path, 'another length than its pickle says')
    path.write_bytes(whole.replace(FIVE_HUNDRED, b'J\xff\xff\xff\x7f'))
    refused(path, 'reaches out|another length')
    path.write_bytes(pickle.dumps(WEIGHTS, 2))
    refused(path, 'does not begin as files of torch do')


def with_attribute(tensor: torch.Tensor) -> torch.Tensor:
    tensor.mine = 3
    return tensor


@pytest.mark.skipif(
    not hasattr(torch.serialization, 'add_safe_globals'), reason='refused with earlier torch'
)
def test_tensors_with_attributes_and_empty_ones(tmp_path: Path) -> None:
    path = tmp_path / 'w.pth'
    content = dict(a=with_attribute(torch.arange(500.0)), b=torch.zeros(3, 0)[2:])
    torch.save(content, path)
    found = read_file(path)[1]
    assert found['a'].mine == 3 and torch.equal(found['a'], content['a'])
    assert found['b'].shape == (1, 0)
    refused(hostile_files.changed_pickle(path, content, longer_tensor), 'reaches out of its stor')


def test_repeated_values_are_bounded(tmp_path: Path) -> None:
    torch.save(dict(a=torch.ones(1).expand(1 << 40)), tmp_path / 'w.pth')
    refused(tmp_path / 'w.pth', 'repeat few values')
