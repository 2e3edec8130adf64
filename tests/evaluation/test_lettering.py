"""Fonts for names of any script."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure

from supcon.evaluation.lettering import families_for, quiet_about_glyphs

ARABIC = "\u0627\u0644\u0639\u0631\u0628\u064a\u0629"


def write_font(path: Path, family: str, characters: str) -> str:
    """A font whose characters all look like a filled square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 900), (900, 900), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square, names = pen.glyph(), [".notdef", *(f"u{ord(c):x}" for c in characters)]
    font = FontBuilder(1000)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(c): name for c, name in zip(characters, names[1:], strict=True)})
    font.setupGlyf(dict.fromkeys(names, square))
    font.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    font.setupHorizontalHeader(ascent=900, descent=-100)
    font.setupNameTable({"familyName": family, "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)
    return str(path)


@pytest.fixture
def fonts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fonts of this machine."""
    paths = [
        write_font(tmp_path / "little.ttf", "Little", "名"),
        write_font(tmp_path / "much.ttf", "Much", "名前中"),
        write_font(tmp_path / "LastResort.ttf", "Boxes", "名前中\U00013000"),
        str(tmp_path / "broken.ttf"),
    ]
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: paths)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [*font_manager.fontManager.ttflist])


@pytest.mark.parametrize(
    ("texts", "more", "lacking"),
    [
        (["cat", "$5 _x_", "ärm", ARABIC, "a\u200cb"], [], ""),
        (["名前", "cat"], ["Much"], ""),
        (["\U00013000 名"], ["Little"], "\U00013000"),
        ([], [], ""),
    ],
)
def test_the_usual_font_comes_first_and_others_for_what_it_lacks(
    fonts: None, texts: list[str], more: list[str], lacking: str
) -> None:
    assert families_for(texts) == (["DejaVu Sans", *more], lacking)


def test_matplotlib_draws_with_the_fonts_that_were_found(fonts: None, tmp_path: Path) -> None:
    figure = Figure()
    figure.text(0.5, 0.5, "a名", family=families_for(["a名"])[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as for a missing glyph
        figure.savefig(tmp_path / "x.png")


def test_a_missing_glyph_is_no_warning_and_all_else_is(tmp_path: Path) -> None:
    figure = Figure()
    figure.text(0.5, 0.5, "名")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quiet_about_glyphs():
            figure.savefig(tmp_path / "x.png")
            with pytest.raises(UserWarning, match="else"):
                warnings.warn("something else", stacklevel=1)
