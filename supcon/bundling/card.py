"""MODEL_CARD.md: what is known of a model, for whoever gets the bundle (arXiv:1810.03993)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from supcon.bundle.manifest import Calibrated, Manifest
from supcon.bundling.study import Winner
from supcon.config import Config


def write_card(manifest: Manifest, config: Config, n_train: int, won: Winner | None) -> str:
    """The card in Markdown.

    Args:
        manifest: of the bundle.
        config: that the model was trained with.
        n_train: training images.
        won: the run of a study that it is, if it is one.
    """
    parts = [
        _what(manifest, config, n_train),
        _evidence(won) if won else _no_study(manifest),
        _calibration(manifest),
        _limits(manifest, won),
        _use(manifest),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _what(manifest: Manifest, config: Config, n_train: int) -> Iterator[str]:
    source, shape = manifest.source, manifest.preprocessing
    of = f"{source.study}, arm {source.arm}, " if source.study else ""
    yield f"# {_text(source.study or source.run)}\n"
    names, more = manifest.classes[:50], " ..." if len(manifest.classes) > 50 else ""
    yield f"Classifies images of {shape.size} x {shape.size} pixels into one of "
    yield f"{len(manifest.classes)} classes: {_text(', '.join(names))}{more}.\n"
    yield "| | |\n|---|---|"
    yield f"| encoder | {config.model.backbone}, trained with {config.loss.name} |"
    if config.model.weights != "none":
        start, sha256 = config.model.weights, config.model.weights_hash
        name = start if start.startswith(("timm", "hf-hub:")) else Path(start).name
        yield f"| starting from | {_text(name)}, SHA-256 {sha256 or 'unknown'} |"
    of = f"{of}run {source.run}, seed {source.seed}, {source.weights} weights"
    yield f"| from | {_text(of)} |"
    yield f"| trained on | {n_train:,} images (data {source.data[:12]}) |"
    yield f"| precision | {manifest.precision} |"
    yield f"| code | commit {source.commit or 'unknown'}; {_versions(manifest)} |"
    yield f"| made | {manifest.made} |"
    if source.on == "all":
        yield (
            f"\n**Trained once more on train and val together: no score of this model exists.** "
            f"Scores, temperatures and threshold below are those of run {_text(source.run)}, the "
            f"same configuration trained on train alone."
        )


def _no_study(manifest: Manifest) -> Iterator[str]:
    yield "## Evidence\n"
    yield "A single run, of no study. Nothing else was compared with it under the same protocol."
    if manifest.val is not None:
        score = manifest.val.get("probe_top1", 0.0)
        yield f"Linear probe on val: {100 * score:.2f} %. Test images: not known to this bundle."


def _evidence(won: Winner) -> Iterator[str]:
    summary, found = won.summary, won.summary["arms"][won.arm]
    yield "## Evidence\n"
    yield f"**{_text(summary['verdict']['text'])}**\n"
    yield "| classifier | mean on test | lowest | highest | this run |\n|---|---|---|---|---|"
    for name, scores in won.confirmed.items():
        if name.startswith("test_") and scores:
            mean, own = sum(scores) / len(scores), scores[won.place]
            cells = [f"{100 * s:.2f} %" for s in (mean, min(scores), max(scores), own)]
            yield f"| {' | '.join([name.removeprefix('test_'), *cells])} |"
    n = len(won.confirmed["seeds"])
    yield f"\nOver {n} fresh seeds of this configuration. Expect the mean: a single run's score is"
    yield f"partly luck. Why this run: {_text(won.why)}.\n"
    if curse := found.get("curse"):
        yield (
            f"Winner's curse: the search saw {100 * curse['searched']:.2f} % on val, fresh seeds "
            f"{100 * curse['confirmed']:.2f} %.\n"
        )
    yield "The test images were opened for:\n"
    for opening in summary["test_openings"]:
        when = opening["when"] or "at a time that an older log does not tell"
        yield f"- {_text(opening['what'])} ({len(opening['runs'])} runs), {when}"
    for line in (summary.get("images") or {}).get("text", []):
        yield f"\n{_text(line)}"


def _calibration(manifest: Manifest) -> Iterator[str]:
    unknown = manifest.unknown
    yield "## Probabilities and unknown images\n"
    yield "| classifier | temperature | NLL on val, before and after | calibration error |"
    yield "|---|---|---|---|"
    for name, each in manifest.calibration.items():
        yield f"| {name} | {manifest.temperatures[name]:.3g} | {_before_after(each)} |"
    if unknown.threshold is None:
        yield f"\nNo image is called unknown: {unknown.images} held-out images are too few."
        return
    yield (
        f"\nAn image is called unknown where its distance (1 - cosine) to image {unknown.k} of the "
        f"gallery, by nearness, is above {unknown.threshold:.4f}: at most "
        f"{100 * unknown.false_alarms:.3g} % of images of known classes, if they are like the "
        f"{unknown.images:,} held-out images that it was set by (split conformal)."
    )


def _before_after(each: Calibrated) -> str:
    return (
        f"{each.nll_before:.4f}, {each.nll:.4f} | "
        f"{100 * each.error_before:.2f} %, {100 * each.error:.2f} %"
    )


def _limits(manifest: Manifest, won: Winner | None) -> Iterator[str]:
    yield "## Limits\n"
    yield "- Probabilities hold for images like those of training, with classes in the same shares."
    yield "- Only kNN knows classes that were added to the gallery; probe and head keep their own."
    yield "- What is unknown is judged by likeness alone: an unknown class that looks like a known"
    yield "  one passes."
    yield "- Not measured: corrupted images, other cameras, fairness between groups of people."
    if won is not None:
        several = won.summary["verdict"].get("comparisons")
        of = "single configurations" if several else "two configurations"
        yield f"- The verdict speaks of {of} on one split, not of the methods."
    if manifest.source.on == "train":
        yield "- The probe's penalty and the weights (raw, EMA, SWA) were chosen on val."


def _use(manifest: Manifest) -> Iterator[str]:
    yield "## Use\n"
    yield "    python -m supcon predict . IMAGES --out predictions.csv"
    yield "    python -m supcon neighbours . IMAGE\n"
    yield "    import supcon"
    yield '    supcon.load(".").predict(["image.jpg"]).names'


def _versions(manifest: Manifest) -> str:
    return ", ".join(f"{name} {version}" for name, version in manifest.versions.items())


def _text(text: Any) -> str:
    """Names are somebody's: none of them is markup, or ends a line or a cell."""
    shown = " ".join(str(text).split())
    for mark in "\\`*_{}[]<>#|":
        shown = shown.replace(mark, f"\\{mark}")
    return shown
