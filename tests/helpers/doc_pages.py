# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Pages as data: their blocks of code with the marks before them, and links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *sorted(ROOT.glob('*.md')),
    *sorted((ROOT / 'docs').glob('*.md')),
    *sorted((ROOT / 'configs').glob('*/README.md')),
]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]

FENCE = re.compile(r'^( *)(`{3,}|~{3,})\s*(\S*)')
MARK = re.compile(r'^\s*<!-- (tested-by|needs): (.+?) -->\s*$')
# One of our scripts, whatever launches it.
TOOL = re.compile(r'^(?:tools|demo)/[\w/]+\.(?:py|sh)$')


# Stands for what $(...) prints; also a setting that any parser of settings takes.
PRINTED = 'A.B=1'


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: Path below the checkout.
        line: Number of the fence's line.
        language: What stands behind the fence, or ''.
        mark: ``('tested-by', reference)``, ``('needs', words)`` or None.
        text: Everything between the fences.
    """

    page: str
    line: int
    language: str
    mark: tuple[str, str] | None
    text: str

    def __str__(self) -> str:
        return f'{self.page}:{self.line}'

    def tests(self) -> list[str]:
        """References of the tests that run it."""
        return self.mark[1].split() if self.mark and self.mark[0] == 'tested-by' else []

    def commands(self) -> list[list[str]]:
        """Words of each command, comments and redirections gone."""
        text = self.text.replace('\\\n', ' ')
        return [words for line in text.splitlines() for words in split_line(line)]


@dataclass(frozen=True)
class ToolCall:
    """A call of one of the project's scripts: its path below the checkout and its arguments."""

    tool: str
    arguments: tuple[str, ...]


def split_line(line: str) -> list[list[str]]:
    """Commands of a line that ``&&``, ``;`` or ``|`` connect, each as words."""
    # what $(...) prints is unknown here; it is a command of its own
    inner = re.findall(r'\$\((.*)\)', line)
    line = re.sub(r'\$\(.*\)', PRINTED, line)
    lexer = shlex.shlex(line, posix=True, punctuation_chars=';&|<>')
    lexer.whitespace_split = True
    lexer.commenters = '#'
    commands: list[list[str]] = [[]]
    words = iter(lexer)
    for word in words:
        if set(word) <= set(';&|'):
            commands.append([])
        elif set(word) <= set('<>'):
            next(words, None)
        else:
            commands[-1].append(word)
    return [words for words in commands if words] + [c for i in inner for c in split_line(i)]


def tool_call(words: list[str]) -> ToolCall | None:
    """The script that a command calls, whatever launches it."""
    for i, word in enumerate(words):
        if TOOL.match(word):
            return ToolCall(word, tuple(words[i + 1 :]))
    return None


def blocks(text: str, page: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    lines = text.splitlines()
    found, i = [], 0
    while i < len(lines):
        opened = FENCE.match(lines[i])
        if opened is None:
            i += 1
            continue
        indent, fence, language = opened.groups()
        end = next(
            (
                j
                for j in range(i + 1, len(lines))
                if lines[j].strip() and set(lines[j].strip()) == {fence[0]}
                and len(lines[j].strip()) >= len(fence)
            ),
            None,
        )  # fmt: skip
        if end is None:
            raise ValueError(f'{page}:{i + 1}: the block is never closed')
        mark = MARK.match(lines[i - 1]) if i else None
        body = [line.removeprefix(indent) for line in lines[i + 1 : end]]
        found.append(
            Block(page, i + 1, language, mark and mark.groups(), ''.join(f'{b}\n' for b in body))
        )
        i = end + 1
    return found


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding='utf-8')


def all_blocks(*languages: str) -> list[Block]:
    """Blocks of these languages on all pages."""
    return [b for name in NAMES for b in blocks(read(name), name) if b.language in languages]


def prose_with_code(text: str) -> str:
    """A page without its blocks and comments, but with inline code."""
    kept, closing = [], ''
    for line in text.splitlines():
        opened = FENCE.match(line)
        if closing:
            closing = '' if line.strip() == closing else closing
        elif opened:
            closing = opened[2]
        else:
            kept.append(line)
    return re.sub(r'<!--.*?-->', '', '\n'.join(kept), flags=re.S)


def prose(text: str) -> str:
    """A page without its blocks of code, inline code and comments."""
    return re.sub(r'(`+)(?!`).+?(?<!`)\1(?!`)', '', prose_with_code(text))


def links(text: str) -> Iterator[str]:
    """Where the links and images of a page lead, those of HTML tags included."""
    text = prose(text)
    for match in re.finditer(r'\]\(<?([^)>\s]+)>?(?:\s+"[^"]*")?\)', text):
        yield match[1]
    for match in re.finditer(r'^\s*\[[^\]]+\]:\s+(\S+)', text, flags=re.M):
        yield match[1]
    for match in re.finditer(r'<(?:a|img)\s[^>]*?(?:href|src)="([^"]+)"', text):
        yield match[1]


def anchors(text: str) -> set[str]:
    """Anchors of the headings, by the rule of code hosts."""
    found: set[str] = set()
    for line in prose_with_code(text).splitlines():
        heading = re.match(r'#{1,6}\s+(.+?)\s*#*$', line)
        if heading is None:
            continue
        # the text of links, without marks of emphasis and code
        title = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', heading[1])
        slug = re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-')
        name, count = slug, 0
        while name in found:
            count += 1
            name = f'{slug}-{count}'
        found.add(name)
    return found
