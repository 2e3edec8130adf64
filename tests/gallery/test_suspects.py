"""Labels that are probably wrong: when they are looked for, by whom, and where they are shown."""

from __future__ import annotations

import base64
import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.gallery.suspects import add_suspects, current, suspects_csv, suspects_later
from search.log.study import Study
from search.reporting.files import write_report
from supcon.config import Config, override
from supcon.images.loading import load_splits
from supcon.images.split import Split, Splits
from supcon.train import fit
from tests.trained_study import TrainedStudy

FLIPPED = {"train": range(0, 200, 20), "val": range(1, 40, 10)}


@pytest.fixture
def data(study: TrainedStudy, monkeypatch: pytest.MonkeyPatch) -> Splits:
    """Some labels are wrong; the models have not seen that. Fewer folds are quicker."""
    monkeypatch.setattr("supcon.evaluation.label_errors.FOLDS", 2)
    parts = {}
    for part, wrong in FLIPPED.items():
        split = getattr(study.data, part)
        labels = split.labels.copy()
        labels[list(wrong)] = (labels[list(wrong)] + 5) % 10
        parts[part] = Split(split.images, labels)
    return Splits(parts["train"], parts["val"], study.data.classes)


def test_nothing_is_looked_for_before_the_test_images_were_opened(
    study: TrainedStudy, data: Splits
) -> None:
    for arm in ("supcon", "ce"):
        study.confirm(arm, 0, 3)
    assert add_suspects(study, data) == ""
    assert study.log.suspected is None


def test_the_first_run_of_each_winner_judges_once(study: TrainedStudy, data: Splits) -> None:
    study.confirm_both()
    for _ in range(2):
        assert add_suspects(study, data) == ""
    found = current(study)
    assert found is not None
    assert found.judges == [("supcon", "confirm", 0), ("ce", "confirm", 0)]
    assert sum(event is found for event in study.log.events) == 1
    assert found.n_images == len(data.train) + len(data.val)
    again = Study.open(study.folder.path)
    assert current(again) == found


@pytest.mark.slow
def test_another_winner_judges_anew(study: TrainedStudy, data: Splits) -> None:
    study.confirm_both()
    add_suspects(study, data)
    study.search("ce", 1, 0.9)
    study.confirm("ce", 1, 3)
    study.open_test()
    assert current(study) is None
    add_suspects(study, data)
    found = current(study)
    assert found is not None
    assert found.judges[1] == ("ce", "confirm", 3)


def test_flipped_labels_are_among_the_most_suspicious(study: TrainedStudy, data: Splits) -> None:
    study.confirm_both()
    add_suspects(study, data)
    found = current(study)
    assert found is not None
    margins = [suspect.margin for suspect in found.suspects]
    assert margins == sorted(margins)
    assert all(suspect.label != suspect.predicted for suspect in found.suspects)
    known = {(part, i) for part, wrong in FLIPPED.items() for i in wrong}
    named = {(suspect.part, suspect.index) for suspect in found.suspects}
    by_chance = len(known) * len(named) / found.n_images
    assert len(known & named) > max(4 * by_chance, 5)  # an epoch's encoders err much themselves
    for each in found.suspects:
        assert getattr(data, each.part).labels[each.index] == each.label


