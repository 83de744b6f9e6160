# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Named embeddings: validation, files, selection, comparison of names."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from regionclip_mmdet.models.text import TextEmbeddings, decode_names, encode_names

MATRIX = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0], [1.0, 1.0, 1.0]])
NAMES = ('cat', 'café au lait', '狗')


def make() -> TextEmbeddings:
    return TextEmbeddings(NAMES, MATRIX, dict(model='toy', templates=['{}.']))


def test_round_trip_through_a_plain_file(tmp_path: Path) -> None:
    make().save(tmp_path / 'deep' / 'names.pth')
    raw = torch.load(tmp_path / 'deep' / 'names.pth', weights_only=True)
    assert raw['names'] == list(NAMES)
    loaded = TextEmbeddings.load(tmp_path / 'deep' / 'names.pth')
    assert loaded.names == NAMES
    assert torch.equal(loaded.matrix, MATRIX)
    assert loaded.provenance == dict(model='toy', templates=['{}.'])


def test_equal_embeddings_make_equal_files(tmp_path: Path) -> None:
    make().save(tmp_path / 'one.pth')
    make().save(tmp_path / 'another.pth')
    assert (tmp_path / 'one.pth').read_bytes() == (tmp_path / 'another.pth').read_bytes()


def test_names_as_bytes() -> None:
    encoded = encode_names(NAMES)
    assert encoded.dtype == torch.uint8 and encoded.ndim == 1
    assert decode_names(encoded) == NAMES
    assert decode_names(torch.zeros(0, dtype=torch.uint8)) == ()


def test_official_file_of_one_concept_is_one_dimensional(tmp_path: Path) -> None:
    torch.save(torch.arange(1.0, 5.0), tmp_path / 'concept_embeds.pth')
    embeddings = TextEmbeddings.from_tensor(tmp_path / 'concept_embeds.pth', names=['cat'])
    assert embeddings.matrix.tolist() == [[1.0, 2.0, 3.0, 4.0]]
    assert embeddings.provenance['source'].endswith('concept_embeds.pth')


def test_nameless_matrix_cannot_be_matched() -> None:
    embeddings = TextEmbeddings.from_tensor(MATRIX.half())
    assert embeddings.matrix.dtype == torch.float32 and not embeddings.is_named
    with pytest.raises(ValueError, match='carry no names'):
        embeddings.check_names(NAMES, 'the dataset')


def test_load_and_from_tensor_point_to_each_other(tmp_path: Path) -> None:
    torch.save(MATRIX, tmp_path / 'bare.pth')
    make().save(tmp_path / 'named.pth')
    with pytest.raises(ValueError, match='from_tensor'):
        TextEmbeddings.load(tmp_path / 'bare.pth')
    with pytest.raises(ValueError, match=r'TextEmbeddings\.load'):
        TextEmbeddings.from_tensor(tmp_path / 'named.pth')
    with pytest.raises(FileNotFoundError, match='absent'):
        TextEmbeddings.load(tmp_path / 'absent.pth')


def test_select_reorders_rows_with_their_names() -> None:
    selected = make().select(['狗', 'cat'])
    assert selected.names == ('狗', 'cat')
    assert torch.equal(selected.matrix, MATRIX[[2, 0]])
    with pytest.raises(ValueError, match='dog'):
        make().select(['cat', 'dog'])


@pytest.mark.parametrize(
    ('expected', 'message'),
    [
        (('cat', '狗', 'café au lait'), "position 1: 'café au lait' .*'狗'.*another order"),
        (('cat', 'café au lait'), "position 2: '狗' .* nothing .*names themselves differ"),
        (('cat', 'tea', '狗'), "position 1: .* 'tea' in the dataset"),
    ],
)
def test_first_difference_is_named(expected: tuple[str, ...], message: str) -> None:
    make().check_names(NAMES, 'the dataset')
    with pytest.raises(ValueError, match=message):
        make().check_names(expected, 'the dataset')


