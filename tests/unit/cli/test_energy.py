import json

import pytest
from click.testing import CliRunner

from yprov_mlflow.prov.cli import main
from yprov_mlflow.prov.events import (
    CollectorStarted,
    CollectorStopped,
    ContextEntered,
    ContextLeft,
    FactsCollected,
    RunCreated,
    RunUpdated,
    Sampled,
    SessionStarted,
)
from yprov_mlflow.prov.translate import translate
from yprov_mlflow.prov.views import energy as bill

NO_RAPL = {
    "unavailable": "powercap is readable by root alone",
    "cure": "Ask the administrator to run chmod -R a+r /sys/class/powercap/intel-rapl",
}
NO_COUNTER = {"missing": [{"what": "energy of gpu1", "reason": "no counter", "cure": ""}, "odd"]}


def q(name):
    return {"$": name, "type": "xsd:QName"}


GPU = {"ofDevice": q("store:host/a/device/gpu0"), "deviceName": "gpu0"}


def double(number):
    return {"$": str(number), "type": "xsd:double"}


def quantity(name, number, unit="J", **more):
    return {
        "prov:type": [q("qudt:QuantityValue"), q("sosa:Result"), q("mlf:Quantity")],
        "schema:name": name,
        "qudt:numericValue": double(number),
        "qudt:hasUnit": q(f"unit:{unit}"),
        "mlf:method": q("mlf:measured"),
        "mlf:scope": q("mlf:device"),
        **{f"mlf:{term}": found for term, found in more.items()},
    }


def gpu(number, **more):
    return quantity("energy", number, **GPU, component="gpu", **more)


def sessions():
    hosts = {"store:host/a": "node-a", "store:host/b": "node-b"}
    activities = {"run:run": {"mlf:runId": "abc", "mlf:status": q("mlf:FINISHED")}}
    for rank in range(len(hosts)):
        session = f"run:session/0.r{rank}"
        activities[session] = {"prov:type": q("mlf:RunSession"), "mlf:rank": rank}
        activities[f"run:collector/nvidia/0.r{rank}"] = {
            "prov:type": q("mlf:Collection"),
            "dcterms:isPartOf": q(session),
            "mlf:collector": "nvidia",
            "mlf:samples": {"$": "60", "type": "xsd:int"},
            "mlf:cpuSeconds": double(0.03),
            "mlf:notMeasured": '["gpu0/temperature","@node/power"]',
            "mlf:problems": '[{"count":3,"reason":"it fell asleep","time_ns":1}]',
        }
    used = {
        f"u{rank}": {"prov:activity": f"run:session/0.r{rank}", "prov:entity": host}
        for rank, host in enumerate(hosts)
    }
    entities = {
        host: {"prov:type": [q("mlf:Host")], "prov:label": label} for host, label in hosts.items()
    }
    return activities, used, entities


