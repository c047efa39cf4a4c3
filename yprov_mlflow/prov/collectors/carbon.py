"""The carbon intensity of the machine's electricity: what turns energy into emissions.

It is given, or that of the given country by codecarbon's data; nothing guesses it. codecarbon
itself is not imported: that takes seconds.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.collectors.base import Available, Collector, CollectorContext, Unavailable

INSTALL = "Install it: pip install 'yprov-mlflow[carbon]'"
"""The cure where codecarbon is not installed."""

_MIX = "data/private_infra/global_energy_mix.json"


class Carbon(Collector):
    """Fact: grams of CO2 equivalent that a kWh costs, and who says so."""

    name = "carbon"

    def probe(self) -> Available | Unavailable:
        """Look the intensity up."""
        facts, missing = intensity(self.surroundings)
        return missing[0] if missing else Available(facts)


def _mix(country: str) -> dict[str, Any]:
    spec = find_spec("codecarbon")  # found and not imported: that takes a while, and logs
    if spec is None or spec.origin is None:
        return {}
    mixes = json.loads((Path(spec.origin).parent / _MIX).read_bytes())
    found: dict[str, Any] = mixes.get(country, {})
    return found


def intensity(surroundings: CollectorContext) -> tuple[dict[str, Any], list[Unavailable]]:
    """Give the facts of the carbon intensity; what was given goes before the country's."""
    country, given = surroundings.country, surroundings.carbon_intensity
    facts: dict[str, Any] = {} if country is None else {"country": country}
    mix = {} if country is None or given is not None else _mix(country)
    known = mix.get("carbon_intensity") if given is None else given
    if known is not None:
        facts["carbon_intensity_g_per_kwh"] = known
        facts["carbon_intensity_source"] = (
            f"codecarbon {version('codecarbon')}, {Path(_MIX).name}: {country}, {mix.get('year')}"
            if given is None
            else "given"
        )
        return facts, []
    if country is None:
        reason = "neither a country nor a carbon intensity is given, and neither is guessed"
        cure = "Set YPROV_MLFLOW_COUNTRY to an ISO 3166 code of three letters"
    elif find_spec("codecarbon") is None:
        reason = f"the carbon intensity of {country} is in codecarbon's data, not installed"
        cure = INSTALL
    else:
        reason = f"codecarbon's data have no carbon intensity for the country {country}"
        cure = "Correct YPROV_MLFLOW_COUNTRY, an ISO 3166 code of three letters"
    cure += ", or set YPROV_MLFLOW_CARBON_INTENSITY to grams of CO2 equivalent per kWh"
    return facts, [Unavailable(reason, cure, "emissions")]
