"""`search/run.py` for tests that look at neither: without Ray's dashboard, and t-SNE by two axes.

Each takes some processes, and seconds of a CPU, in every search; all else is as it is.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest import mock

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

    from search.engine import session
    from search.run import main

    of_a_local_ray = session._of_a_local_ray

    def without_dashboard(host: str, images: int) -> dict[str, Any]:
        return of_a_local_ray(host, images) | {"include_dashboard": False}

    with (
        mock.patch.object(session, "_of_a_local_ray", without_dashboard),
        mock.patch("search.gallery.tsne.flatten_to_plane", lambda x, *_: x[:, :2].cpu().numpy()),
    ):
        code = main()
    sys.exit(code)
