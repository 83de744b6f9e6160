# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""Fonts for names in any script: a given one, DejaVu Sans, then whatever is installed."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

FontPath = str | os.PathLike
AnyFont = ImageFont.FreeTypeFont | ImageFont.ImageFont
# Scripts whose lack was said already.
_warned: set[str] = set()
# Unicode categories that are nothing by themselves: marks, joiners, variation selectors.
_FOLLOWING = ('Mn', 'Me', 'Mc', 'Cf')


class FontChain:
    """Fonts to be tried in turn for every character.

    DejaVu Sans, which comes with matplotlib, covers Latin, Greek, Cyrillic, Arabic, Hebrew,
    Armenian and Georgian. For other characters (Chinese, Japanese, Korean, Thai, Devanagari, ...)
    the machine's fonts are searched. What no font has is drawn as an empty box, with a warning.
    Arabic is joined, and it and Hebrew run from right to left, where Pillow has Raqm with FriBiDi
    (``PIL.features.check('fribidi')``; its wheels load the system's FriBiDi).

    Args:
        font: Path of a TrueType or OpenType file, or several, that come first.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file is no font.
    """

    def __init__(self, font: FontPath | Sequence[FontPath] | None = None) -> None:
        given = [] if font is None else [font] if isinstance(font, FontPath) else list(font)
        self.paths = [str(path) for path in given]
        for path in self.paths:
            if not Path(path).is_file():
                raise FileNotFoundError(f'font: there is no file {path}')
            try:
                ImageFont.truetype(path, 10)
            except OSError as error:
                raise ValueError(f'font: {path} is no font that FreeType reads: {error}') from None
        self.paths += _own_fonts()

    def runs(self, text: str, size: int) -> list[tuple[str, AnyFont]]:
        """Split a line into pieces of one font each.

        Args:
            text: One line.
            size: Height of the font in pixels.
        """
        runs: list[tuple[str, str | None]] = []
        for char in text:
            # spaces and combining marks stay with what they follow
            follows = runs and (char.isspace() or unicodedata.category(char) in _FOLLOWING)
            path = runs[-1][1] if follows else self._font_of(char)
            if runs and runs[-1][1] == path:
                runs[-1] = (runs[-1][0] + char, path)
            else:
                runs.append((char, path))
        return [(piece, load_font(path, size)) for piece, path in runs]

    def width(self, text: str, size: int) -> float:
        """Width of a line in pixels."""
        return sum(font.getlength(piece) for piece, font in self.runs(text, size))

    def line_height(self, size: int) -> tuple[int, int]:
        """Pixels above and below the baseline that hold accents and descenders."""
        font = load_font(self.paths[0] if self.paths else None, size)
        if isinstance(font, ImageFont.FreeTypeFont):
            return font.getmetrics()
        return size, size // 4

    def _font_of(self, char: str) -> str | None:
        for path in self.paths:
            if ord(char) in _characters(path):
                return path
        installed = _installed_font(char)
        return installed or (self.paths[0] if self.paths else None)


@lru_cache(maxsize=256)
def load_font(path: str | None, size: int) -> AnyFont:
    """A font in a size; without a path Pillow's own, which has Latin letters only."""
    if path is None:
        return ImageFont.load_default(size)
    return ImageFont.truetype(path, size)


@lru_cache(maxsize=1)
def _own_fonts() -> tuple[str, ...]:
    try:
        import matplotlib
    except ImportError:  # mmengine requires it; its forks may not
        return ()
    path = Path(matplotlib.get_data_path()) / 'fonts' / 'ttf' / 'DejaVuSans.ttf'
    return (str(path),) if path.is_file() else ()


@lru_cache(maxsize=512)
def _characters(path: str) -> frozenset[int]:
    """Code points a font has glyphs for."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


@lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    """The machine's fonts: upright sans-serif ones first, since names are read at small sizes."""
    try:
        from matplotlib.font_manager import findSystemFonts
    except ImportError:
        return ()

    def unlike_ours(path: str) -> tuple:
        name = Path(path).stem.lower()
        styled = any(word in name for word in ('bold', 'italic', 'oblique', 'mono', 'light'))
        return styled, 'sans' not in name, name, path

    return tuple(sorted(findSystemFonts(), key=unlike_ours))


@lru_cache(maxsize=4096)
def _installed_font(char: str) -> str | None:
    """An installed font with a glyph for a character."""
    for path in _usable(ord(char)):
        return path
    _warn_of_script(unicodedata.name(char, 'unnamed').split()[0], char)
    return None


def _warn_of_script(script: str, char: str) -> None:
    if script in _warned:
        return
    _warned.add(script)
    warnings.warn(
        f'No installed font has {char!r} (U+{ord(char):04X}, {script.lower()}): such characters '
        'are drawn as empty boxes. Install a font for them, for example of the Noto family, or '
        "give the path of one (font=...; in a config: visualizer's font)."
    )


def _usable(code: int) -> Iterator[str]:
    for path in _installed():
        if code in _characters(path):
            try:  # fonts of colored bitmaps have no arbitrary sizes
                ImageFont.truetype(path, 12)
            except OSError:
                continue
            yield path
