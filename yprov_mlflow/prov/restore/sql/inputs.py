"""What runs read and put out, as rows: data sets, which runs share, and links to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from yprov_mlflow.prov.restore.sql.runs import made_id
from yprov_mlflow.prov.restore.sql.tables import Part, Row, Tables
from yprov_mlflow.prov.restore.state import Run

if TYPE_CHECKING:
    from sqlalchemy import Connection

_COLUMNS = {
    "name": "name",
    "digest": "digest",
    "source_type": "dataset_source_type",
    "source": "dataset_source",
    "schema": "dataset_schema",
    "profile": "dataset_profile",
}
_NEEDED = ("name", "digest", "dataset_source_type", "dataset_source")


class Inputs:
    """Makes the rows of inputs and outputs of runs."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._known: dict[int, dict[tuple[str, str], Row]] = {}

    def parts(
        self, connection: Connection, run: Run, run_id: str, experiment_id: int
    ) -> Iterator[Part]:
        """Give the rows of a run's inputs and outputs; makes its data sets first."""
        place = f"run {run.run_id}"
        of_run: list[Row] = []
        tags: dict[str, list[Row]] = {}
        for given in run.datasets:
            dataset_id = self._dataset(connection, experiment_id, given, place)
            ends = {
                "source_type": "DATASET",
                "source_id": dataset_id,
                "destination_type": "RUN",
                "destination_id": run_id,
            }
            input_id = self._input_id(connection, ends)
            if input_id in tags:
                name = given.get("name")
                self._tables.report.lose(
                    place, f"MLflow keeps one use of data set {name!r} in a run, and its tags"
                )
                continue
            of_run.append({"input_uuid": input_id, **ends})
            tags[input_id] = [
                self._tables.fit(
                    "input_tags", place, {"input_uuid": input_id, "name": k, "value": str(v)}
                )
                for k, v in sorted((given.get("tags") or {}).items())
            ]
        yield Part("inputs", {"destination_type": "RUN", "destination_id": run_id}, of_run)
        for input_id, rows in tags.items():
            yield Part("input_tags", {"input_uuid": input_id}, rows)
        for kind, links in (
            ("INPUT", [(model, 0) for model in run.models_in]),
            ("OUTPUT", run.models_out),
        ):
            yield from self._links(connection, kind, run_id, links, place)

    def _links(
        self,
        connection: Connection,
        kind: str,
        run_id: str,
        links: list[tuple[str, int]],
        place: str,
    ) -> Iterator[Part]:
        rows: dict[str, Row] = {}
        for model, step in links:
            ends = {
                "source_type": f"RUN_{kind}",
                "source_id": run_id,
                "destination_type": f"MODEL_{kind}",
                "destination_id": model,
            }
            if model in rows:
                self._tables.report.lose(
                    place, f"MLflow keeps one step of model {model}, which has another: {step}"
                )
                continue
            row = {"input_uuid": self._input_id(connection, ends), **ends, "step": step}
            rows[model] = self._tables.fit("inputs", place, row)
        where = {"source_type": f"RUN_{kind}", "source_id": run_id}
        yield Part("inputs", where, list(rows.values()))

    def _input_id(self, connection: Connection, ends: Mapping[str, Any]) -> str:
        """Give the id that a link has already, or one of our making."""
        known = self._tables.first(connection, "inputs", ends)
        return str(known["input_uuid"]) if known is not None else made_id(*ends.values())

    def _dataset(
        self, connection: Connection, experiment_id: int, given: Mapping[str, Any], place: str
    ) -> str:
        found: Row = {column: given.get(field) for field, column in _COLUMNS.items()}
        for column in _NEEDED:
            if found[column] is None:
                found[column] = ""
        row = self._tables.fit("datasets", f"{place}, data set {found['name']!r}", found)
        known = self._of_experiment(connection, experiment_id)
        key = (row["name"], row["digest"])
        if key not in known:
            dataset_id = made_id("dataset", experiment_id, *key)
            row = {"dataset_uuid": dataset_id, "experiment_id": experiment_id, **row}
            self._tables.insert(connection, "datasets", [row])
            known[key] = row
        elif any(known[key][column] != row[column] for column in row):
            self._tables.report.lose(
                place,
                f"its data set {row['name']!r} {row['digest']!r} is there with another source,"
                " schema or profile: MLflow has one in an experiment",
            )
        return str(known[key]["dataset_uuid"])

    def _of_experiment(
        self, connection: Connection, experiment_id: int
    ) -> dict[tuple[str, str], Row]:
        if experiment_id not in self._known:
            rows = self._tables.rows(connection, "datasets", {"experiment_id": experiment_id})
            self._known[experiment_id] = {(row["name"], row["digest"]): row for row in rows}
        return self._known[experiment_id]
