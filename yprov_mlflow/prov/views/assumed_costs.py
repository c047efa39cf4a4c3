"""Energy of a computing center and its price, from assumptions of the user."""

from __future__ import annotations

from typing import NamedTuple

from yprov_mlflow.prov.views.view import Table

TITLE = "Assumed by you, not measured"


class Assumptions(NamedTuple):
    """Assumptions about the electricity of runs; None where the user makes none.

    Attributes:
        pue: Power usage effectiveness: energy of the computing center per energy of its machines.
        price: Price of a kWh.
        currency: Code of the price's currency.
    """

    pue: float | None = None
    price: float | None = None
    currency: str | None = None

    def __bool__(self) -> bool:
        """Return whether anything is assumed."""
        return self.pue is not None or self.price is not None

    def energy_kwh(self, measured_kwh: float | None) -> float | None:
        """Return the energy of the computing center for an energy of machines, in kWh."""
        return None if self.pue is None or measured_kwh is None else measured_kwh * self.pue

    def cost(self, measured_kwh: float | None) -> float | None:
        """Return the price of an energy of machines, with that of the computing center."""
        if self.price is None or measured_kwh is None:
            return None
        # The center pays for its cooling, too.
        return measured_kwh * (self.pue or 1) * self.price

    def to_dict(self, measured_kwh: float | None) -> dict[str, object]:
        """Return the assumptions, and what follows from them for an energy of machines."""
        return {
            **self._asdict(),
            "energy_kwh": self.energy_kwh(measured_kwh),
            "cost": self.cost(measured_kwh),
        }

    def table(self, name: str, amounts: list[tuple[object, float | None]]) -> Table:
        """Return a table of what follows for energies of machines in kWh, by their names."""
        facts = [] if self.pue is None else [f"PUE {self.pue:g}"]
        facts += [] if self.price is None else [f"{self.price:g} {self.currency} per kWh"]
        columns = (name, "energy times PUE (kWh)", f"cost ({self.currency})")
        rows = [(label, self.energy_kwh(kwh), self.cost(kwh)) for label, kwh in amounts]
        return Table(f"{TITLE}: {', '.join(facts)}", columns, rows)
