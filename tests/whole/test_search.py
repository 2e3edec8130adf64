"""A whole search on digits, from the command line to its report, and what is made of it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import optuna
import pytest

from search.log.journal import Journal
from supcon.reliability.corruptions import KINDS
from tests.whole.searching import QUICK_RUN, ROOT, finish, scores_after, start, story
from tests.without_ray import searched

pytestmark = pytest.mark.slow

REFERENCES = ("published", "one_view")


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
    looked = ("tested", "examined")
    assert kinds.index("tested") > max(i for i, kind in enumerate(kinds) if kind not in looked)


def test_each_tested_run_is_examined_once_after_all_are_tested(whole: tuple[Path, str]) -> None:
    study, output = whole
    told = [event[:2] for event in story(study) if event[0] in ("tested", "examined")]
    tested, examined = told[:15], told[15:]
    assert [("examined", key) for _, key in tested] == examined
    found = json.loads((study / "summary.json").read_text())["further"]
    assert [row["classifier"] for row in found["rows"]].count("head") == 3
    assert {row["phase"] for row in found["rows"]} == {"confirm", *REFERENCES}
    assert [len(row["measures"]) for row in found["rows"]] == [12] * 8
    for row in found["rows"]:
        assert row["seeds"] == 3
        for value in row["measures"].values():
            assert value["ci95"][0] <= value["value"] <= value["ci95"][1]
        kinds = [row["measures"][f"corrupted_{kind}"]["value"] for kind in KINDS]
        mean = row["measures"]["corrupted_top1"]["value"]
        assert mean == pytest.approx(sum(kinds) / len(kinds), abs=1e-6)
    assert len(found["questions"]) == 7
    assert "7 further questions were asked, at 5 % together (Holm)" in output
    assert "## Beyond accuracy" in (study / "report.md").read_text()


def test_seeds_of_picking_confirming_and_searching_differ(whole: tuple[Path, str]) -> None:
    asked = [event for event in story(whole[0]) if event[0] == "ask"]
    assert {event[1][1] for event in asked} == {"search", "pick", "confirm", *REFERENCES}
    seeds = [event[3] for event in asked]
    assert len(set(seeds)) == len(seeds) >= 8 + 2 + 15


def test_the_exported_config_repeats_the_trial_without_ray(
    whole: tuple[Path, str], tmp_path: Path
) -> None:
    study, _ = whole
    out = tmp_path / "best.yaml"
    command = [sys.executable, str(ROOT / "search" / "export.py"), str(study), "--out", str(out)]
    subprocess.run(command, check=True, cwd=tmp_path)
    subprocess.run(
        [sys.executable, "-m", "supcon", "train", str(out), "--out", str(tmp_path / "run")],
        capture_output=True, check=True, cwd=ROOT,
    )  # fmt: skip
    best = json.loads((study / "summary.json").read_text())["arms"]["supcon"]["best"]
    found = scores_after(tmp_path / "run", best.get("paused_after", 3))
    expected = {f"val/{name}": value for name, value in best["val"].items()}
    assert found == pytest.approx(expected, rel=1e-7, abs=1e-6)  # as the curves and summary round


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
    flags += ["--set", "data.val_size=0.1"]
    flags += ["--set", "average.bn_images=256", "--set", "params.data.batch_size={pow2: [32, 64]}"]
    flags += ["--set", "confirm={top: 1, seeds: 1, references: false}"]
    flags += ["--set", "probe.l2=[0.01]", "--set", "probe.max_iter=30"]
    code, output = finish(start(home, tmp_path, *flags, program=QUICK_RUN))
    assert code == 0, output
    first, again = by_seed(study), by_seed(tmp_path / "digits")
    assert first.keys() == again.keys()
    for seed, reports in first.items():
        for epoch in reports.keys() & again[seed].keys():
            assert again[seed][epoch] == reports[epoch]
    assert all(3 in reports for reports in again.values())  # none was stopped


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


def test_the_same_configuration_in_both_arms_is_repeated_and_reported(tmp_path: Path) -> None:
    flags = ["--space", str(ROOT / "spaces" / "aa.yaml"), "--repeat", "2", "--epochs", "1"]
    flags += ["--set", "confirm.seeds=3", "--cpus-per-trial", "1", "--gpus-per-trial", "0"]
    flags += ["--set", "data.train_size=300", "--set", "probe.l2=[0.01]"]
    code, output = searched(*flags, "--results", str(tmp_path))
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


def test_a_report_is_written_anew_without_ray(whole: tuple[Path, str], copy: Path) -> None:
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
