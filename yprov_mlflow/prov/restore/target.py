"""The contract of restoration targets."""

from __future__ import annotations

import abc
from pathlib import Path

from yprov_mlflow.prov.restore.artifact_files import ArtifactFiles
from yprov_mlflow.prov.restore.restore_report import RestoreReport
from yprov_mlflow.prov.state import LoggedModel, Run, StoreState, Trace

RESTORED_FROM = "yprov.restored_from"
"""Tag with the original id of a record that has another id in the target."""

TRACE_LOCATION = "mlflow.artifactLocation"
SPANS_LOCATION = "mlflow.trace.spansLocation"
"""Tags of traces with the locations of their files and spans, which depend on the store."""


class Target(abc.ABC):
    """An MLflow store that runs are restored into."""

    def __init__(self, report: RestoreReport, files: ArtifactFiles) -> None:
        self._report = report
        self._files = files

    @abc.abstractmethod
    def put_run(self, run: Run, document: Path) -> None:
        """Write a run whose experiment is known; ``document`` is the file that describes it."""

    @abc.abstractmethod
    def finish(self, state: StoreState, document: Path) -> None:
        """Write everything that belongs to no single run; ``document`` is any of the files."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close connections."""

    def _artifacts_of(
        self, record: Run | LoggedModel | Trace, label: str, document: Path
    ) -> dict[str, Path]:
        """Return the available artifact files of a record, by their paths in the store."""
        experiment_id = str(record.experiment_id)
        if isinstance(record, Run):
            uri = record.artifact_uri
            # The user may also give the folder of one experiment.
            folders = [(experiment_id, record.run_id), (record.run_id,)]
        elif isinstance(record, LoggedModel):
            uri = record.artifact_location
            folders = [(experiment_id, "models", record.model_id)]
        else:
            uri = record.tags.get(TRACE_LOCATION)
            folders = [(experiment_id, "traces", record.trace_id)]
        return self._files.find(record.artifacts, label, document, uri, folders)
