# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""A user's words become names: one rule for Python, the command line, the web page and files.

* Line ends separate, and so do full stops that stand alone: ``cat . dog .``, mmdet's form.
* Where no full stop stands alone, commas and semicolons separate: ``st. bernard, cat``. In a file
  of several lines they do not: there a line is a name.
* Where there are none of these either, a full stop at the end of a word separates, unless the word
  is an abbreviation: ``cat. dog`` are two names, ``mr. bean`` and ``U.S. flag`` are one each. In a
  file of several lines it does not.
* What is written as a list is that list: ``['cat', 'dog']``, ``"cat", "dog"``, ``[cat, dog]``.
* White space is tidied; quotes around a name go, and so does a full stop at its end, unless an
  abbreviation has it. What has nothing but punctuation is no name.
* Stops, commas and line ends of other scripts count like these.
* What holds markup (``<...>``), numbers alone or characters that are no text is refused, as is
  what looks like data (``{"cat": 1}``): it is the content of some other file.
"""

from __future__ import annotations

import ast
import re
import string
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from open_clip.tokenizer import basic_clean

from ..concepts import split_count
from ..models.text.prompts import clean_name

# Ideographic, fullwidth and halfwidth, Arabic, Devanagari: never part of a name.
_STOPS = '。．｡۔।'
_LONE_STOP = re.compile(rf'(?:(?<=\s)|^)\.(?=\s|$)|[{_STOPS}]')
_COMMA = re.compile('[,;，；、､،؛]')
_LINE_END = re.compile('[\r\n\v\f\x1c-\x1e\x85\u2028\u2029•]+')
_STOP_OF_A_WORD = re.compile(r'(?<=\S)\.(?=\s|$)')
_ABBREVIATIONS = frozenset(
    'approx ave blvd capt cm co corp dept dr etc fl ft inc jr kg lb lbs ltd mm mr mrs ms mt no oz '
    'prof rd sgt sq sr st vol vs'.split()
)
_DOTTED = re.compile(r'[^\W\d_](?:\.[^\W\d_])+')  # U.S., e.g.
_QUOTED = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_QUOTED_LIST = re.compile(rf'{_QUOTED}(?:(?:\s*[,;]\s*|\s+){_QUOTED})*\s*,?')
_BRACKETS = {'[': ']', '(': ')', '{': '}'}
_PAIRS = ("''", '""', '“”', '‘’', '«»', '「」')
_MARKUP = re.compile(r'<[/!?]?[^\W\d_]|<!--')
_OF_NUMBERS = re.compile(r'[.,%+-]|e(?=[+-]?\d)', re.IGNORECASE)
# Joiners of scripts that need them; all else that is not printable is no text.
_JOINERS = '\u200c\u200d'


def split_words(text: str) -> list[str]:
    """Names in what somebody wrote, in their order; one that occurs again is there again.

    Raises:
        ValueError: Markup, numbers, data, or characters that are no text; says which and what to
            do.
    """
    text = _stripped(text.removeprefix('\ufeff'))
    listed = _as_list(text)
    return checked_names(listed) if listed is not None else _names(_parts(text))


def names_of_lines(text: str) -> list[str]:
    """Names in the content of a file: a name per line; counts of a concept pool go.

    A file of one line is read as ``split_words`` reads it.

    Raises:
        ValueError: As there, with the line.
    """
    text = text.removeprefix('\ufeff')
    if text.lstrip().startswith('['):
        return split_words(text)
    filled = [
        (i, *split_count(line)) for i, line in enumerate(text.splitlines(), 1) if line.strip()
    ]
    if len(filled) == 1 and filled[0][2] is None:
        return split_words(text)
    found: list[str] = []
    for number, line, count in filled:
        try:
            # among nouns of captions there may be a number
            found += _names(_LONE_STOP.split(_stripped(line)), numbers=count is not None)
        except ValueError as error:
            raise ValueError(f'line {number}: {error}') from None
    if found and all(map(_is_number, found)):
        _refuse(found[0])
    return found


def checked_names(names: Iterable[str]) -> list[str]:
    """Names of a list, each as it is but for white space.

    Raises:
        TypeError: One is no string.
        ValueError: One is blank, or cannot be a name; says which.
    """
    items = list(names)
    tidied = []
    for index, item in enumerate(items):
        if not isinstance(item, str):
            raise TypeError(f'names are strings, but name {index} is {item!r}.')
        name = _tidy(str(item))
        if not _is_name(name):
            raise ValueError(f'name {index} of {len(items)} is blank: {item!r}.')
        _refuse(name, numbers=name.isdecimal())  # digits, where somebody lists them
        tidied.append(name)
    return tidied


def as_read(name: str) -> str:
    """What CLIP reads of a name: equal texts have equal embeddings."""
    return _tidy(basic_clean(clean_name(name)).lower())


def distinct_names(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The first of those that are the same to CLIP, and the others."""
    kept: dict[str, str] = {}
    again = []
    for name in names:
        read = as_read(name)
        if read in kept:
            again.append(name)
        else:
            kept[read] = name
    return list(kept.values()), again


