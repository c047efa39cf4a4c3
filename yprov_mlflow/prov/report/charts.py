"""Charts as SVG: lines of metrics by context, bars, and points of many runs.

Lines are thinned, so that a metric of a million points stays small.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import NamedTuple

from yprov_mlflow.prov.views.view import visible

_PARTS = 150
"""Parts of a thinned line; of each, the least and the greatest point are drawn."""

_WIDTH, _HEIGHT = 340.0, 180.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 54.0, 12.0, 10.0, 24.0
_LOG_RATIO = 1000.0
"""Positive values that differ by more than this factor are drawn on a logarithmic scale."""

_TICKS = 4
_ROUNDING = 1e-6  # 0.3 is not three times 0.1
_LARGEST_EXPONENT = math.log10(sys.float_info.max) - 1e-9

COLORS = ("#2563eb", "#d97706", "#059669", "#c026d3", "#dc2626", "#0891b2", "#65a30d", "#7c3aed")
"""Colors of lines, legible on white and on dark gray."""

Point = tuple[float, float]


class Line(NamedTuple):
    """A line of a chart: pairs of step and value, which may be NaN or infinite."""

    label: str
    points: Sequence[Point]


class Spot(NamedTuple):
    """A run in a chart of many; ``is_best`` if no other run is better in both."""

    label: str
    x: float
    y: float
    is_best: bool


# -- thinning ------------------------------------------------------------------------------


class ThinnedLine:
    """Keeps few points of a line as they come, and loses no peak.

    Each part of the line keeps its least and greatest point, and one point each for NaN and the
    infinities. ``count`` is the number of points to come; further ones belong to more parts.
    """

    def __init__(self, count: int) -> None:
        self._size = max(1, -(-count // _PARTS))
        self._number = 0
        self._least: Point | None = None
        self._greatest: Point | None = None
        self._others: dict[str, Point] = {}
        self._points: list[Point] = []

    def add(self, step: float, value: float) -> None:
        """Take the next point."""
        if self._least is None or self._greatest is None:
            if math.isfinite(value):
                self._least = self._greatest = (step, value)
            else:
                self._others.setdefault(repr(value), (step, value))
        elif value < self._least[1] or value > self._greatest[1]:
            if math.isinf(value):
                self._others.setdefault(repr(value), (step, value))
            elif value < self._least[1]:
                self._least = (step, value)
            else:
                self._greatest = (step, value)
        elif value != value:
            self._others.setdefault("nan", (step, value))
        self._number += 1
        if self._number == self._size:
            self._close()

    def _close(self) -> None:
        ends = (point for point in (self._least, self._greatest) if point is not None)
        # The least point may be the greatest as well.
        self._points += dict.fromkeys([*ends, *self._others.values()])
        self._number, self._least, self._greatest, self._others = 0, None, None, {}

    def points(self) -> list[Point]:
        """Return the points that are kept, in the order of their steps."""
        self._close()
        return sorted(self._points, key=lambda point: point[0])


# -- scales --------------------------------------------------------------------------------


class _Scale:
    """Maps values to positions between two ends; equal values get room around them."""

    def __init__(self, values: Iterable[float], start: float, end: float, *, log: bool) -> None:
        values = list(values)
        self.is_log = log and min(values) > 0 and max(values) / min(values) > _LOG_RATIO
        values = [math.log10(value) for value in values] if self.is_log else values
        # Halved, as the difference of the largest floats is infinite.
        self._low, self._high = min(values) / 2, max(values) / 2
        if self._low == self._high:
            margin = abs(self._low) * 0.1 or 0.5
            self._low, self._high = self._low - margin, self._high + margin
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        """Return the position of a value."""
        half = (math.log10(value) if self.is_log else value) / 2
        return self._start + (half - self._low) / (self._high - self._low) * (
            self._end - self._start
        )

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Yield the position and the text of a few values."""
        half = self._high - self._low
        step = self._step()
        first = math.ceil(self._low / step - _ROUNDING)
        for number in range(first, math.floor(self._high / step + _ROUNDING) + 1):
            value = number * step
            position = self._start + (value - self._low) / half * (self._end - self._start)
            # The end of a range may be a little beyond the largest float.
            shown = 10.0 ** min(2 * value, _LARGEST_EXPONENT) if self.is_log else 2 * value
            yield position, f"{shown:.4g}"

    def _step(self) -> float:
        """Return half the distance of values to show: 1, 2 or 5 times a power of ten."""
        rough = (self._high - self._low) / _TICKS * 2
        power = 10.0 ** math.floor(math.log10(rough))
        return next(power * part for part in (1, 2, 5, 10) if power * part >= rough * 0.999) / 2


def _scales(xs: Iterable[float], ys: Iterable[float], *, log_x: bool) -> tuple[_Scale, _Scale]:
    return (
        _Scale(xs, _LEFT, _WIDTH - _RIGHT, log=log_x),
        _Scale(ys, _HEIGHT - _BOTTOM, _TOP, log=True),
    )


