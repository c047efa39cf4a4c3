"""What docs/workflows.md says, for tests: its query and its example."""

from __future__ import annotations

import re
from pathlib import Path

import pyoxigraph

PAGE = Path(__file__).parents[3] / "docs" / "workflows.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def chains(graph: Path) -> list[tuple[str, ...]]:
    """Return the rows of the page's query over a graph in Turtle."""
    (query,) = blocks("sparql")
    store = pyoxigraph.Store()
    store.load(path=str(graph))
    solutions = store.query(query)
    return [tuple(value.value for value in solution) for solution in solutions]
