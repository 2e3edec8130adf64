"""What a search says of itself, and whether it favours an arm, in worlds where the truth is known.

    python -m tests.benchmarks.efficiency.checks spaces/digits.yaml results/curves/digits.csv

A tie: both arms search the world of one, so that neither should find better more often. The audit:
its interval of Kendall's tau should hold the tau of all final scores, also those of trials that
never got there, and its chance that the best was left behind should be the share in which it was.
A real study (`--study results/digits`): its space is replayed, and the mean score of each winner's
fresh seeds on val should lie among those of the replays.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest, kendalltau

from search.judge.rung_audit import Audit, audit
from search.log.study import Study
from search.space.loading import TEXT_KEYS, load_space
from search.space.space import Space
from search.strategy.early_stopping import decide
from search.strategy.search_order import SearchOrder
from supcon.parsing import parse_assignment
from tests.benchmarks.efficiency.__main__ import worlds_of
from tests.benchmarks.efficiency.scored import anytime
from tests.benchmarks.efficiency.simulated import simulate
from tests.benchmarks.efficiency.surrogate import World


def main() -> None:
    """Print how a real study compares, or what ties and audits come to."""
    options = options_of()
    if options.study:
        study = Study.open(options.study)
        for line in compare(study, options.record, options.repetitions, options.workers):
            print(line)
        return
    changes = dict(parse_assignment(text, TEXT_KEYS) for text in options.set)
    changes |= {"points": {}}
    base = load_space(options.space, changes)
    worlds = worlds_of(options.record, base)
    epochs = options.budget * base.config.run.epochs
    for arm in base.arms:
        arms = {name: dict(base.arms[arm]) for name in ("first", "second")}
        own = {"arms": arms, "baseline": "second", "budget.total_epochs": epochs}
        spaces = [
            load_space(options.space, changes | own | {"seed": seed})
            for seed in range(options.repetitions)
        ]
        print(f"{arm}: {tie(spaces, worlds[arm], options.budget, options.workers)}", flush=True)
    spaces = [
        load_space(options.space, changes | {"budget.total_epochs": epochs, "seed": seed})
        for seed in range(options.audits)
    ]
    for line in audited(spaces, worlds, options.workers):
        print(line, flush=True)


def compare(study: Study, record: Path, repetitions: int, workers: int) -> Iterator[str]:
    """Where a real search has ended, beside where its replays end."""
    worlds = worlds_of(record, study.space)
    found = {arm: list[float]() for arm in study.arms}
    for seed in range(repetitions):
        space = study.space.model_copy(update={"seed": seed})
        replayed = simulate(space, worlds, SearchOrder, decide, workers)
        for arm in study.arms:
            found[arm].append(_confirmed(replayed, arm, worlds[arm]))
    for arm, scores in found.items():
        real = [run.score for run in study.log.of(arm, "confirm") if run.is_completed]
        low, middle, high = np.percentile(scores, [2.5, 50, 97.5])
        rank = np.mean(np.array(scores) < np.mean(real))
        yield (
            f"{arm}: the winner scores {np.mean(real):.2%} on val, mean of {len(real)} seeds; "
            f"{middle:.2%} in the median of {repetitions} replays, 95 % of them from {low:.2%} to "
            f"{high:.2%}; {rank:.0%} lie below it"
        )


def _confirmed(study: Study, arm: str, world: World) -> float:
    """The mean of the seeds that speak for an arm's winner, which other seeds have picked."""
    confirm, rng = study.space.confirm, np.random.default_rng([study.space.seed, len(arm)])
    top = [trial.ask.params for trial in study.log.top(arm, confirm.top)]
    picks = [world.final_scores(params, rng, confirm.pick_seeds).mean() for params in top]
    return float(world.final_scores(top[int(np.argmax(picks))], rng, confirm.seeds).mean())


