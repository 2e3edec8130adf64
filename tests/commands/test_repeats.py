"""Independent searches and what is said of them together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from search.engine.interrupts import Interrupt
from search.judge.difference import holm, methods
from search.on_end import OnEnd
from search.preflight.options import Options, parse_options
from search.repeats import (
    Run,
    _are_same,
    _Opening,
    begin_repeats,
    conclude_repeats,
    forget_repeats,
    options_of,
    repeat,
    repeat_settings,
)
from search.run import main as search
from search.space.loading import load_space, parse_space
from supcon.parsing import UserError

SPACE = parse_space(
    {
        "name": "x",
        "seed": 3,
        "base": {"run": {"epochs": 9}},
        "params": {"optim.lr_per_256": {"loguniform": [0.01, 1]}},
        "budget": {"trials": 3},
        "scheduler": "none",
    },
    "x",
)


def add_repeat(folder: Path, number: int, difference: float | None, test: str = "t") -> None:
    head = {"difference": 0.01, "ci95": [0, 1]} if difference is not None else None
    verdict: dict[str, Any] = {"a": "supcon", "b": "ce", "ci95": None, "n_seeds": 5}
    verdict["difference"] = difference
    verdict |= {"against_head": head, "text": "..."}
    path = folder / f"repeat-{number}" / "summary.json"
    path.parent.mkdir(parents=True)
    openings = [{"data_hash": test}]
    path.write_text(json.dumps({"verdict": verdict, "test_openings": openings}))


def test_repeats_differ_in_their_seeds_and_splits_and_the_first_is_the_space_itself() -> None:
    assert repeat_settings(SPACE, 0) == {"seed": 3}
    others = [repeat_settings(SPACE, number) for number in range(1, 5)]
    assert all(list(settings) == ["seed", "data.split_seed"] for settings in others)
    assert len({3, *(settings["seed"] for settings in others)}) == 5
    own = SPACE.config.data.split_seed
    assert len({own, *(settings["data.split_seed"] for settings in others)}) == 5


def test_a_repeat_is_the_space_of_all_with_its_own_seeds_and_no_change_made_twice(
    tmp_path: Path,
) -> None:
    given = ["--space", "spaces/aa.yaml", "--seed", "9", "--set", "run.epochs=4", "--watch"]
    options = parse_options("", [*given, "--concurrency", "2", "--points", "x.csv"])
    file = begin_repeats(tmp_path / "x", SPACE, 3, to_resume=False)
    first, second = (options_of(options, file, number) for number in range(2))
    assert (first.space, first.results, first.name) == (file, tmp_path / "x", "repeat-1")
    assert first.changes() == {"resources.concurrency": 2, "seed": 3}  # the rest is in the file
    assert second.changes() == {"resources.concurrency": 2} | repeat_settings(SPACE, 1)
    assert first.watch
    assert not first.resume


def test_a_repeat_that_exists_goes_on_as_it_was_begun(tmp_path: Path) -> None:
    file = begin_repeats(tmp_path / "x", SPACE, 3, to_resume=False)
    (tmp_path / "x" / "repeat-2").mkdir()
    options = parse_options("", ["--space", "spaces/aa.yaml", "--resume"])
    found = options_of(options, file, 1)
    assert found.resume
    assert found.changes() == {}
    assert not options_of(options, file, 2).resume  # this one never began


def test_the_space_of_all_repeats_is_kept_for_a_resume(tmp_path: Path) -> None:
    file = begin_repeats(tmp_path / "x", SPACE, 3, to_resume=False)
    assert load_space(file, {}) == SPACE
    assert begin_repeats(tmp_path / "x", SPACE, 3, to_resume=True) == file


def test_the_number_of_repeats_is_not_changed_after_looking(tmp_path: Path) -> None:
    begin_repeats(tmp_path / "x", SPACE, 3, to_resume=False)
    with pytest.raises(UserError, match=r"--repeat 5: .* was begun with 3 searches.* --repeat 3"):
        begin_repeats(tmp_path / "x", SPACE, 5, to_resume=True)
    (tmp_path / "x" / "repeats.yaml").unlink()  # of an earlier version
    begin_repeats(tmp_path / "x", SPACE, 5, to_resume=True)
    with pytest.raises(UserError, match="was begun with 5 searches"):
        begin_repeats(tmp_path / "x", SPACE, 6, to_resume=True)


def test_repeats_of_which_none_could_begin_leave_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--space", "spaces/aa.yaml", "--results", str(tmp_path), "--repeat", "3"]
    for _ in range(2):  # as it would say that the folder exists the second time
        assert search([*flags, "--cpus-per-trial", "999"]) == 2
        assert "a trial wants 999 CPUs" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_repeats_that_have_begun_are_not_forgotten(tmp_path: Path) -> None:
    file = begin_repeats(tmp_path / "x", SPACE, 3, to_resume=False)
    (tmp_path / "x" / "repeat-1").mkdir()
    forget_repeats(tmp_path / "x")
    assert file.exists()


@pytest.mark.parametrize(
    ("exists", "to_resume", "message"),
    [(True, False, "exists; continue with --resume"), (False, True, "holds no repeats")],
)
def test_repeats_are_neither_overwritten_nor_resumed_from_nothing(
    tmp_path: Path, exists: bool, to_resume: bool, message: str
) -> None:
    if exists:
        (tmp_path / "x").mkdir()
    with pytest.raises(UserError, match=message):
        begin_repeats(tmp_path / "x", SPACE, 3, to_resume=to_resume)


def test_three_searches_give_a_sentence_about_the_methods(tmp_path: Path) -> None:
    for number, difference in enumerate([0.03, 0.031, 0.032, 0.029], start=1):
        add_repeat(tmp_path, number, difference)
    text = conclude_repeats(tmp_path)
    assert "The methods, searched like this on this data set: supcon beats ce" in text
    assert "all scored on the same test images" in text
    summary: dict[str, Any] = json.loads((tmp_path / "summary.json").read_text())
    assert summary["difference"] == pytest.approx(0.0305)
    assert summary["n_searches"] == 4
    assert list(summary["repeats"]) == [f"repeat-{n}" for n in range(1, 5)]


@pytest.mark.parametrize(
    ("openings", "is_same"),
    [([("files", True), ("files", True)], True), ([("files", True), ("other", True)], False),
     ([("pixels", False), ("pixels", False)], True), ([("pixels", False), ("files", True)], True),
     ([("pixels", None), ("files", True)], True), ([("a", None), ("b", None)], False),
     ([(None, None)], False), ([], False)],
)  # fmt: skip
def test_hashes_of_another_kind_do_not_tell_test_images_apart(
    openings: list[tuple[str | None, bool | None]], is_same: bool
) -> None:
    found = [
        _Opening(data_hash=name, **({} if of_files is None else {"of_files": of_files}))
        for name, of_files in openings
    ]
    assert _are_same(found) == is_same


def test_a_search_without_a_verdict_does_not_count(tmp_path: Path) -> None:
    for number, difference in enumerate([0.03, None, 0.03], start=1):
        add_repeat(tmp_path, number, difference)
    text = conclude_repeats(tmp_path)
    assert "no statement is possible" in text
    assert "there are 2 of 3 (the others gave no verdict)" in text
    assert json.loads((tmp_path / "summary.json").read_text())["difference"] is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--repeat", "1"], "--repeat must be at least 2"),
        (["--repeat", "3", "--dry-run"], "does not go with --dry-run"),
        (["--repeat", "3", "--name", "../x"], "letters, digits"),
        (["--repeat", "3", "--resume"], "holds no repeats"),
    ],
)
def test_a_bad_repeat_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, flags: list[str], message: str
) -> None:
    assert search(["--space", "spaces/aa.yaml", "--results", str(tmp_path), *flags]) == 2
    assert message in capsys.readouterr().err


def search_as(folder: Path, ends: list[int], searched: list[str]) -> Run:
    """A search that leaves a summary, and ends as the next of `ends` says."""

    def run(options: Options, interrupt: Interrupt, on_end: OnEnd) -> int:
        assert options.name is not None
        searched.append(f"{options.name}{' again' if options.resume else ''}")
        if not options.resume:
            add_repeat(folder, len(searched), 0.03)
        return ends.pop(0)

    return run


def repeat_as(options: Options, run: Run) -> int:
    return repeat(options, Interrupt(), OnEnd(None), run)


def test_repeats_run_one_after_the_other_and_are_judged_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = parse_options(
        "", ["--space", "spaces/aa.yaml", "--results", str(tmp_path), "--repeat", "3"]
    )
    searched: list[str] = []
    assert repeat_as(options, search_as(tmp_path / "aa", [0, 1, 0], searched)) == 1  # the worst
    assert searched == ["repeat-1", "repeat-2", "repeat-3"]
    said = capsys.readouterr().out
    assert said.startswith("search    1 of 3\nsearch    2 of 3\nsearch    3 of 3\n# aa: independ")
    assert json.loads((tmp_path / "aa" / "summary.json").read_text())["n_searches"] == 3


def test_repeats_of_a_space_whose_name_was_set_lie_under_that_name(tmp_path: Path) -> None:
    flags = ["--space", "spaces/aa.yaml", "--results", str(tmp_path), "--repeat", "2"]
    flags += ["--continue", "--set", "name=other"]
    searched: list[str] = []
    for last in (75, 0):
        run = search_as(tmp_path / "other", [0, last], searched)
        assert repeat_as(parse_options("", flags), run) == last
    assert searched == ["repeat-1", "repeat-2", "repeat-1 again", "repeat-2 again"]


@pytest.mark.parametrize(("code", "flag"), [(130, "--resume"), (75, "--continue")])
def test_an_interrupted_repeat_ends_them_all_and_they_go_on_where_they_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: int, flag: str
) -> None:
    flags = ["--space", "spaces/aa.yaml", "--results", str(tmp_path), "--repeat", "3"]
    flags += ["--epochs", "4"]
    searched: list[str] = []
    first = parse_options("", [*flags, *(["--continue"] if flag == "--continue" else [])])
    assert repeat_as(first, search_as(tmp_path / "aa", [0, code], searched)) == code
    assert not (tmp_path / "aa" / "summary.json").exists()
    assert "independent searches" not in capsys.readouterr().out
    again = parse_options("", [*flags, flag])
    assert repeat_as(again, search_as(tmp_path / "aa", [0, 0, 0], searched)) == 0
    assert searched[2:] == ["repeat-1 again", "repeat-2 again", "repeat-3"]
    with pytest.raises(UserError, match=r"run\.epochs was given with another value"):
        repeat_as(parse_options("", [*flags, "--epochs", "3", flag]), search_as(tmp_path, [], []))


# More than two arms, or one


def add_repeat_of_three(folder: Path, number: int, differences: dict[str, float | None]) -> None:
    nothing: dict[str, Any] = {"difference": None, "ci95": None, "against_head": None}
    each = [
        nothing | {"a": a, "b": "ce", "n_seeds": 5, "difference": difference, "text": "..."}
        for a, difference in differences.items()
    ]
    verdict = nothing | {"a": None, "b": None, "n_seeds": 5, "text": "...", "comparisons": each}
    path = folder / f"repeat-{number}" / "summary.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"verdict": verdict, "test_openings": []}))


def test_of_several_arms_each_gets_its_sentence_and_holm_judges_them(tmp_path: Path) -> None:
    found = {"supcon": [0.03, 0.031, 0.032, 0.029], "sincere": [0.01, -0.01, 0.02, 0.0]}
    for number in range(4):
        add_repeat_of_three(tmp_path, number + 1, {a: d[number] for a, d in found.items()})
    text = conclude_repeats(tmp_path)
    scope = "The methods, searched like this on this data set"
    assert f"supcon and ce: {scope}: supcon beats ce" in text
    assert f"sincere and ce: {scope}: no difference shown" in text
    assert text.count("adjusted for 2 comparisons (Holm), 4 searches") == 2
    facts = json.loads((tmp_path / "summary.json").read_text())
    assert facts["difference"] is None
    judged = holm([methods(each) for each in found.values()], 2)
    for each, wanted in zip(facts["comparisons"], judged, strict=True):
        assert each["difference"] == wanted.difference
        assert each["judged"]["level"] == wanted.judged.level  # type: ignore[union-attr]
    assert len(facts["repeats"]["repeat-1"]["comparisons"]) == 2
    assert "| [repeat-4](repeat-4/report.md) sincere minus ce |" in text


def test_an_arm_that_too_few_searches_compared_is_no_part_of_the_family(tmp_path: Path) -> None:
    for number, other in enumerate([0.1, None, None], start=1):
        add_repeat_of_three(tmp_path, number, {"supcon": 0.03 + number / 1e4, "sincere": other})
    text = conclude_repeats(tmp_path)
    assert "adjusted" not in text
    assert "sincere and ce: The methods, searched like this on this data set: no statement" in text
    assert json.loads((tmp_path / "summary.json").read_text())["comparisons"][1]["n_searches"] == 1


def test_searches_of_an_only_arm_say_that_there_is_nothing_to_compare(tmp_path: Path) -> None:
    for number in range(1, 4):
        add_repeat_of_three(tmp_path, number, {})
    assert "A single arm: there is nothing to compare." in conclude_repeats(tmp_path)
