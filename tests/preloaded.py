"""All that a search loads, and forks of `programs.py` begin with."""

from __future__ import annotations

import gc

from supcon.imports import that_last

with that_last():
    import alembic.command
    import plotly.graph_objects
    import sklearn.datasets
    import sqlalchemy.dialects.sqlite

    import search.course
    import search.engine.trial_actor
    import search.preflight.announcement
    import search.preflight.checks
    import search.preflight.forecast
    import search.preflight.image_audit
    import search.run
    import supcon.__main__

LOADED = (
    *(alembic.command, plotly.graph_objects, sklearn.datasets, sqlalchemy.dialects.sqlite),
    *(search.course, search.engine.trial_actor, search.preflight.announcement, search.run),
    *(search.preflight.checks, search.preflight.forecast, search.preflight.image_audit),
    supcon.__main__,
)
gc.freeze()
