"""What a search is doing, for Prometheus: gauges at Ray's metrics endpoint, see docs/watching.md.

Ray exports the values that were set since it last looked, and forgets the others. So at every event
all of them are set: a trial that has ended falls out by itself.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, get_args

import ray
from ray.util.metrics import Gauge

from search.log.events import Ask, End, Outcome, Promoted, Report, Retry
from search.log.study import Study
from search.log.trial import Trial

TRIAL = ("study", "arm", "trial")
ARM = ("study", "arm")
GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "supcon_trial_score": ("selection metric at the trial's last report, fraction of 1", TRIAL),
    "supcon_trial_epoch": ("epoch of the trial's last report", TRIAL),
    "supcon_trial_views_per_second": ("views trained a second since the report before", TRIAL),
    "supcon_trial_gpu_memory_bytes": ("the most that the trial has reserved on its GPU", TRIAL),
    "supcon_arm_best_score": ("selection metric of the arm's best full-length trial", ARM),
    "supcon_arm_epochs": ("epochs that the arm's search has spent", ARM),
    "supcon_arm_epochs_budget": ("epochs that it may spend", ARM),
    "supcon_arm_views": ("views that the arm's search has trained on, as reported", ARM),
    "supcon_arm_trials": ("search trials by how they ended, or running", (*ARM, "outcome")),
}
"""Name -> what it is, and its tags."""


class Metrics:
    """A listener of a journal that sets the gauges. Ray must be running."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.gauges = {name: Gauge(name, *what) for name, what in GAUGES.items()}
        self._set_all()

    def __call__(self, event: Any) -> None:
        """Set them all when a trial has begun, reported or ended."""
        if isinstance(event, Ask | Report | Promoted | Retry | End):
            self._set_all()

    def _set_all(self) -> None:
        for trial in self.study.log.unfinished():
            if trial.reports:
                self._set_trial(trial)
        for arm in self.study.arms:
            self._set_arm(arm)

    def _set_trial(self, trial: Trial) -> None:
        tags = {"arm": trial.ask.arm, "trial": trial.name}
        last = trial.reports[-1]
        self._set("supcon_trial_score", trial.score, **tags)
        self._set("supcon_trial_epoch", last.epoch, **tags)
        self._set("supcon_trial_views_per_second", trial.views_per_second, **tags)
        self._set("supcon_trial_gpu_memory_bytes", last.memory, **tags)

    def _set_arm(self, arm: str) -> None:
        found, best = self.study.log.totals(arm), self.study.log.best(arm)
        self._set("supcon_arm_best_score", best.score if best else None, arm=arm)
        self._set("supcon_arm_epochs", found.epochs, arm=arm)
        self._set("supcon_arm_epochs_budget", self.study.space.budget.total_epochs, arm=arm)
        self._set("supcon_arm_views", found.views, arm=arm)
        counts = Counter(
            "paused" if trial.is_paused else trial.outcome or "running"
            for trial in self.study.log.of(arm)
        )
        for outcome in ("running", "paused", *get_args(Outcome)):
            self._set("supcon_arm_trials", counts[outcome], arm=arm, outcome=outcome)

    def _set(self, name: str, value: float | None, **tags: str) -> None:
        if value is not None and math.isfinite(value):
            self.gauges[name].set(value, {"study": self.study.name, **tags})


def endpoint() -> str:
    """Where Ray exports the gauges of this process: at the agent of its node, without a token."""
    here = ray.get_runtime_context().get_node_id()
    node = next(node for node in ray.nodes() if node["NodeID"] == here)
    return f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
