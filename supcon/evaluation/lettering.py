"""Fonts for names of any script in pictures of matplotlib, which draws boxes for what one lacks."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

BOXES = ("lastresort", "fallback", "blank")  # fonts that have every character, as a box or nothing


def families_for(texts: Iterable[str]) -> tuple[list[str], str]:
    """Fonts of this machine that have the characters of some texts.

    Args:
        texts: names as they are drawn, each in one line.

    Returns:
        Families for matplotlib, the usual one first: it takes the next for what one lacks. And
        the characters that no font here has, in order.
    """
    usual = font_manager.findfont(font_manager.FontProperties(family=["sans-serif"]))
    families = [FT2Font(usual).family_name]
    lacking = {c for text in texts for c in text if c.isprintable()} - _characters(usual)
    fonts = {path: _characters(path) for path in _installed()} if lacking else {}
    while fonts and lacking:
        best = max(sorted(fonts), key=lambda path: len(fonts[path] & lacking))
        if not fonts[best] & lacking:
            break
        lacking -= fonts.pop(best)
        font_manager.fontManager.addfont(best)
        families.append(FT2Font(best).family_name)
    return families, "".join(sorted(lacking))


@contextmanager
def quiet_about_glyphs() -> Iterator[None]:
    """Without a warning for each character that no font has."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")
        yield


def _installed() -> list[str]:
    """Font files that matplotlib can draw with; also those that came after it listed them."""
    files = [Path(path) for path in font_manager.findSystemFonts()]
    return [str(f) for f in files if not any(word in f.stem.lower() for word in BOXES)]


def _characters(path: str) -> set[str]:
    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):  # damaged, or of a kind that FreeType does not know
        return set()
    return {chr(code) for code in font.get_charmap()} if font.scalable else set()
