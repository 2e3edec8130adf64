"""What a search space holds, and what an arm and a trial of it are, as a Config."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from search.space.distribution import Distribution
from search.space.resources import Resources
from supcon.config import METRICS, SWITCHES, Config, flatten, is_used, override, renamed
from supcon.parsing import Section, UserError, nearest, parse
from supcon.seeds import derive_seed

_NUMBER = r"(\d+(?:\.\d+)?)"
SPAN = rf"(?:{_NUMBER}d)?(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?"
"""Days, hours, minutes and seconds, in this order."""


def seconds(text: Any) -> Any:
    """`1h30m` -> 5400; what is not text stays as it is."""
    if not isinstance(text, str):
        return text
    if re.fullmatch(r"[\d.]+(:[\d.]+)+", text):
        raise ValueError(
            f"{text} may be hours and minutes, or minutes and seconds; write 1h30m or 1m30s"
        )
    if re.fullmatch(_NUMBER, text, re.ASCII):
        return float(text)
    found = re.fullmatch(SPAN, text, re.ASCII)
    if not text or found is None:
        raise ValueError(f"must be seconds, or a text such as 90m, 1.5h, 1h30m or 1d, got '{text}'")
    units = (86400, 3600, 60, 1)
    return sum(unit * float(part) for unit, part in zip(units, found.groups(), strict=True) if part)


Duration = Annotated[float, Field(gt=0), BeforeValidator(seconds)]


class Budget(Section):
    """What each arm may spend, and the study as a whole; whichever is reached first counts. At
    least one of the first three must be given.
    """

    total_epochs: int | None = Field(None, ge=1, le=10**9)
    """A new trial starts only while its arm has trained fewer epochs in all."""
    trials: int | None = Field(None, ge=1, le=10**6)
    """At most so many trials an arm."""
    time: Duration | None = None
    """Of the whole study, confirmation included: seconds, or a text such as 90m, 1.5h, 1h30m or 1d.
    The time in which it was down does not count."""
    give_up: int | None = Field(8, ge=2, le=10**6)
    """An arm starts no more trials when its first so many all ended infeasible, diverged or failed
    or never scored above chance, or when so many in a row failed. null: it never gives up."""


SMALL = 5
"""Full trials of an arm: with less, many configurations count for more than sure scores of few."""


class Asha(Section):
    """Early stopping by successive halving (arXiv:1810.05934); figures: results/efficiency.md."""

    grace: Annotated[int, Field(ge=1, le=10**6)] | Literal["auto"] = "auto"
    """Epochs of the first rung; no trial pauses or is stopped before. auto: a ninth of run.epochs;
    if trials pause and an arm's total_epochs are less than 5 full trials, a 27th."""
    reduction: int = Field(3, ge=2, le=10**6)
    """About one in so many trials passes a rung; rungs are this factor apart."""
    sentinels: float = Field(0.1, ge=0, le=0.5)
    """Share of the trials, but at least 2 of an arm, that train to the end whatever the rungs say:
    they tell whether the rungs can be trusted; with `promotion` so many go on for each full trial
    that an arm has spent. 0: none."""
    promotion: bool = True
    """Trials that do not pass a rung pause there, on their checkpoint, and go on once they are
    among the best (arXiv:1810.05934, algorithm 2); those that wait may be confirmed too. false:
    they are stopped."""

    def auto_share(self, epochs: int, budget: Budget) -> int:
        """By how much `grace: auto` divides so many epochs of full length: what was best in replays
        of searches, results/efficiency.md.
        """
        is_small = budget.total_epochs is not None and budget.total_epochs < SMALL * epochs
        return 27 if is_small and self.promotion else 9

    def is_sentinel(self, number: int) -> bool:
        """Whether an arm's search trial `number` trains to the end in any case.

        Trials 1 and 4 do, and from then on as many as the share asks for, evenly spread.
        """
        if self.sentinels == 0:
            return False
        due = math.floor(self.sentinels * (number + 1) + 1e-9)
        return number in (1, 4) or due > max(2, math.floor(self.sentinels * number + 1e-9))


class Scheduler(Section):
    """What stops trials early; written as `none`, nothing does, as `auto` the default."""

    asha: Asha | None = Asha()

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value not in ("auto", "none"):
            raise ValueError(f"must be auto, none, or a section as {{asha: ...}}, got '{value}'")
        return {"asha": None} if value == "none" else {}


