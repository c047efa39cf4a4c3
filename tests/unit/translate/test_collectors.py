"""Measurements of collectors: totals, means, energy by context, energy of the run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.oracles.validity import assert_valid

from yprov_mlflow.prov.events import (
    CollectorStarted,
    CollectorStopped,
    ContextEntered,
    ContextLeft,
    Event,
    FactsCollected,
    RunCreated,
    RunUpdated,
    Sampled,
    SessionStarted,
)
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.translate import translate

RUN_ID = "3f2c0a4e111142228333444455556666"
STORE = {"uuid": "9d0c7c1e-aaaa-4bbb-8ccc-ddddeeeeffff", "uri": "sqlite:///mlflow.db"}
START_NS = 1_767_322_800 * 10**9

JOULES = {"name": "energy", "unit": "J", "kind": "ElectricEnergy", "cumulative": True}
GPU = {**JOULES, "scope": "device", "method": "measured", "device": "gpu0", "component": "gpu"}
CPU = {**JOULES, "scope": "node", "method": "estimated", "component": "cpu"}
OWN = {**JOULES, "scope": "process", "method": "estimated", "share_of": "cpu"}
POWER = {"name": "power", "unit": "W", "kind": "ElectricPower", "scope": "device"} | {
    "method": "measured",
    "device": "gpu0",
}


class Session:
    """The events of one process; times are seconds from the start of the run."""

    def __init__(self, token: str = "a" * 16, **facts: Any) -> None:
        self.token = token
        self.events: list[Event] = []
        self.at(0, SessionStarted, {"pid": 1, "host": "node01", **facts})

    def at(self, second: float, cls: type[Event], *fields: Any) -> Session:
        time_ns = START_NS + int(second * 10**9)
        self.events.append(cls(RUN_ID, self.token, len(self.events), time_ns, *fields))
        return self

    def created(self) -> Session:
        fields = ("1", "exp", "fox", "alice", START_NS // 10**6, "file:///a", {}, STORE)
        return self.at(0, RunCreated, *fields)

    def starts(self, second: float, collector: str, *quantities: dict[str, Any]) -> Session:
        description = {
            "agent": "nvidia-ml-py",
            "version": "13.1",
            "procedure": "The card's own counter.",
            "interval_s": 1.0,
            "devices": [{"id": "gpu0", "label": "A GPU", "facts": {"uuid": "GPU-1"}}],
            "quantities": list(quantities),
            "left_to_others": [],
        }
        return self.at(second, CollectorStarted, collector, description)

    def samples(self, collector: str, *readings: tuple[float, Any]) -> Session:
        for second, value in readings:
            values = value if isinstance(value, list) else [value]
            self.at(second, Sampled, collector, values)
        return self

    def ends(self, second: float) -> Session:
        end_ms = START_NS // 10**6 + int(second * 1000)
        return self.at(second, RunUpdated, "FINISHED", end_ms)


def document_of(*sessions: Session) -> Document:
    document = translate(event for session in sessions for event in session.events)
    assert_valid(document.to_json_object())
    return document


def entity(document: Document, identifier: str) -> dict[str, Any]:
    return document.records["entity"][f"run:{identifier}"]


def number(document: Document, identifier: str) -> float:
    return float(entity(document, identifier)["qudt:numericValue"]["$"])


def test_a_total_is_the_growth_of_its_counter() -> None:
    session = Session().created().starts(1, "nvidia", GPU, POWER)
    session.samples("nvidia", (1, [0.0, 100.0]), (2, [100.0, 300.0]), (4, [500.0, None]))
    session.at(4, CollectorStopped, "nvidia", {"samples": 3, "cpu_s": 0.02, "problems": []})
    document = document_of(session.ends(5))
    energy = entity(document, "quantity/nvidia/1/gpu0/energy")
    assert float(energy["qudt:numericValue"]["$"]) == 500
    assert [value["$"] for value in energy["prov:type"]] == [
        "qudt:QuantityValue",
        "sosa:Result",
        "mlf:Quantity",
        "mlf:Total",
    ]
    assert energy["qudt:hasUnit"]["$"] == "unit:J"
    assert energy["qudt:hasQuantityKind"]["$"] == "quantitykind:ElectricEnergy"
    assert (energy["mlf:basis"]["$"], energy["mlf:scope"]["$"]) == ("mlf:measured", "mlf:device")
    assert energy["mlf:deviceName"] == "gpu0"
    device = document.records["entity"][energy["mlf:ofDevice"]["$"]]
    assert device["prov:label"] == "A GPU"
    power = entity(document, "quantity/nvidia/1/gpu0/power")
    assert float(power["qudt:numericValue"]["$"]) == 200
    assert (power["mlf:min"]["$"], power["mlf:max"]["$"]) == ("100.0", "300.0")
    activity = document.records["activity"]["run:collector/nvidia/1"]
    assert activity["mlf:samples"]["$"] == "3"
    assert activity["mlf:cpuSeconds"]["$"] == "0.02"
    assert activity["dcterms:isPartOf"]["$"] == "run:session/1"
    assert activity["prov:startTime"] < activity["prov:endTime"]
    (association,) = [
        record
        for record in document.records["wasAssociatedWith"].values()
        if record["prov:activity"] == "run:collector/nvidia/1"
    ]
    assert association["prov:agent"] == "store:software/nvidia-ml-py/13.1"
    plan = document.records["entity"][association["prov:plan"]]
    assert plan["mlf:procedure"] == "The card's own counter."


def test_energy_by_context_and_epoch() -> None:
    session = Session().created().starts(0, "nvidia", GPU)
    session.samples("nvidia", (0, 0.0))
    session.at(1, ContextEntered, ["training"]).at(1, ContextEntered, ["training", 0])
    session.samples("nvidia", (2, 200.0))
    session.at(3, ContextLeft, ["training", 0]).at(3, ContextEntered, ["training", 1])
    session.samples("nvidia", (4, 600.0))
    session.at(4, ContextLeft, ["training", 1]).at(4, ContextLeft, ["training"])
    session.samples("nvidia", (6, 700.0))
    document = document_of(session.ends(6))
    whole = "quantity/nvidia/1/gpu0/energy"
    assert number(document, whole) == 700
    assert number(document, f"{whole}/during/context/training") == 500
    assert number(document, f"{whole}/during/context/training/epoch/0") == pytest.approx(300)
    assert number(document, f"{whole}/during/context/training/epoch/1") == pytest.approx(200)
    part = entity(document, f"{whole}/during/context/training/epoch/1")
    assert part["mlf:during"]["$"] == "run:context/training/epoch/1"
    assert part["mlf:partOfTotal"]["$"] == f"run:{whole}"
    assert part["prov:label"] == "gpu0 energy during training/epoch 1"
    types = [value["$"] for value in part["prov:type"]]
    assert types == ["mlf:Quantity", "mlf:Part"], "no sum of QUDT values counts it again"
    assert number(document, "energy/total") == 700


def test_a_context_before_the_first_sample_has_no_energy() -> None:
    session = Session().created()
    session.at(1, ContextEntered, ["warm-up"]).at(2, ContextLeft, ["warm-up"])
    session.starts(3, "nvidia", GPU).samples("nvidia", (3, 0.0), (4, 10.0))
    document = document_of(session.ends(5))
    assert not [key for key in document.records["entity"] if "during" in key]


def test_unreadable_quantities_are_listed_and_not_zero() -> None:
    session = Session().created().starts(1, "nvidia", GPU, POWER)
    session.samples("nvidia", (1, [0.0, None]))
    problem = {"reason": "the driver is gone", "count": 2, "time_ns": START_NS}
    session.at(2, CollectorStopped, "nvidia", {"samples": 1, "problems": [problem]})
    document = document_of(session.ends(2))
    activity = document.records["activity"]["run:collector/nvidia/1"]
    assert json.loads(activity["mlf:notMeasured"]) == ["gpu0/energy", "gpu0/power"]
    assert json.loads(activity["mlf:problems"]) == [problem]
    assert not [key for key in document.records["entity"] if "energy" in key]


def test_the_total_energy_counts_each_session_and_component_once() -> None:
    first = Session(rank=0).created()
    first.starts(1, "nvidia", GPU).samples("nvidia", (1, 0.0), (3, 300.0))
    first.starts(1, "cpu", CPU, OWN).samples("cpu", (1, [0.0, 0.0]), (3, [80.0, 50.0]))
    first.at(2, FactsCollected, "carbon", {"carbon_intensity_g_per_kwh": 360.0})
    second = Session("b" * 16, rank=1)
    second.starts(1, "nvidia", GPU).samples("nvidia", (1, 0.0), (3, 200.0))
    document = document_of(first.ends(4), second)
    assert number(document, "quantity/nvidia/1.r1/gpu0/energy") == 200
    assert number(document, "energy/gpu") == 500
    assert number(document, "energy/cpu") == 80
    assert number(document, "energy/total") == 580, "a process's share is in it already"
    assert entity(document, "energy/gpu")["mlf:basis"]["$"] == "mlf:measured"
    assert entity(document, "energy/total")["mlf:basis"]["$"] == "mlf:estimated"
    assert number(document, "emissions/total") == pytest.approx(580 / 3.6e6 * 360)
    sci = entity(document, "sci")
    assert float(sci["mlf:sciEnergyKwh"]["$"]) == pytest.approx(580 / 3.6e6)
    assert "qudt:numericValue" not in sci, "M is not known"
    derived = {
        (record["prov:generatedEntity"], record["prov:usedEntity"])
        for record in document.records["wasDerivedFrom"].values()
    }
    assert ("run:energy/gpu", "run:quantity/nvidia/1.r1/gpu0/energy") in derived
    assert ("run:emissions/total", "run:energy/total") in derived


def test_each_sum_states_its_scope() -> None:
    first = Session(rank=0).created()
    first.starts(1, "nvidia", GPU).samples("nvidia", (1, 0.0), (3, 300.0))
    first.starts(1, "cpu", CPU, OWN).samples("cpu", (1, [0.0, 0.0]), (3, [80.0, 50.0]))
    first.at(2, FactsCollected, "carbon", {"carbon_intensity_g_per_kwh": 360.0})
    second = Session("b" * 16, rank=1, host="node02")
    second.starts(1, "cpu", CPU, OWN).samples("cpu", (1, [0.0, 0.0]), (3, [20.0, 3.0]))
    document = document_of(first.ends(4), second)
    sums = {
        key.removeprefix("run:"): record["mlf:scope"]["$"].removeprefix("mlf:")
        for key, record in document.records["entity"].items()
        if key.startswith(("run:energy/", "run:emissions/", "run:sci"))
    }
    assert sums == {
        "energy/gpu": "device",
        "energy/cpu": "node",
        "energy/total": "node",
        "emissions/total": "node",
        "sci": "node",
        "energy/own": "process",
        "energy/own/cpu": "process",
        "emissions/own": "process",
    }
    assert number(document, "energy/total") == 400
    assert number(document, "energy/own") == 53
    assert number(document, "emissions/own") == pytest.approx(53 / 3.6e6 * 360)
    assert entity(document, "energy/total")["mlf:nodeCount"]["$"] == "2"
    own = entity(document, "energy/own")
    assert "mlf:AttributedEnergy" in [kind["$"] for kind in own["prov:type"]]
    assert own["mlf:basis"]["$"] == "mlf:estimated"


@pytest.mark.parametrize(
    ("quantity", "scope"),
    [(GPU, "device"), ({**GPU, "component": "cpu"}, "node"), ({**CPU, "scope": "job"}, "job")],
)
def test_scope_of_a_sum_of_one_kind(quantity: dict[str, Any], scope: str) -> None:
    session = Session().created().starts(1, "meter", quantity)
    document = document_of(session.samples("meter", (1, 0.0), (3, 300.0)).ends(4))
    assert entity(document, "energy/total")["mlf:scope"]["$"] == f"mlf:{scope}"
    assert "run:energy/own" not in document.records["entity"]


def test_a_share_in_another_unit_is_not_energy() -> None:
    session = Session().created().starts(1, "meter", CPU, {**OWN, "unit": "W"})
    document = document_of(session.samples("meter", (1, [0.0, 0.0]), (3, [9.0, 3.0])).ends(4))
    assert number(document, "energy/total") == 9
    assert "run:energy/own" not in document.records["entity"]


def test_overlapping_runs_are_named_on_the_sum_of_the_node() -> None:
    session = Session().created().starts(1, "cpu", CPU).samples("cpu", (1, 0.0), (3, 80.0))
    session.at(1, FactsCollected, "overlap", {"runs": ["b"], "count": 1})
    session.at(2, FactsCollected, "overlap", {"runs": ["a", "b"], "count": 2})
    other = Session("b" * 16)
    other.at(2, FactsCollected, "overlap", {"runs": ["c"], "count": 7})
    document = document_of(session.ends(4), other)
    overlaps = json.loads(entity(document, "energy/total")["mlf:overlaps"])
    assert overlaps == {"count": 7, "runs": ["a", "b", "c"]}
    assert not [key for key in document.records["entity"] if "facts/overlap" in key]


def test_sci_has_a_value_if_embodied_emissions_are_known() -> None:
    session = Session(embodied_g=12.5).created().starts(1, "cpu", CPU)
    session.samples("cpu", (1, 0.0), (3, 3.6e6))
    session.at(2, FactsCollected, "carbon", {"carbon_intensity_g_per_kwh": 100.0})
    sci = entity(document_of(session.ends(4)), "sci")
    assert sci["mlf:sciEmbodiedGrams"]["$"] == "12.5"
    assert float(sci["qudt:numericValue"]["$"]) == pytest.approx(112.5)


def test_a_killed_process_keeps_all_its_samples() -> None:
    session = Session().created().starts(1, "cpu", CPU)
    session.samples("cpu", (1, 0.0), (2, 10.0), (9, 80.0))
    document = document_of(session)
    assert number(document, "energy/total") == 80
    assert document.records["activity"]["run:collector/cpu/1"]["prov:endTime"].endswith(
        ":09.000000+00:00"
    )


def test_a_restarted_collector_has_separate_quantities() -> None:
    session = Session().created()
    session.starts(1, "cpu", CPU).samples("cpu", (1, 5.0), (2, 10.0))
    session.starts(3, "cpu", CPU).samples("cpu", (3, 0.0), (4, 30.0))
    document = document_of(session.ends(5))
    assert number(document, "quantity/cpu/1/@node/energy") == 5
    assert number(document, "quantity/cpu/1@2/@node/energy") == 30
    assert number(document, "energy/total") == 35


def test_samples_without_a_start_are_ignored() -> None:
    session = Session().created().samples("cpu", (1, 5.0), (2, 10.0))
    session.at(3, CollectorStopped, "cpu", {"samples": 2})
    assert not [
        key for key in document_of(session.ends(4)).records["activity"] if "collector" in key
    ]


def test_quantities_with_the_same_name_and_device_stay_separate() -> None:
    session = Session().created()
    session.starts(1, "meter", GPU, {**GPU, "scope": "process", "component": ""})
    session.samples("meter", (1, [0.0, 0.0]), (2, [100.0, 30.0]))
    document = document_of(session.ends(3))
    assert number(document, "quantity/meter/1/gpu0/energy") == 100
    assert number(document, "quantity/meter/1/gpu0/energy@2") == 30
    assert entity(document, "quantity/meter/1/gpu0/energy")["mlf:scope"]["$"] == "mlf:device"
    assert number(document, "energy/total") == 100


@pytest.mark.parametrize(
    "odd", [{"component": "disk"}, {"component": "cpu", "unit": "SEC", "kind": "Time"}]
)
def test_other_components_and_units_are_not_in_the_total(odd: dict[str, Any]) -> None:
    session = Session().created().starts(1, "meter", CPU, {**OWN, **odd})
    session.samples("meter", (1, [0.0, 0.0]), (2, [100.0, 30.0]))
    document = document_of(session.ends(3))
    assert number(document, "energy/total") == 100
    assert "mlf:component" not in entity(document, "quantity/meter/1/@process/energy")


def test_a_falling_counter_makes_no_negative_energy() -> None:
    session = Session().created().starts(1, "meter", CPU)
    session.samples("meter", (1, 50.0), (2, 80.0), (3, 5.0), (4, 7.0))
    session.at(2.5, ContextEntered, ["late"]).at(4, ContextLeft, ["late"])
    document = document_of(session.ends(5))
    assert number(document, "energy/total") == 32
    assert number(document, "quantity/meter/1/@node/energy/during/context/late") == 2


def test_each_session_has_its_own_carbon_intensity() -> None:
    first, second, third = Session().created(), Session("b" * 16), Session("c" * 16)
    for session, joules, intensity in ((first, 3.6e6, 100.0), (second, 7.2e6, 400.0)):
        session.starts(1, "cpu", CPU).samples("cpu", (1, 0.0), (3, joules))
        facts = {"carbon_intensity_g_per_kwh": intensity, "carbon_intensity_source": "a table"}
        session.at(2, FactsCollected, "carbon", facts)
    third.at(1, FactsCollected, "carbon", {"unavailable": "no country"})
    third.starts(1, "cpu", CPU).samples("cpu", (1, 0.0), (3, 3.6e6))
    document = document_of(first.ends(4), second, third)
    assert number(document, "emissions/total") == pytest.approx(100 + 800 + 100)
    total = entity(document, "emissions/total")
    assert float(total["mlf:carbonIntensity"]["$"]) == pytest.approx(1000 / 4)
    assert total["mlf:carbonIntensitySource"] == "mean by energy of 100: a table; 400: a table"


def test_embodied_emissions_of_one_session_are_those_of_the_run() -> None:
    first, second = Session().created(), Session("b" * 16, embodied_g=12.5)
    first.starts(1, "cpu", CPU).samples("cpu", (1, 0.0), (3, 3.6e6))
    second.at(2, FactsCollected, "carbon", {"carbon_intensity_g_per_kwh": 100.0})
    sci = entity(document_of(first.ends(4), second), "sci")
    assert sci["mlf:sciEmbodiedGrams"]["$"] == "12.5"


def test_samples_of_a_rank_after_the_end_make_no_other_session() -> None:
    first, second = Session(rank=0).created(), Session("b" * 16, rank=1)
    second.starts(1, "nvidia", GPU).samples("nvidia", (1, 0.0), (4, 30.0), (6, 60.0))
    document = document_of(first.ends(5), second)
    sessions = {key for key in document.records["activity"] if key.startswith("run:session/")}
    assert sessions == {"run:session/1", "run:session/1.r1"}
    assert number(document, "energy/total") == 60
    collector = document.records["activity"]["run:collector/nvidia/1.r1"]
    assert collector["prov:endTime"].endswith(":05.000000+00:00")


def test_a_resumed_and_killed_run_lasts_until_its_last_sample() -> None:
    session = Session().created().starts(1, "cpu", CPU).samples("cpu", (1, 0.0), (2, 10.0))
    session.ends(3).at(5, RunUpdated, "RUNNING")
    session.starts(5, "cpu", CPU).samples("cpu", (5, 0.0), (9, 40.0))
    document = document_of(session)
    collector = document.records["activity"]["run:collector/cpu/2"]
    assert collector["prov:endTime"].endswith(":09.000000+00:00")
    assert number(document, "energy/total") == 50


def test_a_mean_is_weighted_by_time() -> None:
    session = Session().created().starts(1, "nvidia", POWER)
    session.samples("nvidia", (1, 100.0), (2, 100.0), (6, 300.0))
    document = document_of(session.ends(7))
    assert number(document, "quantity/nvidia/1/gpu0/power") == (1 * 100 + 4 * 200) / 5


def test_contexts_have_the_energy_of_their_own_session_only() -> None:
    first, second = Session(rank=0).created(), Session("b" * 16, rank=1)
    first.starts(1, "nvidia", GPU).samples("nvidia", (1, 0.0), (5, 300.0))
    first.at(1, ContextEntered, ["training"]).at(5, ContextLeft, ["training"])
    second.at(1, ContextEntered, ["training"]).at(5, ContextLeft, ["training"])
    document = document_of(first.ends(6), second)
    parts = [key for key in document.records["entity"] if "/during/" in key]
    assert parts == ["run:quantity/nvidia/1/gpu0/energy/during/context/training"]


def test_a_context_around_all_samples_has_the_total_energy() -> None:
    session = Session().created().at(1, ContextEntered, ["all"])
    session.starts(2, "nvidia", GPU).samples("nvidia", (2, 50.0), (4, 300.0))
    document = document_of(session.at(5, ContextLeft, ["all"]).ends(6))
    whole = "quantity/nvidia/1/gpu0/energy"
    assert number(document, whole) == number(document, f"{whole}/during/context/all") == 250
