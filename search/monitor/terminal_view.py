"""A picture of where a search stands, for a terminal of any width: `View` is a rich renderable.

Colours are the terminal's own and nothing has a background, so that it can be read on light and
dark ones; without colours, nothing is lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.segment import SegmentLines
from rich.table import Table
from rich.text import Text

from search.log.wording import show_clock, show_params, show_span
from search.monitor.standing import ArmStanding, Running, Standing
from search.strategy.stage import Stage

SPARKS, ASCII_SPARKS = "▁▂▃▄▅▆▇█", "_.-=+*%#"
N_SPARKS = 8  # scores of a trial that are shown, the last ones
ARM_WIDTH = 36  # of a panel at least
PARAMS_WIDTH = 110  # of a terminal from which on there is room for the params of running trials
AT_WORK: dict[Stage, str] = {
    "noise floor": "measuring the noise floor",
    "search": "searching",
    "confirmation": "training the winners again",
    "test": "scoring on test",
    "done": "writing the report",
}
STEPS = {"pick": "to pick winners", "confirm": "to confirm them", "references": "references"}


class View:
    """What a terminal shows of a standing."""

    def __init__(self, standing: Standing, height: int | None = None) -> None:
        """`height`: lines that it may fill, so far as that goes; None: so many as it needs."""
        self.standing, self.height = standing, height

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Called by rich."""
        standing = self.standing
        above: list[RenderableType] = [
            headline(standing),
            *_arms(standing.arms, console, options),
            *after_search(standing),
        ]
        lines = console.render_lines(Group(*above), options, pad=False)
        yield SegmentLines(lines, new_lines=True)
        if standing.running:
            rows = len(standing.running)
            if self.height is not None:
                rows = max(3, self.height - len(lines) - 2)
            yield running_table(standing, rows, options)


def headline(standing: Standing) -> Text:
    """The study, what is being done, and the time."""
    if standing.is_at_work:
        state = Text(AT_WORK[standing.stage], "cyan")
    elif standing.stage == "done":
        state = Text("finished", "green")
    else:
        state = Text("interrupted", "yellow")
    time = show_clock(standing.elapsed)
    if standing.limit is not None:
        time += f" of {show_clock(standing.limit)}"
    parts = [Text(standing.study, "bold"), state, Text(time)]
    if standing.is_at_work and standing.left:
        parts.append(Text(f"about {show_span(standing.left)} left"))
    if standing.running:
        parts.append(
            Text(f"{len(standing.running)} {'running' if standing.is_at_work else 'open'}")
        )
    return Text("   ").join(parts)


