"""How numbers and times are put for people."""

from __future__ import annotations

import statistics
from datetime import datetime
from typing import Any


def mean_percent(values: list[float]) -> str:
    """`93.10 +- 0.42`, in percent; `-` without values."""
    if not values:
        return "-"
    mean = f"{100 * statistics.mean(values):.2f}"
    return f"{mean} +- {100 * statistics.stdev(values):.2f}" if len(values) > 1 else mean


def show_span(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 20 min` or `2 d 3 h`."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def show_clock(seconds: float) -> str:
    """`1:02:03`."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def show_params(params: dict[str, Any]) -> str:
    """Params without their sections, numbers to three digits."""
    return "  ".join(
        f"{key.split('.')[1]}={f'{value:.3g}' if isinstance(value, float) else value}"
        for key, value in params.items()
        if key != "run.eval_at"
    )


def show_time(seconds: float) -> str:
    """Seconds since 1970 as `2026-01-31T12:00:00+01:00`, in the time of this machine."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
