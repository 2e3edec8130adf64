"""Whole searches on digits through the real command line: run, kill, resume, interrupt, retrain."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from search.log.events import Ask, End, Report, Scored
from search.log.journal import Journal
from search.run import main as search
from tests.benchmarks.reliability import chaos

pytestmark = pytest.mark.slow

REFERENCES = ("published", "one_view")
ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "--trials", "4", "--epochs", "3", "--concurrency", "1", "--set", "data.train_size=300",
    "--set", "scheduler.asha.grace=1", "--set", "average.bn_images=256",
    "--set", "params.data.batch_size={pow2: [32, 64]}", "--set", "points={}",
    "--set", "confirm={top: 1, seeds: 3, references: false}",
    "--set", "scheduler.asha.sentinels=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home for Ray's files; its path is short, since sockets lie in it."""
    path = Path(tempfile.mkdtemp(prefix="ss-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def start(home: Path, results: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a search in its own process group, from another folder than the repository."""
    environment = os.environ | {"HOME": str(home), "RAY_TMPDIR": str(home)}
    run, space = str(ROOT / "search" / "run.py"), str(ROOT / "spaces" / "digits.yaml")
    return subprocess.Popen(
        [sys.executable, run, "--space", space, "--results", str(results), *arguments],
        env=environment, cwd=home, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def wait_for(process: subprocess.Popen[str], log: Path, is_reached: Callable[[str], bool]) -> None:
    """Wait until the log says so; the search must still be running then."""
    for _ in range(3000):
        assert process.poll() is None, finish(process)[1]
        if log.exists() and is_reached(log.read_text()):
            return
        time.sleep(0.05)
    raise AssertionError(f"{log} never got there")


@pytest.fixture(scope="module")
def whole(home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and output of a search that nobody disturbed."""
    results = tmp_path_factory.mktemp("whole")
    confirm = "confirm={top: 2, pick_seeds: 1, seeds: 3}"
    code, output = finish(start(home, results, *SMALL, "--set", confirm, "--noise-floor"))
    assert code == 0, output
    return results / "digits", output


def story(study: Path) -> list[tuple[Any, ...]]:
    """What happened, without times."""
    found: list[tuple[Any, ...]] = []
    for event in Journal.open(study / "events.jsonl").events:
        match event:
            case Ask():
                found.append(("ask", event.key, event.params, event.seed, event.of))
            case Report():
                found.append(("report", event.key, event.epoch, event.metrics, event.decision))
            case End():
                found.append(("end", event.key, event.outcome))
            case Scored():
                found.append(("tested", event.key, event.metrics, event.correct))
    return found


def test_a_search_ends_with_both_arms_confirmed_and_tested(whole: tuple[Path, str]) -> None:
    study, output = whole
    summary = json.loads((study / "summary.json").read_text())
    for arm in ("supcon", "ce"):
        facts = summary["arms"][arm]
        assert facts["trials"] == 4
        assert set(facts["outcomes"]) == {"completed", "stopped"}
        assert facts["best"]["val"]["probe_top1"] > 0.5  # chance is 0.1
        assert len(set(facts["confirm"]["seeds"])) == 3
        assert facts["best"]["seed"] not in facts["confirm"]["seeds"]
        assert min(facts["confirm"]["test_probe_top1"]) > 0.6
    assert summary["verdict"]["text"] in output
    assert [row["phase"] for row in summary["rows"]] == [
        "confirm", "confirm", "published", "published", "one_view",
    ]  # fmt: skip
    assert summary["test_evaluations"] == 15
    assert len(summary["test_openings"]) == 5
    assert set(summary["tsne"]) == {"supcon", "ce"}
    for name in (
        "report.html",
        "report.md",
        "trials.csv",
        "best/supcon.yaml",
        "best/ce.yaml",
        "tensorboard/ce-0",
    ):
        assert (study / name).exists()
        assert name.split("/")[0] in output
    assert re.search(r"\| ce winner +\| CE head", output)
    assert "noise floor" in output
    assert "will probably show differences from" in output
    assert "dashboard http://127.0.0.1:" in output
    assert list(study.glob("trials/*/last.pt")) == []


def test_only_our_own_lines_are_printed(whole: tuple[Path, str]) -> None:
    _, output = whole
    for noise in ("WARNING", "Warning", "(pid=", "ray.init", "[I ", "TUNE_", "Traceback"):
        assert noise not in output


def test_test_images_are_opened_after_all_training(whole: tuple[Path, str]) -> None:
    kinds = [event[0] for event in story(whole[0])]
    assert kinds.index("tested") > max(i for i, kind in enumerate(kinds) if kind != "tested")


def test_seeds_of_picking_confirming_and_searching_differ(whole: tuple[Path, str]) -> None:
    asked = [event for event in story(whole[0]) if event[0] == "ask"]
    assert {event[1][1] for event in asked} == {"search", "pick", "confirm", *REFERENCES}
    seeds = [event[3] for event in asked]
    assert len(set(seeds)) == len(seeds) >= 8 + 2 + 15


def test_a_search_that_is_killed_and_resumed_loses_and_repeats_nothing() -> None:
    found = chaos(at_once=1, kills=3, seed=1)  # several at once: in test_cluster.py
    assert found["driver"] + found["worker"] + found["group"] >= 2  # a worker may be away
    assert (found["lost"], found["repeated"]) == (0, 0)
    assert found["trials"] == 2 * (8 + 2 + 3)
    assert found["same_log"] is True


def test_ctrl_c_stops_cleanly_with_a_report_and_can_be_resumed(home: Path, tmp_path: Path) -> None:
    process = start(home, tmp_path, *SMALL, "--name", "mine")
    log = tmp_path / "mine" / "events.jsonl"
    wait_for(process, log, lambda text: '"outcome":"completed"' in text)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    code, output = finish(process)
    assert code == 130, output
    assert "stopping at the next record" in output
    assert "interrupted; go on with the same --space and --name mine --resume" in output
    assert "No verdict: the search is not over; go on with --resume" in output
    assert "Traceback" not in output
    assert (tmp_path / "mine" / "report.md").exists()
    done = {event[1] for event in story(tmp_path / "mine") if event[0] == "end"}
    code, output = finish(start(home, tmp_path, "--resume", "--name", "mine"))
    assert code == 0, output
    asked = [event[1] for event in story(tmp_path / "mine") if event[0] == "ask"]
    assert len(asked) == len(set(asked)) == 2 * (4 + 3)
    ends = [event[1] for event in story(tmp_path / "mine") if event[0] == "end"]
    assert len(ends) == len(set(ends))
    assert done <= set(ends)


def test_the_exported_config_repeats_the_trial_without_ray(
    whole: tuple[Path, str], tmp_path: Path
) -> None:
    study, _ = whole
    out = tmp_path / "best.yaml"
    command = [sys.executable, str(ROOT / "search" / "export.py"), str(study), "--out", str(out)]
    subprocess.run(command, check=True, cwd=tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "supcon", "train", str(out), "--out", str(tmp_path / "run")],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    best = json.loads((study / "summary.json").read_text())["arms"]["supcon"]["best"]
    printed = dict(line.split() for line in done.stdout.splitlines() if line.startswith("  val/"))
    assert printed == {f"val/{name}": f"{value:.6f}" for name, value in best["val"].items()}


def test_a_finished_study_resumes_to_its_report(
    whole: tuple[Path, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    copy = tmp_path / "digits"
    shutil.copytree(whole[0], copy)
    before = story(copy)
    space = str(ROOT / "spaces" / "digits.yaml")
    assert search(["--space", space, "--results", str(tmp_path), "--resume"]) == 0
    assert story(copy) == before
    assert "report    " in capsys.readouterr().out


# More of a study


def by_seed(study: Path) -> dict[int, dict[int, dict[str, float]]]:
    """The metrics of search trials by seed and epoch."""
    found: dict[int, dict[int, dict[str, float]]] = {}
    for trial in Journal.open(study / "events.jsonl").trials.values():
        if trial.ask.phase == "search":
            found[trial.ask.seed] = {report.epoch: report.metrics for report in trial.reports}
    return found


def test_points_of_another_study_give_the_same_scores_whatever_runs_beside_them(
    whole: tuple[Path, str], home: Path, tmp_path: Path
) -> None:
    study, _ = whole
    flags = ["--epochs", "3", "--points", str(study / "trials.csv"), "--concurrency", "2"]
    flags += ["--cpus-per-trial", "0.5", "--set", "scheduler=none", "--set", "data.train_size=300"]
    flags += ["--set", "average.bn_images=256", "--set", "params.data.batch_size={pow2: [32, 64]}"]
    code, output = finish(start(home, tmp_path, *flags))
    assert code == 0, output
    first, again = by_seed(study), by_seed(tmp_path / "digits")
    assert first.keys() == again.keys()
    for seed, reports in first.items():
        for epoch in reports.keys() & again[seed].keys():
            assert again[seed][epoch] == reports[epoch]
    assert all(3 in reports for reports in again.values())  # none was stopped


def test_a_moved_study_goes_on_with_a_larger_budget(
    whole: tuple[Path, str], home: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole[0], tmp_path / "moved" / "digits")
    flags = ["--extend", "--trials", "6", "--concurrency", "2"]
    code, output = finish(start(home, tmp_path / "moved", *flags))
    assert code == 0, output
    before, after = story(whole[0]), story(tmp_path / "moved" / "digits")
    assert after[: len(before)] == before
    summary = json.loads((tmp_path / "moved" / "digits" / "summary.json").read_text())
    for facts in summary["arms"].values():
        assert facts["trials"] == 6
        assert len(facts["confirm"]["seeds"]) == 3
    assert summary["test_evaluations"] >= 6


def test_a_search_whose_time_is_up_ends_with_a_report(home: Path, tmp_path: Path) -> None:
    flags = [*SMALL, "--trials", "500", "--time", "45s", "--set", "budget.total_epochs=null"]
    code, output = finish(start(home, tmp_path, *flags))
    assert code == 0, output
    journal = Journal.open(tmp_path / "digits" / "events.jsonl")
    assert journal.unfinished("search") == []
    assert max(len(journal.of(arm)) for arm in ("supcon", "ce")) < 500
    assert all(journal.of(arm, "confirm") for arm in ("supcon", "ce"))  # time was kept for it
    assert (tmp_path / "digits" / "report.md").exists()
    done = story(tmp_path / "digits")
    code, output = finish(start(home, tmp_path, "--resume"))  # no time is left: only the report
    assert code == 0, output
    assert [event for event in story(tmp_path / "digits") if event[0] != "tested"] == [
        event for event in done if event[0] != "tested"
    ]


def test_a_study_that_can_no_longer_be_written_ends_in_one_line_and_goes_on_later(
    home: Path, tmp_path: Path
) -> None:
    process = start(home, tmp_path, *SMALL)
    log = tmp_path / "digits" / "events.jsonl"
    wait_for(process, log, lambda text: '"event":"report"' in text)
    (tmp_path / "digits").rename(tmp_path / "elsewhere")
    code, output = finish(process)
    assert code == 2, output
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert f"{log}: cannot be written" in line.replace(str(log.resolve()), str(log))
    assert "Traceback" not in output
    shutil.rmtree(tmp_path / "digits", ignore_errors=True)  # what trials wrote in the meantime
    (tmp_path / "elsewhere").rename(tmp_path / "digits")
    code, output = finish(start(home, tmp_path, "--resume"))
    assert code == 0, output
    ends = [event[1] for event in story(tmp_path / "digits") if event[0] == "end"]
    assert len(ends) == len(set(ends)) == 2 * (4 + 3)


def test_optuna_dashboard_shows_the_study(whole: tuple[Path, str]) -> None:
    study, _ = whole
    trials = Journal.open(study / "events.jsonl").of("ce")
    url = f"sqlite:///{study / 'study.db'}"
    stored = optuna.load_study(study_name="ce", storage=url).trials
    assert [trial.params for trial in stored] == [trial.ask.params for trial in trials]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("optuna-dashboard")), url, "--port", str(port)]
    dashboard = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        shown = json.loads(fetch(f"http://127.0.0.1:{port}/api/studies"))
        names = {s["study_name"]: s["study_id"] for s in shown["study_summaries"]}
        assert set(names) == {"supcon", "ce"}
        detail = json.loads(fetch(f"http://127.0.0.1:{port}/api/studies/{names['ce']}"))
        assert len(detail["trials"]) == len(trials)
        assert b"<html" in fetch(f"http://127.0.0.1:{port}/dashboard/").lower()
    finally:
        dashboard.terminate()
        dashboard.wait()


def fetch(url: str) -> bytes:
    """What a server answers, once it has started."""
    for _ in range(300):
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return bytes(answer.read())
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")


def test_the_same_configuration_in_both_arms_is_repeated_and_reported(
    home: Path, tmp_path: Path
) -> None:
    flags = ["--space", str(ROOT / "spaces" / "aa.yaml"), "--repeat", "2", "--epochs", "1"]
    flags += ["--set", "confirm.seeds=3"]
    code, output = finish(start(home, tmp_path, *flags))
    assert code == 0, output
    found = json.loads((tmp_path / "aa" / "summary.json").read_text())
    assert found["n_searches"] == 2
    assert "no statement is possible" in output
    for number in (1, 2):
        study = tmp_path / "aa" / f"repeat-{number}"
        summary = json.loads((study / "summary.json").read_text())
        a, b = (summary["arms"][arm]["best"]["params"] for arm in ("a", "b"))
        assert a == b
        assert summary["verdict"]["text"].startswith("These two configurations on this split")
        assert (study / "report.html").exists()


def test_a_report_is_written_anew_without_ray(whole: tuple[Path, str], tmp_path: Path) -> None:
    copy = tmp_path / "digits"
    shutil.copytree(whole[0], copy)
    names = ["report.html", "report.md", "summary.json", "trials.csv"]
    for name in names:  # its commands name the folder
        (copy / name).write_text((copy / name).read_text().replace(str(whole[0]), str(copy)))
    before = {name: (copy / name).read_text() for name in names}
    for name in names:
        (copy / name).unlink()
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from search.report import main\n"
        f"sys.exit(main([{str(copy)!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert "wrote" in done.stdout
    assert {name: (copy / name).read_text() for name in names} == before


def test_images_that_changed_are_noticed_before_a_study_goes_on(
    whole: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "digits"
    shutil.copytree(whole[0], copy)
    log = copy / "events.jsonl"
    first, rest = log.read_text().split("\n", 1)
    opened = json.loads(first)
    opened["data_hash"] = "0" * 32
    log.write_text(json.dumps(opened) + "\n" + rest)
    space = str(ROOT / "spaces" / "digits.yaml")
    assert search(["--space", space, "--results", str(tmp_path), "--resume"]) == 2
    assert "was started on other images" in capsys.readouterr().err
    assert log.read_text().endswith(rest)