def document():
    """Two ranks on two nodes: a GPU each, a context with an epoch, and what was added up."""
    activities, used, entities = sessions()
    training, epoch = "run:context/training", "run:context/training/epoch/0"
    minute = "2026-01-02T03:0{}:00.000000000+00:00"
    activities[training] = {
        "prov:type": q("mlf:Context"),
        "prov:label": "training",
        "prov:startTime": minute.format(1),
        "prov:endTime": minute.format(3),
        "dcterms:isPartOf": q("run:run"),
        "mlf:session": q("run:session/0.r0"),
    }
    activities[epoch] = {
        **activities[training],
        "prov:type": q("mlf:Epoch"),
        "prov:label": "epoch 0",
        "dcterms:isPartOf": q(training),
    }
    whole = "run:quantity/nvidia/0.r0/gpu0/energy"
    entities |= {
        "store:host/a/device/gpu0": {"prov:type": q("mlf:Device"), "prov:label": "Card 9"},
        whole: gpu(7_200_000),
        "run:quantity/nvidia/0.r0/gpu0/power": {
            **quantity("power", 310.5, "W", **GPU),
            "mlf:max": double(402),
        },
        "run:quantity/nvidia/0.r0/gpu0/utilization": quantity(
            "utilization", 91, "PERCENT", **GPU, max=double(100)
        ),
        "run:quantity/nvidia/0.r1/gpu0/energy": gpu(3_600_000),
        f"{whole}/during/training": {
            "prov:type": [q("mlf:Quantity")],
            "qudt:numericValue": double(5000.5),
            "mlf:during": q(training),
            "mlf:partOfTotal": q(whole),
        },
        f"{whole}/during/training/epoch/0": gpu(5000, during=q(epoch), partOfTotal=q(whole)),
        "run:energy/total": {**quantity("energy", 10_800_000), "mlf:method": q("mlf:estimated")},
        "run:energy/gpu": quantity("energy", 10_800_000),
        "run:emissions/total": {
            **quantity("emissions", 843, "GM"),
            "mlf:carbonIntensity": double(281),
            "mlf:carbonIntensitySource": "codecarbon 3.0, ITA",
        },
        "run:sci": {
            "mlf:sciEnergyKwh": double(3),
            "mlf:sciIntensity": double(281),
            "mlf:sciFunctionalUnit": "run",
        },
        "store:facts/cpu/1": facts("cpu", NO_RAPL),
        "store:facts/cpu/2": facts("cpu", NO_RAPL),
        "store:facts/nvidia/1": facts("nvidia", NO_COUNTER),
    }
    generated = {
        f"g{index}": {"prov:entity": entity, "prov:activity": f"run:collector/nvidia/0.r{rank}"}
        for index, entity in enumerate(entities)
        for rank in "01"
        if entity.startswith(f"run:quantity/nvidia/0.r{rank}") and "during" not in entity
    }
    sections = {"activity": activities, "entity": entities, "used": used}
    return {"prefix": {}, **sections, "wasGeneratedBy": generated}


def facts(collector, found):
    return {
        "prov:type": q("mlf:Facts"),
        "prov:label": collector,
        "mlf:facts": json.dumps(found),
    }


def energy(path, *arguments):
    return CliRunner().invoke(main, ["energy", str(path), *arguments], env={"COLUMNS": "160"})


@pytest.fixture
def written(tmp_path):
    def write(records):
        path = tmp_path / "prov.json"
        path.write_text(json.dumps(records))
        return path

    return write


def test_devices_with_their_rank_and_node(written):
    shown = energy(written(document()), "--json")
    found = json.loads(shown.output)
    assert (shown.exit_code, found["measured"]) == (0, True)
    first, second = found["devices"]
    assert (first["rank"], first["node"], first["collector"]) == (0, "node-a", "nvidia")
    assert (second["rank"], second["node"], second["energy_j"]) == (1, "node-b", 3_600_000)
    assert (first["energy_j"], first["component"]) == (7_200_000, "gpu")
    assert (first["method"], first["scope"]) == ("measured", "device")
    assert (first["device"], first["label"]) == ("gpu0", "Card 9")
    assert first["power_w"] == {"mean": 310.5, "max": 402}
    assert first["utilization_percent"] == {"mean": 91, "max": 100}
    assert second["power_w"] is None
    assert found["collectors"][0]["samples"] == 60


def test_contexts_and_epochs(written):
    training, epoch = bill.draw_up(document())["contexts"]
    assert (training["context"], epoch["context"]) == (["training"], ["training", "epoch 0"])
    assert (training["energy_j"], training["seconds"], training["rank"]) == (5000.5, 120, 0)
    assert epoch["components"] == {"cpu": None, "gpu": 5000, "memory": None}
    assert training["devices"][0]["node"] == "node-a"  # said by the whole alone
    assert training["method"] == "measured"


def test_sums_emissions_and_sci():
    found = bill.draw_up(document())
    assert (found["total"]["energy_kwh"], found["total"]["method"]) == (3, "estimated")
    assert found["total"]["components"]["gpu"]["method"] == "measured"
    assert found["total"]["components"]["cpu"] is None
    emissions = found["emissions"]
    assert (emissions["emissions_g"], emissions["carbon_intensity"]) == (843, 281)
    assert emissions["source"] == "codecarbon 3.0, ITA"
    assert found["sci"]["embodied_g"] is None
    assert found["sci"]["energy_kwh"] == 3


