"""The command line of plain training: what is wrong is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from supcon.config import Config, dump_config, override

CPU = torch.device("cpu")

# The weights grow by a factor of 125,000 a step.
EXPLODING = {"optim.lr_per_256": 1000.0, "optim.weight_decay": 1000.0}


from supcon.__main__ import main
from tests.cli.running import in_a_process, run, run_command


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optim.Ir=1", "error: --set: unknown key 'optim.Ir'"),
        ("run.epochs=-1", "error: --set: run.epochs must be greater than or equal to 0, got -1"),
        ("run.epochs", "error: --set run.epochs: must look like dotted.key=value"),
        ("data.batch_size=128", "error: data.batch_size must be at most a quarter"),
        ("model.backbone=resnt18", "error: model.backbone: timm has no model 'resnt18'; similar:"),
    ],
)
def test_a_mistake_ends_the_command_with_one_line_and_exit_code_2(
    config_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    assignment: str,
    message: str,
) -> None:
    assert run_command(config_file, "--out", tmp_path / "out", "--set", assignment) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(message)


def test_debug_shows_the_stack_of_an_error(tmp_path: Path) -> None:
    plain, debug = (
        in_a_process("-m supcon", "train", tmp_path / "no.yaml", *flags)
        for flags in ((), ("--debug",))
    )
    assert plain.returncode == 2
    assert plain.stdout == ""
    assert plain.stderr == f"error: {tmp_path}/no.yaml: there is no such file\n"
    assert debug.returncode == 2
    assert debug.stderr.startswith("Traceback")
    assert debug.stderr.endswith(plain.stderr)


def test_a_wrong_config_is_refused_before_torch_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({"run": {"epoch": 3}}))
    code = (
        "-c import sys, supcon.__main__ as m; print(m.main(sys.argv[1:]), 'torch' in sys.modules)"
    )
    done = in_a_process(code, "train", path)
    assert done.stdout == "2 False\n"
    assert done.stderr == f"error: {path}: unknown key 'run.epoch'; did you mean 'run.epochs'?\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "nowhere"], "error: nowhere: there is no such file"),
        (["tsne", "nowhere", "--images", "3"], "error: --images must be at least 10, got 3"),
        (["lr-find", "{config}", "--steps", "3"], "error: --steps must be at least 20, got 3"),
        (["lr-find", "{config}", "--lowest", "0"], "error: --lowest and --highest: 0 < lowest"),
        (["lr-find", "{config}", "--set", "optim.name=sgdd"], "error: optim.name: there is no opt"),
        (["lr-find", "{config}", "--highest", "inf"], "error: --lowest and --highest: 0 < lowest"),
        (["lr-find", "{config}", "--out", "nowhere/x.png"], "error: --out nowhere/x.png: must be"),
        (["evaluate", "{config}"], "error: {config}: damaged, or no file of this program"),
    ],
)
def test_a_mistake_in_another_command_is_told_in_one_line(
    config_file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    given = [text.format(config=config_file) for text in arguments]
    assert run(*given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(message.format(config=config_file))


# What a run leaves behind


@pytest.mark.slow
def test_a_disk_that_fails_in_training_is_one_line_and_the_run_goes_on_later(
    tiny: Config,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, out = tmp_path / "x.yaml", tmp_path / "out"
    config.write_text(dump_config(override(tiny, {"run.epochs": 2})))
    command = ["train", str(config), "--out", str(out)]

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", "last.partial")

    with monkeypatch.context() as patch:
        patch.setattr("supcon.recipe.checkpoint.save_atomic", fail)
        assert main(command) == 2
    said = capsys.readouterr().err
    assert said == (
        "error: [Errno 28] No space left on device: 'last.partial'; the same command with "
        "--resume goes on\n"
    )
    assert main([*command, "--resume"]) == 0
