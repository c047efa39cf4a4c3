"""The division of a process's own energy among the runs that are open in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from yprov_mlflow.prov.collectors.base import Quantity


class OpenFamilies:
    """The runs that a process measures at present, and which of them are nested in which."""

    def __init__(self) -> None:
        self._open: set[str] = set()
        self._parents: dict[str, str] = {}

    def set_parent(self, run_id: str, parent: str) -> None:
        """Note the parent of a run that will open."""
        self._parents[run_id] = parent

    def open(self, run_id: str) -> None:
        """Add a run."""
        self._open.add(run_id)

    def close(self, run_id: str) -> None:
        """Remove a run."""
        self._open.discard(run_id)

    def innermost(self, starting: Collection[str] = ()) -> set[str]:
        """Return the open runs in which no other is nested, without those that just start."""
        running = self._open.difference(starting)
        outer = set()
        for run_id in running:
            ancestor = self._parents.get(run_id)
            while ancestor is not None and ancestor not in outer:
                outer.add(ancestor)
                ancestor = self._parents.get(ancestor)
        return running - outer


class Division:
    """Divides the energy of a process among its runs, so that their parts add up to it.

    Args:
        quantities: The quantities of a collector; energies of the scope "process" are divided.
    """

    def __init__(self, quantities: Sequence[Quantity]) -> None:
        self._positions = [
            position
            for position, quantity in enumerate(quantities)
            if quantity.scope == "process" and quantity.unit == "J" and quantity.cumulative
        ]
        self._last: dict[int, float] = {}
        self._totals: dict[str, dict[int, float]] = {}

    def divide(
        self, values: Sequence[float | None], run_ids: Collection[str], families: OpenFamilies
    ) -> Mapping[str, Sequence[float | None]]:
        """Return the values of a sample for each run.

        Args:
            values: The sample; its totals are those of the process.
            run_ids: The runs that the sample is for.
            families: The open runs of the process.
        """
        if not self._positions:
            return dict.fromkeys(run_ids, values)
        # The growth since the last sample belongs to the runs that were open then.
        receivers = families.innermost(run_ids - self._totals.keys())
        self._totals = {run_id: self._totals.get(run_id, {}) for run_id in run_ids}
        parts = {run_id: list(values) for run_id in run_ids}
        for position in self._positions:
            if (value := values[position]) is None:
                continue
            growth = max(value - self._last.get(position, value), 0.0)
            self._last[position] = value
            for run_id, totals in self._totals.items():
                part = growth / len(receivers) if run_id in receivers else 0.0
                parts[run_id][position] = totals[position] = totals.get(position, value) + part
        return parts
