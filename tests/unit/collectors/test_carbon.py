"""The carbon intensity: configured, looked up by country, or unavailable."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from yprov_mlflow.prov.collectors import carbon
from yprov_mlflow.prov.collectors.base import Available, CollectorContext, Unavailable
from yprov_mlflow.prov.collectors.carbon import Carbon

INTENSITY = "carbon_intensity_g_per_kwh"


def probed(**options):
    return Carbon(CollectorContext(**options)).probe()


def test_country_intensity_without_importing_codecarbon(monkeypatch):
    folder = Path(find_spec("codecarbon").origin).parent / "data/private_infra"
    data = json.loads((folder / "global_energy_mix.json").read_text())
    monkeypatch.delitem(sys.modules, "codecarbon", raising=False)
    result = probed(country="ITA")
    assert result.facts[INTENSITY] == data["ITA"]["carbon_intensity"]
    assert result.facts["carbon_intensity_source"].startswith("codecarbon ")
    assert "codecarbon" not in sys.modules


@pytest.mark.parametrize("intensity", [0.0, 12.5])
def test_configured_intensity_overrides_country(intensity):
    facts = probed(country="ITA", carbon_intensity=intensity).facts
    assert (facts[INTENSITY], facts["carbon_intensity_source"]) == (intensity, "given")


def test_configured_intensity_needs_no_data(monkeypatch):
    monkeypatch.setattr(carbon, "_MIX", "data/moved.json")
    assert probed(country="ITA", carbon_intensity=12.5).facts[INTENSITY] == 12.5


@pytest.mark.parametrize(
    ("country", "reason"), [(None, "neither is guessed"), ("XXX", "for the country XXX")]
)
def test_unknown_country_is_not_guessed(country, reason):
    result = probed(country=country)
    assert isinstance(result, Unavailable)
    assert reason in result.reason
    assert "YPROV_MLFLOW_COUNTRY" in result.cure


def test_without_codecarbon(monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    assert "pip install codecarbon" in probed(country="ITA").cure
    result = probed(carbon_intensity=100.0)
    assert isinstance(result, Available)
    assert result.facts[INTENSITY] == 100
