# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""What a pickle says, read without doing any of it.

Python's ``pickle`` imports and calls whatever a file names. Here names stay names and calls stay
notes: ``read`` gives plain types, ``Named``, ``Made`` and ``Kept``, and whoever reads decides what
few of them mean. Work and memory are bounded by the length of the file, the result is a tree of
bounded depth and size.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import IO, Any

from .notes import CHARACTERS, Kept, Made, Named, check_bounded

# A checkpoint of this project has some 10 thousand; a million takes a second or two.
MAX_STEPS = 5_000_000
# Values may be referred to again: so many of them for each instruction, and for a few more.
_TIMES, _FEW = 50, 10_000
_MAX_VERSION = 5
# Places of the memo are counted up; so many may be left out.
_GAP = 1000
# Python 2's names, which protocols up to 2 use
_RENAMED = {'__builtin__': 'builtins', 'copy_reg': 'copyreg'}
_BEGIN = object()
_KEYS = (str, bytes, int, float, complex, type(None))


def read(file: IO[bytes], max_steps: int | None = None) -> Any:
    """The content of the pickle that begins where a file stands; the file is left at its end.

    Args:
        file: file that is open for reading.
        max_steps: largest number of instructions; ``MAX_STEPS`` by default.

    Returns:
        Plain types, ``Named``, ``Made`` and ``Kept``; nothing contains itself.

    Raises:
        ValueError: It is damaged, too long, nested too deeply, or contains itself.
    """
    max_steps = MAX_STEPS if max_steps is None else max_steps
    start = file.tell()
    machine = _Machine()
    actions, push = machine.actions, machine.stack.append
    steps = 0
    try:
        for step, arg, _ in pickletools.genops(file):
            steps += 1
            if steps > max_steps:
                raise ValueError(f'its pickle has more than {max_steps} instructions')
            if step.name in _VALUES:
                push(arg)
            elif step.name in _NEW:
                push(_NEW[step.name]())
            elif step.name not in actions:
                raise ValueError(f'its pickle has the instruction {step.name}, which is not read')
            elif arg is None:
                actions[step.name]()
            else:
                actions[step.name](arg)
        content = machine.pop()
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f'its pickle is damaged ({type(error).__name__}: {error})') from None
    length = file.tell() - start
    check_bounded(content, _TIMES * (steps + length // CHARACTERS + _FEW))
    return content


class _Machine:
    """The stack and the memo that a pickle's instructions work on."""

    def __init__(self) -> None:
        self.stack: list = []
        self.memo: dict[int, Any] = {}
        # instructions by their names in pickletools
        self.actions: dict[str, Callable[..., None]] = {
            name[1:].upper(): getattr(self, name) for name in _INSTRUCTIONS
        }

    def top(self) -> Any:
        value = self.stack[-1]
        if value is _BEGIN:
            raise ValueError('its pickle is damaged (no value where one is needed)')
        return value

    def pop(self) -> Any:
        value = self.top()
        self.stack.pop()
        return value

    def pop_to_mark(self) -> list:
        for start in range(len(self.stack) - 1, -1, -1):
            if self.stack[start] is _BEGIN:
                values = self.stack[start + 1 :]
                del self.stack[start:]
                return values
        raise ValueError('its pickle is damaged (no mark)')

    # -- instructions -------------------------------------------------------------------------

    def _proto(self, version: int) -> None:
        if version > _MAX_VERSION:
            raise ValueError(f'its pickle has version {version}')

    def _frame(self, length: int) -> None:
        """Lengths are told by the instructions themselves."""

    def _stop(self) -> None:
        """``genops`` ends here."""

    def _mark(self) -> None:
        self.stack.append(_BEGIN)

    def _pop(self) -> None:
        self.stack.pop()

    def _pop_mark(self) -> None:
        self.pop_to_mark()

    def _dup(self) -> None:
        self.stack.append(self.top())

    def _put(self, index: int) -> None:
        if index > len(self.memo) + _GAP:  # Python would make room for all up to there
            raise ValueError(f'its pickle is damaged (place {index} of its memo)')
        self.memo[index] = self.top()

    _binput = _long_binput = _put

    def _memoize(self) -> None:
        self.memo[len(self.memo)] = self.top()

    def _get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    _binget = _long_binget = _get

    def _tuple(self) -> None:
        self.stack.append(tuple(self.pop_to_mark()))

    def _tuple1(self, size: int = 1) -> None:
        values = [self.pop() for _ in range(size)]
        self.stack.append(tuple(reversed(values)))

    def _tuple2(self) -> None:
        self._tuple1(2)

    def _tuple3(self) -> None:
        self._tuple1(3)

    def _list(self) -> None:
        self.stack.append(self.pop_to_mark())

    def _dict(self) -> None:
        values = self.pop_to_mark()
        self.stack.append({})
        self.set_pairs(values)

    def _frozenset(self) -> None:
        self.stack.append(frozenset(map(_as_key, self.pop_to_mark())))

    def _append(self) -> None:
        self.add([self.pop()])

    def _appends(self) -> None:
        self.add(self.pop_to_mark())

    _additems = _appends

    def add(self, values: list) -> None:
        into = self.top()
        if isinstance(into, list):
            into.extend(values)
        elif isinstance(into, set):
            into.update(map(_as_key, values))
        elif isinstance(into, Made):
            into.items.extend(values)
        else:
            raise ValueError(f'its pickle adds to a {type(into).__name__}')

    def _setitem(self) -> None:
        value = self.pop()
        self.set_pairs([self.pop(), value])

    def _setitems(self) -> None:
        self.set_pairs(self.pop_to_mark())

    def set_pairs(self, values: list) -> None:
        into = self.top()
        pairs = list(zip(map(_as_key, values[::2]), values[1::2], strict=True))
        if isinstance(into, dict):
            into.update(pairs)
        elif isinstance(into, Made):
            into.pairs.extend(pairs)
        else:
            raise ValueError(f'its pickle sets items of a {type(into).__name__}')

    def _global(self, name: str) -> None:
        module, _, attribute = name.partition(' ')
        self.stack.append(Named(f'{_RENAMED.get(module, module)}.{attribute}'))

    def _stack_global(self) -> None:
        attribute, module = self.pop(), self.pop()
        self._global(f'{module} {attribute}')

    def _reduce(self) -> None:
        args = self.pop()
        self.stack.append(Made(self.pop(), args))

    _newobj = _reduce

    def _build(self) -> None:
        state, into = self.pop(), self.top()
        if not isinstance(into, Made) or into.state is not None:
            raise ValueError(f'its pickle gives a state to a {type(into).__name__}')
        into.state = state

    def _persid(self, key: str) -> None:
        self.stack.append(Kept(key))

    def _binpersid(self) -> None:
        self.stack.append(Kept(self.pop()))


_INSTRUCTIONS = [n for n in vars(_Machine) if n[0] == '_' != n[1]]
# instructions that stand for a value of their own
_NEW: dict[str, Callable[[], Any]] = dict(
    NONE=lambda: None,
    NEWTRUE=lambda: True,
    NEWFALSE=lambda: False,
    EMPTY_DICT=dict,
    EMPTY_LIST=list,
    EMPTY_SET=set,
    EMPTY_TUPLE=tuple,
)
# instructions that stand for their argument
_VALUES = frozenset(
    'INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING '
    'UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 '
    'BYTEARRAY8'.split()
)


def _as_key(key: Any, depth: int = 4) -> Any:
    """A key that can be hashed without walking through anything deep."""
    if isinstance(key, (*_KEYS, Named, Made, Kept, frozenset)):
        return key
    if isinstance(key, tuple) and depth:
        return tuple(_as_key(part, depth - 1) for part in key)
    raise ValueError(f'its pickle has a {type(key).__name__} as a key')
