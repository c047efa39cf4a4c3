"""The carbon intensity: given, a country's, or not known and said so."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from yprov_mlflow.prov.collectors import carbon
from yprov_mlflow.prov.collectors.base import Available, CollectorContext, Unavailable
from yprov_mlflow.prov.collectors.carbon import Carbon

GIVEN = "carbon_intensity_g_per_kwh"


def probed(**given):
    return Carbon(CollectorContext(**given)).probe()


def test_a_country_has_that_of_codecarbon_which_is_not_imported(monkeypatch):
    folder = Path(find_spec("codecarbon").origin).parent / "data/private_infra"
    data = json.loads((folder / "global_energy_mix.json").read_text())
    monkeypatch.delitem(sys.modules, "codecarbon", raising=False)
    found = probed(country="ITA")
    assert found.facts[GIVEN] == data["ITA"]["carbon_intensity"]
    assert found.facts["carbon_intensity_source"].startswith("codecarbon ")
    assert "codecarbon" not in sys.modules


@pytest.mark.parametrize("intensity", [0.0, 12.5])
def test_what_is_given_goes_before_the_country(intensity):
    facts = probed(country="ITA", carbon_intensity=intensity).facts
    assert (facts[GIVEN], facts["carbon_intensity_source"]) == (intensity, "given")


def test_what_is_given_needs_no_data(monkeypatch):
    monkeypatch.setattr(carbon, "_MIX", "data/moved.json")
    assert probed(country="ITA", carbon_intensity=12.5).facts[GIVEN] == 12.5


@pytest.mark.parametrize(
    ("country", "reason"), [(None, "neither is guessed"), ("XXX", "for the country XXX")]
)
def test_what_is_not_known_is_not_guessed(country, reason):
    found = probed(country=country)
    assert isinstance(found, Unavailable)
    assert reason in found.reason
    assert "YPROV_MLFLOW_COUNTRY" in found.cure


def test_without_codecarbon(monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    assert "yprov-mlflow[carbon]" in probed(country="ITA").cure
    found = probed(carbon_intensity=100.0)
    assert isinstance(found, Available)
    assert found.facts[GIVEN] == 100