def test_the_first_ones_are_shown_and_all_are_listed(
    study: TrainedStudy, data: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.gallery.suspects.PICTURES", 2)
    study.confirm_both()
    add_suspects(study, data)
    found = current(study)
    assert found is not None
    assert [suspect.picture is not None for suspect in found.suspects[:3]] == [True, True, False]
    first = found.suspects[0]
    with Image.open(io.BytesIO(base64.b64decode(first.picture or ""))) as picture:
        shown = np.asarray(picture.convert("L")).astype(int)
    pixels = getattr(data, first.part).images[first.index][..., 0]
    assert shown.shape == pixels.shape
    assert abs(shown - pixels).mean() < 10
    rows = list(csv.DictReader(io.StringIO(suspects_csv(study))))
    assert len(rows) == found.n_found
    assert rows[0]["label"] == data.classes[first.label]
    assert (rows[0]["rank"], rows[0]["file"]) == ("1", "")
    assert [row["probably_wrong"] for row in rows].count("yes") == found.n_probable
    summary = write_report(study)
    assert summary.suspects is not None
    assert summary.suspects.found == len(rows)
    assert (study.folder.path / "suspects.csv").read_text() == suspects_csv(study)
    page = study.folder.page.read_text()
    assert page.count("data:image/webp;base64,") == 2
    line = f"{found.n_probable:,} of {found.n_images:,} labels of train and val are probably wrong"
    assert line in page
    assert line in (study.folder.path / "report.md").read_text()


@pytest.mark.slow
def test_what_could_not_be_listed_is_said_and_made_later(
    study: TrainedStudy, data: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.confirm_both()
    model = study.folder.model("ce-confirm-0")
    kept = model.read_bytes()
    model.unlink()
    why = add_suspects(study, data)
    assert "there is no such file" in why
    assert current(study) is None
    assert (
        write_report(study)
        .missing["suspects"]
        .endswith("not listed: not made yet: python search/report.py")
    )
    model.write_bytes(kept)
    assert "another process is working" in suspects_later(study)
    study.log.close()
    assert suspects_later(study) == "the images of train and val are no longer those of the study"
    same = study.log.started.model_copy(update={"data_hash": data.fingerprint()})
    monkeypatch.setattr("search.log.journal.Journal.started", same)
    monkeypatch.setattr("search.judge.trained_models.load_splits", lambda _: data)
    assert suspects_later(study) == ""
    assert current(Study.open(study.folder.path)) is not None


@pytest.mark.slow
def test_an_image_of_a_folder_is_named_by_its_file(
    study: TrainedStudy, data: Splits, tmp_path: Path
) -> None:
    root = tmp_path / "images"
    for part, split in (("train", data.train), ("val", data.val)):
        for i, (pixels, label) in enumerate(zip(split.images[:], split.labels, strict=True)):
            folder = root / part / f"{label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[..., 0]).save(folder / f"{i:04d}.png")
    base = study.tree["base"]
    source = base["data"] | {"name": "folder", "root": str(root), "train_size": None}
    study.confirm_both()
    study.restart(base=base | {"data": source})
    in_order = {
        part: split.take(np.argsort(split.labels, kind="stable"))
        for part, split in (("train", data.train), ("val", data.val))
    }
    listed = Splits(in_order["train"], in_order["val"], data.classes)
    assert add_suspects(study, listed) == ""
    found = current(study)
    assert found is not None
    for each in found.suspects:
        assert each.file is not None
        path = Path(each.file)
        assert path.parts[-3:-1] == (each.part, str(each.label))
        with Image.open(path) as image:
            expected = getattr(listed, each.part).images[each.index][..., 0]
            assert np.array_equal(np.asarray(image), expected)


DIGITS = {
    "data.batch_size": 64,
    "data.val_size": 0.2,
    "model.backbone": "test_resnet",
    "model.stem": "full",
    "run.epochs": 15,
    "run.threads": 1,
    "run.device": "cpu",
    "run.precision": "fp32",
}


SEEDS = (0,)
"""`results/benchmarks.md` has 0, 1 and 2."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_two_labels_of_a_hundred_flipped_are_found_by_models_that_were_trained_on_them(
    tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The figures of results/benchmarks.md: `pytest -s -m slow -k two_labels` prints them."""
    config = override(Config(), DIGITS)
    clean = load_splits(config.data)
    rng, parts, wrong = np.random.default_rng(seed), {}, set()
    for part in ("train", "val"):
        split = getattr(clean, part)
        labels = split.labels.copy()
        chosen = rng.choice(len(labels), round(0.02 * len(labels)), replace=False)
        labels[chosen] = (labels[chosen] + rng.integers(1, 10, len(chosen))) % 10
        parts[part] = Split(split.images, labels)
        wrong |= {(part, int(i)) for i in chosen}
    data = Splits(parts["train"], parts["val"], clean.classes)
    models = {}
    for loss in ("supcon", "ce"):
        *_, last = fit(override(config, {"loss.name": loss, "run.seed": seed}), data)
        assert last.trained is not None
        models[loss] = last.trained
    study = TrainedStudy(tmp_path, models, config, data)
    for arm in ("supcon", "ce"):
        study.search(arm, 0, 0.5)
    study.confirm_both()
    assert add_suspects(study, data) == ""
    found = current(study)
    assert found is not None
    for part in ("train", "val"):
        own = [each for each in found.suspects if each.part == part]
        flipped = {i for its, i in wrong if its == part}
        lists = {
            "probably wrong": [each for each in own if each.is_probable],
            "all": own,
            "the first": own[: len(flipped)],
        }
        for name, some in lists.items():
            hits = len(flipped & {each.index for each in some})
            share = hits / max(1, len(some)), hits / len(flipped)
            with capsys.disabled():
                print(
                    f"\nseed {seed}, {part}: {len(flipped)} flipped; {name}: {len(some)}, "
                    f"precision {share[0]:.2f}, recall {share[1]:.2f}", end="",
                )  # fmt: skip
            if name != "probably wrong":
                assert share[1] > 0.8
            if name != "all":
                assert share[0] > 0.8
