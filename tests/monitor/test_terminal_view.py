"""What a terminal shows of a standing, at any width."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from search.monitor.standing import ArmStanding, Best, Running, Standing, Step
from search.monitor.terminal_view import ASCII_SPARKS, SPARKS, View, spark

PARAMS = {"loss.temperature": 0.1234, "data.batch_size": 256, "model.backbone": "resnet18"}
SUPCON = ArmStanding(
    name="supcon", started=9, running=2, outcomes={"completed": 3, "diverged": 1, "stopped": 3},
    epochs=61, most_epochs=122, most_trials=None, is_open=True, gave_up="",
    best=Best("supcon-4", 0.98765, PARAMS, is_winner=False),
)  # fmt: skip
CE = ArmStanding(
    name="ce", started=0, running=0, outcomes={}, epochs=0, most_epochs=122, most_trials=20,
    is_open=True, gave_up="", best=None,
)  # fmt: skip
TRIAL = Running(
    name="supcon-7", params=PARAMS, epoch=6, epochs=12, scores=(0.5, 0.75, 0.9),
    has_collapsed=False, rungs=(1, 2), views_per_second=8123.4, memory=None, silent=12.2,
    patience=60,
    is_retry=False,
)  # fmt: skip
SEARCHING = Standing(
    study="digits", is_at_work=True, stage="search", arms=(SUPCON, CE), running=(TRIAL,),
    steps=(Step("pick", 0, 12), Step("confirm", 0, 10), Step("references", 0, 15)),
    openings=(), n_tested=0, elapsed=3723, limit=None, left=200,
)  # fmt: skip


def draw(
    standing: Standing, width: int = 80, height: int | None = None, **options: Any
) -> list[str]:
    """The lines of a terminal, without the blanks at their ends."""
    console = Console(width=width, file=io.StringIO(), record=True, **options)
    console.print(View(standing, height))
    return [line.rstrip() for line in console.export_text().splitlines()]


def running(number: int, **changes: Any) -> Running:
    return replace(TRIAL, **({"name": f"supcon-{number}"} | changes))


def test_a_search_at_80_columns() -> None:
    assert draw(SEARCHING) == [
        "digits   searching   1:02:03   about 3 min left   1 running",
        "╭─ supcon ─────────────────────────────╮╭─ ce ─────────────────────────────────╮",
        "│ best 98.77%  supcon-4                ││ no full-length trial yet             │",
        "│ temperature=0.123  batch_size=256    ││            0/122 epochs, 0/20 trials │",
        "│ backbone=resnet18                    ││ no trial yet                         │",
        "│ ━━━━━━       61/122 epochs, 9 trials ││                                      │",
        "│ 3 completed, 1 diverged, 3 stopped,  ││                                      │",
        "│ 2 running                            ││                                      │",
        "╰──────────────────────────────────────╯╰──────────────────────────────────────╯",
        "running  epoch rungs probe        views/s    heard",
        "supcon-7  6/12   1/2 ▁▅█   90.00%   8,123 12 s ago",
    ]


def test_a_wide_terminal_has_room_for_the_params_of_running_trials() -> None:
    lines = draw(SEARCHING, 200)
    assert lines[-1].endswith("temperature=0.123  batch_size=256  backbone=resnet18")
    assert "3 completed, 1 diverged, 3 stopped, 2 running" in "\n".join(lines)


@pytest.mark.parametrize("width", [20, 40, 79, 80, 81, 109, 110, 200])
def test_no_line_is_longer_than_the_terminal_is_wide(width: int) -> None:
    trials = tuple(
        running(number, name=f"supcon-published-{number}", memory=12_345_678_901, silent=900)
        for number in range(3)
    )
    full = replace(SEARCHING, running=trials, openings=("ce confirm",), stage="confirmation")
    assert max(map(len, draw(full, width))) <= width


def test_the_widest_rows_can_be_read_at_80_columns() -> None:
    trial = running(
        0, name="supcon-published-0", epoch=180, epochs=200, scores=(0.5,) * 20, rungs=None,
        memory=12_345_678_901, silent=900,
    )  # fmt: skip
    last = draw(replace(SEARCHING, running=(trial,)))[-1]
    for text in (
        "supcon-published-0",
        "180/200",
        "▁▁▁▁",
        "50.00%",
        "8,123",
        "12.3 GB",
        "silent 15",
    ):
        assert text in last


def test_of_many_trials_the_furthest_and_the_silent_are_shown_and_the_others_counted() -> None:
    trials = [running(number, epoch=number) for number in range(32)]
    trials[3] = running(3, silent=300)
    lines = draw(replace(SEARCHING, running=tuple(trials)), height=20)
    shown = [line.split()[0] for line in lines if re.match(r"supcon-\d", line)]
    assert shown == ["supcon-3", *(f"supcon-{number}" for number in range(32 - len(shown) + 1, 32))]
    assert lines[-1] == f"and {32 - len(shown)} more"
    assert len(lines) == 20
    assert len(draw(replace(SEARCHING, running=tuple(trials)))) == 10 + 32  # without a limit


def test_a_trial_is_shown_however_low_the_terminal() -> None:
    assert draw(SEARCHING, height=4)[-1].startswith("supcon-7")


def test_a_trial_that_is_silent_or_waits_for_its_retry_is_marked() -> None:
    late, retry = running(1, silent=300), running(2, is_retry=True)
    lines = draw(replace(SEARCHING, running=(late, retry)))
    assert lines[-2].endswith("silent 5 min")
    assert lines[-1].endswith("retry, 12 s")
    lines = draw(replace(SEARCHING, running=(late, retry), is_at_work=False))
    assert lines[-2].endswith("5 min ago")  # nothing works on it: that it is silent means nothing
    assert lines[-1].endswith("12 s ago")


def test_a_trial_whose_features_collapsed_is_marked() -> None:
    lines = draw(replace(SEARCHING, running=(running(1), running(2, has_collapsed=True))))
    assert [("collapsed" in line) for line in lines[-2:]] == [False, True]
    assert lines[-1].split()[4:6] == ["90.00%", "collapsed"]


def test_an_arm_that_gave_up_says_so_first() -> None:
    gave_up = replace(CE, gave_up="7 diverged, 1 infeasible", is_open=False)
    lines = draw(replace(SEARCHING, arms=(SUPCON, gave_up)))
    assert "│ gave up: 7 diverged, 1 infeasible    │" in lines[2]
    assert "no result" in lines[3]
    over = draw(replace(SEARCHING, stage="done", arms=(gave_up, gave_up), steps=(), running=()))
    assert "fresh seeds" not in "".join(over)


def test_a_trial_without_a_report_has_nothing_to_show() -> None:
    trial = running(0, epoch=0, scores=(), views_per_second=None)
    assert draw(replace(SEARCHING, running=(trial,)))[-1].split() == [
        "supcon-0", "0/12", "1/2", "12", "s", "ago",
    ]  # fmt: skip


def test_memory_is_shown_as_soon_as_a_trial_tells_it() -> None:
    assert "memory" not in "\n".join(draw(SEARCHING))
    lines = draw(replace(SEARCHING, running=(running(0), running(1, memory=2_340_000_000))))
    assert "memory" in lines[-3]
    assert "2.3 GB" in lines[-1]


@pytest.mark.parametrize(
    ("changes", "headline"),
    [
        ({"limit": 7200.0}, "searching   1:02:03 of 2:00:00   about 3 min left   1 running"),
        ({"stage": "noise floor", "left": None}, "measuring the noise floor   1:02:03   1 running"),
        ({"stage": "confirmation", "left": 0.0}, "the winners again   1:02:03   1 running"),
        ({"stage": "test", "left": 0.0, "running": ()}, "digits   scoring on test   1:02:03"),
        ({"is_at_work": False}, "digits   interrupted   1:02:03   1 open"),
        ({"is_at_work": False, "stage": "done", "running": ()}, "digits   finished   1:02:03"),
    ],
)  # fmt: skip
def test_the_first_line_says_what_is_being_done(changes: dict[str, Any], headline: str) -> None:
    assert draw(replace(SEARCHING, **changes))[0].endswith(headline)


def test_runs_after_the_search_and_openings_are_counted() -> None:
    steps = (Step("pick", 12, 12), Step("confirm", 3, 10), Step("references", 0, 15))
    lines = draw(
        replace(SEARCHING, stage="confirmation", steps=steps, openings=("x", "y"), n_tested=7)
    )
    assert "fresh seeds: 12/12 to pick winners, 3/10 to confirm them, 0/15 references" in lines
    assert "test images: opened 2 times, 7 runs scored" in lines
    assert "fresh seeds" not in "\n".join(draw(SEARCHING))


def test_a_winner_is_no_longer_just_the_best() -> None:
    won = replace(SUPCON, best=Best("supcon-4", 0.5, PARAMS, is_winner=True))
    assert "winner 50.00%  supcon-4" in "\n".join(draw(replace(SEARCHING, arms=(won, CE))))


def test_an_arm_that_only_time_limits_has_no_bar() -> None:
    arm = replace(CE, most_epochs=None, most_trials=None, started=3, running=3)
    assert "│ 0 epochs, 3 trials " in "\n".join(draw(replace(SEARCHING, arms=(arm,))))


@pytest.mark.parametrize(
    ("n_arms", "width", "n_lines"), [(1, 80, 1), (3, 80, 2), (3, 120, 1), (5, 30, 5)]
)
def test_arms_that_do_not_fit_side_by_side_go_below(n_arms: int, width: int, n_lines: int) -> None:
    arms = tuple(replace(CE, name=f"arm{i}") for i in range(n_arms))
    lines = draw(replace(SEARCHING, arms=arms), width)
    assert sum("╭" in line for line in lines) == n_lines
    assert all(f"arm{i}" in "\n".join(lines) for i in range(n_arms))


def test_a_trial_at_the_end_of_a_budget_fills_the_bar() -> None:
    arm = replace(SUPCON, epochs=134, best=None)
    assert re.search(
        r"│ ━+ 134/122 epochs, 9 trials │", "\n".join(draw(replace(SEARCHING, arms=(arm, CE))))
    )


def test_sparks_rise_with_the_score_and_mark_what_is_no_number() -> None:
    assert spark([0.0, 0.5, 1.0], 0, 1, SPARKS) == "▁▅█"
    assert spark([0.5, math.nan], 0.5, 0.5, SPARKS) == "▁x"
    assert spark([0.0, 1.0, math.inf], 0, 1, ASCII_SPARKS) == "_#x"
    assert spark([], 0, 1, SPARKS) == ""


def test_scores_that_are_no_number_do_no_harm() -> None:
    arm = replace(SUPCON, best=Best("x", math.nan, PARAMS, is_winner=False))
    trial = running(0, scores=(math.nan,))
    lines = draw(replace(SEARCHING, arms=(arm,), running=(trial,)))
    assert "nan%" in lines[-1]


def codes(**options: Any) -> set[str]:
    """The escape codes of a terminal with colours."""
    console = Console(width=80, file=io.StringIO(), force_terminal=True, **options)
    late = running(1, silent=300)
    for standing in (
        SEARCHING,
        replace(SEARCHING, running=(late,)),
        replace(SEARCHING, is_at_work=False),
    ):
        console.print(View(standing))
    assert isinstance(console.file, io.StringIO)
    found = re.findall(r"\x1b\[([\d;]*)m", console.file.getvalue())
    return {code for each in found for code in each.split(";")}


def test_colours_are_the_terminals_own_and_none_is_a_background() -> None:
    assert codes(color_system="truecolor") <= {"0", "1", "2", "31", "32", "33", "36"}
    assert codes(color_system="truecolor") >= {"32", "36"}


def test_no_color_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert codes(color_system="truecolor") <= {"0", "1", "2"}


def test_a_terminal_without_unicode_gets_ascii() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(width=80, file=file)
    console.print(View(SEARCHING))  # would raise a UnicodeEncodeError
    file.flush()
    assert "_+#" in file.buffer.getvalue().decode()


def test_three_arms_are_two_lines_of_panels_at_80_columns_and_one_at_120() -> None:
    three = replace(SEARCHING, arms=(SUPCON, replace(CE, name="sincere"), CE))
    for width, a_line in ((80, 2), (120, 3)):
        lines = draw(three, width)
        tops = [line for line in lines if "╭─ " in line]
        assert [top.count("╭─ ") for top in tops] == [a_line, 3 - a_line][: len(tops)]
        assert "\n".join(lines).count("/122 epochs") == 3
        assert max(map(len, lines)) <= width
