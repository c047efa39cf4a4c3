"""PROV-JSON objects and events of runs with measurements."""

import json

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
        "mlf:basis": q("mlf:measured"),
        "mlf:scope": q("mlf:device"),
        **{f"mlf:{term}": value for term, value in more.items()},
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
            "prov:type": q("mlf:Measuring"),
            "dcterms:isPartOf": q(session),
            "mlf:collector": "nvidia",
            "mlf:samples": {"$": "60", "type": "xsd:int"},
            "mlf:cpuSeconds": double(0.03),
            "mlf:notMeasured": '["gpu0/temperature","@node/power"]',
            "mlf:problems": '[{"count":3,"reason":"the sensor did not respond","time_ns":1}]',
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
    """Return a document of two ranks on two nodes: a GPU each, a context, an epoch and totals."""
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
        "run:energy/total": {**quantity("energy", 10_800_000), "mlf:basis": q("mlf:estimated")},
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


def facts(collector, content):
    return {
        "prov:type": q("mlf:Facts"),
        "prov:label": collector,
        "mlf:facts": json.dumps(content),
    }


def run_of_two_ranks():
    """Yield the events of a run of two ranks with a measured GPU each."""
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
            fields = ("1", "exp", "fox", "ada", start_s * 1000, "file:///a", {}, store)
            yield at(0, RunCreated, *fields)
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


def run_of_a_node_and_a_process(world_size=1, runs=()):
    """Yield the events of a run with the energy of a node, its own share, and codecarbon's."""
    start_s, run_id, sequence = 1_767_322_800, "3f2c0a4e111142228333444455556666", iter(range(99))
    store = {"uuid": "9d0c7c1e-aaaa-4bbb-8ccc-ddddeeeeffff", "uri": "sqlite:///mlflow.db"}
    joules = {"name": "energy", "unit": "J", "kind": "ElectricEnergy", "cumulative": True}
    node = {**joules, "scope": "node", "method": "estimated"}
    own = {**joules, "scope": "process", "method": "estimated", "share_of": "cpu"}
    cpu = {"quantities": [{**node, "component": "cpu"}, own]}
    parts = ("cpu", "ram")
    devices = [{"id": part, "label": part, "facts": {}} for part in parts]
    codecarbon = {"quantities": [{**node, "device": part} for part in parts], "devices": devices}

    def at(second, cls, *fields):
        return cls(run_id, "0" * 16, next(sequence), (start_s + second) * 10**9, *fields)

    yield at(0, SessionStarted, {"pid": 1, "host": "node0", "rank": 0, "world_size": world_size})
    yield at(0, RunCreated, "1", "exp", "fox", "ada", start_s * 1000, "file:///a", {}, store)
    yield at(0, FactsCollected, "carbon", {"carbon_intensity_g_per_kwh": 360.0})
    if runs:
        yield at(0, FactsCollected, "overlap", {"runs": list(runs), "count": len(runs)})
    for name, described, values in (
        ("cpu", cpu, (80.0, 5.0)),
        ("codecarbon", codecarbon, (70.0, 200.0)),
    ):
        yield at(0, CollectorStarted, name, described)
        yield at(0, Sampled, name, [0.0, 0.0])
        if name == "cpu":
            yield at(0, ContextEntered, ["training"])
        yield at(5, Sampled, name, list(values))
    yield at(5, ContextLeft, ["training"])
    yield at(6, RunUpdated, "FINISHED", (start_s + 6) * 1000)
