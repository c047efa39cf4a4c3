"""Fingerprints of runs: whether a run may have changed, without reading all its points.

The order and form of the hashed parts are part of the ledgers of earlier conversions: changing
them converts every run again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sqlalchemy import case, func, select

from yprov_mlflow.prov.sources.artifact_finder import ArtifactFinder
from yprov_mlflow.prov.sources.sql import reading
from yprov_mlflow.prov.sources.sql.query_reader import Reader, Unreadable
from yprov_mlflow.prov.sources.sql.reading import Index

_RUN_TABLES = ("params", "tags", "latest_metrics")
_MODEL_TABLES = "logged_models logged_model_params logged_model_tags logged_model_metrics".split()
_TRACE_TABLES = ("trace_request_metadata", "trace_tags", "spans", "assessments")
# Sums of timestamps overflow 64 bits, and become floats in some databases; sums of their
# remainders modulo this prime stay integers.
_PRIME = 999_983


def fingerprint(reader: Reader, index: Index, artifacts: ArtifactFinder, run_id: str) -> str:
    """Return a digest of the run's rows, of aggregates of its points, and of its files' times.

    MLflow only ever adds points. A manual change of one shows in the count, sum, minimum or
    maximum of its metric, or in the table of latest points.
    """
    digest = hashlib.sha256()
    run: dict[str, Any] = {}
    parts: tuple[Callable[[], Iterator[Any]], ...] = (
        lambda: _run(reader, index, run_id, run),
        lambda: (r for table in _RUN_TABLES for r in _rows(reader, table, {"run_uuid": run_id})),
        lambda: _aggregates(reader, run_id),
        lambda: _inputs(reader, run_id),
        lambda: _models(reader, index, artifacts, run_id),
        lambda: _traces(reader, index, run_id),
        lambda: _files(artifacts, run.get("artifact_uri"), run_id),
    )
    for part in parts:
        try:
            for item in part():
                digest.update(json.dumps(item, default=str).encode("utf-8", "surrogatepass"))
        except Unreadable as error:
            digest.update(str(error).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _rows(reader: Reader, table: str, where: Mapping[str, object]) -> Iterator[Any]:
    """Yield the table's name with its matching rows, sorted: queries without order vary."""
    rows = [list(record.values()) for record in reader.records(table, where)]
    yield table, sorted(rows, key=lambda row: json.dumps(row, default=str))


def _run(reader: Reader, index: Index, run_id: str, run: dict[str, Any]) -> Iterator[Any]:
    """Yield the run's own row, stored in ``run``, and the name of its experiment."""
    for record in reader.records("runs", {"run_uuid": run_id}):
        run.update(record)
        yield list(record.values())
        yield index.experiment_name(reader, record.get("experiment_id"))


def _aggregates(reader: Reader, run_id: str) -> Iterator[Any]:
    if not reader.schema.has("metrics", "run_uuid", "value", "timestamp"):
        return
    columns = reader.schema.tables["metrics"].c
    value = columns.value
    # A sum of the largest floats is infinite, which is an error in some databases.
    bounded = case((value.between(-1e100, 1e100), value), else_=0.0)
    aggregates = [func.count(), func.sum(bounded), func.min(value), func.max(value)]
    for name in ("timestamp", "step"):
        if name in columns:
            column = columns[name]
            aggregates += [func.min(column), func.max(column), func.sum(column % _PRIME)]
    groups = [columns[name] for name in ("key", "is_nan") if name in columns]
    statement = select(*groups, *aggregates).where(reader.of_run("metrics", run_id))
    rows = reader.select(statement.group_by(*groups), streamed=False)
    yield sorted(map(list, rows), key=str)


def _inputs(reader: Reader, run_id: str) -> Iterator[Any]:
    # The types are in the conditions because the indexes start with them.
    for kind in ("RUN_INPUT", "RUN_OUTPUT"):
        yield from _rows(reader, "inputs", {"source_type": kind, "source_id": run_id})
    where = {"destination_type": "RUN", "destination_id": run_id}
    yield from _rows(reader, "inputs", where)
    datasets = sorted(reader.rows("inputs", ("input_uuid", "source_id"), where), key=str)
    for input_id, dataset_id in datasets:
        yield from _rows(reader, "input_tags", {"input_uuid": input_id})
        yield from _rows(reader, "datasets", {"dataset_uuid": dataset_id})


def _models(reader: Reader, index: Index, artifacts: ArtifactFinder, run_id: str) -> Iterator[Any]:
    models = index.ids(reader, reading.MODELS, run_id)
    measured = index.ids(reader, reading.MEASURED_MODELS, run_id)
    for model_id in sorted({*models, *measured}):
        for table in _MODEL_TABLES:
            yield from _rows(reader, table, {"model_id": model_id})
    if models:
        columns, where = ("artifact_location", "model_id"), {"model_id": models}
        for uri, model_id in sorted(reader.rows("logged_models", columns, where), key=str):
            yield from _files(artifacts, uri, str(model_id))


def _traces(reader: Reader, index: Index, run_id: str) -> Iterator[Any]:
    yield index.ids(reader, reading.LINKED_TRACES, run_id)
    for trace_id in index.ids(reader, reading.TRACES, run_id):
        yield from _rows(reader, "trace_info", {"request_id": trace_id})
        for table in _TRACE_TABLES:
            column = "trace_id" if reader.schema.has(table, "trace_id") else "request_id"
            yield from _rows(reader, table, {column: trace_id})


def _files(artifacts: ArtifactFinder, uri: str | None, owner: str) -> Iterator[Any]:
    """Yield sizes and times of files; a fingerprint must not read them."""
    folder = artifacts.folder(uri, owner)
    if folder is None:
        return
    for path, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            file = os.path.join(path, name)
            relative = os.path.relpath(file, folder)
            try:
                stat = os.stat(file)
            except OSError as error:
                yield relative, str(error)
                continue
            yield relative, stat.st_size, stat.st_mtime_ns