class Confirm(Section):
    """Training the best configurations again, on seeds that the search did not have."""

    top: int = Field(3, ge=1, le=1000)
    """Configurations of each arm that are trained again, of which one becomes its winner."""
    pick_seeds: int = Field(2, ge=1, le=1000)
    """Fresh seeds of each of them; with `top: 1` there is nothing to pick, and none."""
    seeds: int = Field(5, ge=1, le=1000)
    """Further seeds of each winner, which did not pick it, and of each reference row."""
    references: bool = True
    """Also train the published settings of each loss, and the winner of cross entropy on one view
    of an image for as many views."""


def _is_drawn(value: Any) -> str:
    return "drawn" if isinstance(value, dict | Distribution) else "fixed"


ArmValue = Annotated[
    Annotated[Distribution, Tag("drawn")] | Annotated[Any, Tag("fixed")], Discriminator(_is_drawn)
]


class Space(Section):
    """A whole search: the base config, what is drawn, the arms, and the rules."""

    name: str
    """Names the results folder; default: the name of the file."""
    seed: int = Field(0, ge=0, lt=2**63)
    """All seeds of the study derive from it."""
    base: dict[str, Any] = {}
    """A training config: what all trials share."""
    params: dict[str, Distribution]
    """Dotted config key -> distribution."""
    arms: dict[str, dict[str, ArmValue]] = {
        "supcon": {"loss.name": "supcon"},
        "ce": {"loss.name": "ce"},
    }
    """Arm -> settings that make it, and distributions of parameters that are drawn for it alone;
    the arms share everything else."""
    baseline: str | None = Field(None, exclude_if=lambda value: value is None)
    """The arm that each other one is compared with; default: the one whose loss.name is ce."""
    points: dict[str, list[dict[str, Any]]] = {}
    """Arm -> the params of its first trials (dotted config key -> value, and if wanted `seed`); a
    parameter that is left out has its value in the base config."""
    budget: Budget
    sampler: Literal["tpe", "random", "points"] = "tpe"
    """What suggests trials after the points; `points`: nothing does."""
    selection: Literal["auto", "top1", "balanced"] = "auto"
    """What rungs, sampler, winners and verdict go by: accuracy, or its mean over the classes; auto:
    balanced where the largest class of train has more than 1.2 times the images of the smallest."""
    scheduler: Scheduler = Scheduler()
    confirm: Confirm = Confirm()
    resources: Resources = Resources()

    @model_validator(mode="before")
    @classmethod
    def _by_names_of_today(cls, value: Any) -> Any:
        """Earlier versions had other names of settings."""
        if not isinstance(value, dict):
            return value
        found = dict(value)
        if isinstance(found.get("params"), dict):
            found["params"] = renamed(found["params"])
        if isinstance(found.get("arms"), dict):
            found["arms"] = {
                arm: renamed(own) if isinstance(own, dict) else own
                for arm, own in found["arms"].items()
            }
        return found

    @cached_property
    def config(self) -> Config:
        """The base config."""
        return parse(Config, self.base, "base")

    @property
    def selection_metric(self) -> str:
        """Name of what decides between trials and arms; `auto` of an older log was accuracy."""
        return METRICS["balanced" if self.selection == "balanced" else "top1"]

    @property
    def comparisons(self) -> list[tuple[str, str]]:
        """What is compared: each other arm, minus the baseline."""
        if not self.arms:
            return []
        # Of two arms of one kind the first is compared with the second, as they always were.
        baseline = self.baseline or [*self.arms, *self.plain_arms][-1]
        return [(arm, baseline) for arm in self.arms if arm != baseline]

    @property
    def plain_arms(self) -> list[str]:
        """Those that train cross entropy alone."""
        return [arm for arm in self.arms if self.arm_config(arm).loss.name == "ce"]

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs at which trials are compared; the last is the full length."""
        epochs, asha, rungs = self.config.run.epochs, self.scheduler.asha, list[int]()
        while asha is not None and (rung := self.grace * asha.reduction ** len(rungs)) < epochs:
            rungs.append(rung)
        return (*rungs, epochs)

    @property
    def grace(self) -> int:
        """Epochs of the first rung; without any, of a trial."""
        asha, epochs = self.scheduler.asha, self.config.run.epochs
        if asha is None:
            return epochs
        if asha.grace == "auto":
            return math.ceil(epochs / asha.auto_share(epochs, self.budget))
        return asha.grace

    def fixed(self, arm: str) -> dict[str, Any]:
        """The settings that make an arm."""
        own = self.arms[arm].items()
        return {key: value for key, value in own if not isinstance(value, Distribution)}

    def drawn(self, arm: str) -> dict[str, Distribution]:
        """What the file draws for an arm, whether or not it has an effect there."""
        own = {k: value for k, value in self.arms[arm].items() if isinstance(value, Distribution)}
        shared = {k: d for k, d in self.params.items() if k not in self.arms[arm]}
        return shared | own

    @cached_property
    def _arm_configs(self) -> dict[str, Config]:
        return {}

    def arm_config(self, arm: str) -> Config:
        """The config that an arm's trials start from."""
        if arm not in self._arm_configs:
            self._arm_configs[arm] = self._make_arm_config(arm)
        return self._arm_configs[arm]

    def _make_arm_config(self, arm: str) -> Config:
        changes = {**self.fixed(arm), "run.eval_at": list(self.rungs)}
        if self.selection == "balanced":
            changes["probe.selection"] = "balanced"
        if self.config.run.threads == 0 and self.resources.cpu != "auto":
            changes["run.threads"] = max(1, int(self.resources.cpu))
        if self.resources.gpu == 0 and self.config.run.device == "auto":
            changes["run.device"] = "cpu"  # a GPU that Ray was not asked for is not the trial's
        return override(self.config, changes, f"arms.{arm}")

    @cached_property
    def _arm_params(self) -> dict[str, dict[str, Distribution]]:
        return {}

    def arm_params(self, arm: str) -> dict[str, Distribution]:
        """The parameters drawn for an arm: those that have an effect in some trial of it."""
        if arm not in self._arm_params:
            self._arm_params[arm] = self._make_arm_params(arm)
        return self._arm_params[arm]

    def _make_arm_params(self, arm: str) -> dict[str, Distribution]:
        config, drawn = self.arm_config(arm), self.drawn(arm)
        flat = flatten(config)
        switched = [
            override(config, {switch: value}, "params")
            for switch in SWITCHES & drawn.keys()
            for value in drawn[switch].values
        ]
        params: dict[str, Distribution] = {}
        for key, distribution in drawn.items():
            is_possible = all(
                parent in params or (parent not in drawn and flat[parent] == value)
                for parent, value in distribution.when.items()
            )
            if is_possible and any(is_used(key, c) for c in [config, *switched]):
                params[key] = distribution
        return params

    def point(self, arm: str, number: int) -> tuple[dict[str, Any], int | None] | None:
        """The params of an arm's trial `number`, and its seed if it has one of its own; None: that
        trial is drawn.

        Raises:
            UserError: the point names what is not drawn, or a value outside of its range.
        """
        points = self.points.get(arm, [])
        if number >= len(points):
            return None
        given, where = dict(points[number]), f"points.{arm}[{number}]"
        seed = given.pop("seed", None)
        if seed is not None and (type(seed) is not int or not 0 <= seed < 2**32):
            raise UserError(f"{where}: seed must be a whole number from 0 to 2**32 - 1, got {seed}")
        params, drawn = self.arm_params(arm), dict[str, Any]()
        flat = flatten(self.arm_config(arm))
        for key, distribution in params.items():
            if not distribution.is_drawn(drawn, params):
                continue
            drawn[key] = given.pop(key, flat[key])
            if not distribution.can_be(drawn[key]):
                raise UserError(
                    f"{where}: {key} must lie in {distribution}, got {drawn[key]!r}; give it a "
                    f"value there, widen params.{key}, or leave the points out (--set points={{}})"
                )
        if given:
            raise UserError(
                f"{where}: '{next(iter(given))}' is not drawn for {arm} there"
                f"{nearest(next(iter(given)), params)}"
            )
        return drawn, seed

    def trial_config(self, arm: str, params: Mapping[str, Any], seed: int) -> Config:
        """The complete config of one trial."""
        return override(self.arm_config(arm), {**params, "run.seed": seed}, f"trial of {arm}")

    def trial_seed(self, arm: str, phase: str, number: int) -> int:
        """The own seed of a trial; `phase`: what it is for, as `search.log.events.Phase`."""
        return derive_seed(self.seed, arm, phase, number)

    def dump(self) -> dict[str, Any]:
        """A tree that `parse_space` reads back."""
        tree = self.model_dump(mode="json")
        if self.scheduler.asha is not None:  # a larger budget later moves no rung
            tree["scheduler"]["asha"]["grace"] = self.grace
        tree["params"] = {key: d.as_pair() for key, d in self.params.items()}
        for arm in self.arms:
            own = self.drawn(arm).keys() & self.arms[arm].keys()
            pairs = {key: self.arms[arm][key].as_pair() for key in self.arms[arm] if key in own}
            tree["arms"][arm] = self.fixed(arm) | pairs
        return tree


def is_plain_name(name: str) -> bool:
    """Whether a study's name is a name of a folder that stays inside the results folder."""
    return 0 < len(name.strip(".")) <= 200 and all(
        c.isascii() and (c.isalnum() or c in "._-") for c in name
    )
