"""t-SNE in a process of its own: its native code can end a process, and takes long on many images.

It did so on features that are all the same (scikit-learn 1.9, PCA start). `python plane.py SEED
tsne|umap` reads an array from standard input and writes its places to standard output, both as
.npy. UMAP (McInnes et al. 2018, arXiv:1802.03426) is umap-learn's, where that is installed.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

Method = Literal["tsne", "umap"]

PERPLEXITY = 30.0  # neighbours that count, as in the paper; fewer where there are few images
NEIGHBOURS = 15  # likewise, of UMAP
NAMES: dict[Method, str] = {"tsne": "t-SNE", "umap": "UMAP"}


class NotDrawn(Exception):
    """There is no picture; the message is why."""


class NothingToDraw(NotDrawn):
    """Nor will there be one of these features."""


def flatten(x: Floats, seed: int, seconds: float | None = None, method: Method = "tsne") -> Floats:
    """t-SNE (van der Maaten and Hinton 2008), or UMAP, in a child process.

    Args:
        x: (N, D), N at least 5.
        seed: of the method.
        seconds: how long it may take; None: as long as it wants.
        method: tsne, or umap.

    Returns:
        (N, 2) places in the plane.

    Raises:
        NothingToDraw: the images are too few, or cannot be told apart.
        NotDrawn: the process ended without a picture.
    """
    if len(x) < 5:
        raise NothingToDraw(f"{len(x)} images are too few")
    if not np.isfinite(x).all():
        raise NothingToDraw("the features are not finite")
    if np.ptp(x, axis=0).max() <= 4 * np.finfo(np.float32).eps * np.abs(x).max():
        raise NothingToDraw("the features of all images are equal")
    given, name = io.BytesIO(), NAMES[method]
    # Threads that spin while they wait keep others from a core: of 1,000 images 32 CPU s, not 7.
    surroundings = {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ
    np.save(given, x)
    try:
        # -P: what lies beside this file shadows nothing. A session of its own: Ctrl-C is for us.
        done = subprocess.run(
            [sys.executable, "-P", __file__, str(seed), method],
            input=given.getvalue(), capture_output=True, timeout=seconds, start_new_session=True,
            env=surroundings,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NotDrawn(f"{name} took longer than {seconds:g} s") from None
    except OSError as error:
        raise NotDrawn(f"no process could be started ({error})") from error
    if done.returncode < 0:
        raise NotDrawn(f"{name} crashed ({signal.Signals(-done.returncode).name})")
    if done.returncode > 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise NotDrawn(f"{name} failed ({''.join(last)})")
    return _read(io.BytesIO(done.stdout))


def _read(file: BinaryIO) -> Floats:
    found: Floats = np.load(file, allow_pickle=False)
    return found


def main() -> None:
    """What the child does."""
    x, seed, method = _read(io.BytesIO(sys.stdin.buffer.read())), int(sys.argv[1]), sys.argv[2]
    np.save(sys.stdout.buffer, _by_umap(x, seed) if method == "umap" else _by_tsne(x, seed))


def _by_tsne(x: Floats, seed: int) -> Floats:
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(x) - 1) / 3)
    found: Floats = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(x)
    return found


def _by_umap(x: Floats, seed: int) -> Floats:
    from umap import UMAP

    neighbours = min(NEIGHBOURS, len(x) - 1)
    found: Floats = UMAP(n_neighbors=neighbours, random_state=seed).fit_transform(x)
    return found


if __name__ == "__main__":
    main()
