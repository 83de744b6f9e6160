# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""One rule for a user's words: one table for Python and the page; files by the same rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demo.web import UserError, words_of
from regionclip_mmdet.apis import parse_vocabulary
from regionclip_mmdet.recipes.name_lists import read_names
from regionclip_mmdet.recipes.words import checked_names, distinct_names, split_words

NAMES = [
    # mmdet's form: full stops that stand alone
    ('a . b', ['a', 'b']),
    ('cat . dog .', ['cat', 'dog']),
    ('. cat . . dog .', ['cat', 'dog']),
    ('wine, red . cheese', ['wine, red', 'cheese']),
    ('St. Bernard . cat', ['St. Bernard', 'cat']),
    ('cat . dog\nhorse .', ['cat', 'dog', 'horse']),
    # commas and semicolons
    ('st. bernard, cat', ['st. bernard', 'cat']),
    ('COCO, cat.', ['COCO', 'cat']),
    ('cat, dog\nbird', ['cat', 'dog', 'bird']),
    ('cat, dog .', ['cat', 'dog']),
    (' traffic cone , 2.5 l bottle;cat', ['traffic cone', '2.5 l bottle', 'cat']),
    ('st. bernard, U.S. flag', ['st. bernard', 'U.S. flag']),
    # full stops at the end of words
    ('cat. dog.', ['cat', 'dog']),
    ('a. b. c.', ['a', 'b', 'c']),
    ('mr. bean', ['mr. bean']),
    ('Mr. Bean. Dr. Who', ['Mr. Bean', 'Dr. Who']),
    ('cat. red  umbrella.dog', ['cat', 'red umbrella.dog']),
    ('No.5 perfume', ['No.5 perfume']),
    ('traffic cone...', ['traffic cone']),
    # line ends
    ('st. bernard\nbow\r\n\n cat ', ['st. bernard', 'bow', 'cat']),
    ('cat\x85dog\u2028bird\vfish', ['cat', 'dog', 'bird', 'fish']),
    ('• cat\n• dog', ['cat', 'dog']),
    # lists
    ("['cat', 'dog']", ['cat', 'dog']),
    ('["cat", "dog"]', ['cat', 'dog']),
    ("('cat', 'red dog',)", ['cat', 'red dog']),
    ("['cat' 'dog']", ['cat', 'dog']),
    ('"wine, red", "cheese"', ['wine, red', 'cheese']),
    ('[cat, dog]', ['cat', 'dog']),
    ('["caf\\u00e9", "o\'clock"]', ['café', "o'clock"]),
    ('“cat”, "dog"', ['cat', 'dog']),
    # other scripts
    ('猫。犬', ['猫', '犬']),
    ('猫、犬，鳥；', ['猫', '犬', '鳥']),
    ('猫 . größe . école', ['猫', 'größe', 'école']),
    ('قط، كلب', ['قط', 'كلب']),
    # what is no name
    ('+ . cat . -', ['cat']),
    ('\ufeffcat', ['cat']),
    ('I <3 you, x < y', ['I <3 you', 'x < y']),
    ('4x4, 7-up, 101 dalmatians', ['4x4', '7-up', '101 dalmatians']),
]
NO_NAMES = [
    ('<annotation>\n<name>cat</name>', 'markup'),
    ('<b>cat</b> . dog', 'markup'),
    ('cat, <object', 'markup'),
    ('<?xml version="1.0"?>', 'markup'),
    ('<!-- cat -->', 'markup'),
    ('0 0.5 0.5 0.2 0.3\n1 0.25 1e-05 .5 +0.1', 'numbers'),
    ('12, 5, 7', 'numbers'),
    ('٣', 'numbers'),
    ('{"cat": 1, "dog": 2}', 'brackets'),
    ("classes=['cat']", 'brackets'),
    ('a\x00b', 'no text'),
    ('cat . \ud800 .', 'no text'),
]


@pytest.mark.filterwarnings('ignore:names in another script')
@pytest.mark.parametrize(('text', 'names'), NAMES)
def test_names(text: str, names: list[str]) -> None:
    assert parse_vocabulary(text) == list(words_of(text)) == split_words(text) == names