def _arms(
    arms: Sequence[ArmStanding], console: Console, options: ConsoleOptions
) -> Iterator[RenderableType]:
    """Panels of equal size, as many in a line as there is room for."""
    a_line = max(1, min(len(arms), options.max_width // ARM_WIDTH))
    inner = options.update(width=max(1, options.max_width // a_line - 4))
    bodies = [console.render_lines(_arm(arm), inner) for arm in arms]
    height = 2 + max(map(len, bodies))
    panels = [
        Panel(
            SegmentLines(body, new_lines=True),
            title=Text(arm.name, "bold"),
            title_align="left",
            height=height,
        )
        for arm, body in zip(arms, bodies, strict=True)
    ]
    for i in range(0, len(panels), a_line):
        line = Table.grid(expand=True)
        for _ in range(a_line):
            line.add_column(ratio=1)
        line.add_row(*panels[i : i + a_line])
        yield line


def _arm(arm: ArmStanding) -> RenderableType:
    best = Text("no result" if arm.gave_up else "no full-length trial yet", "dim")
    if arm.best is not None:
        best = Text.assemble(
            "winner " if arm.best.is_winner else "best ",
            (f"{arm.best.score:.2%}", "bold green"),
            f" after {arm.best.early} epochs" if arm.best.early else "",
            f"  {arm.best.name}\n",
            (show_params(arm.best.params), "dim"),
        )
    lost = [Text(f"gave up: {arm.gave_up}", "bold red")] if arm.gave_up else []
    return Group(*lost, best, _budget(arm), _outcomes(arm))


def _budget(arm: ArmStanding) -> RenderableType:
    """A bar, unless time is the only limit, and what was spent."""
    epochs, trials = f"{arm.epochs}", f"{arm.started}"
    epochs += "" if arm.most_epochs is None else f"/{arm.most_epochs}"
    trials += "" if arm.most_trials is None else f"/{arm.most_trials}"
    spent = Text(f"{epochs} epochs, {trials} trials")
    shares = [] if arm.most_epochs is None else [arm.epochs / arm.most_epochs]
    if arm.most_trials:
        shares.append((arm.started - arm.running) / arm.most_trials)
    if not shares:
        return spent
    line = Table.grid(expand=True, padding=(0, 1, 0, 0))
    line.add_column(ratio=1)
    line.add_column(no_wrap=True)
    share = min(1.0, max(shares))
    bar = ProgressBar(1, share, style="dim", complete_style="cyan", finished_style="cyan")
    line.add_row(bar, spent)
    return line


def _outcomes(arm: ArmStanding) -> Text:
    bad = ("infeasible", "diverged", "failed")
    ends = [
        Text(f"{n} {outcome}", "red" if outcome in bad else "")
        for outcome, n in arm.outcomes.items()
    ]
    running = [Text(f"{arm.running} running", "cyan")] if arm.running else []
    return Text(", ").join([*ends, *running]) if ends or running else Text("no trial yet", "dim")


def after_search(standing: Standing) -> list[Text]:
    """Lines on the runs after the search, and the test images."""
    lines = []
    is_due = standing.stage in ("confirmation", "test", "done")
    if standing.steps and (is_due or any(step.ended for step in standing.steps)):
        runs = [f"{step.ended}/{step.planned} {STEPS[step.what]}" for step in standing.steps]
        lines.append(Text(f"fresh seeds: {', '.join(runs)}"))
    if standing.openings:
        times = f"{len(standing.openings)} times, {standing.n_tested} runs scored"
        lines.append(Text(f"test images: opened {times}"))
    return lines


def running_table(standing: Standing, rows: int, options: ConsoleOptions) -> Table:
    """Trials that have not ended: if there is no room for all, those that are furthest."""
    trials = standing.running
    has_memory = any(trial.memory is not None for trial in trials)
    has_params = options.max_width >= PARAMS_WIDTH
    gap = 1 if options.max_width < 100 else 2
    table = Table(
        box=None, expand=has_params, padding=(0, gap, 0, 0), pad_edge=False, header_style="dim"
    )
    table.add_column("running" if standing.is_at_work else "open", no_wrap=True)
    table.add_column("epoch", justify="right", no_wrap=True)
    table.add_column("rungs", justify="right", no_wrap=True)
    table.add_column("probe", no_wrap=True)
    for name in ("", "views/s", *(["memory"] if has_memory else []), "heard"):
        table.add_column(name, justify="right", no_wrap=True)
    if has_params:
        table.add_column("", ratio=1, no_wrap=True, overflow="ellipsis", style="dim")
    seen = [score for trial in trials for score in trial.scores if math.isfinite(score)]
    low, high = min(seen, default=0.0), max(seen, default=1.0)
    sparks = ASCII_SPARKS if options.ascii_only else SPARKS
    for trial in _furthest(trials, rows):
        cells = [
            Text(trial.name),
            Text(f"{trial.epoch}/{trial.epochs}"),
            Text("" if trial.rungs is None else "{}/{}".format(*trial.rungs)),
            Text(spark(trial.scores[-N_SPARKS:], low, high, sparks), "cyan"),
            _score(trial),
            Text("" if trial.views_per_second is None else f"{trial.views_per_second:,.0f}"),
            *([Text(_gigabytes(trial.memory))] if has_memory else []),
            _heard(trial, is_at_work=standing.is_at_work),
            *([Text(show_params(trial.params))] if has_params else []),
        ]
        table.add_row(*cells)
    if rows < len(trials):
        table.add_row(Text(f"and {len(trials) - rows} more", "dim"))
    return table


def _furthest(trials: Sequence[Running], rows: int) -> list[Running]:
    """Silent ones first, then those with more epochs; in the order of their start."""
    order = sorted(trials, key=lambda trial: (not trial.is_late, -trial.epoch))
    chosen = {trial.name for trial in order[:rows]}
    return [trial for trial in trials if trial.name in chosen]


def _heard(trial: Running, *, is_at_work: bool) -> Text:
    """How long ago a trial was last heard of."""
    span = show_span(trial.silent)
    if is_at_work and trial.is_retry:  # it waits until no other one runs
        return Text(f"retry, {span}", "yellow")
    if is_at_work and trial.is_late:
        return Text(f"silent {span}", "bold red")
    return Text(f"{span} ago")


def _score(trial: Running) -> Text:
    """Its last, and whether its features have collapsed."""
    score = f"{trial.scores[-1]:.2%}" if trial.scores else ""
    return Text.assemble(score, (" collapsed", "red") if trial.has_collapsed else "")


def _gigabytes(memory: int | None) -> str:
    return "" if memory is None else f"{memory / 1e9:.1f} GB"


def spark(scores: Sequence[float], low: float, high: float, characters: str) -> str:
    """A character for each score, the higher the better; `x` for one that is no number."""
    scale = (len(characters) - 1) / (high - low) if high > low else 0.0
    return "".join(
        characters[round((score - low) * scale)] if math.isfinite(score) else "x"
        for score in scores
    )