# -- charts --------------------------------------------------------------------------------


def line_chart(title: str, lines: Sequence[Line]) -> str:
    """Return lines as an SVG element; NaN is a gap, an infinity a mark at the edge."""
    finite = [y for line in lines for _, y in line.points if math.isfinite(y)]
    if not finite:
        return _svg(title, [_text(_WIDTH / 2, _HEIGHT / 2, "no finite values", "middle")])
    steps = [x for line in lines for x, _ in line.points]
    x_scale, y_scale = _scales(steps, finite, log_x=False)
    parts = list(_axes(x_scale, y_scale))
    for number, line in enumerate(lines):
        parts += _line(line, x_scale, y_scale, COLORS[number % len(COLORS)])
    return _svg(title, parts)


def _line(line: Line, x_scale: _Scale, y_scale: _Scale, color: str) -> Iterator[str]:
    pieces: list[list[str]] = [[]]
    for x, y in line.points:
        if math.isfinite(y):
            pieces[-1].append(f"{x_scale(x):.1f} {y_scale(y):.1f}")
            continue
        pieces.append([])
        if math.isinf(y):
            edge, sign = (_TOP, "∞") if y > 0 else (_HEIGHT - _BOTTOM, "-∞")
            yield _text(x_scale(x), edge + 4, sign, "middle", color)
    for piece in filter(None, pieces):
        if len(piece) == 1:
            left, top = piece[0].split()
            yield f'<circle cx="{left}" cy="{top}" r="2.5" fill="{color}"/>'
        else:
            path = f"M{'L'.join(piece)}"
            yield f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>'


_LABELS = (20.0, 14.0)
"""Room above and below a chart for the names of its axes."""


def spot_chart(title: str, spots: Sequence[Spot], x_label: str, y_label: str) -> str:
    """Return runs as points of an SVG element; the best ones are joined to a front."""
    spots = [spot for spot in spots if math.isfinite(spot.x) and math.isfinite(spot.y)]
    if not spots:
        return _svg(title, [_text(_WIDTH / 2, _HEIGHT / 2, "no run has both", "middle")])
    x_scale, y_scale = _scales((s.x for s in spots), (s.y for s in spots), log_x=True)
    parts = list(_axes(x_scale, y_scale))
    front = sorted((spot.x, spot.y) for spot in spots if spot.is_best)
    if len(front) > 1:
        path = "L".join(f"{x_scale(x):.1f} {y_scale(y):.1f}" for x, y in front)
        parts.append(f'<path d="M{path}" fill="none" stroke="{COLORS[1]}" stroke-dasharray="4 3"/>')
    # The best ones come last, on top of the others.
    for spot in sorted(spots, key=lambda spot: spot.is_best):
        color, radius = (COLORS[1], 4.5) if spot.is_best else (COLORS[0], 3)
        name = escape(f"{visible(spot.label)}: {spot.x:.4g}, {spot.y:.4g}")
        parts.append(
            f'<circle cx="{x_scale(spot.x):.1f}" cy="{y_scale(spot.y):.1f}" r="{radius}" '
            f'fill="{color}" fill-opacity="0.8"><title>{name}</title></circle>'
        )
    parts.append(_text(_WIDTH - _RIGHT, _HEIGHT - _BOTTOM + 29, f"{visible(x_label)} →", "end"))
    parts.append(_text(6, _TOP - 12, f"{visible(y_label)} ↑", "start"))
    return _svg(title, parts, _LABELS)


def _axes(x_scale: _Scale, y_scale: _Scale) -> Iterator[str]:
    bottom = _HEIGHT - _BOTTOM
    for y, text in y_scale.ticks():
        ends = f'x1="{_LEFT:.0f}" x2="{_WIDTH - _RIGHT:.0f}" y1="{y:.1f}" y2="{y:.1f}"'
        yield f'<line {ends} stroke="currentColor" stroke-opacity="0.15"/>'
        yield _text(_LEFT - 5, y + 4, text, "end")
    for x, text in x_scale.ticks():
        anchor = "end" if x > _WIDTH - 2 * _RIGHT else "middle"
        yield _text(x, bottom + 16, text, anchor)


def _text(x: float, y: float, text: str, anchor: str, color: str = "currentColor") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="{color}">{escape(text)}</text>'


def _svg(title: str, parts: Iterable[str], room: tuple[float, float] = (0.0, 0.0)) -> str:
    height = _HEIGHT + sum(room)
    view = f"0 {-room[0]:.0f} {_WIDTH:.0f} {height:.0f}"
    size = f'viewBox="{view}" width="{_WIDTH:.0f}" height="{height:.0f}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" '
        f'aria-label="{escape(visible(title, 120))}" font-family="system-ui, sans-serif" '
        f'font-size="11">{"".join(parts)}</svg>'
    )
