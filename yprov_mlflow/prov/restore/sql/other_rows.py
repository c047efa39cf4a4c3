"""All other tables: data sets for evaluations, scorers, and rows kept as they were."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from yprov_mlflow.prov.restore.restore_report import REFUSED
from yprov_mlflow.prov.restore.sql.experiments import Experiments
from yprov_mlflow.prov.restore.sql.runs import made_id
from yprov_mlflow.prov.restore.sql.tables import Part, Row, Tables, Thing
from yprov_mlflow.prov.restore.state import EvaluationDataset, Experiment, StoreState

_WRAPPED = "mlflow_wrapped"
"""What MLflow puts outputs of a data set's record into."""


class Others:
    """Writes what has a table in the target and nothing more is known of."""

    def __init__(self, tables: Tables, experiments: Experiments, *, overwrite: bool) -> None:
        self._tables = tables
        self._report = tables.report
        self._experiments = experiments
        self._overwrite = overwrite

    def put(self, estate: StoreState) -> None:
        """Write all rows; reports the calls that leave none."""
        for dataset in estate.datasets.values():
            if self._has("evaluation_datasets", "evaluation data set", dataset.dataset_id):
                self._tables.put(self._dataset(dataset), overwrite=self._overwrite)
        for thing in self._scorers(estate.scorers):
            self._tables.put(thing, overwrite=self._overwrite)
        order = {table.name: i for i, table in enumerate(self._sorted())}
        for table in sorted(estate.rows, key=lambda name: order.get(name, 0)):
            if table not in order:
                reason = (
                    f"the target has no such table; its {len(estate.rows[table])} rows are left"
                )
                self._report.lose(f"table {table}", reason)
                continue
            for row in estate.rows[table]:
                self._put_row(table, row)
        for method, _ in estate.left:
            self._report.count("call", REFUSED)
            reason = "what it did cannot be restored"
            if "webhook" in method or "secret" in method:
                reason = "it needs secrets, which are in no document"
            self._report.lose(f"call {method}", reason)

    def _sorted(self) -> list[Any]:
        from mlflow.store.db.base_sql_model import Base

        return list(Base.metadata.sorted_tables)

    def _has(self, table: str, kind: str, name: str) -> bool:
        if self._tables.has(table):
            return True
        self._report.count(kind, REFUSED)
        self._report.lose(f"{kind} {name}", "this version of MLflow keeps none")
        return False

    def _dataset(self, dataset: EvaluationDataset) -> Thing:
        place = f"evaluation data set {dataset.dataset_id}"
        mine = {"dataset_id": dataset.dataset_id}
        head = self._tables.fit("evaluation_datasets", place, {**dataset.row, **mine})
        tags = [
            self._tables.fit("evaluation_dataset_tags", place, {**mine, "key": k, "value": v})
            for k, v in sorted(dataset.tags.items())
        ]
        records = []
        for record in dataset.records.values():
            row = {**record, **mine, "input_hash": _hash(record.get("inputs", {}))}
            if row.get("outputs") is not None:
                row["outputs"] = {_WRAPPED: row["outputs"]}
            records.append(self._tables.fit("evaluation_dataset_records", place, row))
        ends = {
            "source_type": "evaluation_dataset",
            "source_id": dataset.dataset_id,
            "destination_type": "experiment",
        }
        numbers = [self._experiments.id_of(Experiment(one)) for one in dataset.experiments]
        links = [
            {"association_id": made_id(*ends.values(), n), **ends, "destination_id": str(n)}
            for n in numbers
            if n is not None
        ]
        return Thing(
            "evaluation data set",
            place,
            [
                Part("evaluation_datasets", mine, [head]),
                Part("evaluation_dataset_tags", mine, tags),
                Part("evaluation_dataset_records", mine, _uniform(records)),
                Part("entity_associations", ends, links),
            ],
        )

    def _scorers(self, rows: list[dict[str, Any]]) -> list[Thing]:
        found: dict[tuple[int, str], list[Row]] = {}
        for row in rows:
            place = f"scorer {row['name']}"
            number = self._experiments.id_of(Experiment(str(row["experiment_id"])))
            if number is not None and self._has("scorer_versions", "scorer", str(row["name"])):
                fitted = self._tables.fit("scorer_versions", place, row)
                found.setdefault((number, str(row["name"])), []).append(fitted)
        things = []
        for (number, name), versions in found.items():
            scorer_id = str(versions[0].get("scorer_id") or made_id("scorer", number, name))
            mine = {"scorer_id": scorer_id}
            head = {"experiment_id": number, "scorer_name": name, **mine}
            parts = [
                Part("scorers", mine, [head]),
                Part("scorer_versions", mine, _uniform([{**row, **mine} for row in versions])),
            ]
            things.append(Thing("scorer", f"scorer {name}", parts))
        return things

    def _put_row(self, table: str, row: Row) -> None:
        place = f"table {table}"
        unknown = sorted(row.keys() - set(self._tables.all[table].c.keys()))
        if unknown:
            self._report.lose(place, f"the target has no column {', '.join(unknown)}")
        key = {column.name: row.get(column.name) for column in self._tables.all[table].primary_key}
        if None in key.values():
            self._report.count("row", REFUSED)
            self._report.lose(place, "a row has no key")
            return
        fitted = self._tables.fit(table, place, row)
        self._tables.put(
            Thing("row", place, [Part(table, key, [fitted])]), overwrite=self._overwrite
        )


def _uniform(rows: list[Row]) -> list[Row]:
    """Give all rows the same columns."""
    columns = {column: None for row in rows for column in row}
    return [{**columns, **row} for row in rows]


def _hash(inputs: object) -> str:
    """Give what MLflow knows a record's inputs by."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
