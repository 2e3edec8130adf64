"""A real search with --watch: what its pages show in a browser, and who can reach them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from search.log.journal import Journal
from tests.benchmarks.search import own_home
from tests.browser import CHROMIUM, Browser
from tests.programs import Program
from tests.whole.searching import QUICK_RUN, processes, start

pytestmark = pytest.mark.slow
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium (Debian: apt install chromium)"
)
ENDLESS = [
    "--trials", "900", "--set", "budget.total_epochs=null", "--concurrency", "1", "--epochs", "8",
    "--set", "data.train_size=300", "--set", "points={}", "--set", "scheduler=none",
    "--set", "average.bn_images=256", "--set", "params.data.batch_size={pow2: [16, 32]}",
    "--watch",
]  # fmt: skip
RUNNING = re.compile(r"(supcon-\d+ \S+ τ=[\d.]+|ce-\d+ \S+) epoch \d+/8")


@dataclass
class Running:
    """A search that runs."""

    home: Path
    study: Path
    output: Path
    process: Program

    def url(self, label: str) -> str:
        """An address that it has printed."""
        found = re.search(rf"^{label} +(http://\S+)", self.output.read_text(), re.MULTILINE)
        assert found is not None, self.output.read_text()
        return found[1]

    @property
    def token(self) -> str:
        """What opens Ray's dashboard."""
        return (self.home / ".ray" / "auth_token").read_text()

    def wait_until(self, holds: Callable[[], Any], what: str) -> Any:
        """The first result that is not empty, within ten minutes."""
        for _ in range(3000):
            assert self.process.poll() is None, self.output.read_text()
            if found := holds():
                return found
            time.sleep(0.2)
        raise AssertionError(f"{what}: {self.output.read_text()}")

    def rows(self) -> list[str]:
        """What the table of Ray's dashboard calls the actors that live."""
        request = urllib.request.Request(
            f"{self.url('dashboard')}/logical/actors",
            headers={"Authorization": f"Bearer {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            actors = json.load(answer)["data"]["actors"].values()
        return [actor["reprName"] for actor in actors if actor["state"] == "ALIVE"]

    def ended(self) -> int:
        """How many trials have."""
        trials = Journal.open(self.study / "events.jsonl").trials.values()
        return sum(trial.end is not None for trial in trials)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """A search in its third trial or later, one after the other in the same actor."""
    with own_home() as home, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYS_PAGES", "1")
        patch.setenv("TRIALS_REST", "0.5")  # else it would take a core from what looks at it
        process = start(home, home, *ENDLESS, program=QUICK_RUN)
        search = Running(home, home / "digits", process.output, process)
        try:
            search.wait_until(lambda: "laptop" in search.output.read_text(), "no addresses")
            search.wait_until(lambda: search.ended() >= 2, "no two trials have ended")
            yield search
        finally:
            process.terminate()
            process.wait(timeout=600)


def test_rays_table_names_the_trial_that_a_reused_actor_trains_now(running: Running) -> None:
    def current() -> str | None:
        journal = Journal.open(running.study / "events.jsonl")
        (row,) = running.rows()
        assert RUNNING.fullmatch(row), row
        names = [trial.name for trial in journal.unfinished("search")]
        return row if row.split()[0] in names else None

    first = running.wait_until(current, "the table never names the trial that runs")
    before = running.ended()
    running.wait_until(lambda: running.ended() > before, "the trial does not end")
    second = running.wait_until(current, "the table stays with a trial that has ended")
    assert first.split()[0] != second.split()[0]


def test_rays_table_follows_the_epochs_of_a_trial(running: Running) -> None:
    seen: set[str] = set()

    def is_seen_at_several_epochs() -> bool:
        seen.update(running.rows())
        names = [row.split()[0] for row in seen]
        return max(map(names.count, names)) >= 2

    running.wait_until(is_seen_at_several_epochs, "no trial is seen at two epochs")


def test_prometheus_is_told_of_the_trial_that_runs(running: Running) -> None:
    def exported() -> list[str]:
        with urllib.request.urlopen(running.url("metrics"), timeout=30) as answer:
            text = answer.read().decode()
        return re.findall(r'ray_supcon_trial_score\{.*trial="((?:supcon|ce)-\d+)"\} 0\.', text)

    assert running.wait_until(exported, "no score is exported")


def test_nothing_of_a_search_can_be_reached_from_another_machine(running: Running) -> None:
    """Every socket that the search, its Ray and its pages listen on is on the loopback address."""
    pids = processes(running.process.pid)
    shown = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    ours = [
        line.split()[3] for line in shown.splitlines()
        if pids & set(map(int, re.findall(r"pid=(\d+)", line)))
    ]  # fmt: skip
    assert len(ours) > 10  # GCS, raylet, workers, agents, dashboard, TensorBoard and the other
    assert {address.rpartition(":")[0] for address in ours} <= {
        "127.0.0.1", "[::ffff:127.0.0.1]", "[::1]",
    }  # fmt: skip


def test_rays_token_is_for_its_owner_only(running: Running) -> None:
    assert (running.home / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600


@needs_browser
def test_rays_page_shows_our_trials_to_who_has_the_token(running: Running, tmp_path: Path) -> None:
    async def look() -> str:
        async with Browser() as browser:
            await browser.open(f"{running.url('dashboard')}/#/actors", 1700)
            await browser.wait_for_text("Authentication Token Required")
            assert "supcon-" not in await browser.text()
            await browser.value("document.querySelector('input[type=password]').focus()")
            await browser.type(running.token)
            await browser.click("Submit")
            text = await browser.wait_for_text("epoch", "ALIVE")
            await browser.screenshot(kept(tmp_path, "ray.png"))
            check_asked_nobody_else(browser)
            return text

    assert RUNNING.search(asyncio.run(look()))


@needs_browser
def test_tensorboard_shows_curves_and_hyper_parameters_of_the_trials(
    running: Running, tmp_path: Path
) -> None:
    async def look() -> None:
        async with Browser() as browser:
            await browser.open(running.url("curves"), 1500)
            await browser.wait_for_text("supcon-0", "ce-0", "train /loss", "/probe_top1")
            await browser.screenshot(kept(tmp_path, "tensorboard.png"))
            await browser.open(f"{running.url('curves')}/#hparams", 1500)
            await browser.wait_for_text("supcon-0", "hparam/val/probe_top1", "augment.strength")
            await browser.screenshot(kept(tmp_path, "hparams.png"))
            check_asked_nobody_else(browser)

    asyncio.run(look())


@needs_browser
def test_optuna_dashboard_shows_the_trials_of_each_arm(running: Running, tmp_path: Path) -> None:
    async def look() -> None:
        async with Browser() as browser:
            await browser.open(running.url("trials"), 1500)
            await browser.wait_for_text("supcon", "ce", "MAXIMIZE")
            for number, arm in enumerate(("supcon", "ce"), start=1):
                await browser.open(
                    f"{running.url('trials')}/dashboard/studies/{number}/trials", 1500
                )
                await browser.wait_for_text(f"{arm} (id={number})", f"{arm}-0", "optim.lr_per_256")
            await browser.screenshot(kept(tmp_path, "optuna.png"))
            check_asked_nobody_else(browser)

    asyncio.run(look())


def check_asked_nobody_else(browser: Browser) -> None:
    others = [
        url for url in browser.requests
        if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))
    ]  # fmt: skip
    assert others == []


def kept(folder: Path, name: str) -> Path:
    """Where a picture goes: to SCREENSHOTS, for somebody to look at, or to where pytest forgets."""
    return Path(os.environ.get("SCREENSHOTS", folder)) / name


# The last one: it ends the search.
def test_all_pages_end_with_the_search(running: Running) -> None:
    said = running.output.read_text()
    pages = {int(pid) for pid in re.findall(r"^(?:curves|trials) .*, pid (\d+)\)$", said, re.M)}
    assert len(pages) == 2
    assert pages < processes(running.process.pid)
    running.process.terminate()
    assert running.process.wait(timeout=600) == 75
    assert "stopping at the next record" in running.output.read_text()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pages)
