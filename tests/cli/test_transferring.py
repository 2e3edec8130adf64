"""`evaluate --on`."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from supcon.cli.transferring import on_other
from supcon.config import Config, DataConfig, override
from supcon.evaluation.trained import save_trained
from supcon.images.sources import list_images
from tests.bundled import Used
from tests.cli.running import run
from tests.transfer.test_transfer import varied


@pytest.fixture
def run_folder(contrastive: Used, tmp_path: Path) -> Path:
    """The folder of a run on all digits but 3 and 7, in files."""
    folder = tmp_path / "run"
    folder.mkdir()
    save_trained(contrastive.trained, contrastive.config, contrastive.data, folder / "model.pt")
    return folder


@pytest.fixture
def study(contrastive: Used, tmp_path: Path) -> Path:
    """A study's folder with three confirmed runs of an arm."""
    folder = tmp_path / "study"
    runs = [f"supcon-confirm-{i}" for i in range(3)]
    for i, name in enumerate(runs):
        (folder / "trials" / name).mkdir(parents=True)
        trained = replace(varied(contrastive.trained, i), metrics=contrastive.trained.metrics)
        file = folder / "trials" / name / "model.pt"
        save_trained(trained, contrastive.config, contrastive.data, file)
    confirm = {"seeds": [0, 1, 2], "runs": runs, "val": {"probe_top1": [0.5] * 3}}
    given_up: dict[str, Any] = {"confirm": {"seeds": []}}
    arms = {"supcon": {"confirm": confirm}, "ce": given_up}
    tree = {"metric": "val/probe_top1", "verdict": {}, "arms": arms}
    (folder / "summary.json").write_text(json.dumps(tree))
    (folder / "events.jsonl").touch()
    return folder


def test_a_model_is_scored_on_classes_that_it_never_saw(
    run_folder: Path, digit_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", run_folder, "--on", digit_images / "others") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{run_folder}/model.pt on {digit_images}/others: 2 classes; ")
    assert said[0].endswith("72 test images")
    assert said[-2] == "in brackets: 95 % intervals over test images"
    written = json.loads((run_folder / "model-on-others.json").read_text())
    assert written["models"] == [f"{run_folder}/model.pt"]
    assert written["test_images"] == 72
    found = written["metrics"]["probe_top1"]
    low, high = found["ci95"]
    assert 0.9 < found["value"] <= 1
    assert f"  {'probe_top1':32s} {found['value']:.6f}  ({low:.4f} to {high:.4f})" in said


def test_a_study_is_scored_by_all_runs_of_its_winner(
    study: Path, digit_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", study, "--on", digit_images / "others") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{study}: arm supcon, 3 runs on ")
    assert "95 % intervals over 3 seeds and test images" in said
    written = json.loads((study / "supcon-on-others.json").read_text())
    found = written["metrics"]["knn_top1"]
    assert len(found["each"]) == len(written["models"]) == 3
    assert found["value"] == pytest.approx(sum(found["each"]) / 3)


def test_a_table_gives_groups_and_how_it_is_split_can_be_set(
    run_folder: Path, digit_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "some.csv"
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "patient"])
        for name in ("3", "7"):
            images = sorted((digit_images / "others" / name).iterdir())[:60]
            rows.writerows([[path, name, f"{name}-{i // 6}"] for i, path in enumerate(images)])
    split = ["--set", "data.group_column=patient", "--set", "data.test_size=0.3"]
    assert run("evaluate", run_folder, "--on", table, *split) == 0
    said = capsys.readouterr().out
    assert "36 test images, in 6 groups" in said, said
    assert "95 % intervals over groups of test images" in said
    assert (run_folder / "model-on-some.json").exists()


@pytest.mark.parametrize(
    ("name", "marker", "way"),
    [
        ("photos", "", "folder"),
        ("photos.v2.csv", "", "folder"),
        ("t.csv", "t.csv", "table"),
        ("saved", "saved/dataset_dict.json", "huggingface"),
    ],
)
def test_other_images_are_read_as_what_they_are_in_the_size_that_the_encoder_takes(
    tmp_path: Path, tiny: Config, name: str, marker: str, way: str
) -> None:
    if marker:
        (tmp_path / marker).parent.mkdir(exist_ok=True)
        (tmp_path / marker).touch()
    else:
        (tmp_path / name).mkdir()
    own = {"data.split_seed": 3, "data.fit": "pad", "data.hold_out": 2, "data.image_size": None}
    found = on_other(override(tiny, own), tmp_path / name, ["data.val_size=7"]).data
    expected = {"name": way, "root": tmp_path / name, "image_size": 16, "split_seed": 3}
    assert found == DataConfig(**expected, fit="pad", val_size=7)


def test_what_cannot_be_meant_is_refused_in_one_line(
    run_folder: Path, study: Path, contrastive: Used, finished: Path, digit_images: Path,
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    others = digit_images / "others"
    shutil.copytree(others / "3", tmp_path / "one/3")
    config = contrastive.config.data
    list_images(config).write(tmp_path / "images.csv")
    (tmp_path / "empty").mkdir()
    for words, message in (
        ([run_folder, "--on", tmp_path / "none"], f"--on {tmp_path}/none: there is nothing; name"),
        ([run_folder, "--on", tmp_path / "one"], "at least 2 class folders are needed, got 1"),
        ([run_folder, "--on", tmp_path / "empty"], "at least 2 class folders are needed, got 0"),
        ([run_folder, "--on", digit_images], "is what the model was trained on; its own test"),
        ([run_folder, "--on", tmp_path / "images.csv"], "is what the model was trained on; its"),
        ([finished, "--on", others], "--on: the model takes images of 1 channel(s), as it was"),
        ([contrastive.folder, "--on", others], "is a bundle; with --on, name the folder"),
        ([tmp_path / "gone", "--on", others], "gone: there is no such file"),
        ([study, "--on", others, "--arm", "ce"], "ce has no runs on fresh seeds yet"),
        ([study, "--on", others, "--arm", "sup"], "--arm sup: the study has supcon, ce"),
        ([run_folder, "--on", others, "--arm", "ce"], "--arm ce: "),
        ([run_folder, "--arm", "ce"], "--arm ce: goes with --on alone"),
        ([run_folder, "--on", others, "--split", "test"], "--split test: goes without --on"),
        ([run_folder, "--on", others, "--set", "data.fit=pad"], "--set data.fit: with --on, of"),
        ([run_folder, "--on", others, "--set", "run.seed=3"], "--set run.seed: is part of what"),
        ([run_folder, "--on", others, "--set", "data.test_size=1"], "data.test_size must leave"),
    ):  # fmt: skip
        assert run("evaluate", *words) == 2, words
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
