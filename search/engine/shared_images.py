"""The images of a study: one copy on each machine, whoever looks at them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from supcon.images.files import ImageFiles
from supcon.images.split import Splits


class SharedImages:
    """Train and val, in this process or, while trials run, in Ray's object store.

    Whoever kept the loaded splits themselves would keep a second copy for the whole search; so
    they are held here only, and looked up at each use.
    """

    def __init__(self, splits: Splits) -> None:
        self.splits = splits

    @property
    def size(self) -> int:
        """Bytes of those that do not stay in their files."""
        parts = (self.splits.train.images, self.splits.val.images)
        return sum(part.nbytes for part in parts if not isinstance(part, ImageFiles))

    @contextmanager
    def shared(self) -> Iterator[Any]:
        """A reference for trials, which read the images where they lie. Ray must be running."""
        import ray  # late: the images are checked, and errors shown, before Ray is needed

        reference = ray.put(self.splits)
        self.splits = ray.get(reference)
        try:
            yield reference
        finally:
            self.splits = copy.deepcopy(self.splits)  # Ray takes its memory along when it ends
