import json

import pytest
from click.testing import CliRunner

from yprov_mlflow.commands import bill, main

NO_RAPL = {
    "unavailable": "powercap is readable by root alone",
    "cure": "Ask the administrator to run chmod -R a+r /sys/class/powercap/intel-rapl",
}
NO_COUNTER = {"missing": [{"what": "energy of gpu1", "reason": "no counter", "cure": ""}, "odd"]}


def q(name):
    return {"$": name, "type": "xsd:QName"}


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
    device = {"device": q("store:device/uuid-0"), "deviceName": "gpu0", "component": "gpu"}
    return quantity("energy", number, **device, **more)


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
        whole: gpu(7_200_000),
        "run:quantity/nvidia/0.r0/gpu0/power": {
            **quantity("power", 310.5, "W", device=q("store:device/uuid-0"), deviceName="gpu0"),
            "mlf:max": double(402),
        },
        "run:quantity/nvidia/0.r0/gpu0/utilization": quantity(
            "utilization", 91, "PERCENT", device=q("store:device/uuid-0"), max=double(100)
        ),
        "run:quantity/nvidia/0.r1/gpu0/energy": gpu(3_600_000),
        f"{whole}/during/training": {
            "prov:type": [q("mlf:Quantity")],
            "qudt:numericValue": double(5000.5),
            "mlf:during": q(training),
            "mlf:partOf": q(whole),
        },
        f"{whole}/during/training/epoch/0": gpu(5000, during=q(epoch), partOf=q(whole)),
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
    assert (first["method"], first["scope"], first["name"]) == ("measured", "device", "gpu0")
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
    cpu, gpu1 = bill.draw_up(document())["not_measured"]
    assert cpu == {
        "collector": "cpu",
        "what": "",
        "reason": NO_RAPL["unavailable"],
        "cure": NO_RAPL["cure"],
    }
    assert (gpu1["collector"], gpu1["what"]) == ("nvidia", "energy of gpu1")


def test_tables_for_people(written):
    shown = energy(written(document()))
    assert shown.exit_code == 0
    for text in (
        "node-a, rank 0",
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
    records["entity"][own] = quantity("energy_share", 5, device=q("store:device/uuid-0"))
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
