# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Documented calls of our scripts, read by the scripts' own parsers, without running them."""

from __future__ import annotations

import argparse
import contextlib
import io
import runpy
import sys
from collections.abc import Iterator
from unittest import mock

from helpers.doc_pages import ROOT, ToolCall

# Which script a shell script starts, how many arguments it needs, and what it makes of them.
SHELL = {
    'tools/dist_train.sh': ('tools/train.py', 2, lambda a: [a[0], *a[2:]]),
    'tools/dist_test.sh': ('tools/test.py', 3, lambda a: [a[0], a[1], *a[3:]]),
    'tools/slurm_train.sh': ('tools/train.py', 4, lambda a: [a[2], '--work-dir', *a[3:]]),
    'tools/slurm_test.sh': ('tools/test.py', 4, lambda a: [a[2], a[3], *a[4:]]),
}


class Reached(BaseException):
    """A script has come to its parser."""


class WrongCommand(Exception):
    """The script's parser refuses the arguments."""


@contextlib.contextmanager
def stopped_at_the_parser(parse: bool, found: list) -> Iterator[None]:
    """Let ``parse_args`` end a script; what it gave, or its parser, is appended to ``found``."""
    original = argparse.ArgumentParser.parse_args

    def parse_args(parser: argparse.ArgumentParser, *args: object, **kwargs: object) -> None:
        found.append(original(parser, *args, **kwargs) if parse else parser)
        raise Reached

    with mock.patch.object(argparse.ArgumentParser, 'parse_args', parse_args):
        yield


def _run_to_parser(tool: str, arguments: list[str], parse: bool) -> object:
    found: list = []
    said = io.StringIO()
    path = list(sys.path)
    with (
        stopped_at_the_parser(parse, found),
        mock.patch.object(sys, 'argv', [tool, *arguments]),
        contextlib.redirect_stderr(said),
    ):
        try:
            runpy.run_path(str(ROOT / tool), run_name='__main__')
        except Reached:
            return found[0]
        except SystemExit as end:
            raise WrongCommand(f'{tool} {" ".join(arguments)}\n{said.getvalue()}') from end
        finally:
            sys.path[:] = path
    raise WrongCommand(f'{tool} never read its arguments')


def script(call: ToolCall) -> tuple[str, list[str]]:
    """The Python script that a call leads to, and the arguments it gets there."""
    if not (ROOT / call.tool).is_file():
        raise WrongCommand(f'there is no {call.tool}')
    if call.tool not in SHELL:
        return call.tool, list(call.arguments)
    target, needed, hand_on = SHELL[call.tool]
    if len(call.arguments) < needed:
        raise WrongCommand(f'{call.tool} needs more than {call.arguments}')
    return target, hand_on(call.arguments)


def parse(call: ToolCall) -> argparse.Namespace:
    """What the script makes of the arguments.

    Raises:
        WrongCommand: It refuses them, or does not exist.
        ImportError: A package that the script needs is not installed.
    """
    return _run_to_parser(*script(call), parse=True)


def options(tool: str) -> set[str]:
    """All options of a script, those of its subcommands included."""
    target = SHELL.get(tool, (tool,))[0]
    parsers = [_run_to_parser(target, [], parse=False)]
    found: set[str] = set()
    while parsers:
        for action in parsers.pop()._actions:
            found |= set(action.option_strings)
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
    return found
