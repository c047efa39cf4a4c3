"""How fast documents are judged: a generated PROV-JSON document, read and judged whole.

python benchmarks/validate.py [records]
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
    """Give a run of epochs whose metric samples are generated, collected, used and derived."""
    found: dict[str, dict[str, Any]] = {
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
            found["activity"][epoch] = ends
            count += 1
        found["entity"][sample] = {
            "prov:type": [name("ex:ModelEvaluation"), name("ex:MetricSample")],
            "prov:value": {"$": "0.125", "type": "xsd:double"},
            "prov:label": "loss",
            "ex:step": number,
        }
        made = {"prov:entity": sample, "prov:activity": epoch, "prov:time": at(number)}
        found["wasGeneratedBy"][f"run:generation/{number}"] = made
        member = {"prov:collection": "run:series", "prov:entity": sample}
        found["hadMember"][f"_:member/{number}"] = member
        count += 3
        if last:
            used = {"prov:entity": last, "prov:activity": epoch, "prov:time": at(number)}
            derived = {"prov:generatedEntity": sample, "prov:usedEntity": last}
            found["used"][f"run:usage/{number}"] = used
            found["wasDerivedFrom"][f"run:derivation/{number}"] = derived
            count += 2
        last = sample if number % 2 else ""
        number += 1
    return found


def name(of: str) -> dict[str, str]:
    return {"$": of, "type": "prov:QUALIFIED_NAME"}


def at(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(START + second))


def main() -> None:
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prov.json"
        path.write_bytes(orjson.dumps(document(records)))
        size = path.stat().st_size / 1e6
        began, used = time.perf_counter(), time.process_time()
        report = documents.check(path)
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{report.records} records ({size:.0f} MB) in {seconds:.2f} s ({cpu:.2f} s of CPU): "
        f"{report.records / seconds:,.0f} records/s; peak {memory:.0f} MiB; "
        f"{report.errors} errors, {report.warnings} warnings"
    )


if __name__ == "__main__":
    main()