@pytest.mark.parametrize(
    ('names', 'matrix', 'message'),
    [
        (('a', 'a', 'b'), MATRIX, r"occur again: \['a'\]"),
        (('a', 'b'), MATRIX, '2 names do not fit 3 rows'),
        (('a', 'b', 'c'), MATRIX * torch.tensor([[1.0], [0.0], [1.0]]), "'b' .*all zero"),
        (('a', 'b', 'c'), MATRIX / torch.tensor([[1.0], [1.0], [0.0]]), "'c' .*not finite"),
        ((), torch.zeros(0, 3), 'at least one'),
        (('a',), torch.ones(1, 1, 3), 'shape'),
        (('a', 'b', 3), MATRIX, 'names must be strings, but name 2 is 3'),
        ('abc', MATRIX, "list of strings, not the string 'abc'"),
        (('a', 'b', '\ud83d'), MATRIX, 'name 2, .* half a character'),
    ],
)
def test_unusable_input_is_refused(names: tuple, matrix: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextEmbeddings(names, matrix)


def content(**changed: object) -> dict:
    """What ``save`` writes, with changes."""
    found = dict(
        format='regionclip_mmdet.text_embeddings',
        version=1,
        names=['cat', 'tea', 'x'],
        matrix=MATRIX,
        provenance={},
    )
    return {**found, **changed}


@pytest.mark.parametrize(
    ('written', 'message'),
    [
        (content(matrix=MATRIX / torch.tensor([[1.0], [0.0], [1.0]])), "'tea' .row 1.* not finite"),
        (content(matrix=MATRIX * torch.tensor([[1.0], [1.0], [0.0]])), "'x' .row 2.* all zero"),
        (content(names=['cat', 'tea', 'cat']), r"occur again: \['cat'\]"),
        (content(names=['cat', 'tea']), '2 names do not fit 3 rows'),
        (content(names=[]), 'at least one name'),
        (content(names='cat'), "not the string 'cat'"),
        (content(matrix='none'), ''),
        (content(version=9), 'version 9.*update regionclip_mmdet'),
        ({k: v for k, v in content().items() if k != 'matrix'}, r"lacks \['matrix'\]"),
        (content(format='other'), 'not a text-embedding file'),
        (dict(state_dict={}), 'not a text-embedding file'),
        ([1, 2], 'not a text-embedding file'),
    ],
)
def test_bad_files_are_named(written: object, message: str, tmp_path: Path) -> None:
    torch.save(written, tmp_path / 'names.pth')
    with pytest.raises(ValueError, match='names.pth.*' + message):
        TextEmbeddings.load(tmp_path / 'names.pth')


@pytest.mark.parametrize('read', [TextEmbeddings.load, TextEmbeddings.from_tensor])
def test_files_that_hold_no_tensors(read: Callable, tmp_path: Path) -> None:
    path = tmp_path / 'names.pth'
    with pytest.raises(FileNotFoundError, match='text-embedding file .*names.pth does not exist'):
        read(path)
    for data, message in ((b'', 'is empty'), (b'cat\ndog\n', 'is a text file')):
        path.write_bytes(data)
        with pytest.raises(ValueError, match='text-embedding file .*names.pth ' + message):
            read(path)


def test_an_official_matrix_of_another_number_of_names(tmp_path: Path) -> None:
    torch.save(MATRIX, tmp_path / 'coco_65_cls_emb.pth')
    with pytest.raises(ValueError, match='coco_65_cls_emb.pth: 2 names do not fit 3 rows'):
        TextEmbeddings.from_tensor(tmp_path / 'coco_65_cls_emb.pth', names=['cat', 'dog'])
    nameless = TextEmbeddings.from_tensor(tmp_path / 'coco_65_cls_emb.pth')
    message = r'the 3 text embeddings carry no names.* the dataset \(2 names\).*from_tensor'
    with pytest.raises(ValueError, match=message):
        nameless.check_names(('cat', 'dog'), 'the dataset')


def test_provenance_must_be_json() -> None:
    with pytest.raises(ValueError, match='JSON'):
        TextEmbeddings(NAMES, MATRIX, dict(weights=torch.zeros(2)))


@pytest.mark.parametrize(
    'changes',
    [
        dict(format=torch.ones(2)),
        dict(version='1'),
        dict(version=None),
        dict(names=None),
        dict(names=[1, 2, 3]),
        dict(names=[['cat'], 'b', 'c']),
        dict(matrix=None),
        dict(matrix='x'),
        dict(matrix=torch.ones(3, 3, dtype=torch.complex64)),
        dict(provenance=None),
        dict(provenance={(1, 2): 3}),
        dict(provenance={'a': 10**5000}),
    ],
)
def test_odd_content_is_named(changes: dict, tmp_path: Path) -> None:
    make().save(tmp_path / 'names.pth')
    torch.save({**torch.load(tmp_path / 'names.pth'), **changes}, tmp_path / 'names.pth')
    with pytest.raises(ValueError, match=r'names\.pth'):
        TextEmbeddings.load(tmp_path / 'names.pth')
