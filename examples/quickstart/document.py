# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""One small document model, written as Markdown and as self-contained HTML."""

from __future__ import annotations

import base64
import html
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

STYLE = """
:root { --ink: #20262d; --soft: #5b6470; --line: #dfe3e8; --tint: #f5f7f9; --accent: #1f6fb4; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink);
       font: 16px/1.55 system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 28px 80px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 10px; letter-spacing: -0.01em; }
h2 { font-size: 21px; margin: 46px 0 10px; padding-top: 18px; border-top: 1px solid var(--line); }
p { max-width: 76ch; margin: 10px 0; }
code { background: var(--tint); padding: 1px 5px; border-radius: 4px; font-size: 0.9em; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 14px;
         margin: 22px 0 8px; }
.card { border: 1px solid var(--line); border-radius: 10px; padding: 14px 18px;
        background: var(--tint); }
.card .what { color: var(--soft); font-size: 14px; line-height: 1.35; }
.card .value { font-size: 25px; font-weight: 650; margin: 6px 0 2px; letter-spacing: -0.01em; }
.card .note { font-size: 14px; color: var(--accent); }
.table { overflow-x: auto; }
table { border-collapse: collapse; margin: 14px 0; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 16px 7px 0; text-align: right; border-bottom: 1px solid var(--line);
         white-space: nowrap; }
th { font-weight: 600; font-size: 14px; color: var(--soft); vertical-align: bottom; }
th.text, td.text { text-align: left; white-space: normal; }
figure { margin: 18px 0; }
img { max-width: 100%; height: auto; display: block; }
figcaption { color: var(--soft); font-size: 14px; margin-top: 8px; max-width: 92ch; }
"""


@dataclass
class Document:
    """Headings, paragraphs, cards, tables and pictures in order.

    Text may use Markdown's ``**bold**`` and `` `code` ``.

    Args:
        title: Title of the document.
    """

    title: str
    blocks: list[tuple[str, tuple]] = field(default_factory=list)

    def heading(self, text: str) -> None:
        """Add a section heading."""
        self.blocks.append(('heading', (text,)))

    def paragraph(self, text: str) -> None:
        """Add a paragraph."""
        self.blocks.append(('paragraph', (text,)))

    def cards(self, cards: Sequence[tuple[str, str, str]]) -> None:
        """Add a row of key numbers: what it is, the value, a note."""
        self.blocks.append(('cards', (list(cards),)))

    def table(
        self, header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1
    ) -> None:
        """Add a table; the first ``text_columns`` columns are left-aligned."""
        self.blocks.append(('table', (list(header), [list(r) for r in rows], text_columns)))

    def picture(self, path: Path, caption: str) -> None:
        """Add a picture file."""
        self.blocks.append(('picture', (Path(path), caption)))

    def to_markdown(self, folder: Path) -> str:
        """Markdown whose pictures are linked relative to ``folder``."""
        writers = dict(
            heading=lambda text: f'## {text}',
            paragraph=lambda text: text,
            cards=lambda cards: '\n'.join(f'- {w}: **{v}** ({n})' for w, v, n in cards),
            table=_markdown_table,
            picture=lambda path, text: f'![{text}]({_relative(path, folder)})\n\n*{text}*',
        )
        body = [writers[kind](*content) for kind, content in self.blocks]
        return '\n\n'.join([f'# {self.title}', *body]) + '\n'

    def to_html(self) -> str:
        """One HTML file with everything inside."""
        writers = dict(
            heading=lambda text: f'<h2>{_inline(text)}</h2>',
            paragraph=lambda text: f'<p>{_inline(text)}</p>',
            cards=_html_cards,
            table=_html_table,
            picture=_html_picture,
        )
        body = '\n'.join(writers[kind](*content) for kind, content in self.blocks)
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<title>{html.escape(self.title)}</title>\n<style>{STYLE}</style>\n</head>\n'
            f'<body>\n<main>\n<h1>{_inline(self.title)}</h1>\n{body}\n</main>\n</body>\n</html>\n'
        )


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _markdown_table(header: list[str], rows: list[list[str]], text_columns: int) -> str:
    rule = [':--' if i < text_columns else '--:' for i in range(len(header))]
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in [header, rule, *rows])


def _inline(text: str) -> str:
    text = html.escape(text, quote=False)
    text = re.sub(r'\*\*(.+?)\*\*', r'<strong>\1</strong>', text)
    return re.sub(r'`(.+?)`', r'<code>\1</code>', text)


def _html_cards(cards: list[tuple[str, str, str]]) -> str:
    items = ''.join(
        f'<div class="card"><div class="what">{_inline(what)}</div>'
        f'<div class="value">{_inline(value)}</div><div class="note">{_inline(note)}</div></div>'
        for what, value, note in cards
    )
    return f'<div class="cards">{items}</div>'


def _html_table(header: list[str], rows: list[list[str]], text_columns: int) -> str:
    def line(cells: list[str], tag: str) -> str:
        return ''.join(
            f'<{tag}{" class=text" if i < text_columns else ""}>{_inline(cell)}</{tag}>'
            for i, cell in enumerate(cells)
        )

    body = ''.join(f'<tr>{line(row, "td")}</tr>\n' for row in rows)
    head = f'<thead><tr>{line(header, "th")}</tr></thead>'
    return f'<div class="table"><table>{head}<tbody>\n{body}</tbody></table></div>'


def _html_picture(path: Path, caption: str) -> str:
    kind = 'jpeg' if path.suffix.lower() in ('.jpg', '.jpeg') else 'png'
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><img alt="{html.escape(caption)}" src="data:image/{kind};base64,{data}">'
        f'<figcaption>{_inline(caption)}</figcaption></figure>'
    )
