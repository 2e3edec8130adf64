"""The images of a study are looked over once, before it starts; the log alone tells what came."""

from __future__ import annotations

import base64
import csv
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.log.journal import Journal
from search.log.packed import unpack
from search.preflight.image_audit import audit_lines, audit_once, look_over
from supcon.audit.audit import ImageAudit
from supcon.config import DataConfig
from supcon.images.loading import load_splits
from tests.images.pictures import photo
from tests.written import WrittenStudy


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    """Three parts of photographs; test/cat/0 is a dog of train, test/cat/1 a cat of train."""
    root, seed = tmp_path / "images", 0
    for part, n in (("train", 8), ("val", 2), ("test", 3)):
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            for i in range(n):
                seed += 1
                photo(30, 30, seed).save(root / part / name / f"{i}.png")
    shutil.copy(root / "train/dog/5.png", root / "test/cat/0.png")
    shutil.copy(root / "train/cat/3.png", root / "test/cat/1.png")
    shutil.copy(root / "val/dog/1.png", root / "test/dog/2.png")
    Image.new("RGB", (20, 20), "red").save(root / "val/cat/0.png")
    return DataConfig(name="folder", root=root, image_size=24)


@pytest.fixture
def found(config: DataConfig) -> ImageAudit:
    return look_over(config, load_splits(config))


def study_of(config: DataConfig, path: Path) -> WrittenStudy:
    base = {"run": {"epochs": 9}, "data": config.model_dump(mode="json")}
    return WrittenStudy(path, base=base)


def test_what_was_found_is_printed_the_worst_first(found: ImageAudit) -> None:
    assert audit_lines(found) == [
        "audit     2 of 6 images of test (33.3%) have a copy in train (2 equal, 0 nearly so), 1 of "
        "them under another label",
        "          1 of 6 images of test (16.7%) have a copy in val (1 equal, 0 nearly so)",
        "          1 of 4 in val: of one colour",
    ]


def test_a_line_says_so_where_nothing_was_found(config: DataConfig) -> None:
    for part in ("val", "test"):
        for path in sorted((config.root / part).rglob("*.png")):
            photo(30, 30, 1000 + hash(str(path)) % 10**6).save(path)
    assert audit_lines(look_over(config, load_splits(config))) == [
        "audit     26 images looked over: no copies, no empty pictures"
    ]


def test_the_log_holds_counts_test_images_and_the_worst_pairs(
    config: DataConfig, tmp_path: Path
) -> None:
    study, data = study_of(config, tmp_path), load_splits(config)
    assert len(audit_once(study, data)) == 3
    study.log.close()
    event = Journal.open(study.folder.events).audited
    assert event is not None
    assert unpack(event.test_in_train, event.n_test).tolist() == [True, True] + [False] * 4
    assert unpack(event.test_in_val, event.n_test).tolist() == [False] * 5 + [True]
    assert [(p.kind, p.first.part, p.first.label, p.second.part) for p in event.copies] == [
        ("equal", "train", "dog", "test"),
        ("equal", "train", "cat", "test"),
        ("equal", "val", "dog", "test"),
    ]
    worst = event.copies[0]
    assert (worst.first.image, worst.second.image) == (
        str(config.root / "train/dog/5.png"), str(config.root / "test/cat/0.png"),
    )  # fmt: skip
    shown = Image.open(io.BytesIO(base64.b64decode(worst.second.picture)))
    original = Image.open(worst.first.image).resize((24, 24), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(shown).astype(int) - np.asarray(original)).mean() < 6


def test_unknown_images_that_are_copies_of_known_ones_are_found_and_test_is_told_apart(
    config: DataConfig, tmp_path: Path
) -> None:
    others = tmp_path / "others"
    others.mkdir()
    photo(30, 30, 999).save(others / "0.png")
    shutil.copy(config.root / "train/dog/5.png", others / "1.png")
    config = config.model_copy(update={"unknown": others})
    study = study_of(config, tmp_path)
    lines = audit_once(study, load_splits(config))
    assert lines[0].startswith("audit     2 of 6 images of test (33.3%) have a copy in train")
    assert any("1 of 2 images of unknown (50.0%) have a copy in train" in line for line in lines)
    event = study.log.audited
    assert event is not None
    assert unpack(event.test_in_train, event.n_test).tolist() == [True, True] + [False] * 4
    found = [(p.first.part, p.second.part, p.second.label) for p in event.copies]
    assert found[:3] == [("train", "test", "cat")] * 2 + [("val", "test", "dog")]
    assert found[3:] == [("train", "unknown", "unknown")]
    rows = list(csv.DictReader(study.folder.audit.read_text().splitlines()))
    assert {row["label_2"] for row in rows if row["part_2"] == "unknown"} == {"unknown"}


def test_all_pairs_lie_beside_the_log(config: DataConfig, tmp_path: Path) -> None:
    study = study_of(config, tmp_path)
    audit_once(study, load_splits(config))
    rows = list(csv.DictReader(study.folder.audit.read_text().splitlines()))
    assert len(rows) == 3
    (row,) = [row for row in rows if row["label_1"] == "cat"]
    assert row == {
        "kind": "equal", "difference": "0.00", "correlation": "1.000",
        "part_1": "train", "image_1": str(config.root / "train/cat/3.png"), "label_1": "cat",
        "part_2": "test", "image_2": str(config.root / "test/cat/1.png"), "label_2": "cat",
    }  # fmt: skip


def test_a_file_whose_name_is_no_text_is_named_all_the_same(
    config: DataConfig, tmp_path: Path
) -> None:
    os.rename(config.root / "test/cat/0.png", os.fsencode(config.root / "test/cat") + b"/\xff.png")
    study = study_of(config, tmp_path)
    audit_once(study, load_splits(config))
    study.log.close()
    event = Journal.open(study.folder.events).audited
    assert event is not None
    assert event.copies[0].second.image.endswith(r"test/cat/\xff.png")
    assert r"test/cat/\xff.png" in study.folder.audit.read_text()


def test_a_study_is_audited_once(config: DataConfig, tmp_path: Path) -> None:
    study, data = study_of(config, tmp_path), load_splits(config)
    audit_once(study, data)
    n_events, written = len(study.log.events), study.folder.audit.stat().st_mtime_ns
    assert audit_once(study, data) == []
    assert (len(study.log.events), study.folder.audit.stat().st_mtime_ns) == (n_events, written)


@pytest.mark.parametrize("pipeline", ["resident", "streaming"])
def test_images_of_a_folder_have_their_names_also_where_they_were_decoded(
    config: DataConfig, pipeline: str
) -> None:
    config = config.model_copy(update={"pipeline": pipeline})
    (config.root / "val").rename(config.root / "no val")
    found = look_over(config, load_splits(config))
    sizes = {part.name: len(part.labels) for part in found.parts}
    assert sizes == {"train": 14, "val": 2, "test": 6}
    names = {part.name_of(i) for part in found.parts for i in range(len(part.labels))}
    assert names == {str(path) for path in config.root.glob("t*/*/*.png")}


def test_images_in_memory_have_an_index(tmp_path: Path) -> None:
    config = DataConfig(name="digits")
    study, data = study_of(config, tmp_path), load_splits(config)
    (line,) = audit_once(study, data)
    assert line.startswith("audit     ")
    assert "too smooth to tell a near copy from one that looks alike" in line
    assert study.folder.audit.read_text().count("\n") == 1
