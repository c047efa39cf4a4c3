"""The cells that a notebook has executed, as IPython remembers them.

They are not a collector of their own: cells are executed as long as a run goes on, so they are kept
when it ends. The collector ``code`` turns them on and off.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.collectors.code import KeptCode
from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.layout import KEPT_CELLS


def cell_number() -> int | None:
    """Return the number of the cell that is executed now; None outside a notebook."""
    shell = _shell()
    return int(shell.execution_count) if shell is not None else None


def collect(folder: Path, first_cell: int) -> dict[str, Json]:
    """Keep the executed cells and return the facts about them.

    Args:
        folder: Folder for kept files.
        first_cell: Number of the cell that started the run.

    Returns:
        The facts of ``KeptCode``, ``first_cell`` and ``last_cell``.
    """
    shell = _shell()
    cells = list(shell.history_manager.input_hist_raw) if shell is not None else []
    parts = [f"# In [{number}]:\n{cell}\n" for number, cell in enumerate(cells) if cell.strip()]
    kept = KeptCode(folder)
    kept.add_source(KEPT_CELLS, "\n".join(parts).encode(errors="replace"))
    return {**kept.facts(), "first_cell": first_cell, "last_cell": len(cells) - 1}


def _shell() -> Any:
    # Imported by the user, if at all: in a script the import would take half a second.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if getattr(shell, "history_manager", None) is not None else None
