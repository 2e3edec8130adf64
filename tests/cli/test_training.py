"""`train` and `lr-find`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from supcon.config import TOP1, Config, dump_config, flatten, load_config, override
from supcon.evaluation.scores import Scores, score
from supcon.evaluation.trained import load_trained
from supcon.images.sources import list_images
from supcon.network.weights import sha256

CPU = torch.device("cpu")

# The weights grow by a factor of 125,000 a step.
EXPLODING = {"optim.lr_per_256": 1000.0, "optim.weight_decay": 1000.0}


from tests.cli.running import in_a_process, run, run_command


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


@pytest.mark.slow
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


def test_a_divergence_ends_the_command_with_one_line_and_exit_code_3(
    config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"--set={key}={value}" for key, value in EXPLODING.items()]
    assert run_command(config_file, "--out", tmp_path / "out", *settings) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("diverged: non-finite loss in epoch 1, step ")
    assert line.endswith("try a smaller optim.lr_per_256")


@pytest.mark.slow
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


def test_a_frozen_backbone_is_scored_from_weights_that_the_config_then_names(
    config_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(timm.create_model("test_resnet").state_dict(), "start.pth")
    frozen = [
        "--set",
        "model.weights=start.pth",
        "--set",
        "run.epochs=0",
        "--set",
        "run.eval_at=[]",
    ]
    assert run_command(config_file, "--out", "out", *frozen) == 0
    said = capsys.readouterr().out
    assert "epoch   0/0  probe_top1 " in said
    assert "projection" not in said
    model = load_config(tmp_path / "out" / "config.yaml").model
    assert (model.weights, model.weights_hash) == (
        str(tmp_path / "start.pth"), sha256(tmp_path / "start.pth"),
    )  # fmt: skip
    monkeypatch.chdir("/")
    again = tmp_path / "again"
    assert run_command(tmp_path / "out" / "config.yaml", "--out", again) == 0
    assert capsys.readouterr().out.split("validation")[1] != ""
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "start.pth")
    assert run_command(tmp_path / "out" / "config.yaml", "--out", tmp_path / "third") == 2
    assert "is not the file that the config was made with" in capsys.readouterr().err


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
