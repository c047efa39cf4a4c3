"""A picture as SVG, for Graphviz and for Mermaid, with PROV's shapes and colors.

Entities are yellow ovals, activities blue rectangles, agents orange pentagons (W3C's
"PROV Graph Layout Conventions").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

from yprov_mlflow.prov.errors import MissingExtraError, OutputError
from yprov_mlflow.prov.report.layered_layout import Point, lay_out
from yprov_mlflow.prov.report.prov_picture import Node, Picture
from yprov_mlflow.prov.views.view import visible

_LINE = 15.0  # height of a line of text
_LETTER = 7.2  # mean width of a letter in bold
_PADDING = 12.0
_MARGIN = 8.0
_FILL = {"entity": "#fffc87", "activity": "#9fb1fc", "agent": "#fed37f"}
_EDGE = {"entity": "#808000", "activity": "#0000cc", "agent": "#b36b00"}
_DOT_SHAPES = {"entity": "ellipse", "activity": "box", "agent": "house"}
_SIZE = re.compile(r' (?:width|height)="(\d+)"')
_PNG_FONTS = "DejaVu Sans, Liberation Sans, Noto Sans, Arial, Helvetica, sans-serif"


# -- SVG -----------------------------------------------------------------------------------


def to_svg(
    picture: Picture, title: str = "Provenance", links: Mapping[str, str] | None = None
) -> str:
    """Return the picture as an SVG element, which a browser and a file can hold.

    Args:
        picture: Nodes and arrows.
        title: A description for people who cannot see it.
        links: Addresses that nodes lead to, by their ids.
    """
    addresses = links or {}
    # The content of an image has no links for those who cannot see it.
    role = "group" if addresses else "img"
    sizes = {name: _size(node) for name, node in picture.nodes.items()}
    drawing = lay_out(sizes, [(arrow.first, arrow.second) for arrow in picture.arrows])
    width, height = drawing.width + 2 * _MARGIN, drawing.height + 2 * _MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="{role}" aria-label="{escape(title)}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#888"/></marker></defs>',
        f'<g transform="translate({_MARGIN:.0f} {_MARGIN:.0f})">',
    ]
    for arrow in picture.arrows:
        route = drawing.routes[arrow.first, arrow.second]
        lines.append(_svg_arrow(route, sizes[arrow.first], sizes[arrow.second], arrow.word))
    for name, node in picture.nodes.items():
        drawn = _svg_node(node, drawing.centers[name], sizes[name])
        address = addresses.get(name)
        lines.append(f'<a href="{escape(address)}">{drawn}</a>' if address else drawn)
    return "\n".join([*lines, "</g></svg>"])


def _lines(node: Node) -> list[str]:
    return [line for line in (visible(node.word), visible(node.label)) if line]


def _size(node: Node) -> tuple[float, float]:
    lines = _lines(node) or [""]
    slanted = 2 * _PADDING if node.kind == "entity" else _PADDING
    return max(map(len, lines)) * _LETTER + _PADDING + slanted, len(lines) * _LINE + _PADDING


def _svg_node(node: Node, center: Point, size: tuple[float, float]) -> str:
    (x, y), (width, height) = center, size
    left, top = x - width / 2, y - height / 2
    color = f'fill="{_FILL[node.kind]}" stroke="{_EDGE[node.kind]}"'
    if node.kind == "agent":
        roof = top + height * 0.25
        corners = [(left, roof), (x, top - 3), (left + width, roof)]
        corners += [(left + width, top + height), (left, top + height)]
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
        shape = f'<polygon points="{points}" {color}/>'
    else:
        radius = height / 2 if node.kind == "entity" else 2
        shape = (
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'rx="{radius:.1f}" {color}/>'
        )
    lines = _lines(node)
    first = y - (len(lines) - 1) * _LINE / 2 + 4
    weights = ("", ' font-weight="600"')
    texts = [
        f'<text x="{x:.1f}" y="{first + number * _LINE:.1f}" text-anchor="middle" fill="#111"'
        f"{weights[number]}>{escape(line)}</text>"
        for number, line in enumerate(lines)
    ]
    title = escape(visible(f"{node.word} {node.label}".strip(), 300))
    return f"<g><title>{title}</title>{shape}{''.join(texts)}</g>"


def _svg_arrow(
    route: Sequence[Point], first: tuple[float, float], second: tuple[float, float], word: str
) -> str:
    """Return a curve that leaves and enters its nodes horizontally, with its word at the start."""
    # Edges that close a cycle lead to the left.
    points = list(route)
    direction = 1 if points[-1][0] >= points[0][0] else -1
    points[0] = (points[0][0] + direction * first[0] / 2, points[0][1])
    points[-1] = (points[-1][0] - direction * second[0] / 2, points[-1][1])
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x1, y1), (x2, y2) in pairwise(points):
        middle = (x1 + x2) / 2
        path += f"C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
    title = f"<title>{escape(word)}</title>"
    return f'<path d="{path}" fill="none" stroke="#888" marker-end="url(#tip)">{title}</path>'


# -- PNG -----------------------------------------------------------------------------------

_MOST_PIXELS = 10_000  # of a side


def to_png(picture: Picture) -> bytes:
    """Return the picture as PNG on white, with twice the size of the SVG where that is possible.

    Raises:
        MissingExtraError: The library that draws it is not installed.
        OutputError: The picture is too large.
    """
    try:
        import resvg_py  # an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError.of("resvg-py", "png", "a picture as PNG") from error
    svg = to_svg(picture)
    longest = max(map(int, _SIZE.findall(svg.partition(">")[0])))
    if longest > _MOST_PIXELS:
        cure = "Write it as .svg, or with --level summary"
        raise OutputError(f"the picture has a side of {longest} pixels", None, cure)
    zoom = min(2.0, _MOST_PIXELS / longest)
    # Only browsers know the family "system-ui", and text without a known family is not drawn.
    svg = svg.replace("system-ui, sans-serif", _PNG_FONTS)
    return resvg_py.svg_to_bytes(svg_string=svg, background="#ffffff", zoom=zoom)


# -- text ----------------------------------------------------------------------------------


def to_dot(picture: Picture) -> str:
    """Return the picture for Graphviz."""
    numbers = {name: f"n{number}" for number, name in enumerate(picture.nodes)}
    lines = ["digraph provenance {", "  rankdir=LR;", "  node [style=filled];"]
    for name, node in picture.nodes.items():
        # Graphviz takes a backslash and a quotation mark for its own.
        label = "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in _lines(node))
        color = f'fillcolor="{_FILL[node.kind]}"'
        lines.append(
            f'  {numbers[name]} [shape={_DOT_SHAPES[node.kind]}, {color}, label="{label}"];'
        )
    for arrow in picture.arrows:
        ends = f"{numbers[arrow.first]} -> {numbers[arrow.second]}"
        lines.append(f'  {ends} [label="{arrow.word}"];')
    return "\n".join([*lines, "}"])


def to_mermaid(picture: Picture) -> str:
    """Return the picture for Mermaid, which GitHub and MLflow's descriptions show."""
    numbers = {name: f"n{number}" for number, name in enumerate(picture.nodes)}
    shapes = {"entity": ("([", "])"), "activity": ("[", "]"), "agent": ("[/", "\\]")}
    lines = ["flowchart LR"]
    for name, node in picture.nodes.items():
        left, right = shapes[node.kind]
        label = "<br>".join(map(mermaid_text, _lines(node)))
        lines.append(f'  {numbers[name]}{left}"{label}"{right}:::{node.kind}')
    for arrow in picture.arrows:
        lines.append(f"  {numbers[arrow.first]} -->|{arrow.word}| {numbers[arrow.second]}")
    for kind, fill in _FILL.items():
        lines.append(f"  classDef {kind} fill:{fill},stroke:{_EDGE[kind]},color:#111")
    return "\n".join(lines)


def mermaid_text(label: str) -> str:
    """Return a label for Mermaid, whose entities are a number sign, the code point, a semicolon."""
    return "".join(c if c.isalnum() or c in " ./-_@:,=" else f"#{ord(c)};" for c in label)
