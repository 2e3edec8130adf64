"""What an examination finds of a run, against the same written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from supcon.config import Config, override
from supcon.evaluation.trained import Trained, embed_with
from supcon.images.files import ImageFiles
from supcon.images.loading import load_test
from supcon.images.split import Split, Splits
from supcon.network.models import by_head
from supcon.parsing import UserError
from supcon.reliability import examination
from supcon.reliability.calibration import calibration_error, fit_temperature, nll, probabilities
from supcon.reliability.classes import macro_f1
from supcon.reliability.corruptions import KINDS, LEVELS, corrupt
from supcon.reliability.examination import (
    Exam,
    Unknown,
    Values,
    corrupted_images,
    examine,
    known_measures,
)
from supcon.reliability.unknown import auroc, kth_distance

KNOWN = ["ece", "ece_scaled", "macro_f1", "nll", "nll_scaled", "worst_class"]
J = 5


@pytest.fixture(scope="module")
def exam(tiny: Config) -> Exam:
    """By 50 test images, and 12 of noise."""
    test = load_test(tiny.data).take(np.arange(50))
    noise = np.random.default_rng(0).integers(0, 256, (12, *test.images.shape[1:]), np.uint8)
    unknown = Split(noise, np.zeros(12, np.int64))
    blocks = np.arange(50) % J
    return Exam(test, blocks, Unknown(unknown, np.arange(12) % J, blocks))


@pytest.fixture(scope="module")
def ce(tiny: Config) -> Config:
    return override(tiny, {"loss.name": "ce"})


@pytest.fixture(scope="module")
def found(models: dict[str, Trained], ce: Config, digits: Splits, exam: Exam) -> dict[str, Values]:
    return examine(models["ce"], ce, digits.train, digits.val, exam)


def without(exam: Exam, j: int) -> Exam:
    """The images that are left without a block, as if there had been no others."""
    assert exam.unknown is not None
    kept, known = np.flatnonzero(exam.blocks != j), np.flatnonzero(exam.unknown.blocks != j)
    blocks = np.arange(len(kept)) % 2
    own = Unknown(exam.unknown.images.take(known), np.arange(len(known)) % 2, blocks)
    return Exam(exam.test.take(kept), blocks, own)


def test_a_run_is_examined_by_each_classifier_that_gives_probabilities(
    models: dict[str, Trained], tiny: Config, digits: Splits, exam: Exam, found: dict[str, Values]
) -> None:
    by = [f"{m}_{s}" for s in ("energy", "softmax") for m in ("auroc", "fpr95")]
    corrupted = [f"corrupted_{name}" for name in ("top1", *KINDS)]
    own = examine(models["supcon"], tiny, digits.train, digits.val, exam)
    for each, classifiers in ((found, ("probe", "head")), (own, ("probe",))):
        assert sorted(each) == sorted([*classifiers, "features"])
        for name in classifiers:
            assert sorted(each[name]) == sorted([*KNOWN, *corrupted, *by])
        assert sorted(each["features"]) == ["auroc_knn", "fpr95_knn"]
        assert {len(x) for values in each.values() for x in values.values()} == {1 + J}
    assert "features" not in examine(
        models["supcon"], tiny, digits.train, digits.val, replace(exam, unknown=None)
    )


def test_measures_are_those_of_the_logits_with_the_temperature_of_val(
    models: dict[str, Trained], ce: Config, digits: Splits, exam: Exam, found: dict[str, Values]
) -> None:
    trained, y = models["ce"], exam.test.labels
    test, val = (embed_with(trained, ce, x.images) for x in (exam.test, digits.val))
    for name, (logits, on_val) in {
        "probe": tuple(trained.probe.logits(each.features) for each in (test, val)),
        "head": tuple(by_head(each.outputs, ce)[1] for each in (test, val)),
    }.items():
        t = fit_temperature(on_val, torch.from_numpy(digits.val.labels))
        values = {measure: each[0] for measure, each in found[name].items()}
        for suffix, temperature in (("", 1.0), ("_scaled", t)):
            p = probabilities(logits, temperature).numpy()
            assert values[f"ece{suffix}"] == pytest.approx(calibration_error(p, y))
            likely = nll(logits, torch.from_numpy(y), temperature)
            assert values[f"nll{suffix}"] == pytest.approx(likely)
        assert values["macro_f1"] == pytest.approx(macro_f1(logits.argmax(1).numpy(), y))
    assert found["probe"]["nll_scaled"][0] != found["probe"]["nll"][0]


def test_without_a_block_all_is_as_if_its_images_had_never_been(
    models: dict[str, Trained], ce: Config, digits: Splits, exam: Exam, found: dict[str, Values]
) -> None:
    less = examine(models["ce"], ce, digits.train, digits.val, without(exam, 3))
    for name, values in found.items():
        for measure, each in values.items():
            if not measure.startswith("corrupted_noise") and measure != "corrupted_top1":
                assert each[1 + 3] == pytest.approx(less[name][measure][0], abs=1e-6), measure


def test_corrupted_accuracy_is_the_mean_over_kinds_levels_and_images(
    models: dict[str, Trained], ce: Config, exam: Exam, found: dict[str, Values]
) -> None:
    by_kind: dict[str, npt.NDArray[np.float64]] = {}
    for kind in KINDS:
        right = []
        for level in LEVELS:
            x = corrupt(exam.test.images[:], kind, level, np.arange(50))
            features = embed_with(models["ce"], ce, x).features
            right.append(models["ce"].probe.predict(features).numpy() == exam.test.labels)
        by_kind[kind] = np.mean(right, axis=0)
        assert found["probe"][f"corrupted_{kind}"][0] == pytest.approx(by_kind[kind].mean())
    means = np.mean([*by_kind.values()], axis=0)
    expected = [means.mean(), *(means[exam.blocks != j].mean() for j in range(J))]
    assert found["probe"]["corrupted_top1"] == pytest.approx(expected)


def test_unknown_images_are_told_by_their_distance_to_train(
    models: dict[str, Trained], ce: Config, digits: Splits, exam: Exam, found: dict[str, Values]
) -> None:
    assert exam.unknown is not None
    sets = digits.train.images, exam.test.images, exam.unknown.images.images
    bank, known, new = (embed_with(models["ce"], ce, x).features for x in sets)
    near, far = (kth_distance(bank, x, 1).numpy() for x in (known, new))
    assert found["features"]["auroc_knn"][0] == pytest.approx(auroc(near, far))


def test_images_are_corrupted_in_blocks_and_from_their_files_alike(
    models: dict[str, Trained], ce: Config, digits: Splits, exam: Exam, found: dict[str, Values],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    class Lazy(ImageFiles):
        """Pixels that are there only where they are asked for."""

        def __init__(self, pixels: npt.NDArray[np.uint8]) -> None:
            self.pixels = pixels

        def __len__(self) -> int:
            return len(self.pixels)

        def __getitem__(self, chosen: slice | npt.NDArray[np.intp]) -> npt.NDArray[np.uint8]:
            part = self.pixels[chosen]
            assert len(part) <= 50
            return part

    monkeypatch.setattr(examination, "BLOCK", 16)
    lazy = replace(exam.test, images=Lazy(exam.test.images[:]))
    again = examine(models["ce"], ce, digits.train, digits.val, replace(exam, test=lazy))
    for name, values in found.items():
        for measure, each in values.items():
            assert again[name][measure] == pytest.approx(each, abs=1e-5), measure


def test_of_many_images_1000_are_corrupted() -> None:
    assert corrupted_images(7).tolist() == [*range(7)]
    some = corrupted_images(10_000)
    assert len(some) == 1000
    assert (some[0], some[-1]) == (0, 9999)
    assert set(np.diff(some)) <= {9, 10, 11}


def test_a_class_may_be_missing_from_what_is_left() -> None:
    logits = torch.eye(3).double()[[0, 0, 1, 2]]
    labels, blocks = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0])
    found = known_measures(logits, labels, 1.0, blocks)
    assert found["worst_class"] == [1, 1, 1]


def test_what_is_not_finite_is_refused(
    models: dict[str, Trained], tiny: Config, digits: Splits, exam: Exam
) -> None:
    trained = models["supcon"]
    broken = replace(trained, probe=replace(trained.probe, bias=trained.probe.bias * torch.nan))
    with pytest.raises(UserError, match=r"run\.precision: .* not finite"):
        examine(broken, tiny, digits.train, digits.val, replace(exam, unknown=None))
