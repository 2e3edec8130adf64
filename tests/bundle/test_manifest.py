"""bundle.json: what is wrong with a bundle is found before any of its files is used."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supcon.bundle.manifest import MANIFEST, check_files, fingerprint, read_manifest
from supcon.bundle.storing import HEAD
from supcon.parsing import UserError
from tests.bundled import Used


def test_the_manifest_tells_what_the_bundle_was_made_of(contrastive: Used) -> None:
    found = read_manifest(contrastive.folder)
    assert found.classes == tuple("01245689")
    assert found.preprocessing.model_dump() == {
        "size": 16,
        "fit": "crop",
        "background": "white",
        "channels": 3,
    }
    assert found.val is not None
    assert found.val["probe_top1"] == contrastive.trained.metrics["val/probe_top1"]
    names = {path.name for path in contrastive.folder.iterdir()}
    assert set(found.files) == names - {MANIFEST}
    check_files(contrastive.folder, found)


def test_a_fingerprint_is_length_and_sha256(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "x").write_bytes(content)
    found = fingerprint(tmp_path / "x")
    assert (found.bytes, found.sha256) == (3_000_000, hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("name", ["encoder.safetensors", HEAD, "gallery.npz", "config.yaml"])
@pytest.mark.parametrize("harm", ["missing", "longer", "a bit", "a folder"])
def test_a_file_that_is_not_what_was_written_is_named(own: Used, name: str, harm: str) -> None:
    path = own.folder / name
    content = bytearray(path.read_bytes())
    path.unlink()
    match harm:
        case "longer":
            path.write_bytes(content + b" ")
        case "a bit":
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        case "a folder":
            path.mkdir()
    with pytest.raises(UserError, match=name) as told:
        own.load()
    assert len(str(told.value).splitlines()) == 1


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    tree = json.loads((folder / MANIFEST).read_text())
    change(tree)
    (folder / MANIFEST).write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.update(format=2), "format must be 1, got 2"),
        (lambda t: t.pop("format"), "format must be 1, got None"),
        (lambda t: t.pop("classes"), "classes is missing"),
        (lambda t: t.update(precision="int4"), "precision must be 'fp32', 'bf16' or 'fp16'"),
        (lambda t: t["preprocessing"].update(size=0), "preprocessing.size must be"),
        (lambda t: t["preprocessing"].update(background="url(x)"), "background"),
        (lambda t: t.update(gallery="../gallery.npz"), "gallery"),
        (lambda t: t.update(surprise=1), "unknown key 'surprise'"),
        (lambda t: t["files"].update({"../../etc/passwd": t["files"]["config.yaml"]}), "passwd"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_one_line(
    own: Used, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    changed(own.folder, change)
    with pytest.raises(UserError) as told:
        own.load()
    assert said in str(told.value)


@pytest.mark.parametrize("content", ["", "[]", "null", "{", "[" * 100_000, "\xff"])
def test_what_is_no_manifest_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST).write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=r"bundle\.json: (damaged|format must be)"):
        read_manifest(tmp_path)


def test_a_folder_that_is_no_bundle_says_how_one_is_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no bundle .*python -m supcon bundle RUN"):
        read_manifest(tmp_path)
