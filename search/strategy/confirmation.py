"""What is trained after the search, in which order, and how much of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.log.events import AFTER_SEARCH, Ask
from search.log.remembered import remembered
from search.log.study import Study
from search.space.space import Space
from search.strategy.giving_up import hopeful_arms
from search.strategy.winners import SeedRuns, candidates, final_runs, pick_runs, published_runs


@dataclass(frozen=True)
class Planned:
    """Runs after the search, of all arms together; each as long as a trial, or as many views."""

    pick: int
    confirm: int
    reference: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.pick + self.confirm + self.reference


def planned_runs(space: Space, arms: Sequence[str], n_candidates: int) -> Planned:
    """What the space asks for, if so many configurations of each of these arms train to the end."""
    confirm = space.confirm
    top = min(confirm.top, n_candidates)
    references = 0
    if confirm.references:
        ce = [arm for arm in arms if not space.arm_config(arm).loss.is_contrastive]
        has_one_view = bool(ce) and space.config.augment.views > 1
        references = confirm.seeds * (len(published_runs(space, arms)) + has_one_view)
    picks = len(arms) * top * confirm.pick_seeds if top > 1 else 0
    return Planned(picks, len(arms) * confirm.seeds, references)


def has_best(study: Study) -> bool:
    """Whether a search trial was trained to the end, of any arm that has not given up over all."""
    return any(candidates(study, arm) for arm in study.arms)


@remembered
def seed_runs(study: Study) -> Sequence[SeedRuns]:
    """All runs after the search that are known by now: picking, winners, references."""
    if not has_best(study):
        return ()
    picks = [runs for arm in study.arms for runs in pick_runs(study, arm)]
    return (*picks, *final_runs(study))


def next_after_search(study: Study) -> Ask | None:
    """The next run after the search, or None if there is none by now."""
    return next_run(study, seed_runs(study))


def confirmation_is_over(study: Study) -> bool:
    """Whether nothing is left to start or to finish after the search."""
    return next_after_search(study) is None and not study.log.unfinished(*AFTER_SEARCH)


def runs_left(study: Study) -> tuple[int, int]:
    """Runs still to be trained: those that pick, and those that follow."""
    n_candidates = max(len(candidates(study, arm)) for arm in study.arms)
    planned = planned_runs(study.space, hopeful_arms(study), n_candidates)
    done = [(each.phase, len(each.runs(study))) for each in seed_runs(study)]
    picked = sum(n for phase, n in done if phase == "pick")
    later = sum(
        n for phase, n in done if phase not in ("pick", "frozen")
    )  # the latter cost nothing
    return planned.pick - picked, planned.total - planned.pick - later


def next_run(study: Study, wanted: Sequence[SeedRuns]) -> Ask | None:
    """The next run that is wanted: those of a phase in turn, so that all have about as many."""
    order = {phase: i for i, phase in enumerate(AFTER_SEARCH)}
    waiting = [(order[each.phase], len(each.runs(study)), i) for i, each in enumerate(wanted)]
    waiting = [(phase, n, i) for phase, n, i in waiting if n < wanted[i].seeds]
    if not waiting:
        return None
    chosen = wanted[min(waiting)[2]]
    # Others of the phase, and runs that failed, had some too.
    number = len(study.log.of(chosen.arm, chosen.phase))
    return Ask(
        arm=chosen.arm,
        phase=chosen.phase,
        number=number,
        params=chosen.params,
        seed=study.space.trial_seed(chosen.arm, chosen.phase, number),
        of=chosen.of,
        settings=chosen.settings,
    )
