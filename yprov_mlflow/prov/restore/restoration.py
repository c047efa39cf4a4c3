"""Restoring: documents in, a store out, and a report of what is where."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.ids import redact
from yprov_mlflow.prov.restore.artifact_files import Files
from yprov_mlflow.prov.restore.document_files import documents, points_of, promised_points
from yprov_mlflow.prov.restore.replay import StateBuilder
from yprov_mlflow.prov.restore.restore_report import REFUSED, RestoreReport
from yprov_mlflow.prov.restore.state import Run
from yprov_mlflow.prov.restore.target_contract import Target
from yprov_mlflow.prov.translate import events_of

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


@dataclasses.dataclass(frozen=True)
class RestoreRequest:
    """What is to be restored, and how.

    Args:
        paths: Documents, or folders of such.
        to: Tracking URI of the target.
        artifacts: Folder below which artifacts are looked for, such as an ``mlruns``.
        overwrite: Replace what the target has already and otherwise.
        artifact_root: Where a database that is made anew keeps artifacts; MLflow's default else.
    """

    paths: tuple[Path, ...]
    to: str
    artifacts: Path | None = None
    overwrite: bool = False
    artifact_root: str | None = None


def restore(
    wish: RestoreRequest, progress: Callable[[RestoreReport], None] | None = None
) -> RestoreReport:
    """Restore documents into a store; calls ``progress`` after each document.

    Raises:
        DocumentError: A path is not there, or nothing in it is a document.
        StoreError: The target cannot be opened.
    """
    report = RestoreReport(redact(wish.to))
    rest = documents(wish.paths, report)
    first = next(rest, None)
    if first is None and not report.losses:
        raise DocumentError(
            "there is no document", ", ".join(map(str, wish.paths)), "Give what `convert` wrote"
        )
    files = Files(wish.artifacts, report)
    target = _target(wish, report, files)
    reduction = StateBuilder()
    last: Path | None = None
    try:
        for found in itertools.chain([first] if first is not None else [], rest):
            last, lost = found.path, len(report.losses)
            try:
                run = reduction.feed(events_of(found.document, points_of(found, report)))
            except DocumentError as error:
                report.lose(str(found.path), error.what)
                continue
            if run is not None:
                there = sum(len(points.values) for points in run.points.values())
                missing = promised_points(found.document) - there
                if missing > 0 and len(report.losses) == lost:
                    report.lose(str(found.path), f"{missing} of its metric points are not with it")
                if _can_be_put(run, report):
                    target.put_run(run, found.path)
            if progress is not None:
                progress(report)
        target.finish(reduction.finish(), last or wish.paths[0])
        files.settle()
    finally:
        target.close()
    return report


def _can_be_put(run: Run, report: RestoreReport) -> bool:
    """Tell whether a run is one, of a known experiment; else report why it is not restored."""
    place = f"run {run.run_id}"
    if run.lifecycle == "purged":
        report.change(place, "it was deleted for good, and is not restored")
        return False
    if not run.known:
        report.count("run", REFUSED)
        report.lose(place, "its document does not tell its experiment")
    return run.known


def _target(wish: RestoreRequest, report: RestoreReport, files: Files) -> Target:
    scheme = wish.to.partition(":")[0].partition("+")[0]
    if scheme in _DATABASES:
        from yprov_mlflow.prov.restore.sql.sql_target import DatabaseTarget

        return DatabaseTarget(
            wish.to, report, files, overwrite=wish.overwrite, artifact_root=wish.artifact_root
        )
    from yprov_mlflow.prov.restore.client.client_target import ClientTarget

    return ClientTarget(wish.to, report, files)
