"""`evaluate --on`: a frozen encoder, or that of each seed of a winner, on other images."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supcon.cli.options import load_run, write_json
from supcon.config import TEXT_KEYS, Config, DataConfig, override
from supcon.parsing import UserError, is_there, parse_assignment

if TYPE_CHECKING:
    from supcon.images.split import Split, Splits
    from supcon.transfer.transfer import Scored

TABLES = (".csv", ".tsv", ".parquet", ".pq")
OF_OTHER = tuple(
    f"data.{key}"
    for key in (
        *("path_column", "label_column", "split_column", "group_column", "test_size", "val_size"),
        *("split_seed", "train_size", "broken", "pipeline"),
    )
)
"""What may be set of the other images."""


def run_transfer(options: argparse.Namespace) -> int:
    """The `evaluate` command with `--on`."""
    files, out, what = _models(options.model, options.arm, options.on)
    of_data = [text for text in options.set if text.strip().startswith("data.")]
    of_model = [text for text in options.set if text not in of_data]
    _, first, config = load_run(files[0], of_model)
    from supcon.evaluation.trained import is_of
    from supcon.images.loading import load_splits, load_test
    from supcon.transfer.transfer import check_channels, transfer

    other = on_other(config, options.on, of_data).data
    try:
        data = load_splits(other)
        data.check()
        test = load_test(other)
    except UserError as error:
        raise UserError(str(error).replace("data.root", "--on")) from None
    check_channels(first, data)
    if is_of(files[0], data):
        raise _own(options.on)
    models = (load_run(file, of_model)[1:] for file in files)
    found = transfer(models, other, data, test)
    print(f"{what} on {options.on}: {_describe(data, test)}")
    for name, scored in found.items():
        share = scored.share
        print(f"  {name:32s} {share.value:.6f}  ({share.low:.4f} to {share.high:.4f})")
    print(f"in brackets: 95 % intervals over {_over(len(files), test)}")
    write_json(out, _tree(options.on, files, test, found))
    print(f"wrote {out}")
    return 0


def on_other(config: Config, place: Path, settings: list[str]) -> Config:
    """The config of a run, with the images of another place in the size of its own.

    Args:
        config: of the run.
        place: a folder with train/ and test/, or with classes alone; a table; a saved data set.
        settings: as given to --set, of `data`: how these images are found and split.

    Raises:
        UserError: there is nothing, or it is what the run was trained on.
    """
    if not is_there(place):
        raise UserError(
            f"--on {place}: there is nothing; name a folder with train/<class>/ and "
            f"test/<class>/, or with <class>/ alone, or a table of images"
        )
    own = config.data
    if own.is_own and os.path.realpath(own.root.expanduser()) == os.path.realpath(place):
        raise _own(place)
    given = dict(parse_assignment(text, TEXT_KEYS) for text in settings)
    for key in given:
        if key not in OF_OTHER:
            raise UserError(
                f"--set {key}: with --on, of data only {', '.join(OF_OTHER)} can be set"
            )
    from supcon.images.sources import reading_of

    reading = reading_of(own)
    kept = {"fit": own.fit, "background": own.background, "split_seed": own.split_seed}
    changes = DataConfig(image_size=reading.size, **kept).model_dump(mode="json")
    changes |= {"name": _way_in(place), "root": str(place)}
    return override(config, {f"data.{key}": v for key, v in changes.items()} | given, "--set")


def _own(place: Path) -> UserError:
    return UserError(
        f"--on {place}: is what the model was trained on; its own test images are scored with "
        f"--split test"
    )


def _way_in(place: Path) -> str:
    if place.suffix.lower() in TABLES and place.is_file():
        return "table"
    is_saved = any((place / name).is_file() for name in ("dataset_dict.json", "dataset_info.json"))
    return "huggingface" if is_saved else "folder"


def _models(model: Path, arm: str | None, on: Path) -> tuple[list[Path], Path, str]:
    """The files of the models that are meant, the file that is written, and what they are."""
    from supcon.bundle.manifest import MANIFEST
    from supcon.bundling.study import is_study, winners

    name = f"on-{on.resolve().name if os.path.isdir(on) else on.stem}.json"
    if is_there(model / MANIFEST):
        raise UserError(
            f"{model}: is a bundle; with --on, name the folder of the run or of the study that it "
            f"was made of"
        )
    if is_study(model):
        won = winners(model, arm, "all")
        what = f"{model}: {won[0].why}, {len(won)} runs"
        return [each.file for each in won], model / f"{won[0].arm}-{name}", what
    if arm:
        raise UserError(f"--arm {arm}: {model} is no study, and has no arms")
    file = model / "model.pt" if model.is_dir() else model
    return [file], file.with_name(f"{file.stem}-{name}"), str(file)


def _describe(data: Splits, test: Split) -> str:
    groups = "" if test.groups is None else f", in {len(set(test.groups.tolist()))} groups"
    return (
        f"{len(data.classes)} classes; {len(data.train)} train, {len(data.val)} val, {len(test)} "
        f"test images{groups}"
    )


def _over(n_models: int, test: Split) -> str:
    of_test = "test images" if test.groups is None else "groups of test images"
    return of_test if n_models == 1 else f"{n_models} seeds and {of_test}"


def _tree(on: Path, files: list[Path], test: Split, found: dict[str, Scored]) -> dict[str, Any]:
    metrics = {
        name: {
            "value": scored.share.value,
            "ci95": [scored.share.low, scored.share.high],
            "each": scored.each,
        }
        for name, scored in found.items()
    }
    models = [str(file) for file in files]
    return {"on": str(on), "models": models, "test_images": len(test), "metrics": metrics}
