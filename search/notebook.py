"""A study in a notebook, as data frames of pandas.

    import search
    found = search.load("results/digits")
    found.trials.plot.scatter("loss.temperature", "val/probe_top1", logx=True)
    found.summary, found.comparisons, found.verdict, found.config("supcon")

Also of a study that still runs: all of it is read from its log, which nothing here changes.
"""

from __future__ import annotations

import io
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from search.log.folder import find_study
from search.log.study import Study
from search.reporting.summarise import answer
from search.reporting.summary import Summary
from search.reporting.tables import scored, trials_csv
from search.strategy.winners import best_config
from supcon.config import Config

if TYPE_CHECKING:
    import pandas as pd


class Results:
    """What a study found."""

    def __init__(self, study: Study) -> None:
        """`study` is looked at, and not changed."""
        self.study = study

    @cached_property
    def facts(self) -> Summary:
        """All that summary.json holds but the pictures; results/README.md documents it."""
        return answer(self.study)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row for each trial, as in trials.csv: arm, phase, number, outcome, epochs, seconds,
        views, seed, what was drawn (missing: not drawn), scores (shares of 1), detail.
        """
        import pandas as pd

        text = io.StringIO(trials_csv(self.study))
        return pd.read_csv(text, keep_default_na=False, na_values=[""])

    @cached_property
    def scores(self) -> pd.DataFrame:
        """A row for each fresh seed of a winner or reference and each classifier: arm, phase, row,
        classifier, seed, val, test (missing: not opened), shares of 1.
        """
        import pandas as pd

        columns = ["arm", "phase", "row", "classifier", "seed", "val", "test"]
        rows = [
            (row.arm, row.phase, row.label, classifier, seed, val[i], test[i] if test else None)
            for row, classifier, val, test in scored(self.facts)
            for i, seed in enumerate(row.seeds)
        ]
        return pd.DataFrame(rows, columns=columns)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The same by row and classifier: mean and standard deviation over the seeds, and how many
        there are.
        """
        by = ["arm", "phase", "row", "classifier"]
        parts = self.scores.groupby(by, sort=False)[["val", "test"]]
        found = parts.agg(["mean", "std"])
        found.columns = [f"{split}_{what}" for split, what in found.columns]
        found["seeds"] = self.scores.groupby(by, sort=False).size()
        return found.reset_index()

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """A row for each arm but the baseline: arm, baseline, difference, low, high (the interval
        that its verdict goes by), level, p_value, detectable, seeds; missing: not compared.
        """
        import pandas as pd

        columns = ["arm", "baseline", "difference", "low", "high", "level", "p_value", "detectable"]
        rows = [
            (each.a, each.b, each.difference, *(each.interval or (None, None)), each.level,
             each.p_value, each.smallest, each.n_seeds)
            for each in self.facts.verdict.each
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=[*columns, "seeds"])

    @property
    def verdict(self) -> str:
        """The sentence, or all of them."""
        return self.facts.verdict.text

    def config(self, arm: str) -> Config:
        """The complete config of an arm's winner; of a running search, of its best so far.

        Raises:
            UserError: the study has no such arm, or no trial of it was trained to the end.
        """
        return best_config(self.study, arm)


def load(folder: str | Path) -> Results:
    """A study, or the newest one in a folder of studies.

    Raises:
        UserError: there is none, or its log is damaged.
    """
    return Results(Study.open(find_study(Path(folder).expanduser()).path))
