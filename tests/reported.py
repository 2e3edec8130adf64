"""Studies that reports are made of, written by hand."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from search.further.measures import MEASURES
from search.log.events import (
    Audited,
    Compared,
    Copies,
    Examined,
    LookAlike,
    Outcome,
    Phase,
    Pictured,
    Shown,
    Started,
    Suspect,
    Suspected,
    Tested,
    Unsealed,
)
from search.log.packed import pack, pack_labels
from supcon.audit.findings import Looks, Twins
from tests.written import WrittenStudy

CLASSES = ["cat", "dog", "<owl>"]
N_IMAGES = 120
PICTURE = "UklGRiQAAABXRUJQVlA4IBgAAAAwAQCdASoBAAEAAgA0JaQAA3AA/vuUAAA="
"""A WebP picture of one pixel."""
CONFIRM = {"top": 1, "seeds": 3, "references": False}
COMMAND = "python search/run.py --space <b>x</b>.yaml"
PARAMS: dict[str, Any] = {
    "loss.temperature": {"loguniform": [0.05, 0.5]},
    "augment.strength": {"uniform": [0.1, 1.0]},
    "data.batch_size": {"pow2": [64, 256]},
    "optim.name": {"choice": ["sgd", "adamw"]},
    "optim.momentum": {"uniform": [0.5, 0.99], "when": {"optim.name": "sgd"}},
}


def _shown(part: str, image: str, label: str) -> Shown:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "teal").save(file, "JPEG")
    picture = base64.b64encode(file.getvalue()).decode()
    return Shown(part=part, image=image, label=label, picture=picture)


AUDITED: dict[str, Any] = {
    "looks": [
        Looks(part=part, images=n, one_colour=0, little_detail=0, transparent=0, animated=0)
        for part, n in (("train", 900), ("val", 100), ("test", N_IMAGES))
    ],
    "twins": [Twins(part="test", of="train", images=2, equal=1, other_label=1, shared_groups=None)],
    "n_test": N_IMAGES,
    "test_in_train": pack(np.arange(N_IMAGES) < 2),
    "test_in_val": pack(np.zeros(N_IMAGES, dtype=bool)),
    "copies": [
        Copies(kind="equal", difference=0, first=_shown("train", "<i>1.png", "cat"),
               second=_shown("test", "2.png", "<owl>")),
        Copies(kind="mirrored", difference=7.25, first=_shown("train", "3.png", "dog"),
               second=_shown("test", "4.png", "dog")),
    ],
}  # fmt: skip


TWO = {"supcon": {"loss.name": "supcon"}, "ce": {"loss.name": "ce"}}
THREE = {
    "supcon": {"loss.name": "supcon"},
    "sincere": {"loss.name": "sincere"},
    "ce": {"loss.name": "ce"},
}


def unsearched(path: Path, arms: dict[str, Any] = TWO, **changes: Any) -> WrittenStudy:
    return WrittenStudy(
        path,
        arms=arms,
        params={"optim.lr_per_256": {"loguniform": [0.01, 1]}},
        budget={"trials": 3},
        scheduler={"asha": {"grace": 3, "reduction": 3, "promotion": False}},
        confirm=CONFIRM,
        **changes,
    )


def searched(path: Path, arms: dict[str, Any] = TWO, **changes: Any) -> WrittenStudy:
    """Three trials an arm, of which the second is the best and the third was stopped."""
    study = unsearched(path, arms, **changes)
    for arm in study.arms:
        for number, scores in enumerate([[0.5, 0.8], [0.6, 0.9], [0.4]]):
            params = {"optim.lr_per_256": 0.1 * (number + 1)}
            run(study, arm, number, scores, params=params, seed=10 * number)
    return study


def run(
    study: WrittenStudy,
    arm: str,
    number: int,
    scores: list[float],
    phase: Phase = "search",
    outcome: Outcome | None = None,
    **asked: Any,
) -> None:
    """With a score at each rung that it reached; if that is the last one, it is completed."""
    study.ask(arm, number, phase, **asked)
    ending: Outcome = "completed" if len(scores) == len(study.space.rungs) else "stopped"
    for k, (epoch, score) in enumerate(zip(study.space.rungs, scores, strict=False), start=1):
        metrics = {"train/loss": 1.0, "val/probe_top1": score, "val/knn_top1": score - 0.01}
        metrics |= {"val/head_top1": score - 0.02} if arm == "ce" else {}
        metrics |= {"train/loss_share": 1 - score, "val/alignment": 1.5 - score, "val/nc1": 2 / k}
        metrics |= {"val/projection_alignment": 1 - score} if arm != "ce" else {}
        decision = "stop" if (k, ending) == (len(scores), "stopped") else "continue"
        study.report(arm, number, epoch, score, phase, metrics=metrics, decision=decision)
    study.end(arm, number, outcome or ending, phase, detail="<script>alert(1)</script>")


def confirm(
    study: WrittenStudy,
    n_seeds: int | dict[str, int],
    right: dict[str, npt.NDArray[np.bool_]] | None = None,
) -> None:
    """Train the best of each arm again, and score it on test images of three classes.

    `n_seeds`: of each arm, or of each by name, none of one that is not named.
    `right`: arm -> on which images its probe and head are, of all seeds but for the image of its
    number; None: by chance.
    """
    generator, scores = torch.Generator().manual_seed(0), [0.7] * (len(study.space.rungs) - 1)
    of_all = n_seeds if isinstance(n_seeds, dict) else dict.fromkeys(study.arms, n_seeds)
    for arm, n in of_all.items():
        seeds = range(n)
        best = study.log.top(arm, 1)[0].ask
        for seed in seeds:
            last = 0.85 + 0.01 * seed
            run(
                study, arm, seed, [*scores, last], "confirm",
                of=best.number, params=best.params, seed=100 + seed,
            )  # fmt: skip
    for arm, n in of_all.items():
        seeds = range(n)
        key: dict[str, Any] = {"arm": arm, "phase": "confirm"}
        study.add(
            Unsealed, **key, numbers=list(seeds), commit="abc", data_hash="0f", classes=CLASSES,
            labels=pack_labels(np.arange(N_IMAGES) % len(CLASSES)),
        )  # fmt: skip
        names = ["probe", "knn", "head"] if arm == "ce" else ["probe", "knn"]
        for seed in seeds:
            correct = torch.rand(N_IMAGES, generator=generator) < 0.85
            if right is not None:
                correct = torch.from_numpy(right[arm].copy())
                correct[seed] = not correct[seed]
            study.add(
                Tested, **key, number=seed, n_images=N_IMAGES,
                metrics={f"test/{name}_top1": correct.float().mean().item() for name in names},
                correct={name: pack(correct.numpy()) for name in names},
            )  # fmt: skip


def full(path: Path, arms: dict[str, Any] = TWO) -> WrittenStudy:
    """One that has everything a report can show."""
    scheduler = {"asha": {"grace": 1, "reduction": 3, "promotion": False}}
    study = WrittenStudy(
        path, arms=arms, params=PARAMS, budget={"trials": 20}, scheduler=scheduler, confirm=CONFIRM
    )
    here = {"commit": "abc", "versions": {"ray": "2"}, "command": COMMAND, "machine": "here"}
    study.add(Started, study="x", space=study.tree, **here)
    study.add(Audited, **AUDITED)
    rng = np.random.default_rng(0)
    for arm in arms:
        for number in range(20):
            params = draw(arm, rng)
            score = 0.6 + 0.3 * params["augment.strength"] + rng.normal(0, 0.02)
            n_rungs = 3 if number in (1, 4) or number % 3 == 0 else 1 + number % 2
            scores = [score - 0.1 / epoch for epoch in study.space.rungs[:n_rungs]]
            run(study, arm, number, scores, outcome="infeasible" if number == 5 else None,
                params=params)  # fmt: skip
    confirm(study, 3)
    examine(study, "supcon")
    for arm in arms:
        plane = rng.normal(size=(60, 2)).tolist()
        study.add(
            Pictured, arm=arm, phase="confirm", number=0, classes=CLASSES,
            labels=[i % len(CLASSES) for i in range(60)], encoder=plane,
            projection=plane if arm != "ce" else None,
        )  # fmt: skip
    study.add(
        Suspected, judges=[(arm, "confirm", 0) for arm in arms], classes=CLASSES,
        n_images=400, n_found=2, n_probable=1,
        suspects=[
            Suspect(part="val", index=7, label=0, predicted=2, self_confidence=0.01, margin=-0.9,
                    is_probable=True,
                    picture=PICTURE),
            Suspect(part="train", index=3, label=1, predicted=0, self_confidence=0.2, margin=-0.3,
                    is_probable=False,
                    file="/a/<b>.jpg"),
        ],
    )  # fmt: skip
    study.add(
        Compared, judges=[(arm, "confirm", 0) for arm in arms], n_test=N_IMAGES - 2,
        n_found=1, least=0.65, n_val=100, n_val_found=0, n_tried=300, n_tried_found=120,
        pairs=[LookAlike(correlation=0.9, train=_shown("train", "5.png", "cat"),
                         test=_shown("test", "<u>6.png", "<owl>"))],
    )  # fmt: skip
    return study


def examine(study: WrittenStudy, better: str = "", by: float = 0.2) -> None:
    """Examine all tested runs; `better`: an arm whose measures are all better, by so much."""
    rng = np.random.default_rng(1)
    of_block = rng.normal(0, 0.02, 30)
    for run in study.log.trials.values():
        if run.tested is None:
            continue
        values: dict[str, dict[str, list[float]]] = {"probe": {}, "features": {}}
        if run.ask.arm == "ce":
            values["head"] = {}
        for name, measure in MEASURES.items():
            sign = (run.ask.arm == better) * (1 if measure.is_higher_better else -1)
            mean = 0.5 + by * sign + rng.normal(0, 0.01)
            own = [mean, *(mean + (of_block + rng.normal(0, 0.01, 30)) / 29)]
            for where in ["features"] if name.endswith("_knn") else values.keys() - {"features"}:
                values[where][name] = [round(x, 7) for x in own]
        study.add(
            Examined, arm=run.ask.arm, phase=run.ask.phase, number=run.ask.number,
            n_images=N_IMAGES, n_corrupted=N_IMAGES, n_unknown=60, unknown_hash="ab", values=values,
        )  # fmt: skip


def draw(arm: str, rng: np.random.Generator) -> dict[str, Any]:
    params: dict[str, Any] = {"augment.strength": float(rng.uniform(0.1, 1))}
    params["data.batch_size"] = int(2 ** rng.integers(6, 9))
    params["optim.name"] = str(rng.choice(["sgd", "adamw"]))
    if params["optim.name"] == "sgd":
        params["optim.momentum"] = float(rng.uniform(0.5, 0.99))
    if arm != "ce":
        params["loss.temperature"] = float(np.exp(rng.uniform(np.log(0.05), np.log(0.5))))
    return params
