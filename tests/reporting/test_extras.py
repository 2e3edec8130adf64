"""What a summary holds beside the answer."""

from __future__ import annotations

from pathlib import Path

from search.log.events import Pictured
from search.reporting.extras import with_extras
from search.reporting.summarise import answer
from tests.reported import confirm, full, searched


def test_the_answer_is_the_same_with_and_without_the_rest(tmp_path: Path) -> None:
    study = full(tmp_path)
    first = answer(study)
    whole = with_extras(study, first, {})
    assert "not made yet" in first.missing["extras"]
    assert whole.verdict.text == first.verdict.text
    assert whole.rows == first.rows
    assert all(arm.audit is None for arm in first.arms.values())
    assert all(arm.audit is not None for arm in whole.arms.values())


def test_a_winner_without_a_picture_is_said_to_have_none_and_why(tmp_path: Path) -> None:
    study = searched(tmp_path)
    confirm(study, 3)
    first = answer(study)
    assert "not made yet" in with_extras(study, first, {}).missing["tsne.ce"]
    missing = with_extras(study, first, {"ce": "no memory"}).missing
    assert missing["tsne.ce"] == "ce: t-SNE not drawn: no memory"


def test_what_can_not_be_drawn_of_collapsed_features_is_said_for_each_picture(
    tmp_path: Path,
) -> None:
    study = searched(tmp_path)
    confirm(study, 3)
    why = "the features of all images are equal"
    study.add(
        Pictured, arm="supcon", phase="confirm", number=0, classes=["a"], labels=[0],
        encoder=[(0, 1)], projection=None, problems={"projection": why},
    )  # fmt: skip
    summary = with_extras(study, answer(study), {})
    assert summary.missing["tsne.supcon.projection"] == (
        f"supcon, after the projection head: t-SNE not drawn: {why}"
    )
    assert summary.tsne["supcon"].encoder == [(0, 1)]
