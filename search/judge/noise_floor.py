"""How much luck there is, before a search: `--noise-floor`.

The published settings are trained on the seeds that the report's reference rows have. How their
scores vary tells what difference the confirmation will be able to show. Test stays sealed: this is
read off val.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from search.judge.comparison import MIN_SEEDS, detectable_with
from search.judge.difference import ALPHA
from search.judge.trained_models import Place, here, predict_by_run
from search.log.events import Ask
from search.log.study import Study
from search.log.trial import Trial
from search.log.wording import mean_percent
from search.space.space import Space
from search.strategy.confirmation import next_run
from search.strategy.winners import published_runs
from supcon.images.loading import count_test
from supcon.images.split import Splits
from supcon.parsing import UserError


def next_of_noise_floor(study: Study) -> Ask | None:
    """The next run of the published settings, or None."""
    return next_run(study, published_runs(study.space, study.arms))


def check_noise_floor(space: Space) -> None:
    """Raise a UserError unless the space has what --noise-floor needs."""
    if space.confirm.seeds < MIN_SEEDS or not space.confirm.references:
        raise UserError(
            f"--noise-floor: trains the reference rows on as many seeds as a winner has; it needs "
            f"confirm.references true and confirm.seeds at least {MIN_SEEDS}, got "
            f"{str(space.confirm.references).lower()} and {space.confirm.seeds}"
        )


def describe_noise(study: Study, data: Splits, place: Place = here) -> list[str]:
    """The spread over seeds of each published configuration, and what can be shown with it."""
    runs = {each.arm: each.completed(study) for each in published_runs(study.space, study.arms)}
    lines = ["", "noise floor: the published settings, val"]
    for arm, done in runs.items():
        scores = [run.score for run in done]
        each = ", ".join(f"{100 * score:.2f}" for score in scores)
        found = f"{mean_percent(scores)}: {each}" if done else "no run was trained to the end"
        lines.append(f"  {arm:9s} {found}")
    enough = [done for done in runs.values() if len(done) > 1]
    if len(enough) < 2:
        return [*lines, "  what can be shown takes 2 seeds of 2 losses to say", ""]
    a, b = (_correct(study, data, done, place) for done in enough[:2])
    seeds, images = study.space.confirm.seeds, count_test(study.space.config.data)
    labels = data.val.labels if study.space.selection == "balanced" else None
    n = max(1, len(study.space.comparisons))
    smallest = 100 * detectable_with(
        a, b, seeds, images, data.val.groups, labels=labels, level=ALPHA / n
    )
    adjusted = f", adjusted for {n} comparisons" if n > 1 else ""
    return [
        *lines,
        f"  {seeds} seeds and {images} test images will probably show differences from "
        f"{smallest:.2f} points (in 4 of 5 cases{adjusted})",
        "",
    ]


def _correct(study: Study, data: Splits, runs: list[Trial], place: Place) -> npt.NDArray[np.bool_]:
    """(n runs, N) which val images the probe gets right."""
    truth = torch.tensor(data.val.labels)
    predictions = (predict_by_run(study, run, data, data.val.images, place) for run in runs)
    return np.stack([(found["probe"] == truth).numpy() for found in predictions])
