"""What is said of an arm that gave up: why, what its trials had in common, and the way out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from search.log.study import Study
from search.log.trial import Trial
from search.strategy.chance import chance_limit, score_of_guess
from search.strategy.giving_up import BAD_ENDS, gave_up_over, is_hopeless
from supcon.config import flatten, is_used

AT_CHANCE = "at chance"
RELEVANT = {  # settings that may be to blame for an end
    "infeasible": (
        "model.backbone", "data.batch_size", "data.image_size", "augment.views", "run.precision",
        "run.memory",
    ),
    "diverged": (
        "optim.lr_per_256", "optim.warmup", "optim.name", "optim.clip_norm", "loss.temperature",
        "run.precision",
    ),
    "failed": ("model.backbone", "run.device"),
    AT_CHANCE: ("optim.lr_per_256", "optim.warmup", "optim.name", "loss.temperature"),
}  # fmt: skip
WAYS_OUT = {
    "infeasible": "smaller data.batch_size, model.backbone or data.image_size, run.memory: "
    "cached, or more memory for a trial (--gpus-per-trial)",
    "diverged": "a smaller optim.lr_per_256, a longer optim.warmup, or optim.clip_norm",
    "failed": "put right what trials/{last}/error.txt or the detail says",
    AT_CHANCE: "look whether images and labels are what they should be, and try a smaller "
    "optim.lr_per_256",
}


def describe_giving_up(study: Study, arm: str) -> str:
    """Why an arm gave up, what its trials shared, and the way out; empty if it has not."""
    trials = gave_up_over(study, arm)
    if not trials:
        return ""
    end, n = commonest(trials)
    why = f"{n} of {len(trials)} ended {end}"
    if end == AT_CHANCE:
        why = f"{n} of {len(trials)} never scored above chance ({describe_chance(study)})"
    elif detail := _detail([t for t in trials if _end(t) == end]):
        why += f" ({detail})"
    shared = in_common(study, arm, [t for t in trials if _end(t) == end], RELEVANT[end])
    parts = [f"after {len(trials)} trials: {why}"]
    parts += [f"in common: {', '.join(shared)}"] if shared else []
    return "; ".join([*parts, _way_out(study, arm, end, trials)])


def summary_of(trials: Sequence[Trial]) -> str:
    """How the trials that an arm gave up over ended, in a few words."""
    counts = Counter(map(_end, trials))
    return ", ".join(f"{n} {end}" for end, n in counts.most_common())


def commonest(trials: Iterable[Trial]) -> tuple[str, int]:
    """How most of the trials ended, and how many did."""
    return Counter(map(_end, trials)).most_common(1)[0]


def describe_chance(study: Study) -> str:
    """What a guess may score on val."""
    share, limit = score_of_guess(study), chance_limit(study)
    text = f"{share:.1%} of val is one class"
    if study.space.selection == "balanced":
        text = f"a guess has a balanced accuracy of {share:.1%}"
    return text if limit is None else f"{text}, and luck may reach {limit:.1%}"


def in_common(study: Study, arm: str, trials: Sequence[Trial], keys: Iterable[str]) -> list[str]:
    """What the configs of trials share of some settings: `key=value`, or `key from a to b`.

    Those that have no effect, and choices in which they differ, are left out.
    """
    configs = [study.config_of(trial.ask) for trial in trials]
    flat, found = [flatten(config) for config in configs], []
    drawn = [key for key in study.space.arm_params(arm) if key not in keys]
    for key in (*keys, *drawn):
        if not all(is_used(key, config) for config in configs):
            continue
        values = [each[key] for each in flat]
        if all(value == values[0] for value in values):
            found.append(f"{key}={_short(values[0])}")
        elif key in keys and all(isinstance(value, int | float) for value in values):
            found.append(f"{key} from {_short(min(values))} to {_short(max(values))}")
    return found


def _end(trial: Trial) -> str:
    return trial.outcome if trial.outcome in BAD_ENDS else AT_CHANCE


def _detail(trials: Sequence[Trial]) -> str:
    """The commonest detail, alike but for numbers, as the first trial has it that ended so."""
    details = [trial.end.detail for trial in trials if trial.end and trial.end.detail]
    kinds = Counter(re.sub(r"\d+", "0", detail) for detail in details)
    if not kinds:
        return ""
    kind, n = kinds.most_common(1)[0]
    first = next(detail for detail in details if re.sub(r"\d+", "0", detail) == kind)
    return first if n == len(trials) else f"{n} of them: {first}"


def _way_out(study: Study, arm: str, end: str, trials: Sequence[Trial]) -> str:
    text = WAYS_OUT[end].format(last=trials[-1].name)
    if end == "failed" and not study.log.is_searched:
        return f"{text}, and go on with --resume"
    again = f"{text}, in another study" if is_hopeless(study, arm) else text
    return f"{again}; or go on with --extend --set budget.give_up={2 * len(trials)}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
