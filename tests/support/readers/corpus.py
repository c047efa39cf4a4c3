"""Real stores of old MLflow versions, and a table with an independent count of their contents.

They are data of other people and so not part of the repository; see the folder ``CORPUS``.
"""

from __future__ import annotations

import re
import tarfile
from pathlib import Path
from typing import NamedTuple

CORPUS = Path(__file__).resolve().parents[3].parent / "shared" / "corpus"
_TABLE = CORPUS / "README.md"


class Row(NamedTuple):
    """A store: the name of its archive, its path inside, and the cells of its table row."""

    archive: str
    path: str
    cells: dict[str, str]

    def count(self, column: str, pattern: str = r"(\d+)") -> int:
        """Return the number in a column that ``pattern`` matches, or 0."""
        match = re.search(pattern, self.cells[column])
        return int(match[1]) if match else 0


def rows() -> list[Row]:
    """Return the rows of the table; an empty list if the corpus is missing."""
    if not _TABLE.is_file():
        return []
    lines = [line for line in _TABLE.read_text("utf-8").splitlines() if line.startswith("| ")]
    columns, *body = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [Row(cells[0], cells[1], dict(zip(columns, cells, strict=False))) for cells in body]


def unpack(archive: str, into: Path) -> Path:
    """Unpack an archive below ``into``, unless that was done before; return its folder."""
    folder = into / archive
    if not folder.is_dir():
        with tarfile.open(CORPUS / f"{archive}.tar.gz") as file:
            file.extractall(into, filter="data")
    return folder
