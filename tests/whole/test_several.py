"""Searches of three arms and of one, from the command line to the report."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import optuna
import pytest
import timm
import torch
import yaml

import search
from search.log.journal import Journal
from search.log.packed import unpack_labels
from supcon.__main__ import main
from supcon.bundling.study import winners
from supcon.config import load_config
from tests.images.pictures import photo
from tests.whole.searching import scores_after
from tests.without_ray import SMALL, searched


def run(folder: Path, arms: dict[str, Any], *flags: str) -> tuple[Path, str]:
    """The folder of a search of these arms, and what it said."""
    confirm = SMALL["confirm"] | {"top": 1, "references": True}
    tree = SMALL | {"name": "x", "arms": arms, "confirm": confirm}
    (folder / "x.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    line = ["--space", str(folder / "x.yaml"), "--results", str(folder / "results")]
    code, said = searched(*line, *flags)
    assert code == 0, said
    return folder / "results" / "x", said


@pytest.mark.slow
def test_three_arms_are_searched_alike_and_each_compared_with_the_baseline(tmp_path: Path) -> None:
    arms: dict[str, Any] = {
        "supcon": {"loss.name": "supcon"},
        "supcon_ce": {"loss.name": "supcon_ce", "loss.ce_weight": {"uniform": [0.2, 0.8]}},
        "ce": {"loss.name": "ce", "augment.cutmix": {"choice": [0.0, 1.0]}},
    }
    weights = tmp_path / "start.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), weights)
    study, said = run(tmp_path, arms, "--noise-floor", "--set", f"model.weights={weights}")
    assert "arms supcon, supcon_ce, ce (each against ce)" in said
    assert "(in 4 of 5 cases, adjusted for 2 comparisons)" in said
    summary = json.loads((study / "summary.json").read_text())
    assert summary["missing"] == {}
    found = summary["arms"]
    assert [facts["trials"] for facts in found.values()] == [2, 2, 2]
    views = [facts["ledger"]["views"] for facts in found.values()]
    assert max(views) <= 2 * min(views)
    rows = [(row["arm"], row["phase"]) for row in summary["rows"]]
    assert rows == [
        ("supcon", "confirm"), ("supcon_ce", "confirm"), ("ce", "confirm"),
        ("supcon", "published"), ("ce", "published"), ("supcon", "frozen"), ("ce", "one_view"),
    ]  # fmt: skip
    frozen = summary["rows"][5]
    assert frozen["label"] == "test_resnet, pretrained and frozen"
    assert {name: len(scores) for name, scores in frozen["test"].items()} == {
        "probe_top1": 1, "knn_top1": 1, "knn1_top1": 1,
    }  # fmt: skip
    comparisons = summary["verdict"]["comparisons"]
    assert [(each["a"], each["b"]) for each in comparisons] == [
        ("supcon", "ce"),
        ("supcon_ce", "ce"),
    ]
    asked = [(each["a"], each["measure"]) for each in summary["further"]["questions"]]
    assert len(set(asked)) == len(asked) == 2 * 7
    assert "14 further questions were asked" in said
    for each in comparisons:
        low, high = each["judged"]["interval"]
        shown = "no difference shown" not in each["text"]
        assert (low > 0 or high < 0) == shown == (each["p_value"] < each["judged"]["level"])
        assert "adjusted for 2 comparisons (Holm), 3 seeds each" in each["text"]
        assert each["text"] in said
        assert each["text"] in (study / "report.md").read_text()
    assert "Comparisons" in (study / "report.html").read_text()
    assert search.load(study).comparisons["arm"].tolist() == ["supcon", "supcon_ce"]
    for arm, changes in arms.items():
        best = load_config(study / "best" / f"{arm}.yaml")
        assert best.loss.name == changes["loss.name"]
        assert best.model.weights == str(weights)
        assert best.model.weights_hash == hashlib.sha256(weights.read_bytes()).hexdigest()
    mirrored = optuna.get_all_study_names(f"sqlite:///{study / 'study.db'}")
    assert sorted(mirrored) == sorted(arms)
    val = {arm: sum(facts["confirm"]["val"]["probe_top1"]) for arm, facts in found.items()}
    (won,) = winners(study, None, "best")
    assert won.arm == max(val, key=lambda arm: val[arm])
    code, again = searched(
        "--space", str(tmp_path / "x.yaml"), "--results", str(study.parent), "--continue"
    )
    assert (code, json.loads((study / "summary.json").read_text())["verdict"]) == (
        0, summary["verdict"],
    )  # fmt: skip
    assert " start " not in again
    torch.save(timm.create_model("test_resnet").state_dict(), weights)  # drawn anew
    code, again = searched(
        "--space", str(tmp_path / "x.yaml"), "--results", str(study.parent), "--continue"
    )
    assert code == 2
    assert "is not the file that" in again


@pytest.mark.slow
def test_a_single_arm_is_searched_and_tested_once_with_its_references_of_known_classes_alone(
    tmp_path: Path,
) -> None:
    others = tmp_path / "others"
    others.mkdir()
    photo(20, 30).save(others / "0.png")
    asked = ["--set", "data.hold_out=2", "--set", f"data.unknown={others}"]
    study, said = run(tmp_path, {"supcon": {"loss.name": "supcon"}}, *asked)
    assert ", 8 classes; test is sealed" in said
    assert f"unknown   1 images under {others}; sealed like test" in said
    (line,) = [line for line in said.splitlines() if "held-out classes" in line]
    tested = Journal.open(study / "events.jsonl").openings[0]
    held = {str(digit) for digit in range(10)} - {*tested.classes}
    n = 360 - len(unpack_labels(tested.labels))
    assert line == (
        f"unknown   {n} test images of the held-out classes {', '.join(sorted(held))}; sealed "
        f"like test"
    )
    assert "No verdict: supcon is the only arm, so there is nothing to compare it with" in said
    summary = json.loads((study / "summary.json").read_text())
    assert [row["phase"] for row in summary["rows"]] == ["confirm", "published"]
    assert all(len(row["test"]["probe_top1"]) == 3 for row in summary["rows"])
    assert (len(summary["test_openings"]), summary["test_evaluations"]) == (2, 6)
    assert summary["missing"] == {}
    further = summary["further"]
    assert (further["unknown"], further["questions"], further["text"]) == (n + 1, [], [])
    for row in further["rows"]:
        assert 0.5 < row["measures"]["auroc_knn"]["value"] < 1
    config = study / "best/supcon.yaml"
    assert load_config(config).data.hold_out == 2
    assert main(["train", str(config), "--out", str(tmp_path / "run")]) == 0
    best = summary["arms"]["supcon"]["best"]
    found = scores_after(tmp_path / "run", best.get("paused_after", SMALL["base"]["run"]["epochs"]))
    expected = {f"val/{name}": value for name, value in best["val"].items()}
    assert found == pytest.approx(expected, rel=1e-7, abs=1e-6)  # as the curves and summary round
