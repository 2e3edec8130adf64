"""`--init`: from images to a space that runs, in one command."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search import init
from search.preflight.trial_cost import Runner, TrialCost
from search.run import main
from search.space.loading import load_space
from supcon.config import Config
from supcon.images.split import Splits
from tests.without_ray import searched


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two classes of pictures, 60 each, told apart by where they are bright."""
    rng = np.random.default_rng(0)
    for name in ("left", "right"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(60):
            pixels = rng.integers(0, 90, (16, 16, 3))
            pixels[:, :8] += 120 * (name == "left")
            pixels[:, 8:] += 120 * (name == "right")
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "images" / name / f"{i}.png")
    return tmp_path / "images"


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """What was timed; nothing takes any time."""
    found: list[Config] = []

    def cost_here(data: Splits) -> Runner:
        def run(config: Config) -> TrialCost:
            found.append(config)
            seconds = {"resnet18": 900.0, "resnet10t": 200.0}.get(config.model.backbone, 2.0)
            return TrialCost(config, seconds, 1.0, 100.0, 2**28, 2**32, 2**20)

        return run

    monkeypatch.setattr(init, "cost_here", cost_here)
    monkeypatch.setattr(init, "can_be_had", lambda backbone: False)
    monkeypatch.setattr(init, "settle_space", lambda space, data: space)
    return found


def test_it_writes_a_space_and_says_the_command_that_starts_it(
    images: Path, tmp_path: Path, timed: list[Config], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "spaces of mine" / "x.yaml"
    assert main(["--init", str(images), "--out", str(out), "--hours", "3"]) == 0
    said = capsys.readouterr().out
    assert "120 images of 2 classes" in said
    assert "audit     120 images looked over: no copies" in said
    command = f"python search/run.py --space {shlex.quote(str(out))}"
    assert said.splitlines()[-1] == f"start     {command}"
    space = load_space(out, {})
    assert space.config.data.root == images
    assert space.config.model.backbone == "test_resnet"
    backbones = [config.model.backbone for config in timed]
    assert backbones == ["test_resnet", "test_resnet", "resnet10t"]  # which is too slow


@pytest.mark.slow
def test_what_somebody_knows_of_the_images_is_given_and_written(
    images: Path, tmp_path: Path, timed: list[Config]
) -> None:
    out = tmp_path / "x.yaml"
    given = ["--set", "data.test_size=0.3", "--set", "data.fit=pad", "--hours", "9"]
    assert main(["--init", str(images), "--out", str(out), *given]) == 0
    data = load_space(out, {}).config.data
    assert (data.test_size, data.val_size, data.fit) == (0.3, 0.1, "pad")


@pytest.mark.slow
def test_with_hours_to_spare_it_takes_the_largest_network(
    images: Path, tmp_path: Path, timed: list[Config]
) -> None:
    out = tmp_path / "x.yaml"
    assert main(["--init", str(images), "--out", str(out), "--hours", "5000"]) == 0
    assert load_space(out, {}).config.model.backbone == "resnet18"
    assert len(timed) == 4


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--set", "data.image_size=8"], "--set data.image_size: --init decides it"),
        (["--set", "data.fit=round"], "data.fit must be 'crop', 'squeeze' or 'pad'"),
        (["--hours", "0.01"], "--hours 0.01: too few for these images on this machine"),
        (["--out", "{there}"], "is there already; name another file"),
        (["--out", "{there}/x.yaml"], "cannot be written"),
    ],
)
def test_what_stands_in_the_way_is_said_in_one_line(
    images: Path, tmp_path: Path, timed: list[Config], capsys: pytest.CaptureFixture[str],
    flags: list[str], said: str,
) -> None:  # fmt: skip
    there = tmp_path / "there.yaml"
    there.touch()
    given = ["--out", str(tmp_path / "x.yaml"), *(flag.format(there=there) for flag in flags)]
    assert main(["--init", str(images), *given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert not (tmp_path / "x.yaml").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--init", "x", "--trials", "3"], "argument --trials: is of a search"),
        (["--init", "x", "--name=y"], "argument --name: is of a search"),
        (["--init", "x", "--space", "y"], "not allowed with argument --init"),
        (["--init", "x", "--hours", "0"], "must be above 0"),
        (["--init", "x", "--hours", "soon"], "--hours"),
        (["--space", "x", "--hours", "3"], "argument --hours: goes with --init"),
        (["--space", "x", "--out", "y"], "argument --out: goes with --init"),
        ([], "one of the arguments --space --init is required"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(
    capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as end:
        main(flags)
    assert end.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_from_a_bare_folder_to_a_report_it_takes_two_commands(
    images: Path, tmp_path: Path, timed: list[Config]
) -> None:
    out = tmp_path / "mine.yaml"
    code, said = searched("--init", str(images), "--out", str(out), "--hours", "0.08")
    assert code == 0, said
    small = ["--trials", "2", "--epochs", "2", "--set", "scheduler.asha.grace=1"]
    code, said = searched("--space", str(out), "--results", str(tmp_path), *small)
    assert code == 0, said
    assert (tmp_path / "mine" / "report.html").exists()
    assert "verdict" in (tmp_path / "mine" / "summary.json").read_text()