def test_what_was_not_measured_is_said_once():
    cpu, gpu1, *unread, failed = bill.draw_up(document())["not_measured"]
    assert cpu == {
        "collector": "cpu",
        "what": "",
        "reason": NO_RAPL["unavailable"],
        "cure": NO_RAPL["cure"],
    }
    assert (gpu1["collector"], gpu1["what"]) == ("nvidia", "energy of gpu1")
    assert [one["what"] for one in unread] == ["temperature of gpu0", "power of node"]
    assert failed["reason"] == "it fell asleep (3 times)"


@pytest.mark.parametrize(
    ("starts", "said"),
    [((0, 0.4), []), ((0, 9), ["the first 9 s of 60 s"]), ((9, 30), ["the first 30 s of 60 s"])],
)
def test_time_before_the_first_sample_is_said_by_the_longest(starts, said):
    records = document()
    minute = "2026-01-02T03:04:{:012.9f}+00:00"
    for rank, start in enumerate(starts):
        session = records["activity"][f"run:session/0.r{rank}"]
        session["prov:startTime"] = minute.format(0)
        session["prov:endTime"] = minute.format(0).replace(":04:", ":05:")
        collector = records["activity"][f"run:collector/nvidia/0.r{rank}"]
        collector["prov:startTime"] = minute.format(start)
    lacking = bill.draw_up(records)["not_measured"]
    assert [one["what"] for one in lacking if "first" in one["what"]] == said


def test_tables_for_people(written):
    shown = energy(written(document()))
    assert shown.exit_code == 0
    for text in (
        "node-a, rank 0",
        "gpu0, Card 9",
        "7.2 MJ",
        "310.5, 402",
        "measured, device",
        "training/epoch 0",
        "energy, cpu       not measured",
        "10.8 MJ = 3 kWh, estimated",
        "843 g CO2e at 281 g/kWh (codecarbon 3.0, ITA)",
        "M not known",
        f"cpu: not measured: {NO_RAPL['unavailable']}.",
        f"{NO_RAPL['cure']}.",
        "nvidia, energy of gpu1: not measured: no counter.",
    ):
        assert text in shown.output, text


def test_power_without_energy_is_no_zero(written):
    records = document()
    for identifier in [one for one in records["entity"] if "energy" in one]:
        del records["entity"][identifier]
    del records["entity"]["run:emissions/total"]
    found = bill.draw_up(records)
    assert found["total"] is None
    assert found["devices"][0]["energy_j"] is None
    shown = energy(written(records))
    assert shown.exit_code == 0
    assert "energy, together  not measured" in shown.output
    assert "not known: energy not measured" in shown.output
    assert "0 J" not in shown.output


def test_energy_without_emissions_says_the_cure(written):
    records = document()
    del records["entity"]["run:emissions/total"]
    assert "YPROV_MLFLOW_COUNTRY" in energy(written(records)).output


@pytest.mark.parametrize("number", ["NaN", "INF", "many"])
def test_a_number_that_is_none_is_not_measured(written, number):
    records = document()
    for record in records["entity"].values():
        if "qudt:numericValue" in record:
            record["qudt:numericValue"] = double(number)
    shown = energy(written(records), "--json")
    found = json.loads(shown.output)
    assert (found["total"], found["emissions"]) == (None, None)
    assert {row["energy_j"] for row in found["devices"]} == {None}


def test_a_share_of_a_device_is_a_row_of_its_own():
    records = document()
    own = "run:quantity/nvidia/0.r0/gpu0/energy_share"
    records["entity"][own] = quantity("energy_share", 5, **GPU)
    records["wasGeneratedBy"]["own"] = {
        "prov:entity": own,
        "prov:activity": "run:collector/nvidia/0.r0",
    }
    rows = {row["what"]: row for row in bill.draw_up(records)["devices"] if row["rank"] == 0}
    assert (rows[None]["energy_j"], rows["energy_share"]["energy_j"]) == (7_200_000, 5)
    assert rows["energy_share"]["component"] is None


def test_documents_without_measurements(written):
    path = written({"prefix": {}, "entity": {"store:facts/cpu/1": facts("cpu", NO_RAPL)}})
    shown = energy(path)
    assert shown.exit_code == 3
    assert "Nothing was measured: the document has no measurements" in shown.output
    assert NO_RAPL["cure"] in shown.output
    shown = energy(path, "--json")
    assert (shown.exit_code, json.loads(shown.output)["measured"]) == (3, False)


