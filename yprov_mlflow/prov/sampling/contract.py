"""Validate the results of collectors at run time and convert them for events."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from yprov_mlflow.prov.collectors.base import Available, Quantity, Unavailable
from yprov_mlflow.prov.errors import CollectorError
from yprov_mlflow.prov.events import Json

# Fields of a quantity that only matter to the sampler and to system metrics.
_INTERNAL = ("claim", "system_metric", "scale")


def validated_probe(result: object) -> Available | Unavailable:
    """Return the result of a probe if events can be made from it.

    Raises:
        CollectorError: It is neither Available nor Unavailable.
    """
    if not isinstance(result, Available | Unavailable):
        raise CollectorError(f"its probe returned {result!r}, neither Available nor Unavailable")
    facts_of(result)
    if isinstance(result, Available):
        description(result, range(len(result.quantities)), 0.0)
    return result


def facts_of(result: Available | Unavailable) -> dict[str, Json]:
    """Return the facts of a collector as in a ``FactsCollected`` event."""
    if isinstance(result, Unavailable):
        return {"unavailable": result.reason, "cure": result.cure}
    facts = dict(result.facts)
    if result.missing:
        facts["missing"] = [dataclasses.asdict(part) for part in result.missing]
    return facts


def description(result: Available, positions: Sequence[int], interval_s: float) -> dict[str, Json]:
    """Return the description of a collector as in a ``CollectorStarted`` event.

    Args:
        result: The result of its probe.
        positions: Positions of the quantities that this process measures for the run.
        interval_s: Seconds between samples.
    """
    quantities = [result.quantities[position] for position in positions]
    used = {quantity.device for quantity in quantities}
    own_claims = {quantity.claim for quantity in quantities}
    return {
        "agent": result.agent or "yprov-mlflow",
        "version": result.version or (_own_version() if not result.agent else ""),
        "procedure": result.procedure,
        "interval_s": interval_s,
        "devices": [dataclasses.asdict(device) for device in result.devices if device.id in used],
        "quantities": [_description_of(quantity) for quantity in quantities],
        "left_to_others": sorted({q.claim for q in result.quantities} - own_claims),
    }


def _description_of(quantity: Quantity) -> dict[str, Json]:
    fields = dataclasses.asdict(quantity).items()
    return {
        key: value for key, value in fields if key not in _INTERNAL and value not in ("", False)
    }


def validated_sample(
    values: Sequence[float | None], quantities: Sequence[Quantity]
) -> list[float | None]:
    """Return a sample as finite numbers, None for all others.

    Raises:
        CollectorError: The number of values is wrong, or one of them is not a number.
    """
    values = list(values)
    if len(values) != len(quantities):
        raise CollectorError(f"a sample has {len(values)} values for {len(quantities)} quantities")
    try:
        numbers = [None if value is None else float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise CollectorError(f"a sample has a value that is not a number: {error}") from error
    return [None if value is None or not math.isfinite(value) else value for value in numbers]


@functools.cache
def _own_version() -> str:
    try:
        return version("yprov-mlflow")
    except PackageNotFoundError:
        return ""
