"""The command line of plain training."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from supcon.__main__ import main
from supcon.config import TOP1, Config, dump_config, flatten, load_config, override
from supcon.evaluation.accuracy import accuracy
from supcon.evaluation.scores import Scores, score
from supcon.evaluation.trained import load_trained, predict
from supcon.images.loading import load_splits, load_test
from supcon.images.sources import list_images

CPU = torch.device("cpu")

# The weights grow by a factor of 125,000 a step.
EXPLODING = {"optim.lr_per_256": 1000.0, "optim.weight_decay": 1000.0}


@pytest.fixture(scope="module")
def config_file(tiny: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(dump_config(override(tiny, {"run.epochs": 2})))
    return path


@pytest.fixture(scope="module")
def finished(config_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has ended; to be copied."""
    out = tmp_path_factory.mktemp("finished") / "out"
    assert run_command(config_file, "--out", out) == 0
    return out


def run_command(*arguments: object) -> int:
    return run("train", *arguments)


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def in_a_process(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *code.split(" ", 1), *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.slow
def test_the_command_trains_from_start_to_end(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    done = in_a_process("-m supcon", "train", config_file, "--out", out, "--set", "run.seed=3")
    assert (done.returncode, done.stderr) == (0, "")
    first = done.stdout.splitlines()[0]
    assert first.endswith("supcon with test_resnet (full stem, 0.4 million parameters)")
    assert "epoch   2/2  loss " in done.stdout
    assert f"\nwrote {out}/model.pt (last epoch), best.pt (best epoch by val/" in done.stdout
    written = {path.name for path in out.iterdir()}
    assert written == {"model.pt", "best.pt", "last.pt", "config.yaml", "log.txt", "tensorboard"}
    assert load_config(out / "config.yaml").run.seed == 3
    log = (out / "log.txt").read_text().splitlines()
    assert [line.split()[1] for line in log] == ["1/2", "2/2"]
    assert all(line in done.stdout for line in log)

    assert run_command(config_file, "--out", out, "--set", "run.seed=3", "--resume") == 0
    again = capsys.readouterr().out
    assert again.split("validation")[1] == done.stdout.split("validation")[1]


def test_a_run_in_the_folder_is_not_overwritten(
    config_file: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "log.txt").read_text()
    assert run_command(config_file, "--out", finished) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: --out {finished}: holds a run already; continue it with --resu")
    assert (finished / "log.txt").read_text() == before


def test_a_resumed_run_logs_each_epoch_once(
    config_file: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    assert run_command(config_file, "--out", out, "--resume") == 0
    assert "epoch   2/2" in capsys.readouterr().out
    assert (out / "log.txt").read_text() == (finished / "log.txt").read_text()


def test_a_resumed_run_keeps_what_auto_was_found_to_mean(
    config_file: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    before = load_config(out / "config.yaml")
    assert before.data.pipeline == "resident"
    assert before.run.precision in ("fp32", "bf16")
    assert before.run.memory == "plain"
    other = "fp32" if before.run.precision == "bf16" else "bf16"
    # The stopwatch differs.
    monkeypatch.setattr("supcon.auto_settings._faster_on_cpu", lambda *_: other)
    monkeypatch.setattr("supcon.step_memory.free_bytes", lambda _: 0)  # and so does the machine
    assert run_command(config_file, "--out", out, "--resume") == 0
    assert load_config(out / "config.yaml") == before
    assert run_command(config_file, "--out", tmp_path / "new") == 0
    assert load_config(tmp_path / "new/config.yaml").run.precision == other
    assert load_config(tmp_path / "new/config.yaml").run.memory == "cached"


def test_resuming_with_another_config_is_refused_and_changes_nothing(
    config_file: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    assert run_command(config_file, "--out", out, "--resume", "--set", "run.epochs=3") == 2
    assert "is of a run with run.epochs = 2, not 3" in capsys.readouterr().err
    for name in ("config.yaml", "log.txt", "last.pt", "model.pt"):
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name


def test_features_that_collapsed_are_warned_of_once(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part, n in (("train", 60), ("val", 6), ("test", 1)):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(n):
                Image.new("RGB", (16, 16)).save(tmp_path / part / name / f"{i}.png")
    black = ("data.name=folder", f"data.root={tmp_path}", "data.train_size=100")
    sets = [word for text in (*black, "data.batch_size=16") for word in ("--set", text)]
    assert run_command(config_file, "--out", tmp_path / "out", *sets) == 0
    out = capsys.readouterr().out
    assert out.count("warning: on val, all features equal: the encoder does not tell these") == 1
    assert "effective_rank 1.0  all features equal" in (tmp_path / "out/log.txt").read_text()


def test_a_run_that_could_not_start_leaves_the_folder_free(
    config_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run_command(config_file, "--out", out, "--set", "model.backbone=resnt18") == 2
    assert run_command(config_file, "--out", out, "--set", "run.epochs=1") == 0


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optim.Ir=1", "error: --set: unknown key 'optim.Ir'"),
        ("run.epochs=0", "error: --set: run.epochs must be greater than or equal to 1, got 0"),
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


def test_a_divergence_ends_the_command_with_one_line_and_exit_code_3(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"--set={key}={value}" for key, value in EXPLODING.items()]
    assert run_command(config_file, "--out", tmp_path / "out", *settings) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("diverged: non-finite loss in epoch 1, step ")
    assert line.endswith("try a smaller optim.lr_per_256")


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


def test_the_best_epoch_by_val_is_kept_beside_the_last(
    config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, 0.9, 0.7, 0.9])  # epochs 1 and 2; at the last epoch the best of three

    def scored(*arguments: Any) -> Scores:
        found = score(*arguments)
        return Scores(found.metrics | {TOP1: next(scores)}, found.probe)

    monkeypatch.setattr("supcon.train.score", scored)
    settings = ["--set=run.epochs=3", "--set=run.eval_every=1", "--set=average.swa_start=1"]
    assert run_command(config_file, "--out", tmp_path / "out", *settings) == 0
    best, _ = load_trained(tmp_path / "out" / "best.pt", CPU)
    last, _ = load_trained(tmp_path / "out" / "model.pt", CPU)
    assert (best.epoch, best.metrics[TOP1]) == (2, 0.9)
    assert (last.epoch, last.weights) == (3, "ema")


def test_without_its_checkpoint_a_run_is_neither_resumed_nor_mixed_with_another(
    config_file: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    (out / "last.pt").unlink()
    for flags, message in (((), "holds a run already"), (("--resume",), "but no checkpoint")):
        assert run_command(config_file, "--out", out, *flags) == 2
        assert message in capsys.readouterr().err
    assert (out / "log.txt").read_text() == (finished / "log.txt").read_text()


def test_a_damaged_best_file_does_not_stop_a_run(
    config_file: Path, finished: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    (out / "best.pt").write_bytes(b"half")
    assert run_command(config_file, "--out", out, "--resume") == 0
    assert load_trained(out / "best.pt", CPU)[0].epoch == 2


# evaluate, tsne, lr-find


def values(output: str) -> dict[str, float]:
    """The metrics in a command's output."""
    lines = [line.split() for line in output.splitlines() if line.startswith("  ")]
    return {name: float(value) for name, value in lines}


def test_evaluating_on_val_gives_the_scores_of_training_again_and_more(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    assert run("evaluate", out) == 0
    found = values(capsys.readouterr().out)
    trained, _ = load_trained(out / "model.pt", CPU)
    for name, value in trained.metrics.items():
        if not name.endswith(("_raw", "_ema", "_swa")):
            assert found[name] == pytest.approx(value, abs=1e-6), name
    retrieval = {"precision_at_1", "r_precision", "map_at_r", "ami", "nmi"}
    for prefix in ("val/", "val/projection_"):
        assert {prefix + name for name in retrieval} <= set(found)
    assert found["val/precision_at_1"] == found["val/knn1_top1"]
    written = json.loads((out / "model-val.json").read_text())
    assert written["epoch"] == 2
    assert written["metrics"] == pytest.approx(found, abs=1e-6)


def test_each_opening_of_the_test_images_is_counted_even_if_it_comes_to_nothing(
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    with monkeypatch.context() as broken:
        broken.setattr("supcon.evaluation.all_metrics.measure", raise_memory_error)
        with pytest.raises(MemoryError):
            run("evaluate", out, "--split", "test")
    capsys.readouterr()
    assert run("evaluate", out / "model.pt", "--split", "test") == 0
    said = capsys.readouterr().out
    assert said.startswith("times that this model has seen the test images: 2\n")
    found = values(said)
    trained, config = load_trained(out / "model.pt", CPU)
    test = load_test(config.data)
    predicted = predict(trained, config, load_splits(config.data).train, test.images)["probe"]
    assert found["test/probe_top1"] == pytest.approx(
        accuracy(predicted, torch.tensor(test.labels)), abs=1e-6
    )
    assert json.loads((out / "model-test.json").read_text())["test_evaluations"] == 2


def raise_memory_error(*_: object) -> None:
    raise MemoryError


def test_a_damaged_count_of_openings_is_not_taken_for_0(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    (out / "model-test.json").write_text('{"test_eval')
    assert run("evaluate", out, "--split", "test") == 2
    assert "model-test.json: damaged; it counts" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "tsne"])
@pytest.mark.parametrize("change", ["data.val_size=0.5", "loss.name=ce", "data.image_size=32"])
def test_what_makes_a_model_cannot_be_changed_afterwards(
    finished: Path, capsys: pytest.CaptureFixture[str], command: str, change: str
) -> None:
    assert run(command, finished, "--set", change) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: --set {change.split('=')[0]}: is part of what the model is")


def test_a_model_is_not_scored_on_images_of_another_split(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, config = load_trained(finished / "model.pt", CPU)
    other = load_splits(config.data.model_copy(update={"split_seed": 7}))
    monkeypatch.setattr("supcon.images.loading.load_splits", lambda config: other)
    assert run("evaluate", finished) == 2
    assert "was trained on other images, or on another split" in capsys.readouterr().err


@pytest.mark.slow
def test_t_sne_is_drawn_and_shown_in_tensorboard(finished: Path, tmp_path: Path) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    assert run("tsne", out, "--images", 60) == 0
    with Image.open(out / "model-tsne.png") as picture:
        assert picture.format == "PNG"
        assert len(set(picture.convert("RGB").get_flattened_data())) > 20  # axes and ten colours
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    assert events.Tags()["images"] == ["t-SNE"]


@pytest.mark.slow
def test_lr_find_suggests_a_learning_rate_and_draws_it(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "range.png"
    assert run("lr-find", config_file, "--steps", 20, "--out", picture) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith("the loss of supcon falls fastest at optim.lr_per_256 = ")
    assert "(20 learning rates from 0.001 to 10)" in said.out
    assert picture.read_bytes().startswith(b"\x89PNG")


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


def test_tensorboard_gets_scalars_and_hyper_parameters(finished: Path) -> None:
    events = EventAccumulator(str(finished / "tensorboard")).Reload()
    trained, config = load_trained(finished / "model.pt", CPU)
    for name in ("train/loss", "train/lr"):
        assert [point.step for point in events.Scalars(name)] == [1, 2]
    last = events.Scalars(TOP1)[-1]
    assert (last.step, last.value) == (2, pytest.approx(trained.metrics[TOP1]))
    (start,) = (
        HParamsPluginData.FromString(data).session_start_info.hparams
        for name, data in events.PluginTagToContent("hparams").items()
        if name == "_hparams_/session_start_info"
    )
    assert set(start) == set(flatten(config))
    assert start["loss.temperature"].number_value == config.loss.temperature
    assert start["model.backbone"].string_value == config.model.backbone


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


def test_images_of_a_table_are_trained_on_and_what_is_left_out_is_said(
    tiny: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["path,label,group"]
    for i in range(60):
        Image.new("L", (16, 16), 4 * i).save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,{'ab'[i % 2]},{i // 4}")
    (tmp_path / "images.csv").write_text("\n".join(rows))
    data = {"name": "table", "root": str(tmp_path / "images.csv"), "image_size": 16}
    changes = {f"data.{key}": value for key, value in data.items()}
    changes |= {"data.train_size": None, "data.batch_size": 8, "data.broken": "skip"}
    changes |= {"run.epochs": 1, "run.precision": "fp32"}
    config = override(tiny, changes)
    (tmp_path / "x.yaml").write_text(dump_config(config))
    listing = list_images(config.data)
    spoilt = listing.path(listing.parts.tolist().index("train"))
    spoilt.write_bytes(b"no image")
    assert run_command(tmp_path / "x.yaml", "--out", tmp_path / "out") == 0
    assert f"left out: broken files (1): {spoilt}" in capsys.readouterr().out
    assert run("evaluate", tmp_path / "out", "--split", "test") == 0
    assert "test/probe_top1" in capsys.readouterr().out
