"""Energy reports as typed values: units, totals, missing quantities, and JSON."""

import dataclasses
import json

import pytest
from support.builders.energy_documents import (
    GPU,
    NO_RAPL,
    document,
    double,
    facts,
    q,
    quantity,
    run_of_a_node_and_a_process,
    run_of_two_ranks,
)

from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.translate import translate
from yprov_mlflow.prov.views import energy


def test_devices_have_rank_node_and_units():
    first, second = energy.from_document(document()).devices
    assert (first.rank, first.node, first.collector) == (0, "node-a", "nvidia")
    assert (second.rank, second.node, second.energy_j) == (1, "node-b", 3_600_000)
    assert (first.energy_j, first.component) == (7_200_000, "gpu")
    assert (first.method, first.scope) == ("measured", "device")
    assert (first.device, first.label) == ("gpu0", "Card 9")
    assert (first.power_w.mean, first.power_w.max) == (310.5, 402)
    assert (first.utilization_percent.mean, first.utilization_percent.max) == (91, 100)
    assert second.power_w is None
    assert first.quantities["power"].unit == "W"


def test_contexts_and_epochs():
    training, epoch = energy.from_document(document()).contexts
    assert (training.context, epoch.context) == (("training",), ("training", "epoch 0"))
    assert (training.energy_j, training.seconds, training.rank) == (5000.5, 120, 0)
    assert epoch.components == {"cpu": None, "gpu": 5000, "memory": None}
    assert training.devices[0].node == "node-a"  # only the total names it
    assert training.method == "measured"


def test_totals_emissions_and_sci():
    report = energy.from_document(document())
    assert (report.total.energy_kwh, report.total.method) == (3, "estimated")
    assert report.total.components["gpu"].method == "measured"
    assert report.total.components["cpu"] is None
    assert (report.emissions.emissions_g, report.emissions.carbon_intensity) == (843, 281)
    assert report.emissions.source == "codecarbon 3.0, ITA"
    assert (report.sci.embodied_g, report.sci.energy_kwh) == (None, 3)


def test_missing_quantities_are_listed_once():
    cpu, gpu1, *unread, failed = energy.from_document(document()).not_measured
    assert (cpu.collector, cpu.what) == ("cpu", "")
    assert (cpu.reason, cpu.cure) == (NO_RAPL["unavailable"], NO_RAPL["cure"])
    assert (gpu1.collector, gpu1.what) == ("nvidia", "energy of gpu1")
    assert [missing.what for missing in unread] == ["temperature of gpu0", "power of node"]
    assert failed.reason == "the sensor did not respond (3 times)"


@pytest.mark.parametrize(
    ("starts", "expected"),
    [((0, 0.4), []), ((0, 9), ["the first 9 s of 60 s"]), ((9, 30), ["the first 30 s of 60 s"])],
)
def test_longest_time_before_the_first_sample_is_reported(starts, expected):
    records = document()
    minute = "2026-01-02T03:04:{:012.9f}+00:00"
    for rank, start in enumerate(starts):
        session = records["activity"][f"run:session/0.r{rank}"]
        session["prov:startTime"] = minute.format(0)
        session["prov:endTime"] = minute.format(0).replace(":04:", ":05:")
        collector = records["activity"][f"run:collector/nvidia/0.r{rank}"]
        collector["prov:startTime"] = minute.format(start)
    missing = energy.from_document(records).not_measured
    assert [entry.what for entry in missing if "first" in entry.what] == expected


def test_power_without_energy_gives_no_energy():
    records = document()
    for identifier in [key for key in records["entity"] if "energy" in key]:
        del records["entity"][identifier]
    report = energy.from_document(records)
    assert report.total is None
    assert report.devices[0].energy_j is None


@pytest.mark.parametrize("number", ["NaN", "INF", "many"])
def test_unusable_number_is_none(number):
    records = document()
    for record in records["entity"].values():
        if "qudt:numericValue" in record:
            record["qudt:numericValue"] = double(number)
    report = energy.from_document(records)
    assert (report.total, report.emissions) == (None, None)
    assert {device.energy_j for device in report.devices} == {None}


def test_share_of_a_device_has_its_own_row():
    records = document()
    own = "run:quantity/nvidia/0.r0/gpu0/energy_share"
    records["entity"][own] = quantity("energy_share", 5, **GPU)
    records["wasGeneratedBy"]["own"] = {
        "prov:entity": own,
        "prov:activity": "run:collector/nvidia/0.r0",
    }
    devices = energy.from_document(records).devices
    rows = {device.what: device for device in devices if device.rank == 0}
    assert (rows[None].energy_j, rows["energy_share"].energy_j) == (7_200_000, 5)
    assert rows["energy_share"].component is None


