"""What a search finds out beyond scores, of a few images: most tests that run one look at none.

Corrupted images, look-alikes and t-SNE take half of the CPU of a search whose trials take seconds.
The search of the fixture `whole`, and the tests of these parts, are without this.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

FEW = {
    "supcon.reliability.examination.CORRUPTED": 24,
    "search.gallery.lookalikes.TRIED": 24,
    "search.gallery.lookalikes.REFERENCE": 24,
    "search.gallery.lookalikes.NEIGHBOURS": 1,
}


@contextmanager
def reduced(*, with_pictures: bool = False) -> Iterator[None]:
    """Inside, searches look at a few images.

    Args:
        with_pictures: t-SNE takes a process and some seconds for each; else they are of two axes.
    """
    with ExitStack() as patches:
        for name, few in FEW.items():
            patches.enter_context(mock.patch(name, few))
        if not with_pictures:
            two_axes = patches.enter_context(mock.patch("search.gallery.tsne.flatten_to_plane"))
            two_axes.side_effect = lambda x, *_: x[:, :2].cpu().numpy()
        yield
