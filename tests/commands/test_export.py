"""python search/export.py: the winner of an arm, for plain training."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from search.export import main
from supcon.config import load_config
from tests.written import WrittenStudy


def export(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_the_complete_config_of_the_winner_is_written_with_the_seed_of_its_search_trial(
    confirmed: WrittenStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "best.yaml"
    assert export(confirmed.folder.path, "--arm", "ce", "--out", out) == 0
    (best,) = confirmed.log.of("ce")
    assert load_config(out) == confirmed.config_of(best.ask)
    said = capsys.readouterr().out
    assert said == f"wrote {out}; train it with: python -m supcon train {out}\n"


def test_by_default_the_contrastive_winner_goes_to_the_current_folder(
    confirmed: WrittenStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert export("x") == 0
    assert load_config(tmp_path / "supcon.yaml").loss.name == "supcon"


def test_a_study_that_somebody_works_on_is_only_read(confirmed: WrittenStudy) -> None:
    before = confirmed.folder.events.read_bytes()
    assert confirmed.log.is_claimed()
    assert export(confirmed.folder.path, "--out", os.devnull + "/x") == 2  # not writable
    assert confirmed.folder.events.read_bytes() == before


@pytest.mark.parametrize(
    ("study", "flags", "message"),
    [
        ("x", ["--arm", "simclr"], "--arm simclr: the study has supcon, ce"),
        ("x", ["--out", "there.yaml"], "--out there.yaml: exists already; remove it or choose"),
        ("x", ["--out", "no/folder.yaml"], "--out no/folder.yaml: cannot be written"),
        ("y", [], "y/events.jsonl: there is no such study"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line_and_nothing_is_written(
    confirmed: WrittenStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], study: str, flags: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.yaml").write_text("mine")
    assert export(study, *flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")
    assert {path.name for path in tmp_path.iterdir()} == {"x", "there.yaml"}
    assert (tmp_path / "there.yaml").read_text() == "mine"


def test_an_arm_of_which_no_trial_was_trained_to_the_end_has_no_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = WrittenStudy(tmp_path)
    study.trial("ce", 0, 0.5)
    assert export(study.folder.path, "--out", tmp_path / "out.yaml") == 2
    assert "no trial of supcon was trained to the end; resume the study" in capsys.readouterr().err
