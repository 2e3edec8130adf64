"""report.html: what it holds, and that a real browser draws all of it, offline."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from search.log.study import Study
from search.reporting.extras import Parts
from search.reporting.page import render
from search.reporting.summarise import summarise
from search.reporting.summary import Summary
from tests.browser import CHROMIUM, Browser
from tests.reported import unsearched
from tests.written import WrittenStudy

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium (Debian: apt install chromium)"
)


def test_the_page_holds_plotly_once_and_asks_nobody_for_anything(report: Path) -> None:
    html = (report / "report.html").read_text()
    assert html.count("plotly.js v") == 1
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=.?(http|//)", html)
    assert "@import" not in html.split("<script>")[0]


def test_what_a_study_holds_is_text_and_never_markup(report: Path) -> None:
    html = (report / "report.html").read_text()
    assert "--space &lt;b&gt;x&lt;/b&gt;.yaml" in html
    assert "<b>x</b>" not in html
    assert "<owl>" not in html
    assert "&lt;owl&gt; (40)" in html  # plotly reads markup too


def test_the_page_forbids_itself_to_fetch_anything(report: Path) -> None:
    html = (report / "report.html").read_text()
    assert 'http-equiv="Content-Security-Policy" content="default-src \'none\';' in html


def test_an_empty_study_has_a_page_too(tmp_path: Path) -> None:
    study = unsearched(tmp_path)
    html = render(study, summarise(study), Parts())
    assert "No verdict" in html
    assert "No configuration was trained on fresh seeds." in html


def test_the_page_says_what_the_study_found(report: Path) -> None:
    html = (report / "report.html").read_text()
    assert "86.00 ± 1.00" in html
    assert "test images opened 2 times, 6 runs scored" in html
    assert "<td>optim.momentum</td>" in html
    assert "supcon-confirm-0, supcon-confirm-1, supcon-confirm-2" in html


def test_geometry_is_of_the_winners_and_older_logs_have_none(report: Path, tmp_path: Path) -> None:
    html = (report / "report.html").read_text()
    assert html.count("<h2>Geometry of the winners") == 1
    figures = json.loads(re.findall(r"const figures = (.*);\n", html)[0])
    shown = [line["hovertemplate"] for line in figures["geometry/val/alignment"]["data"]]
    arms = json.loads((report / "summary.json").read_text())["arms"]
    best = {arm: f"{arm}-{found['best']['number']}" for arm, found in arms.items()}
    names = [text.partition(", epoch")[0] for text in shown]
    assert names == [
        f"{best['supcon']}, alignment",
        f"{best['supcon']}, projection_alignment",
        f"{best['ce']}, alignment",
    ]
    study = WrittenStudy(tmp_path)
    study.trial("ce", 0, 0.5)
    old = render(study, summarise(study), Parts())
    assert "curves/ce" in old
    assert "geometry/" not in old
    assert "Geometry of" not in old


def test_copies_among_the_images_are_shown_with_their_parts_and_labels(report: Path) -> None:
    html = (report / "report.html").read_text()
    assert (
        "<li>2 of 120 images of test (1.7%) have a copy in train (1 equal, 1 nearly so), " in html
    )
    assert html.count('<img src="data:image/jpeg;base64,') == 6  # a pair of look-alikes with them
    assert 'title="&lt;i&gt;1.png"' in html
    assert "<br>mirrored, 7.2 levels<br>train, dog<br>test, dog" in html
    assert "<br>equal<br>train, cat<br>test, &lt;owl&gt;" in html


FIGURES = """Object.keys(figures).map(name => {
  const div = document.getElementById(name), box = div.getBoundingClientRect();
  const marks = ".scatterlayer path, .barlayer path, .scatterlayer .js-line";
  return {name, width: box.width, height: box.height, marks: div.querySelectorAll(marks).length};
})"""


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("width", [390, 1400])
def test_a_browser_draws_every_figure_offline_and_without_complaint(
    report: Path, width: int
) -> None:
    async def look() -> tuple[Browser, list[dict[str, Any]], int]:
        async with Browser() as browser:
            await browser.open(report / "report.html", width)
            return (
                browser,
                await browser.value(FIGURES),
                await browser.value("document.scrollingElement.scrollWidth"),
            )

    browser, figures, scroll_width = asyncio.run(look())
    names = {figure["name"] for figure in figures}
    assert {"points", "per_class/supcon", "rungs", "budget", "outcomes", "importance"} < names
    assert "further/supcon" in names
    assert {"geometry/train/loss_share", "geometry/val/alignment", "geometry/val/nc1"} < names
    assert {"slices/supcon/loss.temperature", "tsne/supcon/projection"} < names
    assert {"slices/ce/loss.temperature", "tsne/ce/projection"}.isdisjoint(names)
    for arm in ("supcon", "ce"):
        assert {f"parallel/{arm}", f"slices/{arm}/optim.momentum"} < names
        assert {f"curves/{arm}", f"tsne/{arm}/encoder"} < names
    for figure in figures:
        assert figure["marks"] > 0, figure
        assert 0 < figure["width"] <= width
        assert figure["height"] > 100
    assert scroll_width <= width
    assert browser.complaints == []
    assert [url for url in browser.requests if not url.startswith(("file:", "data:"))] == []


@pytest.mark.slow
@needs_chromium
def test_comparisons_of_three_arms_fit_on_a_telephone(three: tuple[Study, Summary]) -> None:
    async def look() -> tuple[list[dict[str, Any]], int, list[str]]:
        async with Browser() as browser:
            await browser.open(three[0].folder.page, 390)
            scroll_width = await browser.value("document.scrollingElement.scrollWidth")
            return await browser.value(FIGURES), scroll_width, browser.complaints

    figures, scroll_width, complaints = asyncio.run(look())
    shown = {figure["name"]: figure for figure in figures}
    assert shown["comparisons"]["marks"] >= 4  # each arm against the baseline's probe and its head
    assert {"per_class/supcon", "per_class/sincere", "curves/sincere"} < shown.keys()
    assert max(figure["width"] for figure in figures) <= 390 >= scroll_width
    assert complaints == []


@pytest.mark.slow
@needs_chromium
def test_the_page_prints_with_its_figures_as_wide_as_the_paper(report: Path) -> None:
    async def print_it() -> tuple[bytes, list[float]]:
        async with Browser() as browser:
            await browser.open(report / "report.html", 1400)
            await browser.value("dispatchEvent(new Event('beforeprint'))")
            widths = await browser.value(
                "[...document.querySelectorAll('.main-svg')].map(x => x.width.baseVal.value)"
            )
            pdf = await browser.call("Page.printToPDF", preferCSSPageSize=True)
            return base64.b64decode(pdf["data"]), widths

    pdf, widths = asyncio.run(print_it())
    assert pdf.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 3
    assert widths
    assert max(widths) <= 688  # A4 less its margins, at 96 dots an inch


def test_look_alikes_are_shown_with_what_is_known_of_the_rule(report: Path) -> None:
    html = (report / "report.html").read_text(encoding="utf-8")
    part = html.partition("<h2>Look-alikes of test in train</h2>")[2].partition("<h2>")[0]
    assert "train, cat<br>test, &lt;owl&gt;" in part
    assert "&lt;u&gt;6.png" in part
    assert "and 120 of 300 training images that were shifted" in part