def _parts(text: str) -> Iterable[str]:
    if _LONE_STOP.search(text):
        return re.split(f'{_LONE_STOP.pattern}|{_LINE_END.pattern}', text)
    if _COMMA.search(text):
        return re.split(f'{_COMMA.pattern}|{_LINE_END.pattern}', text)
    return (name for line in _LINE_END.split(text) for name in _at_ends_of_words(line))


def _at_ends_of_words(line: str) -> Iterator[str]:
    line, start = _tidy(line), 0
    for found in _STOP_OF_A_WORD.finditer(line):
        stop = found.start()
        if not _is_abbreviation(line[line.rfind(' ', 0, stop) + 1 : stop]):
            yield line[start:stop]
            start = stop + 1
    yield line[start:]


def _is_abbreviation(word: str) -> bool:
    word = word.lstrip(string.punctuation).lower()
    return word in _ABBREVIATIONS or bool(_DOTTED.fullmatch(word))


def _names(parts: Iterable[str], numbers: bool = False) -> list[str]:
    """What of the parts of a string is a name; whether numbers are."""
    found = []
    for part in parts:
        name = _without_stop(_without_quotes(_without_stop(_tidy(part))))
        if not _is_name(name):
            continue
        _refuse(name, numbers)
        if any(c in name for c in '[]{}'):
            raise ValueError(
                f'{_shown(name)} has brackets: it looks like data, not like a name. Write names as '
                "in 'cat . dog', or as a list of quoted names."
            )
        found.append(name)
    return found


def _as_list(text: str) -> list[str] | None:
    """Names of a text that spells a list; None if it does not."""
    inner = text
    if text[:1] in _BRACKETS and text.endswith(_BRACKETS[text[0]]):
        inner = text[1:-1].strip()
    if _QUOTED_LIST.fullmatch(inner):
        return [_unquoted(item) for item in re.findall(_QUOTED, inner)]
    if inner is not text and not re.search(r'[][(){}:"]', inner):
        return _names(_parts(_stripped(inner)))
    return None


def _unquoted(item: str) -> str:
    try:
        return ast.literal_eval(item)
    except (ValueError, SyntaxError):  # a backslash that begins nothing, a null character
        return item[1:-1]


def _stripped(text: str) -> str:
    """Without full stops that stand alone at either end: they separate nothing."""

    def separates(place: int, beside: int) -> bool:
        if text[place] == '.':
            return not 0 <= beside < len(text) or text[beside].isspace()
        return text[place] in _STOPS or text[place].isspace()

    start, end = 0, len(text)
    while start < end and separates(end - 1, end - 2):
        end -= 1
    while start < end and separates(start, start + 1):
        start += 1
    return text[start:end]


def _tidy(name: str) -> str:
    return ' '.join(name.split())


def _without_stop(name: str) -> str:
    bare = name.rstrip('.')
    word = bare.split(' ')[-1]
    return name if name == f'{bare}.' and _is_abbreviation(word) else bare


def _without_quotes(name: str) -> str:
    for opening, closing in map(tuple, _PAIRS):
        inner = name[1:-1]
        if len(name) > 2 and name[0] == opening and name[-1] == closing and closing not in inner:
            return inner.strip()
    return name


def _is_name(text: str) -> bool:
    """Whether there is anything but punctuation."""
    return any(
        c not in string.punctuation and not c.isspace() and unicodedata.category(c)[0] != 'P'
        for c in text
    )


def _refuse(name: str, numbers: bool = False) -> None:
    odd = next((c for c in name if not c.isprintable() and c not in _JOINERS), None)
    if odd is not None:  # a lone surrogate is half a character
        raise ValueError(
            f'{_shown(name)} has characters that are no text (U+{ord(odd):04X}). Type it again.'
        )
    if _MARKUP.search(name):
        raise ValueError(
            f'{_shown(name)} holds markup, no name: is this a file of XML or HTML? Give the names '
            "alone, as in 'cat . dog'."
        )
    if not numbers and all(map(_is_number, name.split())):
        raise ValueError(
            f'{_shown(name)} is made of numbers, no name: is this a file of labels, as of YOLO? '
            'Give the names of the classes, digits in words.'
        )


def _is_number(word: str) -> bool:
    digits = _OF_NUMBERS.sub('', word)
    return digits.isdecimal() and word.lstrip('+-.')[:1].isdecimal()


def _shown(name: str) -> str:
    short = name if len(name) <= 60 else f'{name[:57]}...'
    return repr(short) if short.isprintable() else ascii(short)


def describe_again(again: Sequence[str], kept: int) -> str:
    """A sentence on names that were left out."""
    return (
        f'names that occur again are left out ({len(again)}; CLIP does not tell capitals from '
        f'small letters): {list(again[:5])}. Labels count the {kept} that remain.'
    )
