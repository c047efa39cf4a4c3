"""Tables for terminals: they fit the width, and words stay whole."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

_GAP = "  "
_SHORTEST_CUT = 8  # a shorter start of a name does not tell it from others


def table_lines(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[bool],
    width: int,
    *,
    cut: Collection[str] = (),
) -> Iterator[str]:
    """Yield the lines of a table, the header first if there is one.

    Cells are wrapped at spaces. If the longest words do not fit beside each other, each row becomes
    a block with one line per cell; only a cell that is longer than the terminal exceeds the width.

    Args:
        columns: The header; empty for a table of names and values.
        rows: The cells.
        right: For each column whether its cells are aligned on the right.
        width: Width of the terminal in characters.
        cut: Columns whose cells may be shortened, so that each row is one line.
    """
    lines = [tuple(columns), *rows] if columns else list(rows)
    cells_of = list(zip(*lines, strict=True))
    natural = [max(map(display_width, cells)) for cells in cells_of]
    least = [_longest_word(cells) for cells in cells_of]
    for number, column in enumerate(columns if cut else ()):
        whole = max(map(display_width, cells_of[number][1:]))
        shortest = min(whole, _SHORTEST_CUT) if column in cut else whole
        least[number] = max(shortest, _longest_word([column]))
    widths = _fitted(natural, least, width - len(_GAP) * (len(natural) - 1))
    if widths is None:
        yield from _blocks(columns, rows, width)
        return
    for line in lines:
        is_header = line is lines[0] and bool(columns)
        parts = [
            _parts(cell, cell_width, cut=bool(cut) and not is_header)
            for cell, cell_width in zip(line, widths, strict=True)
        ]
        for number in range(max(map(len, parts))):
            texts = [part[number] if number < len(part) else "" for part in parts]
            yield _GAP.join(map(_padded, texts, widths, right)).rstrip()


def _parts(cell: str, width: int, *, cut: bool) -> list[str]:
    """Return the lines of a cell."""
    if display_width(cell) <= width:
        return [cell]
    return [_shortened(cell, width)] if cut else _wrapped(cell, width)


def _shortened(cell: str, width: int) -> str:
    kept = cell[: width - 1]
    # Wide characters take two columns, so that fewer of them fit.
    while display_width(kept) > width - 1:
        kept = kept[:-1]
    return kept + "…"


def display_width(text: str) -> int:
    """Return the number of terminal columns that a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # its table of wide characters takes time to load

    return cell_len(text)


def _longest_word(cells: Sequence[str]) -> int:
    return max(display_width(word) for cell in cells for word in cell.split(" "))


def _fitted(natural: Sequence[int], least: Sequence[int], width: int) -> list[int] | None:
    """Return widths of columns that fit, the widest column narrowed first; None if none do."""
    widths = list(natural)
    while (excess := sum(widths) - width) > 0:
        slack = [w if w > m else 0 for w, m in zip(widths, least, strict=True)]
        widest = max(slack)
        # Narrower, a word would be broken.
        if not widest:
            return None
        column = slack.index(widest)
        following = max((s for s in slack if s < widest), default=0)
        step = min(excess, max(1, widest - max(following, least[column])))
        widths[column] = max(least[column], widest - step)
    return widths


def _wrapped(cell: str, width: int) -> list[str]:
    # Not textwrap: it takes wide characters for narrow ones.
    lines = [""]
    for word in cell.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and display_width(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _padded(text: str, width: int, right: bool) -> str:
    padding = " " * (width - display_width(text))
    return padding + text if right else text + padding


def _blocks(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Yield each row as lines of a name and a value; long values continue below their start."""
    if not columns:
        names, values = [row[0] for row in rows], [row[1:] for row in rows]
        yield from _pairs(names, [_GAP.join(cells) for cells in values], width)
        return
    for number, row in enumerate(rows):
        # An empty line is all that separates two blocks.
        if number:
            yield ""
        pairs = [(name, cell) for name, cell in zip(columns, row, strict=True) if cell]
        yield from _pairs([name for name, _ in pairs], [cell for _, cell in pairs], width)


def _pairs(names: Sequence[str], values: Sequence[str], width: int) -> Iterator[str]:
    indent = max(map(display_width, names), default=0) + len(_GAP)
    for name, value in zip(names, values, strict=True):
        for number, part in enumerate(_wrapped(value, max(1, width - indent))):
            yield f"{_padded('' if number else name, indent, right=False)}{part}".rstrip()
