"""Real old stores, and the table of what an independent count found in them.

They lie beside the repository where it is developed, and not in it: other people's data.
"""

from __future__ import annotations

import re
import tarfile
from pathlib import Path
from typing import NamedTuple

CORPUS = Path(__file__).resolve().parents[1].parent / "shared" / "corpus"
_TABLE = CORPUS / "README.md"


class Row(NamedTuple):
    """A store: its archive, its path inside, and its counts as the table has them."""

    archive: str
    path: str
    cells: dict[str, str]

    def count(self, column: str, pattern: str = r"(\d+)") -> int:
        """Give the number that a column has at ``pattern``; 0 if it has none."""
        found = re.search(pattern, self.cells[column])
        return int(found[1]) if found else 0


def rows() -> list[Row]:
    """Give the table's rows; none where there is no corpus."""
    if not _TABLE.is_file():
        return []
    lines = [line for line in _TABLE.read_text("utf-8").splitlines() if line.startswith("| ")]
    columns, *found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [Row(one[0], one[1], dict(zip(columns, one, strict=False))) for one in found]


def unpack(archive: str, into: Path) -> Path:
    """Unpack an archive, once, and give its folder; a store changes when it is opened."""
    folder = into / archive
    if not folder.is_dir():
        with tarfile.open(CORPUS / f"{archive}.tar.gz") as file:
            file.extractall(into, filter="data")
    return folder
