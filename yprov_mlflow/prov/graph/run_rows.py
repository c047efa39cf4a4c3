"""Facts of runs for tables: read from each document once, and kept beside its graph.

Reading one column of ten thousand runs from a graph takes about a second. The row of a run is
written together with its document, so that the two always say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from pyoxigraph import NamedNode

from yprov_mlflow.prov.graph.run_filter import Value, number_of
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.translate.measurements import JOULES_PER_KWH
from yprov_mlflow.prov.views.document_reader import DocumentReader, Record, text, types, value

# Statements about documents: in a separate graph, with terms that no document uses.
MARKS = NamedNode("urn:yprov-mlflow:index")
DIGEST = NamedNode("urn:yprov-mlflow:digest")
ROWS = NamedNode("urn:yprov-mlflow:rows")

FACTS = ("run_id", "name", "experiment", "status", "user", "model", "start", "end", "commit")
"""Columns whose values are text."""

_QUANTITIES: Mapping[str, tuple[str, str, float]] = {
    "energy": ("energy/own", "mlf:AttributedEnergy", JOULES_PER_KWH),
    "energy_node": ("energy/total", "mlf:TotalEnergy", JOULES_PER_KWH),
    "emissions": ("emissions/total", "mlf:Emissions", 1),
    "emissions_own": ("emissions/own", "mlf:Emissions", 1),
}
QUANTITIES = tuple(_QUANTITIES)
"""Columns whose values are numbers."""

_ATTRIBUTES = {
    "run_id": "mlf:runId",
    "name": "prov:label",
    "status": "mlf:status",
    "user": "mlf:userId",
    "start": "prov:startTime",
    "end": "prov:endTime",
}


def rows_of(document: Document) -> str:
    """Return the rows of a document's runs as a JSON array; ``run`` is the IRI of each."""
    reader = DocumentReader(document)
    runs = reader.of_type("activity", "mlf:Run")
    return orjson.dumps([_row(reader, document, name, run) for name, run in runs]).decode()


def _row(reader: DocumentReader, document: Document, name: str, run: Record) -> dict[str, Value]:
    prefix, _, local = name.partition(":")
    entities = reader.section("entity")
    row: dict[str, Value] = {
        column: _first(run.get(attribute)) for column, attribute in _ATTRIBUTES.items()
    }
    row["status"] = str(row["status"] or "").rpartition(":")[2] or None
    experiment = entities.get(_first(run.get("dcterms:isPartOf")) or "", {})
    row["experiment"] = _first(experiment.get("schema:name"))
    commits = (_first(entities.get(used, {}).get("mlf:gitCommit")) for used in _used(reader, name))
    row["commit"] = next(filter(None, commits), None)
    row["model"] = ", ".join(sorted(set(_models(reader, f"{prefix}:")))) or None
    for column, (record_name, kind, divisor) in _QUANTITIES.items():
        record = entities.get(f"{prefix}:{record_name}", {})
        number = number_of(value(record.get("qudt:numericValue")))
        row[column] = number / divisor if number is not None and kind in types(record) else None
    row["run"] = document.prefixes.get(prefix, "") + local
    return {column: cell for column, cell in row.items() if cell is not None}


def _used(reader: DocumentReader, run: str) -> Iterator[str]:
    for usage in reader.section("used").values():
        if usage.get("prov:activity") == run and (used := usage.get("prov:entity")):
            yield used


def _models(reader: DocumentReader, own: str) -> Iterator[str]:
    """Yield the names of the logged models that activities of a run generated."""
    models = dict(reader.of_type("entity", "mlf:LoggedModel"))
    for generation in reader.section("wasGeneratedBy").values() if models else ():
        model = models.get(generation.get("prov:entity", ""), {})
        if str(generation.get("prov:activity", "")).startswith(own) and "schema:name" in model:
            yield _first(model["schema:name"]) or ""


def _first(literal: Any) -> str | None:
    return text(literal[0] if isinstance(literal, list) and literal else literal)
