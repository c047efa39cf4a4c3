"""What collectors give, held against the contract and as events have it."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from yprov_mlflow.prov.collectors.base import Available, Quantity, Unavailable
from yprov_mlflow.prov.errors import CollectorError
from yprov_mlflow.prov.events import Json


def checked(found: object) -> Available | Unavailable:
    """Give what a probe gave, if it is a finding whose quantities can be described.

    Raises:
        CollectorError: It is none.
    """
    if not isinstance(found, Available | Unavailable):
        raise CollectorError(f"its probe gave {found!r}, which is no finding", None, None)
    facts_of(found)
    if isinstance(found, Available):
        description(found, range(len(found.quantities)), 0.0)
    return found


def facts_of(found: Available | Unavailable) -> dict[str, Json]:
    """Give what is to be told of a collector beside its measurements, as an event has it."""
    if isinstance(found, Unavailable):
        return {"unavailable": found.reason, "cure": found.cure}
    facts = dict(found.facts)
    if found.missing:
        facts["missing"] = [dataclasses.asdict(part) for part in found.missing]
    return facts


def description(found: Available, share: Sequence[int], interval_s: float) -> dict[str, Json]:
    """Give how a collector measures, and those of its quantities that are in the share."""
    quantities = [found.quantities[index] for index in share]
    used = {quantity.device for quantity in quantities}
    return {
        "agent": found.agent or "yprov-mlflow",
        "version": found.version or (_own_version() if not found.agent else ""),
        "procedure": found.procedure,
        "interval_s": interval_s,
        "devices": [dataclasses.asdict(one) for one in found.devices if one.id in used],
        "quantities": [_described(quantity) for quantity in quantities],
        "left_to_others": sorted(
            {quantity.claim for quantity in found.quantities} - {q.claim for q in quantities}
        ),
    }


def _described(quantity: Quantity) -> dict[str, Json]:
    fields = dataclasses.asdict(quantity)
    for private in ("claim", "system_metric", "scale"):
        del fields[private]
    return {key: value for key, value in fields.items() if value not in ("", False)}


def sound(values: Sequence[float | None], quantities: Sequence[Quantity]) -> list[float | None]:
    """Give a sample as numbers that are finite, None for all else.

    Raises:
        CollectorError: There are not as many as quantities, or they are no numbers.
    """
    found = list(values)
    if len(found) != len(quantities):
        raise CollectorError(
            f"a sample has {len(found)} values for {len(quantities)} quantities", None, None
        )
    try:
        numbers = [None if value is None else float(value) for value in found]
    except (TypeError, ValueError) as error:
        raise CollectorError(f"a sample has what is no number: {error}") from error
    return [None if value is None or not math.isfinite(value) else value for value in numbers]


@functools.cache
def _own_version() -> str:
    try:
        return version("yprov-mlflow")
    except PackageNotFoundError:
        return ""