def test_document_without_measurements():
    report = energy.from_document(
        {"prefix": {}, "entity": {"store:facts/cpu/1": facts("cpu", NO_RAPL)}}
    )
    assert report.measured is False
    assert report.reason.startswith("the document contains no measurements")
    assert report.not_measured[0].cure == NO_RAPL["cure"]
    assert "reason" in report.to_dict()
    assert "reason" not in energy.from_document(document()).to_dict()


def test_records_without_attributes():
    report = energy.from_document(
        {
            "prefix": {},
            "activity": {"run:collector/x": {"prov:type": "mlf:Measuring"}},
            "entity": {
                "ex:a": {"prov:type": "mlf:Quantity"},
                "ex:b": {"prov:type": "mlf:Quantity", "mlf:during": q("ex:gone")},
                "ex:f": {"prov:type": "mlf:Facts", "mlf:facts": "{"},
                "ex:l": {"prov:type": "mlf:Facts", "mlf:facts": "[]"},
            },
        }
    )
    assert report.contexts[0].context == ("ex:gone",)
    assert list(report.tables())


def test_report_of_translated_events():
    translated = translate(run_of_two_ranks())
    report = energy.from_document(translated)
    assert report == energy.from_document(translated.to_json_object())
    assert [device.energy_j for device in report.devices] == [400, 401]
    assert [device.node for device in report.devices] == ["node0", "node1"]
    assert {(device.label, device.device) for device in report.devices} == {("Card 9", "gpu0")}
    assert report.devices[0].power_w.max == 300
    assert [context.energy_j for context in report.contexts] == [200, 200.5]
    assert [context.rank for context in report.contexts] == [0, 1]
    assert report.total.energy_j == report.total.components["gpu"].energy_j == 801
    assert report.emissions.carbon_intensity == 281
    assert report.emissions.emissions_g == pytest.approx(801 / 3.6e6 * 281)
    assert report.sci.functional_unit == "run"
    cpu, early = report.not_measured
    assert cpu.reason == NO_RAPL["unavailable"]
    assert early.what == "the first 1 s of 6 s"


def test_hardware_and_own_share_have_scopes():
    report = energy.from_document(translate(run_of_a_node_and_a_process(64, ("r2", "r3"))))
    assert (report.total.energy_j, report.total.scope, report.total.nodes) == (80, "node", 1)
    assert (report.own.energy_j, report.own.scope, report.own.method) == (5, "process", "estimated")
    assert report.own.components["cpu"].energy_j == 5
    assert (report.emissions.scope, report.own_emissions.scope) == ("node", "process")
    assert report.own_emissions.emissions_g == pytest.approx(5 / 3.6e6 * 360)
    assert report.sci.scope == "node"
    (context,) = report.contexts
    assert (context.energy_j, context.scope, context.own_j) == (80, "node", 5)
    assert (report.overlap.count, report.overlap.runs) == (2, ("r2", "r3"))
    assert (report.ranks.world_size, report.ranks.logged) == (64, 1)
    asides = {aside.what: aside.energy_j for aside in report.not_in_sum}
    assert asides == {"memory": None, "idle power of processors": None, "codecarbon's total": 270}


def titles(report):
    return [table.title for table in report.tables()]


def document_with_own_share():
    records = document()
    own = {**quantity("energy", 5), "mlf:scope": q("mlf:process")}
    records["entity"] |= {"run:energy/own": own, "run:energy/own/cpu": own}
    records["entity"]["run:energy/cpu"] = quantity("energy", 100)
    return records


def test_measured_idle_power_and_undivided_gpus_are_not_in_the_own_share():
    records = document_with_own_share()
    report = energy.from_document(records)
    asides = {aside.what: aside for aside in report.not_in_sum}
    assert set(asides) == {"memory", "idle power in the own share", "GPUs in the own share"}
    assert asides["GPUs in the own share"].energy_j == 10_800_000
    (difference,) = [
        row[1] for table in report.tables() for row in table.rows if row[0] == "difference"
    ]
    assert difference == "10.8 MJ: idle hardware, undivided gpu, other processes and runs"
    share = "run:quantity/nvidia/0.r0/gpu0/energy@2"
    part = quantity("energy", 3, **GPU, shareOf="gpu")
    records["entity"][share] = {**part, "mlf:scope": q("mlf:process")}
    records["wasGeneratedBy"]["share"] = {
        "prov:entity": share,
        "prov:activity": "run:collector/nvidia/0.r0",
    }
    asides = {aside.what: aside for aside in energy.from_document(records).not_in_sum}
    assert asides["GPUs in the own share"].energy_j == 3_600_000, "that of the other node"


