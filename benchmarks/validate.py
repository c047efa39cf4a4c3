"""Measure time and memory of validating a generated PROV-JSON document.

python benchmarks/validate.py [RECORDS]
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson

from yprov_mlflow.prov.validate import documents

START = 1_767_225_600
EPOCH = 100


def document(records: int) -> dict[str, Any]:
    """Return the document of a run whose epochs generate, use and derive metric samples."""
    result: dict[str, dict[str, Any]] = {
        "prefix": {"run": "urn:uuid:3f2c0a4e-1111-4222-8333-444455556666#", "ex": "urn:ex:"},
        "entity": {"run:series": {"prov:type": name("prov:Collection")}},
        "activity": {"run:run": {"prov:startTime": at(0), "prov:endTime": at(10 * records)}},
        "wasGeneratedBy": {},
        "hadMember": {},
        "used": {},
        "wasDerivedFrom": {},
    }
    number, count, last = 0, 2, ""
    while count < records:
        sample, epoch = f"run:metric/loss/{number}", f"run:epoch/{number // EPOCH}"
        if number % EPOCH == 0:
            ends = {"prov:startTime": at(number), "prov:endTime": at(number + EPOCH)}
            result["activity"][epoch] = ends
            count += 1
        result["entity"][sample] = {
            "prov:type": [name("ex:ModelEvaluation"), name("ex:MetricSample")],
            "prov:value": {"$": "0.125", "type": "xsd:double"},
            "prov:label": "loss",
            "ex:step": number,
        }
        generated = {"prov:entity": sample, "prov:activity": epoch, "prov:time": at(number)}
        result["wasGeneratedBy"][f"run:generation/{number}"] = generated
        member = {"prov:collection": "run:series", "prov:entity": sample}
        result["hadMember"][f"_:member/{number}"] = member
        count += 3
        if last:
            used = {"prov:entity": last, "prov:activity": epoch, "prov:time": at(number)}
            derived = {"prov:generatedEntity": sample, "prov:usedEntity": last}
            result["used"][f"run:usage/{number}"] = used
            result["wasDerivedFrom"][f"run:derivation/{number}"] = derived
            count += 2
        last = sample if number % 2 else ""
        number += 1
    return result


def name(qualified_name: str) -> dict[str, str]:
    return {"$": qualified_name, "type": "prov:QUALIFIED_NAME"}


def at(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(START + second))


def main() -> None:
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prov.json"
        path.write_bytes(orjson.dumps(document(records)))
        size = path.stat().st_size / 1e6
        wall_0, cpu_0 = time.perf_counter(), time.process_time()
        report = documents.check(path)
        seconds, cpu = time.perf_counter() - wall_0, time.process_time() - cpu_0
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{report.records} records ({size:.0f} MB) in {seconds:.2f} s ({cpu:.2f} s of CPU): "
        f"{report.records / seconds:,.0f} records/s; peak {memory:.0f} MiB; "
        f"{report.errors} errors, {report.warnings} warnings"
    )


if __name__ == "__main__":
    main()
