"""What to try next: Optuna's TPE over an arm's log, and the source of trials that Ray draws from.

Suggestion n of an arm is a function of (study seed, arm, n, the arm's events before it): the
sampler is seeded anew for each suggestion, and its history is nothing but the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState
from ray.tune.search import Searcher

from search.distribution import Distribution
from search.events import Ask, End, Journal, Report
from search.space import Space
from supcon.config import SELECTION_METRIC
from supcon.seeds import derive_seed

STATE = {  # FAIL would teach the sampler nothing, so trials that cannot run count as pruned
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "infeasible": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}

GIVE_UP = 3  # failed trials in a row after which an arm starts no more


class Suggester:
    """Draws the params of one arm's next trial."""

    def __init__(self, space: Space, arm: str, journal: Journal) -> None:
        self.space, self.arm, self.journal = space, arm, journal
        self.params = space.arm_params(arm)
        self.distributions = {key: to_optuna(d) for key, d in self.params.items()}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(direction="maximize")
        self.asked: dict[int, optuna.Trial] = {}
        self.n_seen = 0

    def suggest(self, number: int) -> dict[str, Any]:
        """Params of trial `number`, given all that the log says so far."""
        self._catch_up()
        seed = derive_seed(self.space.seed, self.arm, "sampler", number)
        self.study.sampler = optuna.samplers.TPESampler(seed=seed)
        trial = self.asked[number] = self.study.ask(self.distributions)
        return {key: decode(d, trial.params[key]) for key, d in self.params.items()}

    def _catch_up(self) -> None:
        """Tell Optuna the events since the last suggestion (after a restart: all of them)."""
        events = self.journal.events
        for event in events[self.n_seen :]:
            if getattr(event, "arm", None) == self.arm and getattr(event, "phase", "") == "search":
                self._tell(event)
        self.n_seen = len(events)

    def _tell(self, event: Any) -> None:
        match event:
            case Ask() if event.number not in self.asked:
                coded = {key: encode(d, event.params[key]) for key, d in self.params.items()}
                self.study.enqueue_trial(coded)
                self.asked[event.number] = self.study.ask(self.distributions)
            case Report():
                self.asked[event.number].report(event.metrics[SELECTION_METRIC], event.epoch)
            case End():
                state = STATE[event.outcome]
                trial = self.journal.trials[event.key]
                value = trial.score if state == TrialState.COMPLETE else None
                self.study.tell(self.asked[event.number], value, state)


def to_optuna(distribution: Distribution) -> BaseDistribution:
    """Optuna's form; powers of two become their exponents, which are ordered and evenly spaced."""
    match distribution.kind:
        case "uniform" | "loguniform":
            low, high = distribution.values
            return FloatDistribution(low, high, log=distribution.kind == "loguniform")
        case "int" | "logint":
            low, high = distribution.values
            return IntDistribution(low, high, log=distribution.kind == "logint")
        case "pow2":
            return IntDistribution(*(encode(distribution, v) for v in distribution.values))
        case "choice":
            return CategoricalDistribution(distribution.values)


def encode(distribution: Distribution, value: Any) -> Any:
    """A config's value as Optuna sees it."""
    return value.bit_length() - 1 if distribution.kind == "pow2" else value


def decode(distribution: Distribution, value: Any) -> Any:
    """The reverse of `encode`."""
    return 1 << value if distribution.kind == "pow2" else value


class SearchPlan:
    """The order of the search trials: the arm that has spent less comes next.

    The arms advance side by side, so that at any moment, also when the search is cut short, both
    have had about the same budget.
    """

    def __init__(self, space: Space, journal: Journal) -> None:
        self.space, self.journal = space, journal
        self.suggesters = {arm: Suggester(space, arm, journal) for arm in space.arms}

    def __call__(self) -> Ask | None:
        """The next trial, or None when both arms have spent their budget."""
        open_arms = self.open_arms()
        if not open_arms:
            return None
        # Trials that have not reported yet have spent nothing; so ties go to the arm with fewer.
        arm = min(open_arms, key=lambda a: (self.journal.epochs_spent(a), len(self.journal.of(a))))
        number = len(self.journal.of(arm))
        return Ask(
            arm=arm,
            phase="search",
            number=number,
            params=self.suggesters[arm].suggest(number),
            seed=self.space.trial_seed(arm, "search", number),
        )

    def is_over(self) -> bool:
        """Whether nothing is left to start or to finish."""
        return not self.open_arms() and not self.journal.unfinished("search")

    def open_arms(self) -> list[str]:
        """The arms that may start another trial."""
        return [arm for arm in self.space.arms if self._may_start(arm)]

    def _may_start(self, arm: str) -> bool:
        budget = self.space.budget
        ended = [trial for trial in self.journal.of(arm) if trial.end]
        if len(ended) >= GIVE_UP and all(t.outcome == "failed" for t in ended[-GIVE_UP:]):
            return False  # something is broken; more trials would only fail as well
        return (budget.trials is None or len(self.journal.of(arm)) < budget.trials) and (
            budget.total_epochs is None or self.journal.epochs_spent(arm) < budget.total_epochs
        )


class TrialSource(Searcher):
    """Hands trials to Ray: first those that an earlier run left unfinished, then new ones."""

    def __init__(
        self,
        space: Space,
        journal: Journal,
        unfinished: Iterable[Ask],
        next_trial: Callable[[], Ask | None],
    ) -> None:
        super().__init__()
        self.space, self.journal, self.next_trial = space, journal, next_trial
        self.unfinished = list(unfinished)
        self.handed_out: dict[str, Ask] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The config of Ray's next trial, or FINISHED."""
        if self.unfinished:
            ask = self.unfinished.pop(0)
            config = self.space.trial_config(ask.arm, ask.params, ask.seed)
        else:
            new = self.next_trial()
            if new is None:
                return Searcher.FINISHED
            config = self.space.trial_config(new.arm, new.params, new.seed)
            self.journal.append(new)
            ask = new
        self.handed_out[trial_id] = ask
        return {
            "arm": ask.arm,
            "phase": ask.phase,
            "number": ask.number,
            "name": self.journal.trials[ask.key].name,
            "config": config.model_dump_json(),
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Log a trial that Ray has given up; it says so here only, not at each of its restarts.

        How trials end otherwise is logged by the scheduler, and the suggesters read the log.
        """
        if error:
            key = self.handed_out[trial_id].key
            self.journal.end(key, "failed", detail="its worker process kept dying")

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the log is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Never called: every start is a fresh Tuner over the log."""
