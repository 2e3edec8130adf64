"""summary.json: what can be read back from it."""

from __future__ import annotations

import json
import math

import pytest
from pydantic import ValidationError

from search.judge.fairness import Curse
from search.reporting.summarise import summarise
from search.reporting.summary import Ledger, Summary
from tests.written import WrittenStudy


def test_a_summary_reads_its_own_file(summary: Summary) -> None:
    again = Summary.model_validate_json(summary.to_json())
    assert again == summary
    assert again.arms["ce"].confirm.model_extra == summary.arms["ce"].confirm.model_extra


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_json_lacks_is_refused(value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        Ledger(epochs=1, views=1, train_seconds=value, checkpoint_seconds=0)
    with pytest.raises(ValidationError, match="finite"):
        Curse(value, 0.9, 0.1, None)


def test_without_a_verdict_its_numbers_are_null_and_its_error_is_left_out(
    study: WrittenStudy,
) -> None:
    verdict = json.loads(summarise(study).to_json())["verdict"]
    for name in ("difference", "ci95", "p_value", "detectable", "against_head"):
        assert verdict[name] is None
    assert "standard_error" not in verdict


def test_the_sentences_of_several_comparisons_and_what_follows_them_stand_apart(
    three: tuple[WrittenStudy, Summary], summary: Summary
) -> None:
    several = three[1].verdict
    tail = "The test images of this study had been opened before."
    assert several.sentences == [each.text for each in several.comparisons]
    longer = several.model_copy(update={"text": f"{several.text} {tail}"})
    assert longer.sentences == [*several.sentences, tail]
    assert summary.verdict.sentences == [summary.verdict.text]
