"""The carbon intensity of the machine's electricity, which turns energy into emissions.

It is configured, or taken from codecarbon's data for the configured country; it is never guessed.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.collectors.base import Available, Collector, CollectorContext, Unavailable

INSTALL = "Install it: pip install codecarbon"
"""Cure for a missing codecarbon, on which yprov-mlflow depends."""

_MIX = "data/private_infra/global_energy_mix.json"


class Carbon(Collector):
    """Fact: grams of CO2 equivalent per kWh, with the source."""

    name = "carbon"

    def probe(self) -> Available | Unavailable:
        """Look up the carbon intensity."""
        facts, missing = intensity(self.context)
        return missing[0] if missing else Available(facts)


def intensity(context: CollectorContext) -> tuple[dict[str, Any], list[Unavailable]]:
    """Return the facts about the carbon intensity; a configured value overrides the country's."""
    country, configured = context.country, context.carbon_intensity
    facts: dict[str, Any] = {} if country is None else {"country": country}
    mix = {} if country is None or configured is not None else _energy_mix(country)
    value = mix.get("carbon_intensity") if configured is None else configured
    if value is not None:
        facts["carbon_intensity_g_per_kwh"] = value
        facts["carbon_intensity_source"] = (
            f"codecarbon {version('codecarbon')}, {Path(_MIX).name}: {country}, {mix.get('year')}"
            if configured is None
            else "given"
        )
        return facts, []
    if country is None:
        reason = "neither a country nor a carbon intensity is set, and neither is guessed"
        cure = "Set YPROV_MLFLOW_COUNTRY to a three-letter ISO 3166 code"
    elif find_spec("codecarbon") is None:
        reason = f"the carbon intensity of {country} is in codecarbon's data; it is not installed"
        cure = INSTALL
    else:
        reason = f"codecarbon's data lacks a carbon intensity for the country {country}"
        cure = "Correct YPROV_MLFLOW_COUNTRY, a three-letter ISO 3166 code"
    cure += ", or set YPROV_MLFLOW_CARBON_INTENSITY to grams of CO2 equivalent per kWh"
    return facts, [Unavailable(reason, cure, "emissions")]


def _energy_mix(country: str) -> dict[str, Any]:
    mixes: dict[str, Any] = json.loads(data(_MIX) or "{}")
    return mixes.get(country) or {}


def data(name: str) -> str:
    """Return the text of a file of codecarbon; empty without codecarbon or without the file."""
    # Located without importing codecarbon, which takes seconds and configures logging.
    spec = find_spec("codecarbon")
    if spec is None or spec.origin is None:
        return ""
    try:
        return (Path(spec.origin).parent / name).read_text("utf-8")
    except OSError:
        return ""
