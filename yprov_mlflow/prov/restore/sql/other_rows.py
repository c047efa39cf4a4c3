"""Rows of all other tables: evaluation datasets, scorers, and rows kept as they were."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from yprov_mlflow.prov.redaction import WITHHELD, manages_secrets
from yprov_mlflow.prov.restore.sql.experiments import Experiments
from yprov_mlflow.prov.restore.sql.extension import Row
from yprov_mlflow.prov.restore.sql.runs import derived_id
from yprov_mlflow.prov.restore.sql.tables import Part, Record, Tables
from yprov_mlflow.prov.state import EvaluationDataset, Experiment, StoreState, was

_WRAPPED = "mlflow_wrapped"
"""Key under which MLflow stores the outputs of a dataset's record."""


def put_other_rows(tables: Tables, experiments: Experiments, state: StoreState) -> None:
    """Write the records that have tables of their own; report calls that cannot be restored."""
    records = [
        _dataset_record(tables, experiments, dataset)
        for dataset in state.evaluation_datasets.values()
        if _has(tables, "evaluation_datasets", "evaluation dataset", dataset.dataset_id)
    ]
    for record in [*records, *_scorer_records(tables, experiments, state.scorers)]:
        tables.put(record)
    # Tables that others refer to come first.
    order = {name: index for index, name in enumerate(tables.in_order)}
    for table in sorted(state.table_rows, key=lambda name: order.get(name, 0)):
        rows = state.table_rows[table]
        if table not in order:
            reason = f"the target lacks this table: its {len(rows)} rows are missing"
            tables.report.add_loss(f"table {table}", reason)
            continue
        for row in rows:
            _put_row(tables, table, row)
    for method, _ in state.unhandled_calls:
        reason = "its effect cannot be restored"
        if manages_secrets(method):
            reason = "it needs secrets, which documents never contain"
        tables.report.refuse("call", f"call {method}", reason)


def _has(tables: Tables, table: str, kind: str, name: str) -> bool:
    if not tables.has(table):
        tables.report.refuse(kind, f"{kind} {name}", f"this MLflow version lacks {kind}s")
    return tables.has(table)


def _dataset_record(tables: Tables, experiments: Experiments, dataset: EvaluationDataset) -> Record:
    label = f"evaluation dataset {dataset.dataset_id}"
    owner = {"dataset_id": dataset.dataset_id}
    records = []
    for record in dataset.records.values():
        fields = {**record, **owner, "input_hash": _hash(record.get("inputs", {}))}
        if fields.get("outputs") is not None:
            fields["outputs"] = {_WRAPPED: fields["outputs"]}
        records.append(tables.fit("evaluation_dataset_records", label, fields))
    ends = {
        "source_type": "evaluation_dataset",
        "source_id": dataset.dataset_id,
        "destination_type": "experiment",
    }
    numbers = [experiments.id_of(Experiment(other)) for other in dataset.experiments]
    links = [
        {"association_id": derived_id(*ends.values(), n), **ends, "destination_id": str(n)}
        for n in numbers
        if n is not None
    ]
    tags = tables.pairs("evaluation_dataset_tags", label, owner, dataset.tags)
    parts = [
        tables.part("evaluation_datasets", label, owner, [{**dataset.row, **owner}]),
        Part("evaluation_dataset_tags", owner, tags),
        Part("evaluation_dataset_records", owner, _with_equal_columns(records)),
        Part("entity_associations", ends, links),
    ]
    earlier = {
        "evaluation_dataset_tags": lambda row, _: was(dataset.tags, row["key"], row["value"])
    }
    return Record("evaluation dataset", label, parts, earlier)


def _scorer_records(
    tables: Tables, experiments: Experiments, rows: list[dict[str, Any]]
) -> Iterator[Record]:
    """Yield the records of all scorers; each row is a version of one."""
    scorers: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        name = str(row["name"])
        number = experiments.id_of(Experiment(str(row["experiment_id"])))
        if number is not None and _has(tables, "scorer_versions", "scorer", name):
            version = tables.fit("scorer_versions", f"scorer {name}", row)
            scorers.setdefault((number, name), []).append(version)
    for (number, name), versions in scorers.items():
        # MLflow has drawn the id at random; versions of live calls come without it.
        scorer_id = str(versions[0].get("scorer_id") or derived_id("scorer", number, name))
        owner = {"scorer_id": scorer_id}
        version_rows = _with_equal_columns([{**row, **owner} for row in versions])
        parts = [
            Part("scorers", owner, [{"experiment_id": number, "scorer_name": name, **owner}]),
            Part("scorer_versions", owner, version_rows),
        ]
        yield Record("scorer", f"scorer {name}", parts, {})


def _put_row(tables: Tables, table: str, row: Row) -> None:
    label = f"table {table}"
    columns = tables.all[table].c
    unknown = sorted(row.keys() - set(columns.keys()))
    if unknown:
        tables.report.add_loss(label, f"the target lacks the column {', '.join(unknown)}")
    key = {column.name: row.get(column.name) for column in tables.all[table].primary_key}
    if None in key.values():
        tables.report.refuse("row", label, "a row lacks its primary key")
        return
    label = f"{label}, {', '.join(map(str, key.values()))}"
    absent = {**_withheld(row), **_dangling(tables, table, row)}
    for column, reason in absent.items():
        if column in columns and not columns[column].nullable:
            tables.report.refuse("row", label, f"{column} {reason}")
            return
        tables.report.add_loss(label, f"{column} {reason}: it is empty")
    row = {**row, **dict.fromkeys(absent)}
    tables.put(Record("row", label, [tables.part(table, label, key, [row])]))


def _withheld(row: Row) -> dict[str, str]:
    """Return the columns whose values are secrets, each with the reason why it stays empty."""
    reason = "is a secret, which documents never contain; set it in MLflow"
    return {column: reason for column, value in row.items() if value == WITHHELD}


def _dangling(tables: Tables, table: str, row: Row) -> dict[str, str]:
    """Return the columns that refer to rows that the target lacks, each with the reason."""
    absent = {}
    for foreign in tables.all[table].foreign_keys:
        column, other = foreign.parent.name, foreign.column
        value = row.get(column)
        # Keys of several columns are left to the database.
        if value is None or foreign.constraint is None or len(foreign.constraint.columns) > 1:
            continue
        if tables.find(other.table.name, {other.name: value}) is None:
            absent[column] = f"refers to {value!r} in {other.table.name}, which the target lacks"
    return absent


def _with_equal_columns(rows: list[Row]) -> list[Row]:
    # A batch insert takes its columns from the first row.
    columns = {column: None for row in rows for column in row}
    return [{**columns, **row} for row in rows]


def _hash(inputs: object) -> str:
    """Return the hash by which MLflow finds a record's inputs."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
