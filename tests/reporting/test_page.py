"""report.html: what it holds, and that a real browser draws all of it, offline."""

from __future__ import annotations

import asyncio
import base64
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search.judge.sealed import pack, pack_labels
from search.log.events import Ask, End, Opened, Pictured, Report, Scored, Unsealed
from search.log.journal import Journal
from search.reporting.files import write_report
from search.reporting.trial_figures import parallel
from search.space.loading import parse_space
from tests.browser import CHROMIUM, Browser

TREE: dict[str, Any] = {
    "name": "x",
    "base": {"run": {"epochs": 9}},
    "budget": {"trials": 20},
    "params": {
        "loss.temperature": {"loguniform": [0.05, 0.5]},
        "augment.strength": {"uniform": [0.1, 1.0]},
        "data.batch_size": {"pow2": [64, 256]},
        "optim.name": {"choice": ["sgd", "adamw"]},
        "optim.momentum": {"uniform": [0.5, 0.99], "when": {"optim.name": "sgd"}},
    },
    "scheduler": {"asha": {"grace": 1, "reduction": 3}},
    "confirm": {"top": 1, "seeds": 3, "references": False},
}
COMMAND = "python search/run.py --space <b>x</b>.yaml"


def draw(arm: str, rng: np.random.Generator) -> dict[str, Any]:
    params: dict[str, Any] = {"augment.strength": float(rng.uniform(0.1, 1))}
    params["data.batch_size"] = int(2 ** rng.integers(6, 9))
    params["optim.name"] = str(rng.choice(["sgd", "adamw"]))
    if params["optim.name"] == "sgd":
        params["optim.momentum"] = float(rng.uniform(0.5, 0.99))
    if arm == "supcon":
        params["loss.temperature"] = float(np.exp(rng.uniform(np.log(0.05), np.log(0.5))))
    return params


