"""The command line: what is wrong is said in one line before Ray starts."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from search.preflight.forecast import describe_forecast, slots_for
from search.preflight.options import parse_options
from search.preflight.packing import Node
from search.preflight.trial_cost import cost_here, measure_costs
from search.preflight.which_study import extended, new_study
from search.run import main
from search.space.loading import load_space
from search.space.resources import Shares
from search.space.space import is_plain_name
from supcon.images.loading import load_splits
from supcon.parsing import UserError

ROOT = Path(__file__).resolve().parents[2]
DIGITS = str(ROOT / "spaces" / "digits.yaml")


def refuse(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command, expect exit code 2 and no trace, and return what it said."""
    assert main(list(arguments)) == 2
    said = capsys.readouterr().err
    assert all(line.startswith("error: ") for line in said.splitlines())
    assert "Traceback" not in said
    return said


GPU = ["--gpus-per-trial"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "loss.temprature=1"], "did you mean 'loss.temperature'?"),
        (["--set", "budget.trails=1"], "did you mean 'budget.trials'?"),
        (["--set", "run.epochs=many"], "run.epochs must be a valid integer"),
        (["--set", "params.augment.strength={uniform: [1, 1]}"], "low < high must hold"),
        (["--set", "epochs"], "must look like dotted.key=value"),
        (["--epochs", "500"], "budget.total_epochs must be at least run.epochs (500)"),
        (["--trials", "0"], "budget.trials must be greater than or equal to 1, got 0"),
        (["--set", "data.batch_size=512"], "at most a quarter of the 1150 training images (287)"),
        (["--set", "params.data.batch_size={pow2: [32, 512]}"], "at most a quarter"),
        (["--set", "model.backbone=resnet81"], "similar: resnet18"),
        (["--set", "optim.name=sgdd"], "there is no optimiser 'sgdd'; similar: sgd"),
        (["--set", "params.optim.name={choice: [sgd, adahessian]}"], "needs second derivatives"),
        (["--set", "data.name=folder"], "data.image_size must be given for data.name folder"),
        (["--gpus-per-trial", "0.25"], "a trial wants 0.25 GPU, this machine has no GPU"),
        (["--address", "127.0.0.1:1"], "--address 127.0.0.1:1: nothing answers there"),
        (["--cpus-per-trial", "999"], "resources.cpu: a trial wants 999 CPUs"),
        (["--name", "../x"], "--name ../x: letters, digits"),
        (["--name", "x" * 201], "letters, digits, '.', '_' and '-' only, at most 200"),
        (["--time", "1:30"], "budget.time: 1:30 may be hours and minutes, or minutes and seconds"),
        (["--epochs", "1000000000000"], "run.epochs must be less than or equal to 1000000"),
        (["--trials", "1000000000000"], "budget.trials must be less than or equal to 1000000"),
        (["--set", "confirm.seeds=1000000"], "confirm.seeds must be less than or equal to 1000"),
        (["--set", "data.image_size=1000000"], "data.image_size must be less than or equal to"),
        (["--set", "model.head_dim=1000000"], "model.head_dim must be less than or equal to"),
        (["--cpus-per-trial", "1e-300"], "resources.cpu must be greater than or equal to 0.01"),
        (["--results", f"{__file__}/x"], "cannot be written"),
        (["--resume"], "holds no study of 'digits'"),
        (["--resume", "--name", "x"], "there is no such study"),
        (["--resume", "--name", ".."], "--name ..: letters, digits"),
        (["--set", "run.device=cuda", *GPU, "auto"], "run.device: cuda was asked for"),
        (["--set", "run.device=cuda", *GPU, "0"], "resources.gpu must be more than 0 where"),
        (["--set", "run.device=cpu", *GPU, "0.5"], "resources.gpu must be 0 where run.device is"),
        ([*GPU, "2"], "resources.gpu must be at most 1, since a trial trains on one GPU"),
        (["--set", "run.seed=7"], "the seed of the study is 'seed' (--seed)"),
        (["--set", "optim.warmup=2024-13-45"], "optim.warmup must be a valid number"),
        (["--set", "optim.warmup=[0.1"], "the value is not YAML"),
        (["--set", "params={}"], "params must name at least one parameter"),
        (
            [
                "--set",
                "data.name=folder",
                "--set",
                "data.image_size=8",
                "--set",
                f"data.root=/{'x' * 300}",
            ],
            "cannot be read (File name too long)",
        ),
    ],
)
def test_a_bad_command_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], message: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert message in refuse(capsys, "--space", DIGITS, "--results", str(tmp_path), *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--results", "x" * 300], "argument --results: xxxx"),
        (["--name", "a\x1b[31m"], r"'a\x1b[31m' must be text in UTF-8"),
        (["--set", "data.root=/\udcff"], r"'data.root=/\udcff' must be text in UTF-8"),
        (["--trials", "1e3"], "argument --trials: invalid int value: '1e3'"),
        (["--trials", "9" * 5000], "argument --trials: invalid int value"),
    ],
)
def test_an_argument_that_is_none_is_refused_by_its_flag(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--space", DIGITS, *arguments])
    assert end.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_missing_space_names_the_nearest_file(capsys: pytest.CaptureFixture[str]) -> None:
    said = refuse(capsys, "--space", str(ROOT / "spaces" / "digit.yaml"))
    assert "there is no such file; did you mean 'digits.yaml'?" in said


def folder_space(tmp_path: Path) -> list[str]:
    """A space over a small folder of images, as arguments."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 20), ("test", 3)):
        for name in ("cat", "dog"):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / part / name / f"{i}.png")
    space: dict[str, Any] = {
        "base": {
            "data": {"name": "folder", "root": str(tmp_path / "images"), "image_size": 16,
                     "batch_size": 8},
            "model": {"backbone": "test_resnet", "stem": "full"}, "run": {"epochs": 2},
        },
        "params": {"optim.lr_per_256": {"loguniform": [0.01, 1]}},
        "budget": {"trials": 2}, "scheduler": {"asha": {"grace": 1}},
    }  # fmt: skip
    (tmp_path / "images.yaml").write_text(yaml.safe_dump(space))
    return ["--space", str(tmp_path / "images.yaml"), "--results", str(tmp_path / "results")]


def test_a_broken_image_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = folder_space(tmp_path)
    (tmp_path / "images" / "train" / "cat" / "7.png").write_bytes(b"not an image")
    assert "cat/7.png: not a readable image" in refuse(capsys, *arguments)


def test_a_class_with_one_image_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = folder_space(tmp_path)
    lonely = tmp_path / "images" / "train" / "emu"
    lonely.mkdir()
    Image.new("RGB", (20, 20)).save(lonely / "0.png")
    assert "class 'emu' has 1 training image(s)" in refuse(capsys, *arguments)


def test_too_few_images_for_the_shipped_space_name_the_way_out(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(120):
            Image.new("L", (8, 8), i).save(tmp_path / name / f"{i}.png")
    space = str(ROOT / "spaces" / "folder.yaml")
    said = refuse(capsys, "--space", space, "--set", f"data.root={tmp_path}")
    assert "data.batch_size must be at most a quarter of the 173 training images (43)" in said
    assert f"got 256; python search/run.py --init {tmp_path} writes a space that fits" in said


def test_broken_images_of_train_and_test_are_named_together(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = folder_space(tmp_path)
    for name in ("train/cat/7.png", "train/dog/1.png", "test/cat/0.png"):
        (tmp_path / "images" / name).write_bytes(b"no image")
    said = refuse(capsys, *arguments)
    named = [line.split("images/")[1] for line in said.splitlines() if "not a readable" in line]
    assert [name.split(": ")[0] for name in named] == [
        "train/cat/7.png", "train/dog/1.png", "test/cat/0.png"
    ]  # fmt: skip
    assert "2 of 40 files are broken; repair or remove them, or leave such files out" in said


def test_missing_data_says_where_to_put_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = folder_space(tmp_path)
    said = refuse(capsys, *arguments, "--set", f"data.root={tmp_path}/nowhere")
    assert f"data.root: {tmp_path}/nowhere is missing; a folder" in said


def test_debug_shows_the_trace() -> None:
    command = [sys.executable, "search/run.py", "--space", "none.yaml", "--debug"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_an_existing_study_is_never_overwritten(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits-2").mkdir()
    options = parse_options("", ["--space", DIGITS, "--results", str(tmp_path)])
    assert new_study(options).folder.path == tmp_path / "digits-3"
    said = refuse(capsys, "--space", DIGITS, "--results", str(tmp_path), "--name", "digits")
    assert "exists; continue it with --resume, remove it" in said


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("digits-2", True),
        ("a.b_c", True),
        ("", False),
        ("..", False),
        ("a/b", False),
        ("a b", False),
    ],
)
def test_a_study_name_stays_inside_the_results_folder(name: str, expected: bool) -> None:
    assert is_plain_name(name) is expected


def test_a_wrong_space_is_refused_before_ray_and_torch_are_imported() -> None:
    code = (
        "import sys; from search.run import main; assert main(['--space', 'none.yaml']) == 2; "
        "print({'ray', 'torch', 'optuna'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


# More of a study


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "--extend: give the larger budget with --trials, --time or --set budget"),
        ({"budget.trials": 3}, "budget.trials must not be smaller than before, 4; got 3"),
        ({"budget.time": "1h"}, "budget.time must not be smaller than before, without limit"),
        ({"budget.trails": 9}, "did you mean 'budget.trials'?"),
    ],
)
def test_a_study_is_not_extended_by_a_smaller_budget(changes: dict[str, Any], message: str) -> None:
    space = load_space(Path(DIGITS), {"budget.trials": 4})
    with pytest.raises(UserError) as error:
        extended(space, changes)
    assert message in str(error.value)


def test_an_extended_study_differs_in_its_budget_alone() -> None:
    space = load_space(Path(DIGITS), {"budget.trials": 4})
    more = extended(space, {"budget.trials": 9, "budget.total_epochs": None})
    assert (more.budget.trials, more.budget.total_epochs) == (9, None)
    assert more.dump() | {"budget": None} == space.dump() | {"budget": None}


def test_points_from_a_file_replace_the_sampler_and_the_budget(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("ce: [{optim.lr_per_256: 0.1, seed: 4}]\n")
    flags = ["--space", DIGITS, "--points", str(tmp_path / "x.yaml"), "--results", str(tmp_path)]
    space = new_study(parse_options("", flags)).space
    assert space.sampler == "points"
    assert space.budget.total_epochs is None
    assert space.point("ce", 0) is not None
    assert space.point("supcon", 0) is None


@pytest.mark.slow
def test_a_forecast_starts_nothing_and_says_what_it_will_cost(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    auto = ["--cpus-per-trial", "auto", "--gpus-per-trial", "auto"]
    assert main([*folder_space(tmp_path), "--dry-run", "--concurrency", "1", *auto]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0].endswith(", no GPU; trials train on the CPU")
    for words in ("rung, epochs", "each arm  2 trials, 3 epochs, 216 views", "time ", "disk "):
        assert words in said
    kind = "test_resnet, batch 8, "
    assert f"cost      {kind}" in said
    assert f"share     {kind}" in said
    assert not (tmp_path / "results").exists()


def test_a_forecast_needs_room_for_a_trial(tmp_path: Path) -> None:
    space = load_space(Path(folder_space(tmp_path)[1]), {"resources.gpu": 0.5})
    config = space.trial_config("ce", {}, seed=0)
    shares = Shares(space.resources)
    assert slots_for(shares, config, [Node(4, 1)]) == 2
    with pytest.raises(UserError, match="no machine has room for a trial of test_resnet, batch 8"):
        slots_for(shares, config, [Node(4, 0)])


def test_a_study_that_could_not_start_leaves_nothing_behind(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(shares: Shares) -> None:
        raise UserError("resources: too large for every node")

    monkeypatch.setattr("search.course.check_room", no_room)
    monkeypatch.setattr("search.course.ray_session", lambda *_: nullcontext(""))
    assert "too large for every node" in refuse(capsys, *folder_space(tmp_path))
    assert list((tmp_path / "results").iterdir()) == []


@pytest.mark.slow
def test_a_kind_of_config_that_cannot_run_is_a_line_of_the_forecast() -> None:
    changes = {"model.backbone": "resnt18", "data.batch_size": 64, "run.memory": "plain"}
    space = load_space(Path(DIGITS), changes | {"points": {}})
    data = load_splits(space.config.data)
    found = measure_costs(space, cost_here(data))
    lines = describe_forecast(space, Shares(space.resources), data, found, [Node(2, 0)])
    (line,) = [line for line in lines if "resnt18, batch 64" in line]
    assert "cannot run: model.backbone: timm has no model 'resnt18'" in line
