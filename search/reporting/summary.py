"""summary.json: what a study found, as typed values. Every form of the report is made from it.

results/README.md has its table: `python -m search.reporting.summary_table`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ConfigDict, Field

from search.further.questions import Further
from search.gallery.lookalikes import LookAlikes
from search.gallery.suspects import Suspects
from search.gallery.tsne import Picture
from search.judge.best_by_budget import ExpectedBest
from search.judge.difference import ALPHA, Difference, Judged
from search.judge.fairness import Curse
from search.judge.importance import Importance
from search.judge.range_edges import Edge
from search.judge.rung_audit import Audit
from search.judge.sealed import Opening
from search.judge.sentence import WithoutCopies
from search.judge.verdict import ByClass
from search.reporting.provenance import Resumed
from supcon.audit.findings import Looks, Twins
from supcon.parsing import Section


class Best(Section):
    """An arm's winner, a search trial; until there is one, the search's best."""

    number: int
    params: dict[str, Any]
    seed: int
    """That it had in the search."""
    paused_after: int | None = Field(None, exclude_if=lambda value: value is None)
    """Epochs after which it waited when the search was over, and has `val`; left out: it was
    trained to the end."""
    val: dict[str, float]
    """Its scores in the search: `probe_top1`, `knn_top1` (weighted vote), `knn1_top1` (nearest
    neighbour), after a projection head `projection_knn_top1`, for cross entropy `head_top1`; where
    classes are unequal the same by balanced accuracy (`probe_balanced` and so on); what selects by
    weights (`probe_top1_raw`, `_ema`, `_swa`); of the encoder features the `effective_rank`,
    `collapsed` (1: all are equal) and `collapsed_classes`, how many have features that are all
    equal, and their geometry, which is described under `trials.csv`: `alignment`, `uniformity`,
    `nc1`, `nc2_norms`, `nc2_angles`, after a projection head also `projection_alignment` and so
    on."""


class Confirmed(Section):
    """The winner's tested runs on fresh seeds; beside `val`, `test_probe_top1`, `test_knn_top1`,
    `test_head_top1` and so on.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, list[float]]

    seeds: list[int]
    """Those that judge the winner; they did not pick it."""
    runs: list[str] = []
    """Their folders in `trials/`; `python -m supcon bundle` finds their models by it."""
    val: dict[str, list[float]]


class Ledger(Section):
    """What runs have cost, as far as reported."""

    epochs: int
    views: int
    train_seconds: float
    checkpoint_seconds: float
    """For which training waited for checkpoints, in the processes that trained last."""


class ArmSummary(Section):
    """What is known of an arm."""

    trials: int
    """Number of search trials."""
    outcomes: dict[str, int]
    """How they ended: completed, stopped (ASHA, or waiting at a rung when the search
    was over), cut (the time was up), infeasible (out of memory),
    diverged, failed, unfinished."""
    best: Best | None
    """The arm's winner, a search trial (until there is one: the search's best); null if no trial
    was trained to the end, or it gave up over trials that came to nothing."""
    gave_up: str | None
    """Why it started no more trials, what these shared, and the way out; null if it did not give
    up."""
    collapsed: int
    """Search trials in which the features of all val images are equal."""
    collapsed_classes: int
    """Others in which those of whole classes are."""
    is_decided: bool
    """Whether fresh seeds have decided on it."""
    curse: Curse | None = None
    """The winner's curse: how much better its configuration looked in the search."""
    confirm: Confirmed
    """The runs that judge the winner; `test_probe_top1`, `test_knn_top1`, `test_head_top1` and so
    on stand beside `val`."""
    ledger: Ledger
    """What the search spent on the arm, as far as reported."""
    confirm_ledger: Ledger
    """Likewise for all runs after the search."""
    reached: dict[int, tuple[int, int]]
    """Rung -> trials that reached it, and how many of them went on."""
    audit: Audit | None = None
    """Early stopping: can the rungs be trusted? null without any."""
    edges: list[Edge] = []
    """Parameters that are good at an end of their range."""
    importance: Importance | None = None
    """PED-ANOVA at one epoch; null with too few trials."""
    best_so_far: list[tuple[int, float]] = []
    """Pairs of epochs spent and the best full-length score by then."""
    expected_best: ExpectedBest | None = None
    """The best of n random start-up trials, to be expected."""


class Row(Section):
    """A row of the table of results: a winner or a reference, on several fresh seeds."""

    arm: str
    phase: str
    label: str
    params: dict[str, Any]
    seeds: list[int]
    val: dict[str, list[float]]
    """Scores by classifier, in the order of seeds."""
    test: dict[str, list[float]]


class Guess(Section):
    """What always naming the largest class of val scores."""

    val: float
    """Accuracy: its share of the images."""
    test: float | None
    """null while the test images are sealed."""
    balanced: float
    """Balanced accuracy, 1 by the number of classes."""


def _is_nothing(value: Any) -> bool:
    return value is None or value == []


