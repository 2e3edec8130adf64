"""What a study says of its arms, when it says nothing, and what it adds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from search.judge.comparison import compare
from search.judge.difference import holm
from search.judge.sealed import correctness
from search.judge.verdict import Comparison, by_class, confirmed, verdict
from search.log.events import Ask, Audited, Searched
from search.log.journal import Journal
from search.log.packed import pack, unpack, unpack_labels
from search.log.study import Study
from search.space.loading import parse_space
from supcon.images.loading import load_test
from tests import reported as studies
from tests.trained_study import TrainedStudy
from tests.written import TREE, WrittenStudy


def compared(study: Study) -> Comparison:
    """The comparison of a study of two arms."""
    (only,) = verdict(study).comparisons
    return only


@pytest.mark.parametrize("n_seeds", [0, 2])
def test_fewer_than_three_seeds_give_no_verdict(tmp_path: Path, n_seeds: int) -> None:
    study = WrittenStudy(tmp_path, confirm=TREE["confirm"] | {"top": 1})
    for arm in ("supcon", "ce"):
        study.trial(arm, 0, 0.8)
    study.add(Searched)
    for arm in ("supcon", "ce"):
        for number in range(n_seeds):
            study.trial(arm, number, 0.7, "confirm", of=0)
        study.test(arm, list(range(n_seeds)), n_seeds)
    found = compared(study)
    assert (found.probes, found.against_head, found.n_seeds) == (None, None, n_seeds)
    assert found.text == (
        f"No verdict: it needs 3 confirmed and tested seeds of each arm, there are {n_seeds}."
    )
    assert by_class(study) == []


def test_a_search_that_goes_on_has_no_verdict(tmp_path: Path) -> None:
    study = WrittenStudy(tmp_path)
    study.trial("ce", 0, 0.8)
    assert verdict(study).text == "No verdict: the search is not over; go on with --resume."


def test_the_verdict_is_supcon_minus_ce_whatever_the_order_of_arms(study: TrainedStudy) -> None:
    for arm in ("supcon", "ce"):
        study.confirm(arm, 0, 3)
    study.open_test()
    found = compared(study)
    assert (found.a, found.b) == ("supcon", "ce")
    assert found.probes is not None
    arms = dict(reversed(study.tree["arms"].items()))
    swapped = Study(parse_space(study.tree | {"arms": arms}, "x"), study.log)
    assert swapped.arms == ["ce", "supcon"]
    assert compared(swapped) == found


def test_a_verdict_after_an_earlier_opening_says_so(study: TrainedStudy) -> None:
    for arm in ("supcon", "ce"):
        study.confirm(arm, 0, 3)
    study.open_test()
    first = verdict(study).text
    assert "opened before" not in first
    study.search("ce", 1, 0.9)  # a larger budget found a better one
    study.confirm("ce", 1, 3)
    study.open_test()
    text = verdict(study).text
    assert text.startswith("These two configurations on this split")
    assert "had been opened before (3 openings in all" in text


def test_an_arm_that_was_opened_alone_is_not_forgotten(study: TrainedStudy) -> None:
    study.confirm("supcon", 0, 3)
    study.open_test()
    study.confirm("ce", 0, 3)
    study.open_test()
    assert "opened before" in verdict(study).text


def test_runs_that_diverged_are_named_next_to_the_verdict(study: TrainedStudy) -> None:
    for arm in ("supcon", "ce"):
        study.confirm(arm, 0, 3)
    params = {"optim.lr_per_256": 0.2}
    ask = Ask(arm="ce", phase="confirm", number=3, params=params, seed=9, of=0)
    study.log.append(ask)
    study.log.end(ask.key, "diverged")
    study.open_test()
    (warning,) = verdict(study).warnings
    assert "ce winner: of 4 runs on fresh seeds 1 diverged" in warning


def test_a_run_that_failed_is_no_lost_one_after_another_seed_took_its_place(
    study: TrainedStudy,
) -> None:
    study.confirm("supcon", 0, 3)
    study.confirm("ce", 0, 2)
    params = {"optim.lr_per_256": 0.2}
    ask = Ask(arm="ce", phase="confirm", number=2, params=params, seed=9, of=0)
    study.log.append(ask)
    study.log.end(ask.key, "failed", detail="OSError: no space left on device")
    warnings = verdict(study).warnings
    assert "ce winner: of 3 runs on fresh seeds 1 failed" in warnings[0]
    study.go_on()
    study.confirm("ce", 0, 1)
    study.open_test()
    assert (compared(study).n_seeds, verdict(study).warnings) == (3, [])


def test_classes_are_compared_one_by_one(study: TrainedStudy) -> None:
    for arm in ("supcon", "ce"):
        study.confirm(arm, 0, 3)
    study.open_test()
    (found,), probes = by_class(study), compared(study).probes
    assert probes is not None
    assert found.classes == list(study.data.classes)
    mean = np.average(found.difference, weights=found.n)
    assert mean == pytest.approx(probes.difference)


def test_by_balanced_accuracy_the_verdict_is_the_mean_over_the_classes(study: TrainedStudy) -> None:
    for arm in ("supcon", "ce"):
        study.confirm(arm, 0, 3)
    study.open_test()
    balanced = Study(parse_space(study.tree | {"selection": "balanced"}, "x"), study.log)
    found, (classes,) = compared(balanced), by_class(balanced)
    assert found.probes is not None
    assert found.probes.difference == pytest.approx(np.mean(classes.difference))
    assert found.probes.difference != compared(study).probes.difference  # type: ignore[union-attr]
    assert " points of balanced test accuracy, 95 % interval" in found.text
    assert " points of test accuracy, 95 % interval" in verdict(study).text
    means = []
    for arm in ("supcon", "ce"):
        tested = [run.tested for run in balanced.log.of(arm, "confirm")]
        labels = unpack_labels(balanced.log.openings[0].labels)
        right = [unpack(each.correct["probe"], each.n_images) for each in tested if each]
        shares = [[row[labels == k].mean() for k in range(10)] for row in right]
        means.append(np.mean(shares))
    assert found.probes.difference == pytest.approx(means[0] - means[1])


def test_groups_of_test_images_are_resampled_and_the_log_alone_tells_them(
    study: TrainedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = replace(load_test(study.space.config.data), groups=np.arange(360) // 20)
    for name in ("load_test", "find_test"):
        monkeypatch.setattr(f"search.judge.sealed.{name}", lambda _: test)
    for arm in ("supcon", "ce"):
        study.confirm(arm, 0, 3)
    study.open_test()
    found = compared(study)
    assert found.probes is not None
    assert found.probes.n_groups == 18
    assert "3 seeds each, test images in 18 groups" in found.text
    a, b = (correctness(confirmed(study, arm), "probe") for arm in ("supcon", "ce"))
    assert test.groups is not None
    assert found.probes == compare(a, b, test.groups)
    (per_class,) = by_class(study)
    assert all(np.isfinite([*per_class.low, *per_class.high]))
    monkeypatch.undo()
    reread = Study(study.space, Journal.open(study.folder.events))
    assert compared(reread) == found


# Test images that have a copy in train


def audited(study: WrittenStudy, is_copy: np.ndarray) -> None:
    study.add(
        Audited, looks=[], twins=[], n_test=len(is_copy), test_in_train=pack(is_copy),
        test_in_val=pack(~is_copy), copies=[],
    )  # fmt: skip


def scored(path: Path, right: dict[str, np.ndarray]) -> WrittenStudy:
    """Both arms confirmed; three seeds each that are right on the same images."""
    study = studies.searched(path)
    studies.confirm(study, 3, right)
    return study


def halves(supcon: float, ce: float) -> dict[str, np.ndarray]:
    """On the first 60 of 120 images the arms are equal, on the last 60 so good."""
    rng = np.random.default_rng(0)
    same = rng.random(60) < 0.8
    return {
        arm: np.concatenate([same, np.arange(60) < 60 * share])
        for arm, share in (("supcon", supcon), ("ce", ce))
    }


def test_a_verdict_that_hangs_on_copies_of_training_images_says_so_first(tmp_path: Path) -> None:
    study = scored(tmp_path, halves(supcon=1.0, ce=0.4))
    before = compared(study)
    assert "supcon beats ce" in before.text
    assert before.without_copies is None
    audited(study, np.arange(120) >= 60)
    found = compared(study)
    assert found.probes == before.probes
    assert found.text.startswith("The verdict hangs on test images that have a copy in train (60 ")
    assert found.text.index("no difference shown") < found.text.index("supcon beats ce")
    clean = found.without_copies
    assert clean is not None
    assert clean.probes is not None
    assert (clean.copies, clean.images, clean.agrees) == (60, 60, False)
    assert clean.probes.difference == 0


def test_a_verdict_that_stands_without_copies_says_so_last(tmp_path: Path) -> None:
    study = scored(tmp_path, halves(supcon=1.0, ce=0.4))
    audited(study, np.arange(120) == 3)
    text = verdict(study).text
    assert text.startswith("These two configurations on this split: supcon beats ce")
    assert "Without the 1 of 120 test images that have a copy in train it is the same" in text


@pytest.mark.parametrize("is_copy", [np.zeros(120, dtype=bool), np.ones(77, dtype=bool)])
def test_without_copies_or_with_other_images_nothing_is_said(
    tmp_path: Path, is_copy: np.ndarray
) -> None:
    study = scored(tmp_path, halves(1.0, 0.4))
    before = verdict(study)
    audited(study, is_copy)
    assert verdict(study) == before


@pytest.mark.parametrize("left", [0, 1])
def test_where_all_test_images_are_copies_the_verdict_begins_with_that(
    tmp_path: Path, left: int
) -> None:
    study = scored(tmp_path, halves(1.0, 0.4))
    audited(study, np.arange(120) >= left)
    found = compared(study)
    assert found.text.startswith(f"{120 - left} of 120 test images have a copy in train: scores")
    assert found.without_copies is not None
    assert found.without_copies.probes is None


# One arm, three arms and more


def right(share: float, seed: int = 0) -> np.ndarray:
    """On which of 120 images an arm is: all arms on the same 48 of the first half, and a share of
    the other.
    """
    same = np.random.default_rng(seed).random(60) < 0.8
    return np.concatenate([same, np.arange(60) < 60 * share])


def three(path: Path, shares: dict[str, float], **seeds: int) -> WrittenStudy:
    """Three arms, confirmed on three seeds each unless it says otherwise."""
    study = studies.searched(path, studies.THREE)
    study.add(Searched)
    n_seeds = {arm: seeds.get(arm, 3) for arm in study.arms}
    studies.confirm(study, n_seeds, {arm: right(shares.get(arm, 0.5)) for arm in study.arms})
    return study


def test_an_only_arm_has_nothing_to_compare_it_with_and_that_is_said(tmp_path: Path) -> None:
    study = studies.searched(tmp_path, {"supcon": {"loss.name": "supcon"}})
    study.add(Searched)
    studies.confirm(study, 3)
    found = verdict(study)
    assert found.comparisons == []
    assert found.text.startswith("No verdict: supcon is the only arm, so there is nothing to compa")


def test_each_arm_is_compared_with_the_baseline_and_holm_judges_them(tmp_path: Path) -> None:
    study = three(tmp_path, {"supcon": 1.0, "sincere": 0.52, "ce": 0.5})
    found = verdict(study)
    assert [(each.a, each.b) for each in found.comparisons] == [("supcon", "ce"), ("sincere", "ce")]
    ours, theirs, baseline = (correctness(confirmed(study, arm), "probe") for arm in study.arms)
    alone = [compare(ours, baseline), compare(theirs, baseline)]
    judged = holm(alone, 2)
    assert [each.probes for each in found.comparisons] == judged
    assert [d.judged.level for d in judged if d.judged] == [0.025, 0.05]
    first, second = found.comparisons
    assert first.text.startswith(
        "These configurations of supcon and ce on this split: supcon beats ce"
    )
    assert "97.5 % interval" in first.text
    assert "adjusted for 2 comparisons (Holm), 3 seeds each" in first.text
    assert second.text.startswith(
        "These configurations of sincere and ce on this split: no difference shown"
    )
    assert "95 % interval" in second.text
    assert found.text == f"{first.text} {second.text}"
    assert first.against_head is not None
    assert first.against_head.judged is not None
    assert first.against_head.judged.level == 0.025


def test_the_baseline_of_a_space_is_what_all_others_are_compared_with(tmp_path: Path) -> None:
    study = studies.searched(tmp_path, studies.THREE, baseline="sincere")
    study.add(Searched)
    studies.confirm(study, 3, {"supcon": right(0.5), "sincere": right(0.2), "ce": right(1.0)})
    found = verdict(study)
    assert [(each.a, each.b) for each in found.comparisons] == [
        ("supcon", "sincere"), ("ce", "sincere"),
    ]  # fmt: skip
    assert all(f"{each.a} beats sincere" in each.text for each in found.comparisons)
    assert all(each.against_head is None for each in found.comparisons)  # it has none


def of_which_gave_up(tmp_path: Path, hopeless: str) -> WrittenStudy:
    """Three arms that are searched, of which one diverged twice and gave up."""
    study = studies.unsearched(tmp_path, studies.THREE)
    study.restart(budget={"trials": 9, "give_up": 2})
    for number in range(2):
        study.ask(hopeless, number)
        study.end(hopeless, number, "diverged")
    for arm in (each for each in studies.THREE if each != hopeless):
        study.trial(arm, 0, 0.8)
    study.add(Searched)
    return study


def test_an_arm_that_gave_up_is_left_out_and_the_others_are_compared_without_it(
    tmp_path: Path,
) -> None:
    study = of_which_gave_up(tmp_path, "sincere")
    studies.confirm(study, {"supcon": 3, "ce": 3}, {"supcon": right(1.0), "ce": right(0.4)})
    found = verdict(study)
    first, second = found.comparisons
    assert first.text.startswith("These two configurations on this split: supcon beats ce")
    assert first.probes is not None
    assert first.probes.judged is None  # by itself, at 5 %
    assert second.text.startswith("Not compared: sincere gave up after 2 trials: 2 of 2 ended div")
    assert (second.probes, second.n_seeds) == (None, 0)
    assert found.text == f"{first.text} {second.text}"


def test_without_the_baseline_nothing_is_compared(tmp_path: Path) -> None:
    study = of_which_gave_up(tmp_path, "ce")
    studies.confirm(study, {"supcon": 3, "sincere": 3})
    assert verdict(study).text.startswith("No verdict: ce gave up after 2 trials")


def test_an_arm_whose_runs_are_still_to_come_counts_already(tmp_path: Path) -> None:
    study = three(tmp_path, {"supcon": 1.0}, sincere=2)
    first, second = verdict(study).comparisons
    assert first.probes is not None
    assert first.probes.judged is not None
    assert (first.probes.judged.comparisons, first.probes.judged.level) == (2, 0.025)
    assert second.text == (
        "Not compared yet: sincere has 2 confirmed and tested seeds, and 3 are needed."
    )


def test_an_arm_that_lost_its_runs_for_good_counts_no_more(tmp_path: Path) -> None:
    study = three(tmp_path, {"supcon": 1.0}, sincere=2)
    study.ask("sincere", 2, "confirm", of=1, params={"optim.lr_per_256": 0.2})
    study.end("sincere", 2, "diverged", "confirm")
    found = verdict(study)
    first, second = found.comparisons
    assert first.probes is not None
    assert first.probes.judged is None
    assert second.text.startswith("Not compared: sincere has 2 confirmed and tested seeds")
    assert any("sincere winner: of 3 runs" in warning for warning in found.warnings)


def test_too_few_seeds_of_the_baseline_or_of_all_others_give_no_verdict(tmp_path: Path) -> None:
    for number, seeds in enumerate([{"ce": 2}, {"supcon": 2, "sincere": 0}]):
        text = verdict(three(tmp_path / str(number), {}, **seeds)).text
        assert text == (
            f"No verdict: it needs 3 confirmed and tested seeds of each arm, there are "
            f"{min(seeds.values())}."
        )


def test_copies_are_left_out_of_each_comparison_and_all_are_judged_again(tmp_path: Path) -> None:
    study = three(tmp_path, {"supcon": 1.0, "sincere": 0.5, "ce": 0.4})
    audited(study, np.arange(120) >= 60)
    first, second = verdict(study).comparisons
    assert first.text.startswith(
        "The verdict on supcon and ce hangs on test images that have a copy in train (60 of 120 "
        "test images). Without them: no difference shown"
    )
    for each in (first, second):
        assert each.without_copies is not None
        assert each.without_copies.probes is not None
        assert each.without_copies.probes.judged is not None
        assert each.without_copies.probes.judged.level == 0.025  # none is shown
    assert first.without_copies != second.without_copies or first.probes != second.probes


def test_classes_are_compared_in_each_comparison(tmp_path: Path) -> None:
    study = three(tmp_path, {"supcon": 1.0})
    found = by_class(study)
    assert [(each.a, each.b) for each in found] == [("supcon", "ce"), ("sincere", "ce")]
    for each, compared_ in zip(found, verdict(study).comparisons, strict=True):
        assert compared_.probes is not None
        mean = np.average(each.difference, weights=each.n)
        assert mean == pytest.approx(compared_.probes.difference)
