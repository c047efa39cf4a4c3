"""Rows of all other tables: evaluation datasets, scorers, and rows kept as they were."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from yprov_mlflow.prov.redaction import manages_secrets
from yprov_mlflow.prov.restore.sql.experiments import Experiments
from yprov_mlflow.prov.restore.sql.runs import derived_id
from yprov_mlflow.prov.restore.sql.tables import Part, Record, Row, Tables
from yprov_mlflow.prov.state import EvaluationDataset, Experiment, StoreState

_WRAPPED = "mlflow_wrapped"
"""Key under which MLflow stores the outputs of a dataset's record."""


class OtherRows:
    """Writes the records that have tables of their own, and reports calls without an effect."""

    def __init__(self, tables: Tables, experiments: Experiments, *, overwrite: bool) -> None:
        self._tables = tables
        self._report = tables.report
        self._experiments = experiments
        self._overwrite = overwrite

    def put(self, state: StoreState) -> None:
        """Write all rows."""
        records = [
            self._dataset(dataset)
            for dataset in state.evaluation_datasets.values()
            if self._has("evaluation_datasets", "evaluation dataset", dataset.dataset_id)
        ]
        for record in [*records, *self._scorers(state.scorers)]:
            self._tables.put(record, overwrite=self._overwrite)
        # Tables that others refer to come first.
        order = {name: index for index, name in enumerate(self._tables.in_order)}
        for table in sorted(state.table_rows, key=lambda name: order.get(name, 0)):
            rows = state.table_rows[table]
            if table not in order:
                reason = f"the target has no such table: its {len(rows)} rows are missing"
                self._report.add_loss(f"table {table}", reason)
                continue
            for row in rows:
                self._put_row(table, row)
        for method, _ in state.unhandled_calls:
            reason = "its effect cannot be restored"
            if manages_secrets(method):
                reason = "it needs secrets, which documents never contain"
            self._report.refuse("call", f"call {method}", reason)

    def _has(self, table: str, kind: str, name: str) -> bool:
        if not self._tables.has(table):
            reason = f"this MLflow version has no {kind}s"
            self._report.refuse(kind, f"{kind} {name}", reason)
        return self._tables.has(table)

    def _dataset(self, dataset: EvaluationDataset) -> Record:
        label = f"evaluation dataset {dataset.dataset_id}"
        owner = {"dataset_id": dataset.dataset_id}
        tables = self._tables
        tags = tables.pairs("evaluation_dataset_tags", label, owner, dataset.tags)
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
        numbers = [self._experiments.id_of(Experiment(other)) for other in dataset.experiments]
        links = [
            {"association_id": derived_id(*ends.values(), n), **ends, "destination_id": str(n)}
            for n in numbers
            if n is not None
        ]
        return Record(
            "evaluation dataset",
            label,
            [
                tables.part("evaluation_datasets", label, owner, [{**dataset.row, **owner}]),
                Part("evaluation_dataset_tags", owner, list(tags)),
                Part("evaluation_dataset_records", owner, _with_equal_columns(records)),
                Part("entity_associations", ends, links),
            ],
        )

    def _scorers(self, rows: list[dict[str, Any]]) -> list[Record]:
        """Return the records of all scorers; each row is a version of one."""
        scorers: dict[tuple[int, str], list[Row]] = {}
        for row in rows:
            name = str(row["name"])
            number = self._experiments.id_of(Experiment(str(row["experiment_id"])))
            if number is not None and self._has("scorer_versions", "scorer", name):
                version = self._tables.fit("scorer_versions", f"scorer {name}", row)
                scorers.setdefault((number, name), []).append(version)
        records = []
        for (number, name), versions in scorers.items():
            scorer_id = str(versions[0].get("scorer_id") or derived_id("scorer", number, name))
            owner = {"scorer_id": scorer_id}
            version_rows = _with_equal_columns([{**row, **owner} for row in versions])
            parts = [
                Part("scorers", owner, [{"experiment_id": number, "scorer_name": name, **owner}]),
                Part("scorer_versions", owner, version_rows),
            ]
            records.append(Record("scorer", f"scorer {name}", parts))
        return records

    def _put_row(self, table: str, row: Row) -> None:
        label = f"table {table}"
        columns = self._tables.all[table].c
        unknown = sorted(row.keys() - set(columns.keys()))
        if unknown:
            self._report.add_loss(label, f"the target has no column {', '.join(unknown)}")
        key = {column.name: row.get(column.name) for column in self._tables.all[table].primary_key}
        if None in key.values():
            self._report.refuse("row", label, "a row has no primary key")
            return
        part = self._tables.part(table, label, key, [row])
        self._tables.put(Record("row", label, [part]), overwrite=self._overwrite)


def _with_equal_columns(rows: list[Row]) -> list[Row]:
    # A batch insert takes its columns from the first row.
    columns = {column: None for row in rows for column in row}
    return [{**columns, **row} for row in rows]


def _hash(inputs: object) -> str:
    """Return the hash by which MLflow finds a record's inputs."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
