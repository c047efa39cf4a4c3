"""Rows of the inputs and outputs of runs: datasets, which runs share, and links to models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection

from yprov_mlflow.prov.restore.sql.runs import derived_id
from yprov_mlflow.prov.restore.sql.tables import Part, Row, Tables
from yprov_mlflow.prov.state import Run

_COLUMNS = {
    "name": "name",
    "digest": "digest",
    "source_type": "dataset_source_type",
    "source": "dataset_source",
    "schema": "dataset_schema",
    "profile": "dataset_profile",
}
_REQUIRED = ("name", "digest", "dataset_source_type", "dataset_source")


class Inputs:
    """Creates the rows of inputs and outputs; remembers the datasets of each experiment."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._datasets: dict[int, dict[tuple[str, str], Row]] = {}

    def parts(
        self, connection: Connection, run: Run, run_id: str, experiment_id: int
    ) -> Iterator[Part]:
        """Yield the rows of a run's inputs and outputs; insert its datasets first."""
        label = f"run {run.run_id}"
        rows: list[Row] = []
        tags: dict[str, list[Row]] = {}
        for dataset in run.datasets:
            ends = {
                "source_type": "DATASET",
                "source_id": self._dataset_id(connection, experiment_id, dataset, label),
                "destination_type": "RUN",
                "destination_id": run_id,
            }
            input_id = self._input_id(connection, ends)
            if input_id in tags:
                name = dataset.get("name")
                reason = f"MLflow keeps one use of dataset {name!r} in a run, with its tags"
                self._tables.report.add_loss(label, reason)
                continue
            rows.append({"input_uuid": input_id, **ends})
            tags[input_id] = [
                self._tables.fit(
                    "input_tags", label, {"input_uuid": input_id, "name": k, "value": str(v)}
                )
                for k, v in sorted((dataset.get("tags") or {}).items())
            ]
        yield Part("inputs", {"destination_type": "RUN", "destination_id": run_id}, rows)
        for input_id, tag_rows in tags.items():
            yield Part("input_tags", {"input_uuid": input_id}, tag_rows)
        inputs = [(model, 0) for model in run.input_models]
        yield self._links(connection, "INPUT", run_id, inputs, label)
        yield self._links(connection, "OUTPUT", run_id, run.output_models, label)

    def _links(
        self,
        connection: Connection,
        kind: str,
        run_id: str,
        links: list[tuple[str, int]],
        label: str,
    ) -> Part:
        source = {"source_type": f"RUN_{kind}", "source_id": run_id}
        rows: dict[str, Row] = {}
        for model, step in links:
            if model in rows:
                reason = f"MLflow keeps one step of model {model}: step {step} is missing"
                self._tables.report.add_loss(label, reason)
                continue
            ends = {
                **source,
                "destination_type": f"MODEL_{kind}",
                "destination_id": model,
            }
            row = {"input_uuid": self._input_id(connection, ends), **ends, "step": step}
            rows[model] = self._tables.fit("inputs", label, row)
        return Part("inputs", source, list(rows.values()))

    def _input_id(self, connection: Connection, ends: Mapping[str, Any]) -> str:
        """Return the id that a link has in the target, or a new one."""
        # Ids in the target must stay the same, or a repeated restoration would find differences.
        row = self._tables.first(connection, "inputs", ends)
        return str(row["input_uuid"]) if row is not None else derived_id(*ends.values())

    def _dataset_id(
        self, connection: Connection, experiment_id: int, dataset: Mapping[str, Any], label: str
    ) -> str:
        """Return the id of a dataset in the target, which is inserted if necessary."""
        row: Row = {column: dataset.get(field) for field, column in _COLUMNS.items()}
        for column in _REQUIRED:
            if row[column] is None:
                row[column] = ""
        row = self._tables.fit("datasets", f"{label}, dataset {row['name']!r}", row)
        datasets = self._of_experiment(connection, experiment_id)
        key = (row["name"], row["digest"])
        if key not in datasets:
            dataset_id = derived_id("dataset", experiment_id, *key)
            row = {"dataset_uuid": dataset_id, "experiment_id": experiment_id, **row}
            self._tables.insert(connection, "datasets", [row])
            datasets[key] = row
        elif any(datasets[key][column] != row[column] for column in row):
            self._tables.report.add_loss(
                label,
                f"the experiment has a dataset {row['name']!r} {row['digest']!r} with another"
                " source, schema or profile, which MLflow keeps once",
            )
        return str(datasets[key]["dataset_uuid"])

    def _of_experiment(
        self, connection: Connection, experiment_id: int
    ) -> dict[tuple[str, str], Row]:
        if experiment_id not in self._datasets:
            rows = self._tables.rows(connection, "datasets", {"experiment_id": experiment_id})
            self._datasets[experiment_id] = {(row["name"], row["digest"]): row for row in rows}
        return self._datasets[experiment_id]
