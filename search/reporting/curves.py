"""A picture of a study: the score of every trial against epochs, an arm a panel, as plain SVG."""

from __future__ import annotations

from html import escape

from search.log.journal import Journal, Trial
from search.space.space import Space

WIDTH, HEIGHT, LEFT, TOP, GAP = 380, 260, 46, 34, 26  # of a panel and its surroundings, in pixels
STYLES = {  # what a line is: colour, width in pixels, dashes
    "stopped": ("#b8b8b8", 1.2, ""),
    "completed": ("#1f77b4", 1.6, ""),
    "confirmed": ("#d62728", 2.0, "5 3"),
}


def draw_curves(space: Space, journal: Journal) -> str:
    """The picture; scores of both arms share one scale."""
    scores = [score for trial in journal.trials.values() for score in trial.scores.values()]
    low, high = (min(scores), max(scores)) if scores else (0.0, 1.0)
    margin = max(0.02, 0.05 * (high - low))
    low, high = max(0.0, low - margin), min(1.0, high + margin)
    width = len(space.arms) * (WIDTH + LEFT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT + 100}" '
        f'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for i, arm in enumerate(space.arms):
        x = i * (WIDTH + LEFT + GAP) + LEFT
        parts += [f'<g transform="translate({x},{TOP})">']
        parts += _axes(arm, space.rungs, low, high)
        runs = [*journal.of(arm), *journal.of(arm, "confirm")]
        for kind in STYLES:  # the important ones last, on top
            parts += [_line(t, kind, space.rungs[-1], low, high) for t in runs if _kind(t) == kind]
        parts += ["</g>"]
    return "\n".join([*parts, *_legend(), "</svg>"]) + "\n"


def _kind(trial: Trial) -> str:
    if trial.ask.phase == "confirm":
        return "confirmed"
    return "completed" if trial.outcome == "completed" else "stopped"


def _axes(arm: str, rungs: tuple[int, ...], low: float, high: float) -> list[str]:
    parts = [
        f'<text x="{WIDTH / 2}" y="-12" text-anchor="middle" font-size="14">{escape(arm)}</text>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#666"/>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT + 36}" text-anchor="middle">epochs</text>',
    ]
    for rung in rungs:
        x = WIDTH * rung / rungs[-1]
        parts += [
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}" stroke="#ddd"/>',
            f'<text x="{x:.1f}" y="{HEIGHT + 16}" text-anchor="middle">{rung}</text>',
        ]
    for step in range(5):
        score = low + (high - low) * (step + 0.5) / 5
        y = HEIGHT * (high - score) / (high - low)
        parts.append(f'<text x="-6" y="{y + 4:.1f}" text-anchor="end">{100 * score:.1f}</text>')
    return parts


def _line(trial: Trial, kind: str, epochs: int, low: float, high: float) -> str:
    colour, width, dashes = STYLES[kind]
    points = [
        (WIDTH * epoch / epochs, HEIGHT * (high - score) / (high - low))
        for epoch, score in trial.scores.items()
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="{colour}"/>' for x, y in points
    )
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" '
        f'stroke-dasharray="{dashes}"/>{dots}'
    )


def _legend() -> list[str]:
    y, parts = (
        TOP + HEIGHT + 54,
        [f'<text x="{LEFT}" y="{TOP + HEIGHT + 58}">val/probe_top1 in %:</text>'],
    )
    for i, (kind, (colour, width, dashes)) in enumerate(STYLES.items()):
        x = LEFT + 140 + 110 * i
        parts.append(
            f'<line x1="{x}" x2="{x + 24}" y1="{y}" y2="{y}" stroke="{colour}" '
            f'stroke-width="{width}" stroke-dasharray="{dashes}"/>'
            f'<text x="{x + 30}" y="{y + 4}">{kind}</text>'
        )
    return parts
