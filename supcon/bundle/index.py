"""An index for large galleries: looks for neighbours in the part of them where they probably are.

Inverted lists (IVF-Flat of faiss): the gallery is grouped by k-means into 2 sqrt(N) lists, and a
query is compared with the images of those lists whose centres are nearest to it. Cosines are exact;
what may be missing are neighbours in other lists. In how many lists to look depends on how the
embeddings lie, and is measured when the index is built: the least power of two that finds `RECALL`
of the neighbours that images of this gallery have in it.

A graph (HNSW of faiss or usearch) was no faster at this recall on two cores and 50,000 x 96, and
took longer to build. faiss is optional (`pip install '.[index]'`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from functools import cached_property
from importlib.util import find_spec
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from supcon.bundle.gallery import Gallery
from supcon.bundle.index_cache import kept_index
from supcon.bundle.nearest import ExactSearch, Near, Search
from supcon.evaluation.knn import TIE

# CPU time of a query in a batch, and by the index, two cores, milliseconds:
# 20,000 x 96: 0.23, 0.09    50,000 x 96: 0.46, 0.10    100,000 x 96: 0.69, 0.15    x 512: 2.3, 0.1
# Decoding and a network of 0.4 million parameters take 1.8 ms an image of 32 pixels: from 20,000 on
# an exact search is more than a tenth of that.
INDEXED_FROM = 20_000  # images in a gallery
RECALL = 0.99  # of all neighbours that are looked for, on average over queries
LISTS = 2  # times sqrt(N); with 4 a query is no faster, and building takes twice as long
SAMPLE = 64  # images for each list, by which k-means finds the centres
ITERATIONS = 10  # of k-means
QUERIES = 512  # images of the gallery on which recall is measured
BLOCK = 2**16  # images that are added at once
VERSION = 1  # of how an index is built: another one builds all anew

Floats = npt.NDArray[np.float32]


class IndexSearch:
    """Finds `RECALL` of the neighbours or more, by comparing with a small part of the gallery."""

    def __init__(self, gallery: Gallery, make: Callable[[], Any], k: int) -> None:
        """`make` gives an index of the gallery for at most k neighbours; called at first use."""
        self.gallery, self.make, self.k = gallery, make, k

    def __call__(self, queries: Tensor, k: int) -> Near:
        """Likewise; more than the index was built for are looked for exactly."""
        k = min(k, len(self.gallery))
        if k > self.k or not len(queries):
            return self.exact(queries, k)
        _use_threads()
        found = self.index.search(_directions(queries), k)
        near = Near(*map(torch.from_numpy, found))
        is_short = (near.places < 0).any(1)  # there are fewer in the lists that were looked at
        if is_short.any():
            for all_of_it, part in zip(near, self.exact(queries[is_short], k), strict=True):
                all_of_it[is_short] = part
        return near

    @cached_property
    def index(self) -> Any:
        """Of faiss."""
        return self.make()

    @cached_property
    def exact(self) -> ExactSearch:
        """What finds all."""
        return ExactSearch(self.gallery, torch.device("cpu"))


def search_of(gallery: Gallery, device: torch.device, *, k: int, sha256: str) -> Search:
    """What finds neighbours in a gallery: exact, or by an index where that is worth it.

    On a GPU it is exact, as it is without faiss and below `INDEXED_FROM` images. An index is built
    at first use and kept on this machine.

    Args:
        gallery: among which neighbours are looked for.
        device: where to compare.
        k: neighbours that are usually asked for.
        sha256: hash of the gallery's file.
    """
    if device.type != "cpu" or len(gallery) < INDEXED_FROM or find_spec("faiss") is None:
        return ExactSearch(gallery, device)
    import faiss

    key = hashlib.sha256(f"{VERSION} {faiss.__version__} {k} {sha256}".encode()).hexdigest()
    return IndexSearch(gallery, lambda: kept_index(key, lambda: built(gallery, k)), k)


def built(gallery: Gallery, k: int) -> Any:
    """An index that finds `RECALL` of the k nearest images; a bar tells how far it is.

    Args:
        gallery: of N images with embeddings (N, D).
        k: neighbours for which recall is measured; of fewer it finds a larger share.
    """
    import faiss

    n, dim = gallery.embeddings.shape
    lists = min(n, math.ceil(LISTS * math.sqrt(n)))
    chosen = np.random.default_rng(0).permutation(n)
    steps = ITERATIONS + math.ceil(n / BLOCK)
    _use_threads()
    with tqdm(
        total=steps, desc="building the index", unit="", leave=False, disable=None, delay=2
    ) as bar:
        quantizer = faiss.IndexFlatIP(dim)
        quantizer.add(_centres(_some(gallery, chosen[: SAMPLE * lists]), lists, bar))
        index = faiss.IndexIVFFlat(quantizer, dim, lists, faiss.METRIC_INNER_PRODUCT)
        for first in range(0, n, BLOCK):
            index.add(_some(gallery, slice(first, first + BLOCK)))
            bar.update()
    index.nprobe = _enough(index, _some(gallery, chosen[:QUERIES]), k)
    return index


def _centres(x: Floats, lists: int, bar: tqdm[NoReturn]) -> Floats:
    """(lists, D) centres of directions (M, D), by spherical k-means."""
    import faiss

    kmeans: Any = faiss.Kmeans(
        x.shape[1],
        lists,
        niter=1,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=len(x),
    )
    centres: Any = None
    for _ in range(ITERATIONS):
        kmeans.train(x, init_centroids=centres)
        centres = kmeans.centroids
        bar.update()
    return centres


def _enough(index: Any, queries: Floats, k: int) -> int:
    """The power of two of lists in which `RECALL` of the k nearest lie, besides a query itself."""
    n = min(k + 1, index.ntotal)
    index.nprobe = index.nlist
    furthest = index.search(queries, n)[0][:, -1:]
    for exponent in range(index.nlist.bit_length()):
        index.nprobe = 2**exponent
        found = index.search(queries, n)[0][:, 1:] >= furthest - TIE
        if found.mean() >= RECALL:
            return 2**exponent
    return index.nlist


def _some(gallery: Gallery, chosen: npt.NDArray[np.int64] | slice) -> Floats:
    return _directions(torch.from_numpy(np.asarray(gallery.embeddings[chosen])))


def _directions(x: Tensor) -> Floats:
    """(N, D) of length 1, on the CPU; 0, like nothing, where a number is none."""
    return F.normalize(x.cpu().float(), dim=1).nan_to_num().numpy()


def _use_threads() -> None:
    """As many as torch: faiss has a pool of its own."""
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
