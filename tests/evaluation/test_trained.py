"""The result of a run, saved and loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from supcon.config import Config, override
from supcon.evaluation.accuracy import accuracy
from supcon.evaluation.trained import (
    Trained,
    embed_with,
    load_trained,
    predict,
    save_if_best,
    save_trained,
)
from supcon.images.split import Splits
from supcon.network.models import network_for
from supcon.parsing import UserError
from supcon.recipe.checkpoint import load_state, save_atomic
from supcon.train import Record, fit

CPU = torch.device("cpu")


Result = tuple[Config, Record, Trained]


def result(config: Config, record: Record) -> Result:
    assert record.trained is not None
    return config, record, record.trained


@pytest.fixture(scope="module")
def results(tiny: Config, digits: Splits, trained_run: list[Record]) -> dict[str, Result]:
    found = {"supcon fp32": result(override(tiny, {"run.precision": "fp32"}), trained_run[-1])}
    for precision in ("fp32", "bf16"):
        config = override(tiny, {"loss.name": "ce", "run.precision": precision})
        (record,) = fit(override(config, {"run.epochs": 1}), digits)
        found[f"ce {precision}"] = result(config, record)
    return found


@pytest.mark.parametrize("kind", ["supcon fp32", "ce fp32", "ce bf16"])
def test_a_loaded_result_predicts_what_the_saved_one_did(
    results: dict[str, Result], digits: Splits, tmp_path: Path, kind: str
) -> None:
    config, record, trained = results[kind]
    save_trained(trained, config, digits, tmp_path / "model.pt")
    torch.rand(3)  # nothing depends on the state of the random numbers
    loaded, its_config = load_trained(tmp_path / "model.pt", CPU)

    assert its_config == config
    assert loaded.weights == trained.weights in ("raw", "ema", "swa")
    assert loaded.probe.candidate == trained.probe.candidate
    assert (loaded.epoch, loaded.metrics) == (record.epoch, trained.metrics)
    before = predict(trained, config, digits.train, digits.val.images)
    after = predict(loaded, config, digits.train, digits.val.images)
    of_the_head = "head" if kind.startswith("ce") else "projection_knn"
    assert set(before) == {"probe", "knn", "knn1", of_the_head}
    for name, ids in before.items():
        assert torch.equal(after[name], ids), name

    # They are the predictions that were scored (the probe's score is cross-fitted, so not its).
    labels = torch.tensor(digits.val.labels)
    for name in ("knn", "knn1", of_the_head):
        assert accuracy(after[name], labels) == record.metrics[f"val/{name}_top1"], name


def test_auto_is_what_the_run_computed_in_wherever_it_is_loaded(
    results: dict[str, Result], digits: Splits, tmp_path: Path
) -> None:
    """As a run on a GPU, of which a picture is made later on a machine without one."""
    config, _, trained = results["ce fp32"]
    auto = override(config, {"run.precision": "auto"})
    path, images = tmp_path / "model.pt", digits.val.images
    save_trained(replace(trained, precision="bf16"), auto, digits, path)
    loaded, its_config = load_trained(path, CPU)
    assert its_config == override(auto, {"run.precision": "bf16"})
    found, exact = (embed_with(loaded, each, images).features for each in (its_config, config))
    assert not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, atol=0.5, rtol=0.1)

    state = load_state(path)
    del state["precision"]  # as earlier versions wrote it
    save_atomic(state, path)
    assert load_trained(path, CPU)[1] == override(auto, {"run.precision": "fp32"})


def test_a_loaded_result_has_the_same_tensors(
    results: dict[str, Result], digits: Splits, tmp_path: Path
) -> None:
    config, _, trained = results["supcon fp32"]
    save_trained(trained, config, digits, tmp_path / "model.pt")
    loaded, _ = load_trained(tmp_path / "model.pt", CPU)
    assert not loaded.network.training
    torch.testing.assert_close(
        loaded.network.state_dict(), trained.network.state_dict(), rtol=0, atol=0
    )
    for name in ("mean", "std", "weight", "bias"):
        assert torch.equal(getattr(loaded.probe, name), getattr(trained.probe, name)), name


def test_an_image_is_classified_alone_as_among_others(
    results: dict[str, Result], digits: Splits
) -> None:
    config, _, trained = results["ce fp32"]
    together = predict(trained, config, digits.train, digits.val.images[:5])
    for i in range(5):
        alone = predict(trained, config, digits.train, digits.val.images[i : i + 1])
        for name, ids in together.items():
            assert alone[name].tolist() == [ids[i]], name


def test_a_fine_tuned_model_is_loaded_without_what_it_started_from(
    results: dict[str, Result], digits: Splits, tmp_path: Path
) -> None:
    """Its small stem has the kernels that were trained elsewhere, larger than a fresh one's."""
    config, _, trained = results["ce fp32"]
    start = tmp_path / "start.pth"
    torch.save(timm.create_model("resnet10t").state_dict(), start)
    changes = {"model.backbone": "resnet10t", "model.weights": str(start)}
    fine_tuned = override(config, changes)
    network = network_for(fine_tuned, digits).eval()
    save_trained(replace(trained, network=network), fine_tuned, digits, tmp_path / "model.pt")
    start.unlink()
    loaded, its_config = load_trained(tmp_path / "model.pt", CPU)
    assert its_config == fine_tuned
    torch.testing.assert_close(loaded.network.state_dict(), network.state_dict(), rtol=0, atol=0)
    images = torch.tensor(digits.val.images[:3]).permute(0, 3, 1, 2)
    torch.testing.assert_close(loaded.network(images), network(images), rtol=0, atol=0)


def test_a_damaged_result_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"half")
    with pytest.raises(UserError, match=r"model\.pt: damaged"):
        load_trained(tmp_path / "model.pt", CPU)


def test_weights_that_do_not_cover_the_network_are_refused_and_named(
    results: dict[str, Result], digits: Splits, tmp_path: Path
) -> None:
    config, _, trained = results["supcon fp32"]
    save_trained(trained, config, digits, tmp_path / "model.pt")
    state = load_state(tmp_path / "model.pt")
    bias = state["network"].pop("head.layers.0.bias")
    save_atomic(state, tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"do not fit test_resnet .*head\.layers\.0\.bias"):
        load_trained(tmp_path / "model.pt", CPU)
    state["network"] |= {"head.layers.0.bias": bias, "encoder.backbone.extra": bias}
    save_atomic(state, tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"do not fit test_resnet .*1 not of it \(extra\)"):
        load_trained(tmp_path / "model.pt", CPU)


def test_a_file_that_is_no_model_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    save_atomic({"config": {}, "network": {}}, tmp_path / "last.pt")
    with pytest.raises(
        UserError, match=r"last\.pt: is no model of this version .*without classes,"
    ):
        load_trained(tmp_path / "last.pt", CPU)


def test_only_a_better_score_replaces_the_best_file(
    results: dict[str, Result], digits: Splits, tmp_path: Path
) -> None:
    config, _, trained = results["supcon fp32"]
    for epoch, top1, kept in ((1, 0.5, 1), (2, 0.4, 1), (3, 0.5, 1), (4, 0.6, 4)):
        scored = replace(trained, epoch=epoch, metrics={"val/probe_top1": top1})
        save_if_best(scored, config, digits, tmp_path / "best.pt")
        assert load_trained(tmp_path / "best.pt", CPU)[0].epoch == kept
