"""Small plots as SVG inside the page: no script, no file, readable by a screen reader."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from jobs.report.terminal import number

WIDTH, HEIGHT, MARGIN = 160, 36, 3
ROW, LABEL, BAR = 24, 190, 300


def line(values: Sequence[float | None], said: str, low: float | None = None, high: float | None = None) -> str:
    """A line over days, oldest first; a day without a value is a gap.

    Parameters
    ----------
    values
        One a day.
    said
        What it shows, for who cannot see it.
    low, high
        A band of usual values behind the line.
    """
    known = [v for v in values if v is not None]
    if len(known) < 2:
        return ""
    ends = [v for v in (low, high) if v is not None]
    least, most = min([*known, *ends]), max([*known, *ends])
    step = (WIDTH - 2 * MARGIN) / (len(values) - 1)

    def y(value: float) -> float:
        share = (value - least) / (most - least) if most > least else 0.5
        return HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)

    band = ""
    if low is not None and high is not None:
        band = f'<rect class="band" x="0" y="{y(high):.1f}" width="{WIDTH}" height="{max(1.0, y(low) - y(high)):.1f}"/>'
    last = max(at for at, v in enumerate(values) if v is not None)
    dot = f'<circle class="dot" cx="{MARGIN + last * step:.1f}" cy="{y(values[last]):.1f}" r="2.5"/>'
    return (
        f'<svg class="line" role="img" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f"<title>{escape(said)}: from {number(known[0])} to {number(known[-1])}, least {number(min(known))}, "
        f'most {number(max(known))}</title>{band}<path d="{_path(values, step, y)}"/>{dot}</svg>'
    )


def _path(values: Sequence[float | None], step: float, y) -> str:
    made, pen_up = "", True
    for at, value in enumerate(values):
        if value is not None:
            made += f"{'M' if pen_up else 'L'}{MARGIN + at * step:.1f},{y(value):.1f}"
        pen_up = value is None
    return made


def bars(rows: Sequence[tuple[str, float, str]], said: str) -> str:
    """Horizontal bars: a label, a length (0 or more) and what is written beside it, each."""
    most = max((length for _, length, _ in rows), default=0)
    if not most:
        return ""
    made = "".join(
        f'<text x="0" y="{at * ROW + 16}">{escape(label)}</text>'
        f'<rect x="{LABEL}" y="{at * ROW + 4}" width="{max(1.0, length / most * BAR):.1f}" height="{ROW - 8}"/>'
        f'<text x="{LABEL + max(1.0, length / most * BAR) + 6:.1f}" y="{at * ROW + 16}">{escape(value)}</text>'
        for at, (label, length, value) in enumerate(rows)
    )
    width, height = LABEL + BAR + 130, ROW * len(rows)
    name = escape(said)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{name}">'
        f'<svg class="bars" role="img" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f"<title>{name}</title>{made}</svg></div>"
    )
