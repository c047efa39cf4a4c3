"""How long tasks of this machine waited for CPU, memory and disks, as Linux counts it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from yprov_mlflow.prov.collectors.base import Available, Collector, Quantity, Unavailable

RESOURCES = ("cpu", "memory", "io")


class Pressure(Collector):
    """Pressure stall information: the time for which some task waited."""

    name = "pressure"

    def probe(self) -> Available | Unavailable:
        """Look which resources the kernel counts."""
        folder = self.surroundings.root / "proc/pressure"
        self.files = {
            name: folder / name for name in RESOURCES if _waited_s(folder / name) is not None
        }
        if not self.files:
            return Unavailable(
                f"the kernel gives no pressure in {folder}", "Start Linux 4.20 or later with psi=1"
            )
        return Available(
            facts={"resources": list(self.files)},
            quantities=[
                Quantity(
                    name=f"{resource}_wait",
                    unit="SEC",
                    kind="Time",
                    scope="node",
                    method="measured",
                    cumulative=True,
                    claim="node",  # one process of the node measures it for all
                    system_metric=f"{resource}_wait_seconds",
                )
                for resource in self.files
            ],
            agent="Linux pressure stall information",
            procedure="The total of the line `some` of each file of /proc/pressure, in seconds.",
            missing=[
                Unavailable("the kernel does not count it", "", resource)
                for resource in RESOURCES
                if resource not in self.files
            ],
        )

    def start(self) -> None:
        """Remember the totals: the kernel's count since it started, ours from now."""
        self.origins = [_waited_s(file) for file in self.files.values()]

    def sample(self) -> Sequence[float | None]:
        """Give the seconds of waiting since the start."""
        totals = [_waited_s(file) for file in self.files.values()]
        return [
            None if total is None or origin is None else total - origin
            for total, origin in zip(totals, self.origins, strict=True)
        ]


def _waited_s(file: Path) -> float | None:
    try:
        some = file.read_text().split("\n")[0]  # some avg10=0.00 avg60=0.00 avg300=0.00 total=5
        return int(some.rpartition("total=")[2]) / 1e6
    except (OSError, ValueError):
        return None