class Compared(Section):
    """Linear probe against linear probe on test: a minus b; null where they are not compared."""

    a: str | None
    b: str | None
    """What is compared: a minus b, the baseline; null with another number of arms than two."""
    difference: float | None
    ci95: tuple[float, float] | None
    p_value: float | None
    detectable: float | None
    """The smallest true difference that is found 4 times in 5."""
    n_seeds: int
    """Of the arm that has fewer."""
    against_head: Difference | None
    """The same of a's probe minus b's own head, where it has one."""
    without_copies: WithoutCopies | None
    """The same on the test images that have no copy in train; null: all are such, or it is not
    known."""
    standard_error: float | None = Field(None, exclude_if=_is_nothing)
    """Left out without a verdict."""
    judged: Judged | None = Field(None, exclude_if=_is_nothing)
    """As one of several comparisons; left out where it is the only one, or none."""

    @property
    def level(self) -> float:
        """At which a difference would be shown."""
        return self.judged.level if self.judged else ALPHA

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of confidence 1 - level."""
        return self.judged.interval if self.judged else self.ci95

    @property
    def smallest(self) -> float | None:
        """What is detectable at that level."""
        return self.judged.detectable if self.judged else self.detectable


class ComparisonSummary(Compared):
    """One of several comparisons: an arm minus the baseline."""

    per_class: ByClass | None = None
    """The same difference class by class."""
    text: str
    """The sentence."""


class VerdictSummary(Compared):
    """Linear probe against linear probe on test: a minus b; null without a verdict, and where more
    than two arms are compared.
    """

    warnings: list[str]
    """What to keep in mind."""
    text: str
    """The sentence, or all of them."""
    comparisons: list[ComparisonSummary] = Field([], exclude_if=_is_nothing)
    """Each other arm minus the baseline; left out where there is one comparison, or none."""

    @property
    def each(self) -> Sequence[Compared]:
        """What is compared, be it one or several."""
        return self.comparisons or ([self] if self.a is not None else [])

    @property
    def sentences(self) -> list[str]:
        """`text` in parts: a sentence of each comparison, and what is said of all."""
        if not self.is_given:
            return [self.text]
        said = [each.text for each in self.comparisons]
        return [text for text in [*said, self.text.removeprefix(" ".join(said)).strip()] if text]

    @property
    def is_given(self) -> bool:
        """Whether anything could be compared."""
        return any(each.difference is not None for each in self.each)


class Images(Section):
    """The images, looked over before the study; all pairs of copies are in `audit.csv`."""

    looks: list[Looks]
    """An entry for each part: train, val, test."""
    twins: list[Twins]
    """An entry for each two parts."""
    text: list[str]
    """What was found, in sentences."""


class Summary(Section):
    """What a study found. Accuracies are fractions of 1; lists have one entry for each confirmed
    seed, in the same order.
    """

    study: str
    commit: str
    """That the study was begun with; likewise the four that follow."""
    versions: dict[str, str]
    machine: str
    data_hash: str
    """Of train and val: images, labels, class names."""
    opened: str
    """When it was begun."""
    resumed_with: list[Resumed]
    """Other code, packages or machines that it went on with."""
    metric: str
    """What selects and is compared: `val/probe_top1`, accuracy of the linear probe cross-fitted on
    val, or `val/probe_balanced`, its balanced accuracy."""
    seed: int
    """Of the study."""
    arms: dict[str, ArmSummary]
    images: Images | None
    """What there is to know of the images; null: an older log does not tell."""
    rows: list[Row]
    """Winners and references."""
    guess: Guess | None = None
    """What always naming the largest class scores; null where classes are equal."""
    verdict: VerdictSummary
    """What the winners come to on test."""
    per_class: ByClass | None
    """The same difference class by class; null without a verdict, or with several comparisons."""
    tsne: dict[str, Picture]
    """Arm -> a picture of val by its winner."""
    suspects: Suspects | None = None
    """Labels that are suspicious to the winners; null before the test images were opened."""
    lookalikes: LookAlikes | None = None
    """Test images that may show what a training image shows; null likewise."""
    further: Further | None = None
    """What lies beyond accuracy: calibration, single classes, corrupted images, images of unknown
    classes; null before the test images were opened."""
    test_openings: list[Opening]
    """The ledger of the sealed test images; null what an older log does not tell."""
    test_evaluations: int
    """Runs that were scored on them."""
    protocol: list[str]
    """Sentences."""
    reproduce: list[str]
    """Commands."""
    wider: str | None
    """Name of the file with the wider space; null if nothing lies at an end of its range."""
    missing: dict[str, str]
    """Place in this file, or a part of the report -> a line that says what could not be made, and
    why; `python search/report.py` tries again."""

    @property
    def classes(self) -> list[ByClass]:
        """The differences class by class, of each comparison that has them."""
        several = [each.per_class for each in self.verdict.comparisons]
        return [each for each in [self.per_class, *several] if each is not None]

    def to_json(self) -> str:
        """The text of summary.json."""
        return json.dumps(self.model_dump(mode="json"), indent=2, allow_nan=False) + "\n"
