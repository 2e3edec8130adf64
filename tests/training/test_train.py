"""Training runs: what they yield, that they repeat, resume and learn."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supcon.collapse import PROJECTED, SPREAD
from supcon.config import TOP1, Config, override
from supcon.evaluation.probe import LinearProbe
from supcon.evaluation.scores import Scores
from supcon.images.loading import load_splits
from supcon.images.split import Splits
from supcon.parsing import UserError
from supcon.recipe.checkpoint import load_state
from supcon.recipe.optim import set_lr
from supcon.train import Diverged, Record, Run, fit

BOTH = pytest.mark.parametrize("loss", ["supcon", "ce"])


# The weights grow by a factor of 125,000 a step.
EXPLODING = {"optim.lr_per_256": 1000.0, "optim.weight_decay": 1000.0}

Runs = dict[str, list[Record]]


def records(config: Config, data: Splits, **changes: Any) -> list[Record]:
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return list(fit(override(config, dotted), data))


@pytest.fixture(scope="module")
def whole(tiny: Config, digits: Splits, trained_run: list[Record]) -> Runs:
    """The records of an uninterrupted run with either loss."""
    return {"supcon": trained_run, "ce": records(tiny, digits, loss__name="ce")}


# What a run yields


@BOTH
def test_a_run_yields_a_record_an_epoch_and_the_result_with_the_last(
    whole: Runs, loss: str
) -> None:
    first, second, last = whole[loss]
    assert [first.epoch, second.epoch, last.epoch] == [1, 2, 3]
    of_training = {"train/loss", "train/lr", "train/loss_share"}
    assert set(first.metrics) == set(second.metrics) == of_training
    assert (first.trained, second.trained) == (None, None)
    assert last.trained is not None
    assert not last.trained.network.training
    scores = {"val/probe_top1", "val/knn_top1", "val/knn1_top1"}
    scores.add("val/head_top1" if loss == "ce" else "val/projection_knn_top1")
    each = {f"val/probe_top1_{weights}" for weights in ("raw", "ema", "swa")}
    geometry = set(SPREAD) | set(PROJECTED if loss == "supcon" else ())
    assert set(last.metrics) == of_training | scores | each | geometry
    assert all(0 <= last.metrics[name] <= 1 for name in scores | each)
    assert first.seconds < second.seconds < last.seconds


@BOTH
def test_the_result_has_the_best_of_the_weights(whole: Runs, loss: str) -> None:
    last = whole[loss][-1]
    assert last.trained is not None
    candidates = [last.metrics[f"val/probe_top1_{weights}"] for weights in ("raw", "ema", "swa")]
    assert last.metrics[TOP1] == max(candidates)
    assert last.metrics[f"val/probe_top1_{last.trained.weights}"] == max(candidates)


@BOTH
def test_the_loss_and_the_learning_rate_fall(whole: Runs, loss: str) -> None:
    for name in ("train/loss", "train/lr"):
        first, second, last = (record.metrics[name] for record in whole[loss])
        assert first > second > last > 0
    assert last < 0.01 * first


@BOTH
def test_the_share_of_the_loss_falls_from_near_1(whole: Runs, loss: str) -> None:
    first, second, last = (record.metrics["train/loss_share"] for record in whole[loss])
    assert 1.01 > first > second > last > 0
    assert first > 0.9


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
    assert [r.epoch for r in made if {TOP1, "val/knn_top1"} <= set(r.metrics)] == (evaluated)


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


def test_evaluated_batchnorm_has_the_statistics_of_the_training_images(
    tiny: Config, digits: Splits
) -> None:
    run = Run(tiny, digits)
    run.train_epoch()
    encoder = run.evaluate().network.encoder
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


def test_a_run_uses_as_many_threads_as_its_config_says(tiny: Config, digits: Splits) -> None:
    Run(override(tiny, {"run.threads": 2}), digits)
    assert torch.get_num_threads() == 2
    Run(tiny, digits)
    assert torch.get_num_threads() == 1


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
    epochs = 1 if is_last else 2
    changes = {"loss.name": loss, "average.swa_start": 0.0, "run.epochs": epochs}
    run = with_dropout(Run(override(tiny, changes), digits))
    run.train_epoch()
    before = training_state(run)
    run.evaluate()
    after = training_state(run)
    # Parameters and BatchNorm buffers, their momentum, EMA and SWA, and the random numbers.
    assert len(tensors(before)) > 4 * len(list(run.network.parameters()))
    torch.testing.assert_close(tensors(after), tensors(before), rtol=0, atol=0)
    assert run.network.training
    assert all(p.grad is None for p in run.network.parameters())


# Resuming


WAYS_TO_TRAIN: list[dict[str, Any]] = [
    {"optim.name": "sgd", "loss.name": "ce", "run.eval_at": [2], "data.pipeline": "resident"},
    {"optim.name": "adamw", "optim.schedule": "wsd", "loss.name": "sincere"},
    {"optim.name": "lookahead_radam", "optim.schedule": "constant", "loss.name": "simclr"},
    {"optim.name": "ranger", "probe.method": "sgd", "probe.epochs": 3, "probe.views": 2},
    {"optim.name": "lamb", "optim.clip_norm": 0.1, "run.precision": "fp16"},
    {"optim.name": "lion", "loss.name": "supcon_ce", "augment.cutmix": 1.0, "augment.mixup": 0.2},
]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(changes, id=changes["optim.name"], marks=[pytest.mark.slow] * (i > 0))
        for i, changes in enumerate(WAYS_TO_TRAIN)
    ],
)
def test_a_resumed_run_yields_the_same_records(
    tiny: Config, digits: Splits, tmp_path: Path, changes: dict[str, Any]
) -> None:
    changes = {"optim.lr_per_256": 0.02, "average.swa_start": 0.3, "run.eval_every": 1} | changes
    config = override(tiny, changes)
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
    changes = {"run.checkpoint_minutes": 60.0, "run.epochs": 4, "run.eval_at": [2]}
    config = override(tiny, changes)
    stopped = list(islice(fit(config, digits, tmp_path / "last.pt"), 3))
    resumed = list(fit(config, digits, tmp_path / "last.pt"))
    assert [record.epoch for record in resumed] == [2, 3, 4]
    assert resumed[:2] == stopped[1:]


def test_writing_checkpoints_changes_no_number(
    tiny: Config, digits: Splits, tmp_path: Path, whole: Runs
) -> None:
    assert list(fit(tiny, digits, tmp_path / "last.pt")) == whole["supcon"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "saved"),
    [
        ({}, [1, 5]),
        ({"run.checkpoint_minutes": 0}, [1, 2, 3, 4, 5]),
        ({"run.eval_at": [3]}, [1, 3, 5]),
        ({"run.eval_every": 2}, [1, 2, 4, 5]),
    ],
)
def test_the_first_and_evaluated_epochs_have_a_checkpoint_before_they_are_told_of(
    tiny: Config, digits: Splits, tmp_path: Path, changes: dict[str, Any], saved: list[int]
) -> None:
    config = override(tiny, {"run.epochs": 5, "run.checkpoint_minutes": 60} | changes)
    found = set()
    for record in fit(config, digits, tmp_path / "last.pt"):
        if not record.is_evaluated:
            time.sleep(0.2)  # nobody waits for its checkpoint, if there is one
        if (tmp_path / "last.pt").exists():
            found.add(load_state(tmp_path / "last.pt")["epoch"])
        assert record.checkpoint_seconds < 10
    assert sorted(found) == saved


def test_a_checkpoint_of_another_config_is_refused(
    tiny: Config, digits: Splits, tmp_path: Path
) -> None:
    next(fit(override(tiny, {"run.eval_at": [1]}), digits, tmp_path / "last.pt"))
    other = override(tiny, {"optim.warmup": 0.2, "run.eval_at": [1]})
    with pytest.raises(UserError, match=r"last\.pt: is of a run with optim\.warmup = 0\.1, not"):
        next(fit(other, digits, tmp_path / "last.pt"))


def test_a_run_goes_on_in_the_precision_that_auto_was_where_it_began(
    tiny: Config, digits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = override(tiny, {"run.eval_every": 1, "run.epochs": 2})
    monkeypatch.setattr("supcon.train.settled_precision", lambda name, _: "bf16")  # as a GPU has it
    first = next(fit(config, digits, tmp_path / "last.pt"))
    assert first.trained is not None
    assert first.trained.precision == "bf16"
    monkeypatch.undo()
    run = Run(config, digits)
    run.load(tmp_path / "last.pt")
    assert run.config.run.precision == "bf16"
    with run.autocast():
        assert run.network(torch.zeros(2, 1, 16, 16)).dtype == torch.bfloat16
    with pytest.raises(UserError, match=r"run\.precision = bf16, not fp32; use another output"):
        Run(override(config, {"run.precision": "fp32"}), digits).load(tmp_path / "last.pt")


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
        run.evaluate()


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
    skips = 0.03 if precision == "fp16" else 0  # steps until fp16's scale of gradients has settled
    assert half.metrics["train/loss"] == pytest.approx(full, rel=0.02 + skips)
    assert half.metrics["train/loss"] != full
    assert half.is_evaluated


def test_the_loss_is_that_of_fp32_whatever_the_precision(tiny: Config, digits: Splits) -> None:
    run = Run(override(tiny, {"run.precision": "bf16"}), digits)
    seen, loss = [], run.loss

    def spy(outputs: Tensor, labels: Tensor) -> Tensor:
        assert outputs.dtype == torch.bfloat16  # autocast is at work
        seen.append((loss(outputs, labels), loss(outputs.float(), labels)))
        return seen[-1][0]

    run.loss = spy
    run.train_epoch()
    assert all(mixed.dtype == torch.float32 for mixed, _ in seen)
    assert all(torch.equal(mixed, full) for mixed, full in seen)


def overflowing(run: Run, at: int) -> Run:
    """The run with a loss whose gradient in step `at` (from 0) is too large for fp16's scaling."""
    steps, loss = count(), run.loss

    def explode(outputs: Tensor, labels: Tensor) -> Tensor:
        value = loss(outputs, labels)
        return value + 1e38 * (outputs.float().sum() - outputs.float().sum().detach()) * (
            next(steps) == at
        )

    run.loss = explode
    return run


