"""All that a search loads but Ray, and forks of `programs.py` and `whole/workers.py` begin with.

Ray reads its environment once and for all when it is loaded; the rest takes ten times as long.
"""

from __future__ import annotations

import gc
import sys

from supcon.imports import that_last

with that_last():
    import alembic.command
    import jsonschema
    import plotly.graph_objects
    import pyarrow.fs
    import pyarrow.parquet
    import requests
    import sklearn.datasets
    import sqlalchemy.dialects.sqlite

    import search.further.examining
    import search.gallery.lookalikes
    import search.gallery.suspects
    import search.gallery.tsne
    import search.monitor.live_view
    import search.monitor.optuna_mirror
    import search.preflight.announcement
    import search.preflight.checks
    import search.preflight.forecast
    import search.preflight.image_audit
    import search.reporting.files
    import search.run
    import search.strategy.search_order
    import supcon.__main__
    import supcon.runlog
    import supcon.train

LOADED = (
    *(alembic.command, plotly.graph_objects, sklearn.datasets, sqlalchemy.dialects.sqlite),
    *(jsonschema, pyarrow.fs, pyarrow.parquet, requests),
    *(search.run, supcon.__main__, supcon.runlog, supcon.train),
)
assert "ray" not in sys.modules
gc.freeze()
