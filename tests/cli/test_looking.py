"""`evaluate` and `tsne`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from supcon.evaluation.accuracy import accuracy
from supcon.evaluation.trained import load_trained, predict
from supcon.images.loading import load_splits, load_test

CPU = torch.device("cpu")

# The weights grow by a factor of 125,000 a step.
EXPLODING = {"optim.lr_per_256": 1000.0, "optim.weight_decay": 1000.0}


from tests.cli.running import run


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
