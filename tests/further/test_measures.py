"""What is said of each measure."""

from __future__ import annotations

from search.further.measures import ASKED, MEASURES


def test_thirteen_questions_are_asked_and_each_measure_says_which_direction_is_better() -> None:
    assert [measure.name for measure in ASKED] == [
        "ece", "ece_scaled", "nll", "nll_scaled", "macro_f1", "worst_class", "corrupted_top1",
        "auroc_knn", "fpr95_knn", "auroc_energy", "fpr95_energy", "auroc_softmax", "fpr95_softmax",
    ]  # fmt: skip
    for name, measure in MEASURES.items():
        assert measure.name == name
        assert measure.described == f"{measure.meaning}; {measure.direction}"


def test_errors_are_better_lower_and_shares_of_right_answers_higher() -> None:
    lower = {name for name, measure in MEASURES.items() if not measure.is_higher_better}
    assert lower == {
        "ece", "ece_scaled", "nll", "nll_scaled", "fpr95_knn", "fpr95_energy", "fpr95_softmax",
    }  # fmt: skip