def add_trial(
    journal: Journal, ask: Ask, score: float, epochs: tuple[int, ...], outcome: Any
) -> None:
    journal.append(ask)
    key: dict[str, Any] = {"arm": ask.arm, "phase": ask.phase, "number": ask.number}
    for epoch in epochs:
        metrics = {"val/probe_top1": score - 0.1 / epoch, "val/knn_top1": score - 0.2 / epoch}
        metrics |= {"val/head_top1": score} if ask.arm == "ce" else {}
        decision: Any = "stop" if (epoch, outcome) == (epochs[-1], "stopped") else "continue"
        journal.append(
            Report(
                **key, epoch=epoch, metrics=metrics, views=100 * epoch, seconds=epoch,
                decision=decision,
            )
        )  # fmt: skip
    journal.append(End(**key, outcome=outcome, detail="<script>alert(1)</script>"))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study by hand that has everything a report can show."""
    path = tmp_path_factory.mktemp("page") / "x" / "events.jsonl"
    opened = Opened(
        study="x", space=TREE, commit="abc", versions={"ray": "2"}, command=COMMAND, machine="here"
    )
    journal, rng = Journal.create(path, opened), np.random.default_rng(0)
    for arm in ("supcon", "ce"):
        for number in range(20):
            ask = Ask(arm=arm, phase="search", number=number, params=draw(arm, rng), seed=number)
            score = 0.6 + 0.3 * ask.params["augment.strength"] + rng.normal(0, 0.02)
            epochs = (1, 3, 9)[: 3 if number in (1, 4) or number % 3 == 0 else 1 + number % 2]
            outcome = "completed" if len(epochs) == 3 else "stopped"
            add_trial(journal, ask, score, epochs, outcome if number != 5 else "infeasible")
        add_confirmation(journal, arm, rng)
    write_report(journal)
    journal.close()
    return path.parent


def add_confirmation(journal: Journal, arm: str, rng: np.random.Generator) -> None:
    best = journal.best(arm)
    assert best is not None
    key: dict[str, Any] = {"arm": arm, "phase": "confirm"}
    for number in range(3):
        ask = Ask(
            **key, number=number, params=best.ask.params, seed=100 + number, of=best.ask.number
        )
        add_trial(journal, ask, 0.85 + rng.normal(0, 0.01), (1, 3, 9), "completed")
    labels = pack_labels(np.arange(120) % 3)
    classes = ["cat", "dog", "<owl>"]
    journal.append(
        Unsealed(
            **key, numbers=[0, 1, 2], commit="abc", data_hash="0f", classes=classes, labels=labels
        )
    )
    names = ["probe", "knn", "head"] if arm == "ce" else ["probe", "knn"]
    for number in range(3):
        correct = torch.tensor(rng.random(120) < 0.85)
        journal.append(
            Scored(
                **key, number=number, n_images=120,
                metrics={f"test/{name}_top1": correct.float().mean().item() for name in names},
                correct={name: pack(correct) for name in names},
            )
        )  # fmt: skip
    plane = [(float(x), float(y)) for x, y in rng.normal(size=(60, 2))]
    journal.append(
        Pictured(
            **key, number=0, classes=classes, labels=[i % 3 for i in range(60)], encoder=plane,
            projection=plane if arm == "supcon" else None,
        )
    )  # fmt: skip


def test_the_page_holds_plotly_once_and_asks_nobody_for_anything(study: Path) -> None:
    html = (study / "report.html").read_text()
    assert html.count("plotly.js v") == 1
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=.?(http|//)", html)
    assert "@import" not in html.split("<script>")[0]


def test_what_a_study_holds_is_text_and_never_markup(study: Path) -> None:
    html = (study / "report.html").read_text()
    assert "--space &lt;b&gt;x&lt;/b&gt;.yaml" in html
    assert "<b>x</b>" not in html
    assert "<owl>" not in html
    assert "&lt;owl&gt; (40)" in html  # plotly reads markup too


def test_the_page_forbids_itself_to_fetch_anything(study: Path) -> None:
    html = (study / "report.html").read_text()
    assert 'http-equiv="Content-Security-Policy" content="default-src \'none\';' in html


def test_every_form_of_the_report_has_the_verdict(study: Path) -> None:
    for name in ("report.html", "report.md", "summary.json"):
        text = (study / name).read_text()
        assert "These two configurations on this split: " in text
    markdown = (study / "report.md").read_text()
    for fact in ("p = 0.", "| cat ", "views after the search", "expected best of"):
        assert fact in markdown


def test_an_empty_study_has_a_page_too(tmp_path: Path) -> None:
    opened = Opened(study="x", space=TREE, commit="abc", versions={})
    journal = Journal.create(tmp_path / "x" / "events.jsonl", opened)
    write_report(journal)
    assert "No verdict" in (tmp_path / "x" / "report.html").read_text()


def test_a_line_leads_past_params_that_a_trial_did_not_draw(study: Path) -> None:
    trials = Journal.open(study / "events.jsonl").of("ce")
    figure = parallel(parse_space(TREE, "x"), "ce", trials, "#D55E00")
    assert figure is not None
    assert any(None in line.y for line in figure.data)
    assert all(line.connectgaps and line.y[-1] is not None for line in figure.data)


FIGURES = """Object.keys(figures).map(name => {
  const div = document.getElementById(name), box = div.getBoundingClientRect();
  const marks = ".scatterlayer path, .barlayer path, .scatterlayer .js-line";
  return {name, width: box.width, height: box.height, marks: div.querySelectorAll(marks).length};
})"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt install chromium)")
@pytest.mark.parametrize("width", [390, 1400])
def test_a_browser_draws_every_figure_offline_and_without_complaint(
    study: Path, width: int
) -> None:
    async def look() -> tuple[Browser, list[dict[str, Any]], int]:
        async with Browser() as browser:
            await browser.open(study / "report.html", width)
            return (
                browser,
                await browser.value(FIGURES),
                await browser.value("document.scrollingElement.scrollWidth"),
            )

    browser, figures, scroll_width = asyncio.run(look())
    names = {figure["name"] for figure in figures}
    assert {"points", "per_class", "rungs", "budget", "outcomes", "importance"} < names
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


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt install chromium)")
def test_the_page_prints_with_its_figures_as_wide_as_the_paper(study: Path) -> None:
    async def print_it() -> tuple[bytes, list[float]]:
        async with Browser() as browser:
            await browser.open(study / "report.html", 1400)
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
