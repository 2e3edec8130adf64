"""The text of a proposed space."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.proposal.choices import Network, networks
from search.proposal.hours import PLANS, Plan
from search.proposal.survey import survey
from search.proposal.text import space_text
from search.space.loading import load_space
from tests.proposal.conftest import Folder


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize("counts", [{"cat": 90, "dog": 60}, {"cat": 20, "dog": 5}])
def test_every_proposal_is_a_space(
    folder: Folder, tmp_path: Path, plan: Plan, on_gpu: bool, counts: dict[str, int]
) -> None:
    found, _ = survey(folder(counts, size=(90, 70)))
    out = tmp_path / "my space.yaml"
    for network in networks(found, on_gpu=on_gpu, can_pretrain=True):
        written = Plan(**{**vars(plan), "epochs": plan.least_epochs})
        out.write_text(space_text(found, network, written, out, 2, on_gpu=on_gpu))
        space = load_space(out, {})
        assert space.name == "my-space"
        assert space.config.run.epochs == plan.least_epochs
        assert space.config.data.image_size == network.image_size
        assert (space.budget.trials, space.budget.time) == (plan.trials, None)
        assert space.confirm.seeds == plan.seeds
        drawn = space.arm_params("ce").get("data.sampler")
        assert (drawn is not None) is (counts["dog"] == 5)


def test_each_choice_has_its_reason_and_flips_are_a_question(folder: Folder) -> None:
    found, _ = survey(folder({"cat": 90, "dog": 60}))
    plan = Plan(9, 1, 1, 3, references=False, least_epochs=8, epochs=20, hours=1.5)
    text = space_text(found, Network(("resnet18",), 24), plan, Path("x.yaml"), 2, on_gpu=False)
    lines = text.splitlines()
    assert lines[0] == "# python search/run.py --space x.yaml"
    assert "turned left to right" in text
    assert "# augment: {flip: 0, jitter: 0, grey: 0}" in text
    assert "9 trials" not in text  # said once, in the line of the budget
    (budget,) = [line for line in lines if line.startswith("budget:")]
    assert budget.endswith("# of each arm; about 1.5 h in all; `time: 4h` beside it is a limit")
    assert max(map(len, lines)) < 130


def test_what_is_said_of_unknown_images_is_written_and_held_out_classes_do_not_count(
    folder: Folder, tmp_path: Path
) -> None:
    found, _ = survey(folder({"cat": 20, "dog": 20, "owl": 20}), {"hold_out": 1})
    plan = Plan(**{**vars(PLANS[0]), "epochs": 60})
    text = space_text(found, Network(("resnet18",), 24), plan, Path("x.yaml"), 2, on_gpu=False)
    assert "for 40 images of 2 classes" in text
    (tmp_path / "x.yaml").write_text(text)
    assert load_space(tmp_path / "x.yaml", {}).config.data.hold_out == 1


def test_what_is_commented_out_is_part_of_a_space_once_its_signs_are_gone(
    folder: Folder, tmp_path: Path
) -> None:
    found, _ = survey(folder({"cat": 90, "dog": 60}))
    plan = Plan(**{**vars(PLANS[0]), "epochs": 60})
    out = tmp_path / "x.yaml"
    text = space_text(found, Network(("resnet18",), 24), plan, out, 2, on_gpu=False)
    for setting in ("augment", "augment.cutmix", "augment.mix_probability", "supcon_ce"):
        assert f"  # {setting}: " in text
        text = text.replace(f"  # {setting}: ", f"  {setting}: ")
    out.write_text(text)
    space = load_space(out, {})
    assert space.comparisons == [("supcon", "ce"), ("supcon_ce", "ce")]
    assert space.config.augment.flip == 0
    assert {"augment.cutmix", "augment.mix_probability"} < space.arm_params("supcon").keys()
    assert "loss.label_smoothing" in space.arm_params("ce")


@pytest.mark.parametrize("name", ["on", "12:00", "a b", "été", "x#1", "5"])
def test_folders_of_any_name_are_written_as_they_are(
    tmp_path: Path, folder: Folder, name: str
) -> None:
    root = folder({"cat": 20, "dog": 20}).rename(tmp_path / name)
    found, _ = survey(root)
    out = tmp_path / "x.yaml"
    plan = Plan(**{**vars(PLANS[-1]), "epochs": 9})
    out.write_text(space_text(found, Network(("resnet18",), 24), plan, out, 1, on_gpu=False))
    assert load_space(out, {}).config.data.root == root
