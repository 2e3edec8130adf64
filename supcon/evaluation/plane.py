"""t-SNE in a process of its own: its native code can end a process, and takes long on many images.

It did so on features that are all the same (scikit-learn 1.9, PCA start). `python plane.py SEED`
reads an array from standard input and writes its places to standard output, both as .npy.
"""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

PERPLEXITY = 30.0  # neighbours that count, as in the paper; fewer where there are few images


class NotDrawn(Exception):
    """There is no picture; the message is why."""


class NothingToDraw(NotDrawn):
    """Nor will there be one of these features."""


def flatten(x: Floats, seed: int, seconds: float | None = None) -> Floats:
    """t-SNE (van der Maaten and Hinton 2008) in a child process.

    Args:
        x: (N, D), N at least 5.
        seed: of t-SNE.
        seconds: how long it may take; None: as long as it wants.

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
    given = io.BytesIO()
    np.save(given, x)
    try:
        # -P: what lies beside this file shadows nothing. A session of its own: Ctrl-C is for us.
        done = subprocess.run(
            [sys.executable, "-P", __file__, str(seed)],
            input=given.getvalue(), capture_output=True, timeout=seconds, start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NotDrawn(f"t-SNE took longer than {seconds:g} s") from None
    except OSError as error:
        raise NotDrawn(f"no process could be started ({error})") from error
    if done.returncode < 0:
        raise NotDrawn(f"t-SNE crashed ({signal.Signals(-done.returncode).name})")
    if done.returncode > 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise NotDrawn(f"t-SNE failed ({''.join(last)})")
    return _read(io.BytesIO(done.stdout))


def _read(file: BinaryIO) -> Floats:
    found: Floats = np.load(file, allow_pickle=False)
    return found


def main() -> None:
    """What the child does."""
    from sklearn.manifold import TSNE

    x = _read(io.BytesIO(sys.stdin.buffer.read()))
    perplexity = min(PERPLEXITY, (len(x) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=int(sys.argv[1]))
    np.save(sys.stdout.buffer, tsne.fit_transform(x))


if __name__ == "__main__":
    main()
