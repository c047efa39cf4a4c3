"""What tells whether a run may have changed, without reading all that it has."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from yprov_mlflow.prov.sources.sql.artifacts import Artifacts
from yprov_mlflow.prov.sources.sql.query_reader import Reader, Unreadable
from yprov_mlflow.prov.sources.sql.run_index import Index

_OF_RUN = ("params", "tags", "latest_metrics")
_OF_MODELS = ("logged_models", "logged_model_params", "logged_model_tags", "logged_model_metrics")
_OF_TRACES = ("trace_request_metadata", "trace_tags", "spans", "assessments")
_PRIME = 999_983
"""Sums of remainders stay whole numbers in every database."""


def fingerprint(reader: Reader, index: Index, artifacts: Artifacts, run_id: str) -> str:
    """Give a digest of the run's rows, of the sums of its points, and of its files' times.

    MLflow only ever adds points. A change of one by hand is seen by the sum, number, least or
    greatest of those of its metric, or by the latest.
    """
    digest = hashlib.sha256()
    run: dict[str, Any] = {}
    parts: tuple[Callable[[], Iterator[Any]], ...] = (
        lambda: _run(reader, index, run_id, run),
        lambda: (row for table in _OF_RUN for row in _rows(reader, table, {"run_uuid": run_id})),
        lambda: _sums(reader, run_id),
        lambda: _inputs(reader, run_id),
        lambda: _models(reader, index, artifacts, run_id),
        lambda: _traces(reader, index, run_id),
        lambda: _listed(artifacts, run.get("artifact_uri"), run_id),
    )
    for part in parts:
        try:
            for found in part():
                digest.update(json.dumps(found, default=str).encode("utf-8", "surrogatepass"))
        except Unreadable as error:
            digest.update(str(error).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _rows(reader: Reader, table: str, where: Mapping[str, object]) -> Iterator[Any]:
    """Give whole rows in an order of their own, the table's name first."""
    found = [list(record.values()) for record in reader.records(table, where)]
    yield table, sorted(found, key=lambda row: json.dumps(row, default=str))


def _run(reader: Reader, index: Index, run_id: str, run: dict[str, Any]) -> Iterator[Any]:
    """Give the run's own row, which ``run`` keeps, and the name of its experiment."""
    for record in reader.records("runs", {"run_uuid": run_id}):
        run.update(record)
        yield list(record.values())
        yield index.experiment_name(reader, record.get("experiment_id"))


def _sums(reader: Reader, run_id: str) -> Iterator[Any]:
    from sqlalchemy import case, func, select

    if not reader.schema.has("metrics", "run_uuid", "value", "timestamp"):
        return
    columns = reader.schema.tables["metrics"].c
    value = columns.value
    # The sum of the greatest numbers is no number, which some databases refuse.
    small = case((value.between(-1e100, 1e100), value), else_=0.0)
    found = [func.count(), func.sum(small), func.min(value), func.max(value)]
    for name in ("timestamp", "step"):
        if name in columns:
            column = columns[name]
            found += [func.min(column), func.max(column), func.sum(column % _PRIME)]
    kinds = [columns[name] for name in ("key", "is_nan") if name in columns]
    statement = select(*kinds, *found).where(reader.of_run("metrics", run_id)).group_by(*kinds)
    chunks = reader.chunks(statement, streamed=False)
    yield sorted((list(row) for chunk in chunks for row in chunk), key=str)


def _inputs(reader: Reader, run_id: str) -> Iterator[Any]:
    # With the types, as indexes start with them.
    for kind in ("RUN_INPUT", "RUN_OUTPUT"):
        yield from _rows(reader, "inputs", {"source_type": kind, "source_id": run_id})
    where = {"destination_type": "RUN", "destination_id": run_id}
    yield from _rows(reader, "inputs", where)
    given = sorted(reader.rows("inputs", ("input_uuid", "source_id"), where), key=str)
    for input_id, dataset_id in given:
        yield from _rows(reader, "input_tags", {"input_uuid": input_id})
        yield from _rows(reader, "datasets", {"dataset_uuid": dataset_id})


def _models(reader: Reader, index: Index, artifacts: Artifacts, run_id: str) -> Iterator[Any]:
    own = index.models(reader, run_id)
    measured = index.measured_models(reader, run_id)
    for model_id in sorted({*own, *measured}):
        for table in _OF_MODELS:
            yield from _rows(reader, table, {"model_id": model_id})
    if own:
        where = {"model_id": own}
        rows = reader.rows("logged_models", ("artifact_location", "model_id"), where)
        for uri, model_id in sorted(rows, key=str):
            yield from _listed(artifacts, uri, str(model_id))


def _traces(reader: Reader, index: Index, run_id: str) -> Iterator[Any]:
    yield index.linked_traces(reader, run_id)
    for trace_id in index.traces(reader, run_id):
        yield from _rows(reader, "trace_info", {"request_id": trace_id})
        for table in _OF_TRACES:
            column = "trace_id" if reader.schema.has(table, "trace_id") else "request_id"
            yield from _rows(reader, table, {column: trace_id})


def _listed(artifacts: Artifacts, uri: str | None, owner: str) -> Iterator[Any]:
    """Give sizes and times of files; hashing them is what this is to spare."""
    folder = artifacts.folder(uri, owner)
    if folder is None:
        return
    for path, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            try:
                stat = os.stat(os.path.join(path, name))
            except OSError as error:
                yield os.path.relpath(os.path.join(path, name), folder), str(error)
                continue
            relative = os.path.relpath(os.path.join(path, name), folder)
            yield relative, stat.st_size, stat.st_mtime_ns
