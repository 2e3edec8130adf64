"""Embeddings of any number of files, written as they are made: .parquet or .npz."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from supcon.bundle.model import Floats
from supcon.parsing import UserError

SUFFIXES = (".parquet", ".npz")


class Writer(AbstractContextManager["Writer"]):
    """Takes embeddings in blocks; a file in which nothing is missing when it is left."""

    def __init__(self, path: Path, dim: int) -> None:
        """`path` ends with .parquet or .npz, `dim` is the length D of an embedding."""
        self.path, self.dim = path, dim
        self.stack = ExitStack()

    def add(self, paths: list[str], embeddings: Floats) -> None:
        """Embeddings (N, D) of N files."""
        raise NotImplementedError

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stack.close()


class ParquetWriter(Writer):
    """Columns `path` and `embedding`, a list of D floats; memory stays as it is."""

    def __init__(self, path: Path, dim: int) -> None:
        """Likewise."""
        import pyarrow as pa
        from pyarrow import parquet

        super().__init__(path, dim)
        self.schema = pa.schema({"path": pa.string(), "embedding": pa.list_(pa.float32(), dim)})
        self.out = self.stack.enter_context(parquet.ParquetWriter(path, self.schema))

    def add(self, paths: list[str], embeddings: Floats) -> None:
        """Likewise."""
        import pyarrow as pa

        rows: Any = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.ravel()), self.dim)
        shown = [path.encode(errors="replace").decode() for path in paths]
        self.out.write_table(pa.table([pa.array(shown), rows], schema=self.schema))


class NpzWriter(Writer):
    """Arrays `paths` (N,) and `embeddings` (N, D) fp32; keeps the paths, not the embeddings."""

    def __init__(self, path: Path, dim: int) -> None:
        """Likewise."""
        super().__init__(path, dim)
        self.paths = list[str]()
        self.rows: IO[bytes] = self.stack.enter_context(tempfile.TemporaryFile(dir=path.parent))  # noqa: SIM115

    def add(self, paths: list[str], embeddings: Floats) -> None:
        """Likewise."""
        self.paths += paths
        self.rows.write(np.ascontiguousarray(embeddings, dtype=np.float32).data)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self.stack:
            if kind is None:
                self._finish()

    def _finish(self) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(self.paths), self.dim)}
        with zipfile.ZipFile(self.path, "w") as archive:
            with archive.open("embeddings.npy", "w", force_zip64=True) as out:
                np.lib.format.write_array_header_1_0(out, header)
                self.rows.seek(0)
                shutil.copyfileobj(self.rows, out)
            with archive.open("paths.npy", "w", force_zip64=True) as out:
                np.lib.format.write_array(out, np.array(self.paths, dtype=np.str_))


def writer_for(name: Path) -> Callable[[Path, int], Writer]:
    """What writes files that are called so.

    Raises:
        UserError: it is neither a .parquet nor an .npz.
    """
    match name.suffix:
        case ".parquet":
            return ParquetWriter
        case ".npz":
            return NpzWriter
    raise UserError(f"--out {name}: must end with {' or '.join(SUFFIXES)}")