def test_records_that_lack_all_else(written):
    path = written(
        {
            "prefix": {},
            "activity": {"run:collector/x": {"prov:type": "mlf:Collection"}},
            "entity": {
                "ex:a": {"prov:type": "mlf:Quantity"},
                "ex:b": {"prov:type": "mlf:Quantity", "mlf:during": q("ex:gone")},
                "ex:f": {"prov:type": "mlf:Facts", "mlf:facts": "{"},
                "ex:l": {"prov:type": "mlf:Facts", "mlf:facts": "[]"},
            },
        }
    )
    shown = energy(path)
    assert shown.exit_code == 0
    assert "not measured" in shown.output
    assert json.loads(energy(path, "--json").output)["contexts"][0]["context"] == ["ex:gone"]


def run_of_two_ranks():
    """Events of a run that a GPU each of two ranks was measured for."""
    start_s, run_id = 1_767_322_800, "3f2c0a4e111142228333444455556666"
    store = {"uuid": "9d0c7c1e-aaaa-4bbb-8ccc-ddddeeeeffff", "uri": "sqlite:///mlflow.db"}
    joules = {"name": "energy", "unit": "J", "kind": "ElectricEnergy", "scope": "device"}
    watts = {"name": "power", "unit": "W", "kind": "ElectricPower", "scope": "device"}
    of_gpu = {"method": "measured", "device": "gpu0"}
    described = {
        "interval_s": 1.0,
        "devices": [{"id": "gpu0", "label": "Card 9", "facts": {}}],
        "quantities": [
            {**joules, **of_gpu, "cumulative": True, "component": "gpu"},
            {**watts, **of_gpu},
        ],
    }
    carbon = {"carbon_intensity_g_per_kwh": 281.0, "carbon_intensity_source": "ITA"}
    for rank in range(2):
        sequence = iter(range(99))

        def at(second, cls, *fields, token=f"{rank}" * 16, sequence=sequence):
            time_ns = (start_s + second) * 10**9
            return cls(run_id, token, next(sequence), time_ns, *fields)

        yield at(0, SessionStarted, {"pid": rank, "host": f"node{rank}", "rank": rank})
        if not rank:
            given = ("1", "exp", "fox", "ada", start_s * 1000, "file:///a", {}, store)
            yield at(0, RunCreated, *given)
        yield at(0, FactsCollected, "cpu", NO_RAPL)
        yield at(0, FactsCollected, "carbon", carbon)
        yield at(1, CollectorStarted, "nvidia", described)
        yield at(1, Sampled, "nvidia", [0.0, 100.0])
        yield at(2, ContextEntered, ["training"])
        yield at(3, Sampled, "nvidia", [200.0, 300.0])
        yield at(4, ContextLeft, ["training"])
        yield at(5, Sampled, "nvidia", [400.0 + rank, 100.0])
        yield at(5, CollectorStopped, "nvidia", {"cpu_s": 0.5, "problems": []})
        if not rank:
            yield at(6, RunUpdated, "FINISHED", (start_s + 6) * 1000)


def test_the_bill_of_what_the_translator_writes(written):
    path = written(translate(run_of_two_ranks()).to_json_object())
    found = json.loads(energy(path, "--json").output)
    assert [row["energy_j"] for row in found["devices"]] == [400, 401]
    assert [row["node"] for row in found["devices"]] == ["node0", "node1"]
    assert {(row["label"], row["device"]) for row in found["devices"]} == {("Card 9", "gpu0")}
    assert found["devices"][0]["power_w"]["max"] == 300
    assert [one["energy_j"] for one in found["contexts"]] == [200, 200.5]
    assert [one["rank"] for one in found["contexts"]] == [0, 1]
    assert found["total"]["energy_j"] == found["total"]["components"]["gpu"]["energy_j"] == 801
    assert found["emissions"]["carbon_intensity"] == 281
    assert found["emissions"]["emissions_g"] == pytest.approx(801 / 3.6e6 * 281)
    assert found["sci"]["functional_unit"] == "run"
    cpu, early = found["not_measured"]
    assert cpu["reason"] == NO_RAPL["unavailable"]
    assert early["what"] == "the first 1 s of 6 s"
    shown = energy(path).output
    assert "training (rank 1)" in shown
    assert "801 J = 0.000222 kWh, measured" in shown
