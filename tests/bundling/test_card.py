"""The model card says what the log and val say, and no name is markup."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from supcon.bundle.manifest import read_manifest
from supcon.bundling.card import write_card
from supcon.bundling.study import Winner
from supcon.config import override
from tests.bundled import Used

SUMMARY: dict[str, Any] = {
    "verdict": {"text": "supcon beats ce (+2.00 points)"},
    "arms": {
        "supcon": {
            "curse": {"searched": 0.93, "confirmed": 0.9, "drop": 0.03},
            "confirm": {
                "seeds": [1, 2],
                "val": {"probe_top1": [0.9, 0.91]},
                "test_probe_top1": [0.8, 0.9],
            },
        }
    },
    "test_openings": [
        {"what": "supcon, confirm", "when": "2026-11-26", "runs": ["a", "b"]},
        {"what": "ce, confirm", "when": None, "runs": ["c"]},
    ],
    "images": {"text": ["3 of 100 test images have a copy in train"]},
}


def card(used: Used, won: Winner | None = None, **changes: Any) -> str:
    manifest = read_manifest(used.folder).model_copy(update=changes)
    return write_card(manifest, used.config, 1234, won)


def test_evidence_is_that_of_the_study(contrastive: Used) -> None:
    won = Winner(SUMMARY, "supcon", "supcon-confirm-1", 1, Path("x"), "arm supcon, run 1 of 2")
    text = card(contrastive, won)
    assert "**supcon beats ce (+2.00 points)**" in text
    assert "| probe_top1 | 85.00 % | 80.00 % | 90.00 % | 90.00 % |" in text
    assert "Expect the mean" in text
    assert "the search saw 93.00 % on val, fresh seeds 90.00 %" in text
    assert "- supcon, confirm (2 runs), 2026-11-26\n- ce, confirm (1 runs), at a time" in text
    assert "3 of 100 test images have a copy in train" in text
    assert "trained on | 1,234 images" in text


def test_a_run_by_itself_claims_nothing(contrastive: Used) -> None:
    text = card(contrastive)
    score = contrastive.trained.metrics["val/probe_top1"]
    assert "A single run, of no study" in text
    assert f"Linear probe on val: {100 * score:.2f} %" in text
    assert "beats" not in text


def test_the_weights_that_training_started_from_are_named_without_their_folder(
    contrastive: Used,
) -> None:
    assert "starting from" not in card(contrastive)
    pinned = {"model.weights": "/home/me/r_18.safetensors", "model.weights_hash": 64 * "a"}
    used = replace(contrastive, config=override(contrastive.config, pinned))
    assert f"| starting from | r\\_18.safetensors, SHA-256 {64 * 'a'} |" in card(used)


def test_calibration_and_threshold_are_those_of_the_bundle(plain: Used) -> None:
    manifest, text = read_manifest(plain.folder), card(plain)
    for name in ("probe", "head", "knn"):
        assert f"| {name} | {manifest.temperatures[name]:.3g} | " in text
    assert f"is above {manifest.unknown.threshold:.4f}: at most 5 %" in text
    none = manifest.unknown.model_copy(update={"threshold": None})
    assert "No image is called unknown" in card(plain, unknown=none)


def test_names_are_no_markup(contrastive: Used) -> None:
    names = ("a|b", "<script>", "*x*\n# y", "[l](http://x)", "`c`", "_d_", "猫", "$e$")
    text = card(contrastive, classes=names)
    shown = "a\\|b, \\<script\\>, \\*x\\* \\# y, \\[l\\](http://x), \\`c\\`, \\_d\\_, 猫, $e$"
    assert shown in text
    many = card(contrastive, classes=tuple(f"class{i}" for i in range(200)))
    assert "class49 ..." in many
    assert "class50" not in many
