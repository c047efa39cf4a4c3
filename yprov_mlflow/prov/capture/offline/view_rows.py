"""Rows of the view's database from state records, by the code that restores into databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from yprov_mlflow.prov.capture.switch import LOGGER
from yprov_mlflow.prov.restore.artifact_files import ArtifactFiles
from yprov_mlflow.prov.restore.restore_report import RestoreReport
from yprov_mlflow.prov.restore.sql.sql_target import DatabaseTarget
from yprov_mlflow.prov.state import Run, StoreState

_NO_DOCUMENT = Path("/nonexistent/prov.json")
"""Artifacts are looked for beside a document; those of an offline store are where they belong."""


class ViewRows:
    """Writes state records to the view's database, in place of earlier ones."""

    def __init__(self, engine: Any, artifacts: Path) -> None:
        self._report = RestoreReport("view")
        files = ArtifactFiles(None, (), self._report)
        self._target = DatabaseTarget(engine, str(artifacts), files, overwrite=True)

    def put_run(self, run: Run) -> None:
        """Write a run with everything that belongs to it."""
        with self._report.guard(f"run {run.run_id}"):
            self._target.put_run(run, _NO_DOCUMENT)

    def finish(self, state: StoreState) -> None:
        """Write what belongs to no single run."""
        self._target.finish(state, _NO_DOCUMENT)
        for note in self._report.losses:
            LOGGER.debug("view: %s: %s", note.place, note.reason)
