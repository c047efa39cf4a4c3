"""What hangs on which run, where no index of the database tells: read once for all runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from yprov_mlflow.prov.sources.sql.query_reader import Reader

SOURCE_RUN = "mlflow.sourceRun"
"""Metadata of a trace that names its run."""

Ids = dict[str, list[str]]


class Index:
    """Ids by run, each read when it is first asked for.

    MLflow's tables have no index that leads from a run to its models and traces, and reading
    them whole for each run would take the square of the time.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self._experiments: dict[object, str | None] | None = None
        self._models: Ids | None = None
        self._measured: Ids | None = None
        self._traces: Ids | None = None
        self._links: Ids | None = None

    def experiment_name(self, reader: Reader, experiment_id: object) -> str | None:
        """Give the name of an experiment, None if there is none with this id."""
        if self._experiments is None:
            self._experiments = dict(reader.rows("experiments", ("experiment_id", "name")))
        name = self._experiments.get(experiment_id)
        return None if name is None else str(name)

    def models(self, reader: Reader, run_id: str) -> list[str]:
        """Give the ids of the logged models whose source the run is."""
        if self._models is None:
            self._models = _by_run(reader.rows("logged_models", ("source_run_id", "model_id")))
        return self._models.get(run_id, [])

    def measured_models(self, reader: Reader, run_id: str) -> list[str]:
        """Give the ids of the logged models that have metrics from the run."""
        import sqlalchemy

        if self._measured is None:
            found: list[Any] = []
            if reader.schema.has("logged_model_metrics", "run_id", "model_id"):
                table = reader.schema.tables["logged_model_metrics"]
                statement = sqlalchemy.select(table.c.run_id, table.c.model_id).distinct()
                found = [row for chunk in reader.chunks(statement) for row in chunk]
            self._measured = _by_run(found)
        return self._measured.get(run_id, [])

    def traces(self, reader: Reader, run_id: str) -> list[str]:
        """Give the ids of the traces that the run made."""
        if self._traces is None:
            table, names = "trace_request_metadata", ("value", "request_id")
            self._traces = _by_run(reader.rows(table, names, {"key": SOURCE_RUN}))
        return self._traces.get(run_id, [])

    def linked_traces(self, reader: Reader, run_id: str) -> list[str]:
        """Give the ids of the traces that were linked to the run."""
        if self._links is None:
            names = ("destination_id", "source_id")
            kinds = {"source_type": "trace", "destination_type": "run"}
            self._links = _by_run(reader.rows("entity_associations", names, kinds))
        return self._links.get(run_id, [])


def _by_run(pairs: Iterable[tuple[Any, ...]]) -> Ids:
    found: Ids = defaultdict(list)
    for run_id, other in pairs:
        if run_id is not None:
            found[str(run_id)].append(str(other))
    return {run_id: sorted(others) for run_id, others in found.items()}
