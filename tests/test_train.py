"""Training runs: what they yield, that they repeat, resume and learn, and the command line."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from supcon.__main__ import main
from supcon.config import SELECTION_METRIC, Config, dump_config, load_config, override
from supcon.data import Splits, load_splits
from supcon.parsing import UserError
from supcon.seeds import derive_seed
from supcon.train import Diverged, Record, Run, fit, network_for

BOTH = pytest.mark.parametrize("loss", ["supcon", "ce"])


# The weights grow by a factor of 125,000 a step.
EXPLODING = {"optim.lr_per_256": 1000.0, "optim.weight_decay": 1000.0}

Runs = dict[str, list[Record]]


def records(config: Config, data: Splits, **changes: Any) -> list[Record]:
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return list(fit(override(config, dotted), data))


@pytest.fixture(scope="module")
def whole(tiny: Config, digits: Splits) -> Runs:
    """The records of an uninterrupted run with either loss."""
    return {loss: records(tiny, digits, loss__name=loss) for loss in ("supcon", "ce")}


# What a run yields


@BOTH
def test_a_run_yields_a_record_an_epoch_and_the_result_with_the_last(
    whole: Runs, loss: str
) -> None:
    first, second, last = whole[loss]
    assert [first.epoch, second.epoch, last.epoch] == [1, 2, 3]
    assert set(first.metrics) == set(second.metrics) == {"train/loss", "train/lr"}
    assert (first.trained, second.trained) == (None, None)
    assert last.trained is not None
    assert not last.trained.network.training
    scores = {"val/probe_top1", "val/knn_top1"} | ({"val/head_top1"} if loss == "ce" else set())
    each = {f"val/probe_top1_{weights}" for weights in ("raw", "ema", "swa")}
    assert set(last.metrics) == {"train/loss", "train/lr"} | scores | each
    assert all(0 <= last.metrics[name] <= 1 for name in scores | each)
    assert first.seconds < second.seconds < last.seconds


@BOTH
def test_the_result_has_the_best_of_the_weights(whole: Runs, loss: str) -> None:
    last = whole[loss][-1]
    assert last.trained is not None
    candidates = [last.metrics[f"val/probe_top1_{weights}"] for weights in ("raw", "ema", "swa")]
    assert last.metrics[SELECTION_METRIC] == max(candidates)
    assert last.metrics[f"val/probe_top1_{last.trained.weights}"] == max(candidates)


@BOTH
def test_the_loss_and_the_learning_rate_fall(whole: Runs, loss: str) -> None:
    for name in ("train/loss", "train/lr"):
        first, second, last = (record.metrics[name] for record in whole[loss])
        assert first > second > last > 0
    assert last < 0.01 * first


@pytest.mark.parametrize(
    ("changes", "evaluated"),
    [
        ({}, [3]),
        ({"run.eval_every": 1}, [1, 2, 3]),
        ({"run.eval_every": 2}, [2, 3]),
        ({"run.eval_at": [1, 3]}, [1, 3]),
    ],
)
def test_the_selection_metric_is_in_every_evaluated_record(
    tiny: Config, digits: Splits, changes: dict[str, Any], evaluated: list[int]
) -> None:
    run = Run(override(tiny, changes), digits)
    made = []
    for run.epoch in (1, 2, 3):
        made.append(run.record())
    assert [r.epoch for r in made if r.is_evaluated] == evaluated
    assert [r.epoch for r in made if {SELECTION_METRIC, "val/knn_top1"} <= set(r.metrics)] == (
        evaluated
    )


def test_both_losses_see_the_same_number_of_views(tiny: Config, digits: Splits) -> None:
    seen = {}
    for loss in ("supcon", "ce"):
        run = Run(override(tiny, {"loss.name": loss, "augment.views": 3}), digits)
        counts: list[int] = []
        run.network.register_forward_pre_hook(lambda _, inputs, c=counts: c.append(len(inputs[0])))
        run.train_epoch()
        assert run.record().views == sum(counts)
        seen[loss] = counts
    # 200 images make 6 batches of 32, in 3 views.
    assert seen == {"supcon": [96] * 6, "ce": [96] * 6}


def test_each_epoch_shows_the_images_in_another_order(tiny: Config, digits: Splits) -> None:
    run = Run(override(tiny, {"augment.strength": 0}), digits)
    shown: list[Tensor] = []
    run.network.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    run.train_epoch()
    run.train_epoch()
    first, second = torch.cat(shown[:6]), torch.cat(shown[6:])
    assert first.shape == second.shape
    assert not torch.equal(first, second)


def test_averages_follow_every_step_and_every_epoch_of_the_tail(
    tiny: Config, digits: Splits
) -> None:
    run = Run(override(tiny, {"average.swa_start": 0.5}), digits)
    updates = []
    for _ in range(3):
        run.train_epoch()
        state = run.averages.state_dict()
        updates.append((state["ema"]["num_updates"], int(state["swa"]["n_averaged"])))
    assert updates == [(6, 0), (12, 1), (18, 2)]


def test_the_network_normalises_with_the_statistics_of_the_training_images(
    tiny: Config, digits: Splits
) -> None:
    encoder = network_for(tiny, digits).encoder
    pixels = torch.tensor(digits.train.images).double() / 255
    assert encoder.mean.item() == pytest.approx(pixels.mean().item(), abs=1e-6)
    assert encoder.std.item() == pytest.approx(pixels.std(correction=0).item(), abs=1e-6)


def test_evaluated_batchnorm_has_the_statistics_of_the_training_images(
    tiny: Config, digits: Splits
) -> None:
    run = Run(tiny, digits)
    run.train_epoch()
    _, trained = run.evaluate(is_last=True)
    encoder = trained.network.encoder
    norm = encoder.backbone.get_submodule("conv1.1")  # the first one
    assert isinstance(norm, nn.BatchNorm2d)
    inputs: list[Tensor] = []
    norm.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    with torch.no_grad():
        encoder(torch.from_numpy(digits.train.images).permute(0, 3, 1, 2))
    torch.testing.assert_close(
        [norm.running_mean, norm.running_var],
        [inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3))],
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize(("batch_size", "fits"), [(50, True), (51, False)])
def test_a_batch_is_at_most_a_quarter_of_the_training_images(
    tiny: Config, digits: Splits, batch_size: int, fits: bool
) -> None:
    config = override(tiny, {"data.batch_size": batch_size})
    if fits:
        assert Run(config, digits).steps_per_epoch == 4
    else:
        message = r"^data\.batch_size must be at most a quarter of the 200 training images \(50\)"
        with pytest.raises(UserError, match=message):
            Run(config, digits)


# Repeating


@BOTH
def test_the_same_seed_gives_the_same_records(
    tiny: Config, digits: Splits, whole: Runs, loss: str
) -> None:
    torch.manual_seed(123)
    assert records(tiny, digits, loss__name=loss) == whole[loss]


def test_another_seed_gives_other_records(tiny: Config, digits: Splits, whole: Runs) -> None:
    other = next(fit(override(tiny, {"run.seed": 1}), digits))
    assert other.metrics["train/loss"] != whole["supcon"][0].metrics["train/loss"]


def test_a_run_ignores_what_its_neighbours_do(tiny: Config, digits: Splits, whole: Runs) -> None:
    run = fit(tiny, digits)
    neighbour = fit(override(tiny, {"run.seed": 9}), digits)
    interleaved = []
    for _ in range(3):
        interleaved.append(next(run))
        next(neighbour)
    assert interleaved == whole["supcon"]


@BOTH
def test_evaluating_more_often_changes_no_number(
    tiny: Config, digits: Splits, whole: Runs, loss: str
) -> None:
    often = records(tiny, digits, loss__name=loss, run__eval_every=1)
    assert often[-1] == whole[loss][-1]
    for mine, plain in zip(often, whole[loss], strict=True):
        assert mine.metrics["train/loss"] == plain.metrics["train/loss"]


def test_seeds_are_the_same_on_every_machine() -> None:
    assert derive_seed(0, "weights") == 31_069_315
    assert derive_seed(7, "order", 3) == 216_435_520


def with_dropout(run: Run) -> Run:
    """The run with a network that draws random numbers whenever it is in training mode."""
    run.network.encoder.backbone = nn.Sequential(run.network.encoder.backbone, nn.Dropout(0.2))
    return run


def training_state(run: Run) -> dict[str, Any]:
    return copy.deepcopy(
        {
            "network": run.network.state_dict(),
            "optimizer": run.optimizer.state_dict(),
            "averages": run.averages.state_dict(),
            "random": torch.get_rng_state(),
        }
    )


def tensors(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    children = tree.values() if isinstance(tree, dict) else tree
    if not isinstance(tree, dict | list | tuple):
        return []
    return [tensor for child in children for tensor in tensors(child)]


@BOTH
@pytest.mark.parametrize("is_last", [False, True])
def test_probe_and_evaluation_leave_every_training_tensor_bit_identical(
    tiny: Config, digits: Splits, loss: str, is_last: bool
) -> None:
    config = override(tiny, {"loss.name": loss, "average.swa_start": 0.0})
    run = with_dropout(Run(config, digits))
    run.train_epoch()
    before = training_state(run)
    run.evaluate(is_last)
    after = training_state(run)
    # Parameters and BatchNorm buffers, their momentum, EMA and SWA, and the random numbers.
    assert len(tensors(before)) > 4 * len(list(run.network.parameters()))
    torch.testing.assert_close(tensors(after), tensors(before), rtol=0, atol=0)
    assert run.network.training
    assert all(p.grad is None for p in run.network.parameters())


# Resuming


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_resumed_run_yields_the_same_records(
    tiny: Config, digits: Splits, tmp_path: Path, optimizer: str
) -> None:
    changes = {"optim.name": optimizer, "optim.lr_per_256": 0.02, "average.swa_start": 0.3}
    config = override(tiny, changes | {"run.eval_at": [2]})
    checkpoint = tmp_path / "last.pt"
    whole = []
    for record in fit(config, digits, checkpoint):
        whole.append(record)
        shutil.copy(checkpoint, tmp_path / f"{record.epoch}.pt")
    for stop in (1, 2, 3):
        torch.rand(5)
        resumed = list(fit(config, digits, tmp_path / f"{stop}.pt"))
        assert resumed == whole[stop - 1 :]
        assert resumed[-1].trained is not None


def test_a_resumed_run_draws_the_random_numbers_of_an_uninterrupted_one(
    tiny: Config, digits: Splits, tmp_path: Path
) -> None:
    whole, resumed = (with_dropout(Run(tiny, digits)) for _ in range(2))
    whole.train_epoch()
    whole.save(tmp_path / "last.pt")
    whole.train_epoch()
    resumed.load(tmp_path / "last.pt")
    resumed.train_epoch()
    torch.testing.assert_close(
        resumed.network.state_dict(), whole.network.state_dict(), rtol=0, atol=0
    )


def test_a_run_with_seldom_checkpoints_resumes_from_the_last_one(
    tiny: Config, digits: Splits, tmp_path: Path
) -> None:
    config = override(tiny, {"run.checkpoint_every": 2, "run.epochs": 4})
    stopped = list(islice(fit(config, digits, tmp_path / "last.pt"), 3))
    resumed = list(fit(config, digits, tmp_path / "last.pt"))
    assert [record.epoch for record in resumed] == [2, 3, 4]
    assert resumed[:2] == stopped[1:]


def test_writing_checkpoints_changes_no_number(
    tiny: Config, digits: Splits, tmp_path: Path, whole: Runs
) -> None:
    assert list(fit(tiny, digits, tmp_path / "last.pt")) == whole["supcon"]


@pytest.mark.parametrize(
    ("changes", "saved"),
    [
        ({}, [5]),
        ({"run.checkpoint_every": 2}, [2, 4, 5]),
        ({"run.eval_at": [3]}, [3, 5]),
        ({"run.eval_every": 2}, [2, 4, 5]),
    ],
)
def test_evaluated_epochs_always_have_a_checkpoint(
    tiny: Config, digits: Splits, changes: dict[str, Any], saved: list[int]
) -> None:
    run = Run(override(tiny, {"run.epochs": 5, "run.checkpoint_every": 9} | changes), digits)
    due = []
    for run.epoch in range(1, 6):
        due += [run.epoch] if run.is_checkpoint_due() else []
    assert due == saved


def test_a_checkpoint_of_another_config_is_refused(
    tiny: Config, digits: Splits, tmp_path: Path
) -> None:
    next(fit(tiny, digits, tmp_path / "last.pt"))
    other = override(tiny, {"optim.warmup": 0.2})
    with pytest.raises(UserError, match=r"last\.pt: is of a run with optim\.warmup = 0\.1, not"):
        next(fit(other, digits, tmp_path / "last.pt"))


# Diverging


@BOTH
def test_a_loss_that_is_not_finite_ends_the_run_with_epoch_and_step(
    tiny: Config, digits: Splits, loss: str
) -> None:
    with pytest.raises(Diverged, match=r"^non-finite loss in epoch 1, step [2-6]$"):
        list(fit(override(tiny, EXPLODING | {"loss.name": loss}), digits))


def test_features_that_are_not_finite_end_the_run(tiny: Config, digits: Splits) -> None:
    run = Run(tiny, digits)
    run.train_epoch()
    nn.init.constant_(next(run.network.parameters()), float("inf"))
    run.averages.after_step(run.network)
    with pytest.raises(Diverged, match=r"^non-finite features after epoch 1$"):
        run.evaluate(is_last=True)


# Device and precision


def test_a_gpu_that_is_not_there_is_refused(
    tiny: Config, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"^run\.device: cuda .*; use auto or cpu$"):
        Run(override(tiny, {"run.device": "cuda"}), digits)
    assert Run(override(tiny, {"run.device": "auto"}), digits).device.type == "cpu"


@pytest.mark.parametrize(
    ("precision", "loss"), [("bf16", "supcon"), ("bf16", "ce"), ("fp16", "supcon")]
)
def test_a_run_in_half_precision_learns_as_in_full(
    tiny: Config, digits: Splits, whole: Runs, loss: str, precision: str
) -> None:
    changes = {"loss.name": loss, "run.precision": precision, "run.eval_at": [1]}
    half = next(fit(override(tiny, changes), digits))
    full = whole[loss][0].metrics["train/loss"]
    assert half.metrics["train/loss"] == pytest.approx(full, rel=0.02)
    assert half.metrics["train/loss"] != full
    assert half.is_evaluated


def test_the_loss_sees_fp32_whatever_the_precision(tiny: Config, digits: Splits) -> None:
    run = Run(override(tiny, {"run.precision": "bf16"}), digits)
    seen, loss = [], run.loss

    def spy(outputs: Tensor, labels: Tensor) -> Tensor:
        seen.append((outputs.dtype, torch.is_autocast_enabled("cpu")))
        return loss(outputs, labels)

    run.loss = spy
    run.train_epoch()
    assert set(seen) == {(torch.float32, False)}


# Learning


@pytest.mark.slow
@BOTH
def test_digits_are_learnt(tiny: Config, loss: str) -> None:
    changes = {"data.train_size": None, "loss.name": loss, "run.epochs": 5}
    config = override(tiny, changes)
    last = list(fit(config, load_splits(config.data)))[-1]
    assert last.metrics["val/probe_top1"] > 0.93
    assert last.metrics["val/knn_top1"] > 0.92
    if loss == "ce":
        assert last.metrics["val/head_top1"] > 0.9


@pytest.mark.slow
def test_early_scores_do_not_depend_on_how_warm_batchnorm_is(tiny: Config) -> None:
    scores = []
    for batch_size in (64, 256):
        # 12 steps in all at 256: BatchNorm's own statistics would still be those of the start.
        changes = {"data.train_size": None, "data.batch_size": batch_size, "loss.name": "ce"}
        config = override(tiny, changes | {"optim.lr_per_256": 0.5, "average.bn_images": 2048})
        scores.append(list(fit(config, load_splits(config.data)))[-1].metrics)
    for name in ("val/probe_top1", "val/head_top1"):
        assert abs(scores[0][name] - scores[1][name]) < 0.1, name


# The command line


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
    return main(["train", *(str(argument) for argument in arguments)])


def in_a_process(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *code.split(" ", 1), *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_the_command_trains_from_start_to_end(config_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = in_a_process("-m supcon", "train", config_file, "--out", out, "--set", "run.seed=3")
    assert (done.returncode, done.stderr) == (0, "")
    assert "epoch   2/2  loss " in done.stdout
    assert done.stdout.endswith(f"wrote {out}/model.pt, config.yaml, log.txt, tensorboard/\n")
    written = {path.name for path in out.iterdir()}
    assert written == {"model.pt", "last.pt", "config.yaml", "log.txt", "tensorboard"}
    assert load_config(out / "config.yaml").run.seed == 3
    log = (out / "log.txt").read_text().splitlines()
    assert [line.split()[1] for line in log] == ["1/2", "2/2"]
    assert all(line in done.stdout for line in log)

    again = in_a_process(
        "-m supcon", "train", config_file, "--out", out, "--set", "run.seed=3", "--resume"
    )
    assert again.returncode == 0
    assert again.stdout.split("validation")[1] == done.stdout.split("validation")[1]


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


def test_resuming_with_another_config_is_refused_and_changes_nothing(
    config_file: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    assert run_command(config_file, "--out", out, "--resume", "--set", "run.epochs=3") == 2
    assert "is of a run with run.epochs = 2, not 3" in capsys.readouterr().err
    for name in ("config.yaml", "log.txt", "last.pt", "model.pt"):
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name


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


@pytest.mark.slow
def test_training_imports_neither_ray_nor_optuna_nor_the_search() -> None:
    code = (
        "-c import sys, supcon.train, supcon.runlog, supcon.__main__; "
        "print({name.split('.')[0] for name in sys.modules} & {'ray', 'optuna', 'search'})"
    )
    assert in_a_process(code).stdout == "set()\n"