def options_of() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("space", type=Path)
    parser.add_argument("record", type=Path, help="what tests.benchmarks.record wrote of it")
    parser.add_argument("--repetitions", type=int, default=1000, help="of the tie")
    parser.add_argument("--audits", type=int, default=100, help="searches that are audited")
    parser.add_argument("--budget", type=int, default=20, help="full trials an arm")
    parser.add_argument("--workers", type=int, default=1, help="trials at once")
    parser.add_argument("--study", type=Path, help="compare this real one with its replays")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


def tie(spaces: list[Space], world: World, budget: int, workers: int) -> str:
    """How often the first of two equal arms finds better than the second."""
    wins = 0.0
    for space in spaces:
        worlds = {"first": world, "second": world}
        study = simulate(space, worlds, SearchOrder, decide, workers)
        first, second = (anytime(study, arm, world, [2 * budget])[0] for arm in study.arms)
        wins += (first > second) + (first == second) / 2
    interval = binomtest(round(wins), len(spaces)).proportion_ci()
    return (
        f"the first of two equal arms finds better in {wins / len(spaces):.1%} of {len(spaces)} "
        f"searches (95 % interval {interval.low:.1%} to {interval.high:.1%})"
    )


def audited(spaces: list[Space], worlds: Mapping[str, World], workers: int) -> Iterator[str]:
    """What audits say, beside what is so."""
    held, taus = defaultdict[int, list[bool]](list), defaultdict[int, list[float]](list)
    said, so, n_silent, n_asked = list[float](), list[bool](), 0, 0
    for space in spaces:
        study = simulate(space, worlds, SearchOrder, decide, workers)
        for arm in study.arms:
            n_asked += 1
            found = audit(study, arm)
            assert found is not None
            if found.chance_best_stopped is None:
                n_silent += 1
                continue
            whole = final_scores(study, arm, worlds[arm])
            for epoch, tau, is_held in _rungs(study, arm, found, whole):
                taus[epoch].append(tau)
                held[epoch].append(is_held)
            said.append(found.chance_best_stopped)
            so.append(_is_best_left(study, arm, whole))
    yield f"{n_asked - n_silent} of {n_asked} audits say something"
    for epoch in sorted(taus):
        yield (
            f"epoch {epoch}: tau is {np.mean(taus[epoch]):.2f} in the mean, and lies in "
            f"{np.mean(held[epoch]):.0%} of {len(held[epoch])} intervals of 95 %"
        )
    if said:
        error = np.sqrt(np.mean(so) * (1 - np.mean(so)) / len(so))
        yield (
            f"the best was left behind in {np.mean(so):.0%} (standard error {error:.0%}), and said "
            f"to be with a chance of {np.mean(said):.0%} in the mean"
        )


def final_scores(study: Study, arm: str, world: World) -> dict[int, float]:
    """Number -> what a trial would score at full length, had it gone on."""
    rungs = study.space.rungs
    asks = [trial.ask for trial in study.log.of(arm)]
    return {ask.number: world.scores(ask.params, ask.seed, rungs)[rungs[-1]] for ask in asks}


def _rungs(
    study: Study, arm: str, found: Audit, whole: Mapping[int, float]
) -> Iterator[tuple[int, float, bool]]:
    for rung in found.rungs:
        reached = [t for t in study.log.of(arm) if rung.epoch in t.scores]
        early = [t.scores[rung.epoch] for t in reached]
        tau: Any = kendalltau(early, [whole[t.ask.number] for t in reached]).statistic
        if rung.ci95 is not None and np.isfinite(tau):
            low, high = rung.ci95
            yield rung.epoch, float(tau), low - 1e-9 <= tau <= high + 1e-9


def _is_best_left(study: Study, arm: str, whole: Mapping[int, float]) -> bool:
    top = {trial.ask.number for trial in study.log.top(arm, study.space.confirm.top)}
    return max(whole.values()) > max(whole[number] for number in top)


if __name__ == "__main__":
    main()