def test_a_step_that_fp16_skips_leaves_weights_and_averages_alone_and_counts(
    tiny: Config, digits: Splits
) -> None:
    config = override(tiny, {"run.precision": "fp16", "optim.clip_norm": 1.0})
    run = overflowing(Run(config, digits), at=0)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=64)  # no other step overflows
    states = []

    def weights() -> list[Tensor]:
        assert run.averages.ema is not None
        return [
            p.detach().clone() for p in [*run.network.parameters(), *run.averages.ema.shadow_params]
        ]

    step = run.step

    def spy(images: Tensor, labels: Tensor) -> Tensor:
        before = weights()
        loss = step(images, labels)
        states.append(all(torch.equal(a, b) for a, b in zip(before, weights(), strict=True)))
        return loss

    run.step = spy  # type: ignore[method-assign]
    run.train_epoch()
    assert states == [True] + [False] * 5
    assert run.steps == 6


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_clipping_bounds_the_norm_of_the_true_gradient(
    tiny: Config, digits: Splits, precision: str
) -> None:
    # Plain SGD at learning rate 1: a step is the gradient.
    changes = {"optim.name": "momentum", "optim.momentum": 0.0, "optim.weight_decay": 0.0}
    changes |= {"optim.clip_norm": 1e-3, "run.precision": precision}
    run = Run(override(tiny, changes), digits)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=64, enabled=precision == "fp16")
    images, labels = next(iter(run.loader(epoch=1)))
    before = [p.detach().clone() for p in run.network.parameters()]
    set_lr(run.optimizer, 1.0, 1.0)
    with run.autocast():
        outputs = run.network(images)
    run._take_step(run.loss(outputs, labels))
    moved = [a - b.detach() for a, b in zip(before, run.network.parameters(), strict=True)]
    norm = torch.stack([m.norm() for m in moved]).norm().item()
    assert norm == pytest.approx(1e-3, rel=1e-2)


