"""Files at the top of a conversion's output that help people: ``index.csv`` and ``README.md``.

Both follow from the units that are done, in the order of their paths and without times of the
conversion, so that equal conversions stay equal byte for byte.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from yprov_mlflow.prov.convert import output
from yprov_mlflow.prov.convert.request import Request, Result, Unit
from yprov_mlflow.prov.layout import INDEX_CSV, README
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.views.document_reader import text
from yprov_mlflow.prov.views.view import plain

_README = """\
# Provenance of {runs}

These are documents of MLflow runs in W3C PROV, written by `yprov-mlflow convert`. Each document is
complete: runs can be restored from it.

| experiment | runs | first start (UTC) | last start (UTC) |
|---|---:|---|---|
{rows}

- [index.csv](index.csv) has a line for each run: id, name, experiment, status, start, end, numbers
  of PROV records and metric points, and the path of its document.
- Metric points that are not PROV records are in a file that the document names with its SHA-256.
- The folder `store` has what belongs to no run, such as experiments and registered models.

To look at them:

    yprov-mlflow list .
    yprov-mlflow show PATH/{document}
    yprov-mlflow ui .
    yprov-mlflow validate .
"""


class _Row(NamedTuple):
    run_id: str
    name: str
    experiment: str
    status: str
    start: str
    end: str
    records: int
    points: int
    document: str


def write(results: Iterable[Result], request: Request) -> None:
    """Write both files for the units that are done; files that are the same are left alone.

    Raises:
        OutputError: They cannot be written.
    """
    rows = sorted(
        (
            _Row(**result.run, records=result.records, points=result.points)
            for result in results
            if result.run
        ),
        key=lambda row: (row.document, row.run_id),
    )
    document = output.file_name(request.formats[0])
    with output.output_errors(request.out):
        _write(request.out / INDEX_CSV, _csv(rows))
        _write(request.out / README, _readme(rows, document))


def _write(path: Path, text: str) -> None:
    # Names in old stores may have halves of surrogate pairs.
    content = text.encode("utf-8", "replace")
    # An unchanged file keeps its time, which copies to other machines look at.
    if not path.is_file() or path.read_bytes() != content:
        path.write_bytes(content)


def _csv(rows: Sequence[_Row]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_Row._fields)
    writer.writerows(rows)
    return stream.getvalue()


def _readme(rows: Sequence[_Row], document: str) -> str:
    experiments: dict[str, list[_Row]] = {}
    for row in rows:
        experiments.setdefault(row.experiment, []).append(row)
    lines = []
    for name, runs in sorted(experiments.items()):
        starts = sorted(run.start for run in runs if run.start) or [""]
        lines.append(f"| {plain(name)} | {len(runs)} | {starts[0][:19]} | {starts[-1][:19]} |")
    count = "1 run" if len(rows) == 1 else f"{len(rows)} runs"
    return _README.format(runs=count, rows="\n".join(lines), document=document)


def of_run(unit: Unit, request: Request, document: Document | None = None) -> dict[str, str]:
    """Return the cells of a run: those of the store, and of its document if it is known."""
    assert unit.ref is not None
    run = {} if document is None else document.records.get("activity", {}).get("run:run", {})
    start = "" if unit.ref.start_time_ms is None else _iso(unit.ref.start_time_ms)
    folder = output.document_folder(unit, request.layout)
    return {
        "run_id": unit.ref.run_id,
        "name": text(run.get("prov:label")) or "",
        "experiment": unit.ref.experiment_name or unit.ref.experiment_id,
        "status": unit.ref.status or "",
        "start": text(run.get("prov:startTime")) or start,
        "end": text(run.get("prov:endTime")) or "",
        "document": str(PurePosixPath(folder, output.file_name(request.formats[0]))),
    }


def _iso(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat()
    except (OverflowError, ValueError, OSError):  # old stores may have any number
        return str(milliseconds)
