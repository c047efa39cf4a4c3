"""Open the MLflow store that a restoration or a synchronization writes to."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from yprov_mlflow.prov.errors import MissingExtraError
from yprov_mlflow.prov.restore.artifact_files import ArtifactFiles
from yprov_mlflow.prov.restore.target_options import TargetOptions
from yprov_mlflow.prov.state import Run, StoreState

_DATABASES = ("sqlite", "postgresql", "postgres", "mysql", "mariadb", "mssql")


class Target(Protocol):
    """An MLflow store that runs are written into.

    It gets each run as soon as it is read, so that memory holds one run at a time. ``document`` is
    the file that describes a record; None if journals do.
    """

    @property
    def keeps_locations(self) -> bool:
        """Whether records still name the original artifacts."""

    def expect(self, state: StoreState) -> None:
        """Note experiments, with their names, before their runs come."""

    def has_run(self, run_id: str) -> bool:
        """Return whether the target has a run."""

    def put_run(self, run: Run, document: Path | None) -> None:
        """Write a run with everything that belongs to it."""

    def finish(self, state: StoreState, document: Path | None) -> None:
        """Write everything that belongs to no single run."""

    def close(self) -> None:
        """Close all connections."""


def is_database(uri: str) -> bool:
    """Return whether a tracking URI names a database."""
    return uri.partition(":")[0].partition("+")[0] in _DATABASES


def open_target(uri: str, files: ArtifactFiles, options: TargetOptions) -> Target:
    """Open a store by its tracking URI.

    Raises:
        MissingExtraError: The target is a database, and SQLAlchemy is not installed.
        StoreError: The target cannot be opened.
    """
    if is_database(uri):
        try:
            from yprov_mlflow.prov.restore.sql.sql_target import DatabaseTarget, open_database
        except ModuleNotFoundError as error:
            library = str(error.name).partition(".")[0]  # of those that MLflow requires
            what = f"restoring into a database needs {library}, which is not installed"
            cure = "Install it with all that MLflow requires: pip install 'mlflow'"
            raise MissingExtraError(what, None, cure) from error
        store = open_database(uri, options.artifact_root)
        return DatabaseTarget(
            store.engine,
            store.artifact_root_uri,
            files,
            overwrite=options.overwrite,
            extends=options.extends,
            same_ids=options.same_ids,
        )
    # Each target imports its own part of MLflow, which takes seconds.
    from yprov_mlflow.prov.restore.client.client_target import ClientTarget

    if options.extends and uri.startswith(("http://", "https://")):
        from yprov_mlflow.prov.restore.server_target import ServerTarget, accepts_ids

        if accepts_ids(uri):
            return ServerTarget(uri, files, options)
        if options.same_ids:
            return ClientTarget(uri, files, extends=True, same_ids=True)
        reason = (
            "the server assigns new ids; the tag yprov.restored_from has the original ones. One"
            " with --app-name yprov and YPROV_MLFLOW_SYNC_TOKEN keeps them"
        )
        files.report.add_change(files.report.target, reason)
    return ClientTarget(uri, files, extends=options.extends, same_ids=options.same_ids)
