"""Collector of Linux pressure stall information: time that tasks waited for CPU, memory, disks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from yprov_mlflow.prov.collectors.base import Available, Collector, Quantity, Unavailable

RESOURCES = ("cpu", "memory", "io")


class Pressure(Collector):
    """Report the seconds during which at least one task waited for a resource."""

    name = "pressure"

    def probe(self) -> Available | Unavailable:
        """Detect the resources that the kernel reports."""
        folder = self.context.root / "proc/pressure"
        self.files = {
            name: folder / name for name in RESOURCES if _wait_s(folder / name) is not None
        }
        if not self.files:
            return Unavailable(
                f"the kernel reports no pressure in {folder}",
                "Start Linux 4.20 or later with psi=1",
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
                    claim="node",  # measured by one process per node
                    system_metric=f"{resource}_wait_seconds",
                )
                for resource in self.files
            ],
            agent="Linux pressure stall information",
            procedure="The total of the line `some` of each file of /proc/pressure, in seconds.",
            missing=[
                Unavailable("the kernel does not report it", "", resource)
                for resource in RESOURCES
                if resource not in self.files
            ],
        )

    def start(self) -> None:
        """Store the kernel's totals since boot, which samples subtract."""
        self.start_s = [_wait_s(file) for file in self.files.values()]

    def sample(self) -> Sequence[float | None]:
        """Return the seconds of waiting since ``start``, in the order of the quantities."""
        totals = [_wait_s(file) for file in self.files.values()]
        return [
            None if total is None or start is None else total - start
            for total, start in zip(totals, self.start_s, strict=True)
        ]


def _wait_s(file: Path) -> float | None:
    try:
        some = file.read_text().split("\n")[0]  # some avg10=0.00 avg60=0.00 avg300=0.00 total=5
        return int(some.rpartition("total=")[2]) / 1e6
    except (OSError, ValueError):
        return None
