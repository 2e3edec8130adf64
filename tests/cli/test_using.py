"""`bundle`, `predict`, `embed` and `neighbours`."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from supcon.evaluation.trained import embed_with, load_trained
from tests.cli.running import run


@pytest.fixture(scope="session")
def bundle(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "model"
    assert run("bundle", finished, "--out", out, "--set", "run.device=cpu") == 0
    return out


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.intake.digit_files import write_digits

    root = tmp_path_factory.mktemp("digits")
    write_digits(root)
    return root / "test"


def rows(text: str) -> list[dict[str, str]]:
    return [*csv.DictReader(io.StringIO(text))]


def test_a_bundle_says_what_it_holds_and_what_comes_next(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    assert run("bundle", finished / "best.pt", "--out", out, "--false-alarms", 0.1, "--half") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"wrote {out}: 10 classes, temperatures probe ")
    assert "unknown beyond a distance of " in first
    assert first.endswith("(10 % false alarms, by 287 held-out images)")
    assert second == f"next: python -m supcon predict {out} IMAGES --out predictions.csv"


def test_predictions_of_files_equal_those_of_the_run_to_the_image(
    finished: Path, bundle: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p.csv"
    assert run("predict", bundle, images, "--labelled", "--out", out) == 0
    said = capsys.readouterr().out.splitlines()
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]
    own = shutil.copytree(finished, tmp_path / "run")  # openings of the test images are counted
    assert run("evaluate", own, "--split", "test") == 0
    score = next(li for li in capsys.readouterr().out.splitlines() if "test/probe_top1" in li)
    n = sum(row["label"] == row["class"] for row in rows(out.read_text()))
    assert n / 360 == pytest.approx(float(score.split()[1]), abs=1e-6)
    assert said[0] == f"right: {n} of 360 ({100 * n / 360:.2f} %)"
    assert said[1].startswith(f"wrote {out}: 360 images, ")


def test_without_a_file_rows_go_to_standard_output_and_all_else_does_not(
    bundle: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.png").touch()
    (tmp_path / "notes.txt").touch()
    assert run("predict", bundle, images / "3", tmp_path, "--top", 2, "--by", "knn") == 0
    said = capsys.readouterr()
    found = rows(said.out)
    n = sum(1 for _ in (images / "3").iterdir())
    assert len(found) == n + 1
    assert found[-1]["error"].startswith("not a readable image")
    told = said.err.splitlines()
    assert told[0] == "left out: 1 .txt (no image by its suffix)"
    assert told[1].startswith(f"not read: {tmp_path}/bad.png: not a readable image (")
    assert told[2].startswith(f"{n} images, ")


def test_a_list_is_read_from_standard_input(
    bundle: Path, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(path) for path in sorted((images / "4").iterdir())[:3]]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(paths)))
    assert run("predict", bundle, "-") == 0
    assert [row["path"] for row in rows(capsys.readouterr().out)] == paths


def test_embeddings_are_those_of_the_run(
    finished: Path, bundle: Path, images: Path, tmp_path: Path
) -> None:
    for name in ("x.npz", "x.parquet"):
        assert run("embed", bundle, images / "8", "--out", tmp_path / name) == 0
    with np.load(tmp_path / "x.npz") as file:
        found, paths = file["embeddings"], file["paths"].tolist()
    assert paths == [str(path) for path in sorted((images / "8").iterdir())]
    trained, config = load_trained(finished / "model.pt", torch.device("cpu"))
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])[..., None]
    expected = embed_with(trained, config, pixels).features.numpy()
    assert found == pytest.approx(expected, abs=1e-4)


def test_neighbours_are_listed_below_each_image(
    bundle: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sorted((images / "8").iterdir())[0]
    assert run("neighbours", bundle, path, "--k", 3) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(path)
    cosines = [float(line.split()[0]) for line in lines[1:]]
    assert len(cosines) == 3
    assert cosines == sorted(cosines, reverse=True)
    assert all(line.split()[2:4][0] == "digits" for line in lines[1:])


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("predict {bundle} {none}/no.png", "PATH: no image could be read"),
        ("predict {none} {images}", "{none}: is no bundle"),
        ("predict {bundle} {images} --by head", "--by head: this bundle has probe, knn"),
        ("predict {bundle} {images} --top 0", "--top must be at least 1, got 0"),
        ("predict {bundle} {images} --out {images}", "--out {images}: exists already"),
        ("predict {bundle} {images} --out {none}/no/x.csv", "--out {none}/no/x.csv: cannot be"),
        ("embed {bundle} {images} --out {none}/x.csv", "must end with .parquet or .npz"),
        ("neighbours {bundle} {images} --k 0", "--k must be at least 1, got 0"),
        ("bundle {images} --out {none}/m", "{images}/model.pt: there is no such file"),
        ("bundle {run} --out {bundle}", "--out {bundle}: exists already"),
        ("bundle {run} --out {none}/m --false-alarms 1", "--false-alarms must lie between 0 and 1"),
        ("bundle {run} --out {none}/m --arm ce", "--arm ce: {run} is no study, and has no arms"),
        ("bundle {run} --out {none}/m --set data.val_size=0.3", "--set data.val_size: is part of"),
        ("gallery list {none}", "{none}: is no bundle"),
        ("gallery remove {bundle}", "gallery remove: say what with --class NAME or --path PATH"),
        ("gallery add {bundle} {none}", "{none}: holds no folder"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    finished: Path,
    bundle: Path,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    said: str,
) -> None:
    places = {"bundle": bundle, "images": images, "none": tmp_path, "run": finished}
    assert run(*command.format(**places).split()) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("error: ")
    assert said.format(**places) in last
    assert [*tmp_path.iterdir()] == []


def test_what_was_done_until_an_interruption_is_kept(
    bundle: Path,
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from supcon.bundle.predictions import Table

    add, blocks = Table.add, list[object]()

    def interrupted(self: Table, *given: object) -> None:
        if blocks:
            raise KeyboardInterrupt
        blocks.append(given)
        add(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Table, "add", interrupted)
    monkeypatch.setattr("supcon.bundle.predictions.MOST", 50)
    assert run("predict", bundle, images, "--out", tmp_path / "p.csv") == 130
    assert [path.name for path in tmp_path.iterdir()] == ["p.partial.csv"]
    assert len(rows((tmp_path / "p.partial.csv").read_text())) == 50
    assert f"{tmp_path}/p.partial.csv holds what was done" in capsys.readouterr().err


@pytest.mark.slow
def test_a_reader_that_leaves_early_is_no_error(bundle: Path, images: Path) -> None:
    command = [sys.executable, "-m", "supcon", "predict", str(bundle), *[str(images)] * 40]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read().decode()
    assert (process.returncode, said) == (141, "")


@pytest.mark.slow
def test_a_run_on_all_images_is_bundled(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    assert run("bundle", finished, "--on", "all", "--out", out) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in told[:2]] == ["1/2", "2/2"]
    assert "no score of this model exists" in (out / "MODEL_CARD.md").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
