"""What a run leaves behind: a line for each record, scalars, and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from supcon.collapse import PROJECTED, SPREAD
from supcon.config import TOP1, Config, flatten, load_config
from supcon.runlog import RunLog, add_image, describe
from supcon.train import Record


def record(epoch: int, **val: float) -> Record:
    metrics = {"train/loss": 2.0 / epoch, "train/lr": 0.25}
    metrics |= {f"val/{name}": value for name, value in val.items()}
    return Record(epoch, metrics, views=0, seconds=61.6 * epoch)


RECORDS = [record(1), record(2, probe_top1=0.5, knn_top1=0.25), record(3)]


@pytest.fixture
def log(tiny: Config, tmp_path: Path) -> Iterator[RunLog]:
    with RunLog(tiny, tmp_path / "out", tmp_path / "out/tensorboard") as log:
        yield log


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder / "tensorboard")).Reload()


def test_a_record_is_a_line() -> None:
    assert describe(RECORDS[0], 100) == "epoch   1/100  loss 2.0000  lr 2.50e-01  62 s"
    assert describe(RECORDS[1], 3) == (
        "epoch   2/3  loss 1.0000  lr 2.50e-01  probe_top1 50.00%  knn_top1 25.00%  123 s"
    )


def test_a_line_tells_the_effective_rank_and_a_collapse() -> None:
    seen = record(1, probe_balanced=0.5, effective_rank=3.25, collapsed=0, collapsed_classes=0)
    assert describe(seen, 9).endswith("probe_balanced 50.00%  effective_rank 3.2  62 s")
    seen = record(1, effective_rank=1.003, collapsed=1, collapsed_classes=10)
    assert describe(seen, 9).endswith("2.50e-01  effective_rank 1.0  all features equal  62 s")


def test_no_percentage_is_told_of_what_is_no_accuracy() -> None:
    geometry = {name.removeprefix("val/"): 0.125 for name in (*SPREAD, *PROJECTED)}
    line = describe(record(2, projection_knn_top1=0.5, **geometry), 3)
    assert [word for word in line.split() if word.endswith("%")] == ["50.00%"]


def test_every_record_is_logged_as_it_comes(log: RunLog, tiny: Config) -> None:
    for i, each in enumerate(RECORDS):
        line = log.write(each)
        assert line == describe(each, tiny.run.epochs)
        assert (log.folder / "log.txt").read_text().splitlines()[i:] == [line]
    assert load_config(log.folder / "config.yaml") == tiny
    found = events(log.folder)
    assert [(e.step, e.value) for e in found.Scalars("train/loss")] == [
        (1, 2.0),
        (2, 1.0),
        (3, pytest.approx(2 / 3)),
    ]
    assert [(e.step, e.value) for e in found.Scalars("val/knn_top1")] == [(2, 0.25)]


def test_a_resumed_run_adds_only_what_is_not_there(log: RunLog, tiny: Config) -> None:
    for each in RECORDS[:2]:
        log.write(each)
    log.close()
    with RunLog(tiny, log.folder, log.tensorboard) as resumed:
        assert resumed.write(RECORDS[1]) == describe(RECORDS[1], tiny.run.epochs)
        resumed.write(RECORDS[2])
    lines = (log.folder / "log.txt").read_text().splitlines()
    assert lines == [describe(each, tiny.run.epochs) for each in RECORDS]
    # Of two files of one second TensorBoard reads number 10 of a process before number 9.
    assert sorted(event.step for event in events(log.folder).Scalars("train/lr")) == [1, 2, 3]


def test_a_run_without_a_record_leaves_an_empty_folder(log: RunLog) -> None:
    log.close()
    assert list(log.folder.iterdir()) == []


def test_hyper_parameters_stand_next_to_the_last_scores(log: RunLog, tiny: Config) -> None:
    for each in (*RECORDS, record(4, probe_top1=0.75)):
        log.write(each)
    log.close()
    found = events(log.folder)
    (score,) = found.Scalars(f"hparam/{TOP1}")
    assert (score.step, score.value) == (4, 0.75)
    (start,) = (
        HParamsPluginData.FromString(data).session_start_info.hparams
        for name, data in found.PluginTagToContent("hparams").items()
        if name == "_hparams_/session_start_info"
    )
    settings = flatten(tiny)
    assert set(start) == set(settings)
    assert start["probe.l2"].string_value == str(settings["probe.l2"])
    assert start["run.compile"].bool_value is False
    assert start["run.epochs"].number_value == 3


def test_a_run_that_was_never_scored_has_no_hyper_parameters(log: RunLog) -> None:
    log.write(RECORDS[0])
    log.close()
    assert events(log.folder).Tags()["scalars"] == ["train/loss", "train/lr"]


def test_a_picture_is_shown_in_tensorboard_as_it_is(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    add_image(tmp_path / "tensorboard", "a picture", tmp_path / "x.png", 7)
    (shown,) = events(tmp_path).Images("a picture")
    assert (shown.step, shown.width, shown.height) == (7, 6, 4)
    (tmp_path / "shown.png").write_bytes(shown.encoded_image_string)
    with Image.open(tmp_path / "shown.png") as picture:
        assert np.array_equal(np.asarray(picture), pixels)
