"""What is nice to have in a summary, beside the answer: each part can fail alone."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from search.further.examining import unexamined
from search.further.questions import Further, further
from search.gallery.judging import judges
from search.gallery.lookalikes import LookAlikes, looked_alike
from search.gallery.suspects import Suspects, current
from search.gallery.tsne import Picture, unpictured
from search.judge.best_by_budget import best_so_far, expected_best
from search.judge.fairness import winners_curse
from search.judge.importance import importances
from search.judge.range_edges import edges
from search.judge.rung_audit import audit
from search.judge.verdict import ByClass, by_class, confirmed
from search.log.study import Study
from search.reporting.summary import ArmSummary, Summary, VerdictSummary
from search.strategy.winners import leader
from supcon.parsing import one_line

T = TypeVar("T")

NOT_YET = {"extras": "figures, audit and importances are not made yet: python search/report.py"}
NOT_LISTED = "suspicious labels not listed"
NOT_COMPARED = "look-alikes of test in train not looked for"
NOT_EXAMINED = "measures beyond accuracy not computed"
LATER = "not made yet: python search/report.py"
PLANES = {"encoder": "encoder features", "projection": "after the projection head"}


class Parts:
    """Makes parts of a report, and knows which are missing."""

    def __init__(self, missing: Mapping[str, str] | None = None) -> None:
        """`missing`: those that are known to be."""
        self.missing: dict[str, str] = dict(missing or {})
        """Place in summary.json or in the report -> a line that says what is missing, and why."""

    def made(self, place: str, what: str, make: Callable[[], T], otherwise: T) -> T:
        """What `make` makes; `otherwise` if it fails, whatever the reason.

        Args:
            place: where it belongs, for example `arms.ce.audit`.
            what: the beginning of the line, for example `ce: importance not computed`.
            make: makes it.
            otherwise: what stands in its place.
        """
        try:
            return make()
        except Exception as error:  # a fault of ours, too, must not take the answer away
            where = traceback.extract_tb(error.__traceback__)[-1]
            print(f"{what}: {type(error).__name__} at {where.filename}:{where.lineno}",
                  file=sys.stderr)  # fmt: skip
            self.missing[place] = f"{what}: {one_line(error)}"
            return otherwise


def with_extras(
    study: Study,
    answer: Summary,
    not_drawn: Mapping[str, str],
    not_listed: str = "",
    not_compared: str = "",
    not_examined: str = "",
) -> Summary:
    """The whole summary; `missing` says what could not be made.

    Args:
        study: the study.
        answer: its summary without.
        not_drawn: arm -> why there is no picture of its winner.
        not_listed: why there is no list of suspicious labels.
        not_compared: why there is none of look-alikes.
        not_examined: why a tested run has no measures beyond accuracy.
    """
    parts = Parts()
    arms = {arm: _arm(study, arm, facts, parts) for arm, facts in answer.arms.items()}
    audits = [found.audit.warning for found in arms.values() if found.audit]
    warnings = [*filter(None, audits), *answer.verdict.warnings]
    found = {
        "arms": arms,
        **_by_class(study, answer.verdict.model_copy(update={"warnings": warnings}), parts),
        "tsne": _pictures(study, not_drawn, parts),
        "suspects": parts.made(
            "suspects", NOT_LISTED, partial(_suspects, study, not_listed, parts), None
        ),
        "lookalikes": parts.made(
            "lookalikes", NOT_COMPARED, partial(_lookalikes, study, not_compared, parts), None
        ),
        "further": parts.made(
            "further", NOT_EXAMINED, partial(_further, study, not_examined, parts), None
        ),
        "missing": parts.missing,
    }
    return answer.model_copy(update=found)


def _arm(study: Study, arm: str, facts: ArmSummary, parts: Parts) -> ArmSummary:
    def made(name: str, what: str, make: Any, otherwise: Any = None) -> Any:
        line = f"{arm}: {what} not computed"
        return parts.made(f"arms.{arm}.{name}", line, make, otherwise)

    found = {
        "curse": made("curse", "winner's curse", lambda: _curse(study, arm)),
        "audit": made("audit", "audit of the rungs", lambda: audit(study, arm)),
        "edges": made("edges", "ends of ranges", lambda: edges(study, arm), []),
        "importance": made("importance", "importances", lambda: importances(study, arm)),
        "best_so_far": made(
            "best_so_far", "best score by budget", lambda: best_so_far(study, arm), []
        ),
        "expected_best": made(
            "expected_best", "expected best of random trials", lambda: expected_best(study, arm)
        ),
    }
    return facts.model_copy(update=found)


def _by_class(study: Study, verdict: VerdictSummary, parts: Parts) -> dict[str, Any]:
    """The verdict and what is said of it class by class, of one comparison or within several."""
    what, nothing = "differences class by class not computed", list[ByClass]()
    found = parts.made("per_class", what, partial(by_class, study), nothing)
    own = {each.a: each for each in found}
    several = [
        one.model_copy(update={"per_class": own.get(str(one.a))}) for one in verdict.comparisons
    ]
    return {
        "verdict": verdict.model_copy(update={"comparisons": several}),
        "per_class": None if several else next(iter(found), None),
    }


def _curse(study: Study, arm: str) -> Any:
    best, vals = leader(study, arm), [run.score for run in confirmed(study, arm)]
    if best is None or not vals:
        return None
    return winners_curse(study.log.expected(arm)[best.ask.number], vals)


def _pictures(study: Study, not_drawn: Mapping[str, str], parts: Parts) -> dict[str, Picture]:
    """Those of the winners that are logged; a line for each that is not, or not drawn."""
    for run in unpictured(study):
        why = not_drawn.get(run.ask.arm, LATER)
        parts.missing[f"tsne.{run.ask.arm}"] = f"{run.ask.arm}: t-SNE not drawn: {why}"
    found = {}
    for arm in study.arms:
        keys = [run.ask.key for run in confirmed(study, arm)]
        for picture in (each for each in study.log.pictures if each.key in keys):
            for plane, why in picture.problems.items():
                line = f"{arm}, {PLANES[plane]}: t-SNE not drawn: {why}"
                parts.missing[f"tsne.{arm}.{plane}"] = line
            found[arm] = Picture(
                classes=picture.classes,
                labels=picture.labels,
                encoder=picture.encoder,
                projection=picture.projection,
            )
    return found


def _suspects(study: Study, not_listed: str, parts: Parts) -> Suspects | None:
    """What is logged of suspicious labels; a line if it is not there, though it could be."""
    found = current(study)
    if found is not None:
        return Suspects(
            images=found.n_images,
            probable=found.n_probable,
            found=found.n_found,
            listed=len(found.suspects),
        )
    if judges(study):
        parts.missing["suspects"] = f"{NOT_LISTED}: {not_listed or LATER}"
    return None


def _lookalikes(study: Study, not_compared: str, parts: Parts) -> LookAlikes | None:
    """What is logged of them; a line if it is not there, though it could be."""
    found = looked_alike(study)
    if found is not None:
        return LookAlikes(
            images=found.n_test,
            found=found.n_found,
            listed=len(found.pairs),
            tells_nothing=found.tells_nothing,
            val_images=found.n_val,
            val_found=found.n_val_found,
            tried=found.n_tried,
            tried_found=found.n_tried_found,
        )
    if judges(study):
        parts.missing["lookalikes"] = f"{NOT_COMPARED}: {not_compared or LATER}"
    return None


def _further(study: Study, not_examined: str, parts: Parts) -> Further | None:
    """What is logged of further measures; a line if some run lacks them, though it was tested."""
    if unexamined(study):
        parts.missing["further"] = f"{NOT_EXAMINED}: {not_examined or LATER}"
    return further(study)