class OneLayer(torch.nn.Sequential):
    """Of each kind of layer one: each further one is seconds of a compiler."""

    num_features = 8

    def __init__(self) -> None:
        convolution = torch.nn.Conv2d(1, 8, 3, stride=2, bias=False)
        rest = torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        super().__init__(convolution, torch.nn.BatchNorm2d(8), *rest)


@pytest.mark.slow
def test_a_compiled_step_is_the_same_step(
    tiny: Config, digits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timm.create_model", lambda *_, **__: OneLayer())
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    found = []
    images, labels = next(iter(Run(tiny, digits).loader(epoch=1)))
    for is_compiled in (False, True):
        run = Run(override(tiny, {"run.compile": is_compiled}), digits)
        loss = run.loss(run.forward(images), labels)
        loss.backward()
        grads = {name: p.grad for name, p in run.network.named_parameters()}
        found.append((loss.item(), grads, dict(run.network.named_buffers())))
    assert list((tmp_path / "cache").iterdir())  # where other runs find what was compiled
    (value, grads, buffers), (value_2, grads_2, buffers_2) = found
    assert value_2 == pytest.approx(value, rel=1e-5)
    torch.testing.assert_close(grads_2, grads, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(buffers_2, buffers, rtol=1e-4, atol=1e-5)


# Learning


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["supcon", "ce", "supcon_ce"])
@pytest.mark.parametrize("mixing", [{}, {"augment.cutmix": 1.0, "augment.mix_probability": 0.5}])
def test_digits_are_learnt(tiny: Config, loss: str, mixing: dict[str, Any]) -> None:
    changes = {"data.train_size": None, "loss.name": loss, "run.epochs": 5} | mixing
    config = override(tiny, changes)
    last = list(fit(config, load_splits(config.data)))[-1]
    assert last.metrics["val/probe_top1"] > 0.93
    assert last.metrics["val/knn_top1"] > 0.92
    if loss != "supcon":
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


@pytest.fixture(scope="module")
def imported() -> list[set[str]]:
    """What is loaded with the training loop, and then with all that trains from a command line."""
    code = (
        "import sys, supcon.train; print(*sys.modules); "
        "import supcon.runlog, supcon.__main__; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [set(line.split()) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_training_imports_neither_ray_nor_optuna_nor_the_search(imported: list[set[str]]) -> None:
    assert "supcon.__main__" in imported[1]
    assert not {name.split(".")[0] for name in imported[1]} & {"ray", "optuna", "search"}


@pytest.mark.slow
def test_what_a_worker_of_a_search_imports_leaves_out_what_only_loading_needs(
    imported: list[set[str]],
) -> None:
    assert "supcon.train" in imported[0]
    assert not {"sklearn", "albumentations", "matplotlib"} & imported[0]


@pytest.mark.parametrize("selection", ["top1", "balanced"])
def test_weights_are_chosen_by_what_the_config_selects_by(
    tiny: Config, digits: Splits, monkeypatch: pytest.MonkeyPatch, selection: str
) -> None:
    """EMA weights are best by one measure, SWA weights by the other."""
    worth = {"raw": (0.5, 0.5), "ema": (0.9, 0.6), "swa": (0.7, 0.8)}
    scored = iter(worth.values())

    def score(*_: object) -> Scores:
        top1, balanced = next(scored)
        metrics = {"val/probe_top1": top1, "val/probe_balanced": balanced}
        nothing = torch.zeros(1)
        return Scores(metrics, LinearProbe(nothing, nothing, nothing, nothing, "1"))

    monkeypatch.setattr("supcon.train.score", score)
    changes = {"run.epochs": 1, "probe.selection": selection, "average.swa_start": 0.0}
    (record,) = fit(override(tiny, changes), digits)
    assert record.trained is not None
    best = {"top1": "ema", "balanced": "swa"}[selection]
    assert record.trained.weights == best
    column = ["top1", "balanced"].index(selection)
    for name, each in worth.items():
        assert record.metrics[f"val/probe_{selection}_{name}"] == each[column]


def test_logit_adjustment_goes_by_the_share_of_each_class_in_train(
    tiny: Config, digits: Splits
) -> None:
    few = np.flatnonzero((digits.train.labels != 3) | (np.arange(len(digits.train)) % 4 == 0))
    data = replace(digits, train=digits.train.take(few))
    run = Run(override(tiny, {"loss.name": "ce", "loss.logit_adjustment": 2.0}), data)
    logits, labels = torch.randn(6, 10), torch.arange(6)
    share = torch.tensor([(data.train.labels == k).mean() for k in range(10)])
    expected = F.cross_entropy(logits + 2 * share.log().float(), labels)
    torch.testing.assert_close(run.loss(logits, labels), expected)
