"""Embeddings in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from supcon.bundle.embeddings import writer_for
from supcon.parsing import UserError


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_what_was_added_is_read_back_in_its_order(tmp_path: Path, suffix: str) -> None:
    rng, path = np.random.default_rng(0), tmp_path / f"x{suffix}"
    blocks = [rng.normal(size=(n, 5)).astype(np.float32) for n in (3, 1, 4)]
    names = [[f"ü {i}/{j}.jpg" for j in range(len(b))] for i, b in enumerate(blocks)]
    with writer_for(path)(path, 5) as writer:
        for paths, block in zip(names, blocks, strict=True):
            writer.add(paths, block)
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            found_names, found = file["paths"].tolist(), file["embeddings"]
    else:
        table = parquet.read_table(path)
        found_names = table["path"].to_pylist()
        found = np.array(table["embedding"].to_pylist(), dtype=np.float32)
    assert found_names == [name for some in names for name in some]
    assert np.array_equal(found, np.concatenate(blocks))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_no_images_are_an_empty_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    with writer_for(path)(path, 5):
        pass
    if suffix == ".npz":
        with np.load(path) as file:
            assert file["embeddings"].shape == (0, 5)
    else:
        assert parquet.read_table(path).num_rows == 0


def test_another_kind_of_file_is_refused() -> None:
    with pytest.raises(UserError, match=r"--out x\.csv: must end with \.parquet or \.npz"):
        writer_for(Path("x.csv"))