@pytest.mark.parametrize('text', ['', '  ', ' . ; \n . ', '\n', '[]', '.', '['])
def test_nothing(text: str) -> None:
    assert split_words(text) == list(words_of(text)) == []


@pytest.mark.parametrize(('text', 'why'), NO_NAMES)
def test_what_is_no_name_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_vocabulary(text)
    with pytest.raises(UserError, match=why):
        words_of(text)
    if 'brackets' not in why:
        with pytest.raises(ValueError, match=why):
            checked_names(['cat', text, '1'] if text != '٣' else ['1 2', '3'])


def test_lists_are_taken_as_they_are() -> None:
    for names in (['wine, red', 'cat. dog', '7', '{} "x"'], np.array(['a . b', 'c'])):
        assert parse_vocabulary(names) == list(names)
        assert all(type(name) is str for name in parse_vocabulary(names))


@pytest.mark.parametrize(
    ('names', 'kept'),
    [
        (['Cat', 'cat', 'CAT ', 'dog'], ['Cat', 'dog']),
        (['cafe\u0301', 'café'], ['cafe\u0301']),
        (['cat &amp; dog', 'cat & dog'], ['cat &amp; dog']),
        (['red+green', 'red green'], ['red+green']),
        (['straße', 'strasse'], ['straße', 'strasse']),
    ],
)
def test_names_that_clip_reads_alike_come_once(names: list[str], kept: list[str]) -> None:
    assert distinct_names(names)[0] == kept
    assert len(distinct_names(names)[1]) == len(names) - len(kept)
    assert list(words_of(repr(names))) == kept


@pytest.mark.parametrize(
    ('content', 'names'),
    [
        ('wine, red\nmr. bean\ncat.\n', ('wine, red', 'mr. bean', 'cat')),
        ('man,512\ntennis racket\t7\n2,3\n', ('man', 'tennis racket', '2')),
        ('cat . dog\nhorse .\n', ('cat', 'dog', 'horse')),
        ('st. bernard, cat', ('st. bernard', 'cat')),
        ("['cat',\n 'dog']\n", ('cat', 'dog')),
    ],
)
def test_files(tmp_path: Path, content: str, names: tuple[str, ...]) -> None:
    path = tmp_path / 'names.txt'
    path.write_text(content, encoding='utf-8-sig')
    assert read_names(str(path)) == tuple(parse_vocabulary(path)) == names


@pytest.mark.parametrize(
    ('name', 'content', 'why'),
    [
        ('a.txt', '\n\ncat\n<b>dog</b>\n', r'a\.txt, line 4: .*markup'),
        ('a.txt', '\n0 0.5 0.5 0.2 0.3\n', r'a\.txt, .*numbers'),
        ('a.txt', '0 1\n0 2\n', r'a\.txt, line 1: .*numbers'),
        ('a.txt', '0,12\n1,4\n', r'a\.txt, .*numbers'),
        ('a.txt', 'cat\nd\x00g\n', r'a\.txt, line 2: .*no text'),
        ('a.xml', 'cat\n', r'a\.xml: names are read from text files'),
        ('data.yaml', 'names:\n- cat\n', r'data\.yaml: names are read from text files'),
        ('a.json', '{"categories": [{"name": ["cat"]}]}', r'a\.json: not a COCO annotation file'),
        ('a.json', '{"categories": [{"name": " "}]}', r'a\.json: not a COCO annotation file'),
    ],
)
def test_files_of_something_else(tmp_path: Path, name: str, content: str, why: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    for read in (read_names, parse_vocabulary):
        with pytest.raises(ValueError, match=why):
            read(str(path))


def test_a_list_in_json(tmp_path: Path) -> None:
    path = tmp_path / 'names.json'
    path.write_text('["cat", "wine, red"]')
    assert read_names(str(path)) == ('cat', 'wine, red')


@pytest.mark.parametrize('text', ['x', 'mr. ', '. ', "' ", '[', '1', 'a..', "'\\", '<', '1e', 'a '])
def test_long_texts_take_no_longer_per_letter(text: str) -> None:
    """A fifth of a megabyte: minutes, if any step took the square of its length."""
    try:
        split_words(text * (200_000 // len(text)))
    except ValueError:
        pass