@pytest.mark.parametrize(
    ("scope", "title"),
    [
        ("node", "Whole nodes (2) with visible GPUs, during the run, used by anyone"),
        ("device", "Whole devices, during the run, used by anyone"),
        ("job", "Total"),
    ],
)
def test_the_title_says_which_hardware_was_measured(scope, title):
    records = document_with_own_share()
    count = {"$": "2", "type": "xsd:int"}
    records["entity"]["run:energy/total"] |= {
        "mlf:scope": q(f"mlf:{scope}"),
        "mlf:nodeCount": count,
    }
    assert titles(energy.from_document(records))[-2:] == [
        title,
        "This run's own share (process), part of the above",
    ]
    del records["entity"]["run:energy/total"]
    assert titles(energy.from_document(records))[-1] == "This run's own share (process)"


@pytest.mark.parametrize(("scope", "where"), [("node", "of the node"), ("device", "for devices")])
def test_overlapping_runs_share_what_both_measured(scope, where):
    records = document()
    overlaps = {"mlf:scope": q(f"mlf:{scope}"), "mlf:overlaps": '{"count":1,"runs":["r2"]}'}
    records["entity"]["run:energy/total"] |= overlaps
    (note,) = [n.text for n in energy.from_document(records).notes() if "same time" in n.text]
    assert f"Their sums {where}" in note


def test_a_rank_that_logged_in_two_sessions_counts_once():
    session = {"prov:type": q("mlf:RunSession"), "mlf:rank": 0, "mlf:worldSize": 2}
    report = energy.from_document(
        {"activity": {"run:session/1": session, "run:session/2": session}}
    )
    assert (report.ranks.world_size, report.ranks.logged) == (2, 1)
    assert any(note.text.startswith("1 of 2 ranks") for note in report.notes())


def test_energy_of_a_job_is_not_counted():
    records = document()
    record = {**quantity("energy", 9), "mlf:scope": q("mlf:job")}
    records["entity"]["run:quantity/slurm/0.r0/@job/energy"] = record
    asides = energy.from_document(records).not_in_sum
    assert [aside.energy_j for aside in asides if aside.what.endswith("job")] == [9]


def test_documents_of_the_first_edition_are_read():
    text = json.dumps(document()).replace("mlf:Measuring", "mlf:Collection")
    first = json.loads(text.replace("mlf:basis", "mlf:method"))
    assert first != document()
    assert energy.from_document(first) == energy.from_document(document())


def test_document_without_scopes_is_read():
    records = document()
    for record in records["entity"].values():
        record.pop("mlf:scope", None)
    report = energy.from_document(records)
    assert (report.total.energy_kwh, report.total.scope, report.own) == (3, None, None)
    assert "Total" in [table.title for table in report.tables()]
    assert list(report.notes())


def test_json_keys_are_stable():
    report = energy.from_document(document()).to_dict()
    assert list(report) == (
        "run measured collectors devices contexts total own emissions own_emissions sci not_in_sum"
        " not_measured".split()
    )
    assert report["run"] == {"id": "abc", "status": "FINISHED", "start": None, "end": None}
    assert report["collectors"][0] == {
        "collector": "nvidia",
        "samples": 60,
        "cpu_s": 0.03,
        "session": "run:session/0.r0",
        "rank": 0,
        "node": "node-a",
    }
    first = report["devices"][0]
    assert list(first) == (
        "session rank node collector device label what component share_of scope method energy_j "
        "power_w utilization_percent quantities".split()
    )
    assert first["quantities"]["power"] == {
        "value": 310.5,
        "max": 402,
        "unit": "W",
        "method": "measured",
        "scope": "device",
        "component": None,
    }
    assert list(report["contexts"][0]) == (
        "context rank start end seconds energy_j components method scope own_j devices".split()
    )
    assert report["emissions"] == {
        "emissions_g": 843,
        "carbon_intensity": 281,
        "source": "codecarbon 3.0, ITA",
        "method": "measured",
        "scope": "device",
    }
    assert set(report["sci"]) == {
        *("energy_kwh", "carbon_intensity", "embodied_g", "value_g", "functional_unit", "scope")
    }
    assert set(report["not_measured"][0]) == {"collector", "what", "reason", "cure"}
    json.dumps(report, allow_nan=False)


def test_reports_are_frozen():
    report = energy.from_document(Document())
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.measured = True
