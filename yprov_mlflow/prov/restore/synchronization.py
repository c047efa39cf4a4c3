"""Synchronization: bring the runs in folders of journals into a store, as often as wanted.

Each pass replays the journals that have changed, and compares every record with the target. So a
pass may be interrupted anywhere, and the next one finishes it.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import mlflow

from yprov_mlflow.prov import settings
from yprov_mlflow.prov.capture import dead_runs
from yprov_mlflow.prov.capture.run_document import write_document
from yprov_mlflow.prov.capture.session import absolute
from yprov_mlflow.prov.errors import DeliveryError, first_line
from yprov_mlflow.prov.events import TERMINAL
from yprov_mlflow.prov.ids import store_of
from yprov_mlflow.prov.journal import JournalDirectory
from yprov_mlflow.prov.layout import PROVENANCE
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.restore.artifact_files import ArtifactFiles, local_path
from yprov_mlflow.prov.restore.journal_folders import Group, RunJournals, groups
from yprov_mlflow.prov.restore.replay import StateBuilder
from yprov_mlflow.prov.restore.restoration import note_withheld, report_fields
from yprov_mlflow.prov.restore.restore_report import MALFORMED, UP_TO_DATE, RestoreReport
from yprov_mlflow.prov.restore.sync_ledger import SyncLedger
from yprov_mlflow.prov.restore.target_options import TargetOptions
from yprov_mlflow.prov.restore.targets import Target, open_target
from yprov_mlflow.prov.sampling.liveness import Observer
from yprov_mlflow.prov.state import Run
from yprov_mlflow.prov.uris import SCHEME, strip_prefix

Progress = Callable[[int, int], None]
"""Called with the number of runs that are done, and of all."""


@dataclasses.dataclass(frozen=True)
class SyncRequest:
    """Which runs to bring where.

    Args:
        paths: Folders of journals.
        to: Tracking URI of the target; the store that the journals name if None.
        run_ids: Only these runs; all if empty.
        artifacts: Folder in which artifacts are looked for as well.
        artifact_root: Artifact root of a database that is created; MLflow's default if None.
        overwrite: Replace records of which the target has something else.
    """

    paths: tuple[Path, ...]
    to: str | None = None
    run_ids: tuple[str, ...] = ()
    artifacts: Path | None = None
    artifact_root: str | None = None
    overwrite: bool = False


class Synchronization:
    """Folders that are locked, for one pass or many; a context manager."""

    def __init__(self, request: SyncRequest) -> None:
        self._request = request
        self._stack = ExitStack()
        self._ledgers: dict[Path, SyncLedger] = {}
        self._sizes: dict[Path, dict[str, int]] = {}

    def __enter__(self) -> Synchronization:
        """Lock the folders.

        Raises:
            DeliveryError: Another process synchronizes one of them.
        """
        with self._stack:
            for path in dict.fromkeys(path.absolute() for path in self._request.paths):
                self._ledgers[path] = self._stack.enter_context(SyncLedger(path))
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        """Unlock the folders."""
        self._stack.close()

    def run(self, progress: Progress = lambda done, total: None) -> list[RestoreReport]:
        """Make a pass over all folders; return the report of each target.

        Raises:
            DeliveryError: A folder lacks journals, or names no store.
            StoreError: A target cannot be opened.
        """
        passes = [
            _Pass(self._request, root, group, ledger)
            for root, ledger in self._ledgers.items()
            for group in groups(root, self._request.run_ids)
        ]
        total, done = sum(len(part.folders) for part in passes), 0
        reports: dict[str, RestoreReport] = {}
        for part in passes:
            report = reports.setdefault(part.to, RestoreReport(redact(part.to)))
            for _ in part.run(report):
                done += 1
                progress(done, total)
        return list(reports.values())

    def has_changed(self) -> bool:
        """Return whether journals have grown, or came, since this was asked before."""
        before = dict(self._sizes)
        self._sizes = {
            folder.path: folder.sizes()
            for root in self._ledgers
            for group in groups(root, self._request.run_ids)
            for folder in group.folders
        }
        return self._sizes != before


class _Pass:
    """One pass over the runs of one store in one folder."""

    def __init__(self, request: SyncRequest, root: Path, group: Group, ledger: SyncLedger) -> None:
        self.folders = group.folders
        self._request, self._root, self._ledger = request, root, ledger
        current = str(mlflow.get_tracking_uri())
        # Journals lack passwords; MLflow's own setting may have the right one.
        recorded = current if redact(absolute(current)) == group.uri else group.uri
        if request.to is None and (not recorded or recorded.partition(":")[0] == SCHEME):
            raise DeliveryError.no_target(str(root), group.uri)
        self.to = strip_prefix(request.to if request.to is not None else recorded)
        self._name = redact(absolute(self.to))
        self._is_origin = self._name == group.uri
        # No store knows another end of an offline run than its journals.
        is_offline = group.uri.partition(":")[0] == SCHEME
        self._observer = Observer(root) if is_offline else None
        self._uri = group.uri
        self._builder = StateBuilder()
        self._complete: list[tuple[RunJournals, bool]] = []

    def run(self, report: RestoreReport) -> Iterator[None]:
        """Bring all runs into the target; yield after each."""
        artifacts = self._request.artifacts
        inputs = [self._root, self._root / "artifacts"]
        files = ArtifactFiles(artifacts, inputs, report, recorded=True)
        options = TargetOptions(
            self._request.overwrite, self._request.artifact_root, True, self._is_origin
        )
        target = open_target(self.to, files, options)
        try:
            stores = [folder for folder in self.folders if store_of(folder.run_id)]
            for folder in stores:
                self._put(folder, target, files)
                yield
            # Experiments meet by name: the names must be there before the runs.
            target.expect(self._builder.peek())
            for folder in self.folders[len(stores) :]:
                self._put(folder, target, files)
                yield
            state = self._builder.finish()
            losses = len(report.losses)
            target.finish(state, None)
            report_fields(state, report)
            files.finish(keeps_locations=target.keeps_locations)
        finally:
            target.close()
        # A run alone is done; shared records count only if the target took all of them.
        is_whole = len(report.losses) == losses
        for journals, alone in self._complete:
            if alone or is_whole:
                run_id, sizes = journals.folder.run_id, journals.sizes
                self._ledger.add(self._name, run_id, sizes, alone=alone)

    def _put(self, folder: JournalDirectory, target: Target, files: ArtifactFiles) -> None:
        """Bring one run into the target, or the calls of a store into the builder."""
        report, run_id = files.report, folder.run_id
        is_store = store_of(run_id) is not None
        is_known = self._ledger.has(self._name, run_id, folder.sizes())
        if is_known and target.has_run(run_id):
            report.count("run", UP_TO_DATE)
            return
        label = f"store {store_of(run_id)}" if is_store else f"run {run_id}"
        self._close_if_dead(folder, report)
        losses, shared = len(report.losses), self._builder.count
        journals = RunJournals(folder)
        try:
            run = self._builder.feed(note_withheld(label, journals.events(), report))
            for problem in journals.losses(run):
                report.add_loss(label, str(problem))
                if run is not None:
                    run.whole = False
            if run is not None and self._is_wanted(run, target, report):
                self._put_run(run, folder, target, files)
        except MALFORMED as error:
            report.refuse("run", label, f"has a malformed value: {first_line(error)}")
        if len(report.losses) == losses:
            alone = not is_store and self._builder.count == shared
            self._complete.append((journals, alone))

    def _close_if_dead(self, folder: JournalDirectory, report: RestoreReport) -> None:
        """Add the end to the journals of an offline run whose processes have died without one."""
        if self._observer is None:
            return
        decision = dead_runs.closing(folder, self._observer)
        if decision is not None and decision.status:
            dead_runs.record_end(folder, decision, self._uri)
            change = f"its processes have died; it ends as {decision.status}: {decision.why}"
            report.add_change(f"run {folder.run_id}", change)

    def _is_wanted(self, run: Run, target: Target, report: RestoreReport) -> bool:
        label = f"run {run.run_id}"
        if run.lifecycle == "purged":
            report.add_change(label, "it was deleted for good and is not restored")
            return False
        if not run.created and not target.has_run(run.run_id):
            reason = (
                "another process created it, whose journal is not here, and the target lacks it:"
                " synchronize that journal first"
            )
            report.refuse("run", label, reason)
            return False
        return True

    def _put_run(
        self, run: Run, folder: JournalDirectory, target: Target, files: ArtifactFiles
    ) -> None:
        with tempfile.TemporaryDirectory(prefix="yprov-") as out:
            # To its own store, the end of the run and ``recover`` deliver the document.
            if run.status in TERMINAL and not self._is_origin:
                files.written = _document(run, folder, Path(out), self._root)
            target.put_run(run, None)
        files.written = {}


def _document(run: Run, folder: JournalDirectory, out: Path, root: Path) -> dict[str, Path]:
    """Return the files of a run's document by artifact path; write them if they are outdated."""
    recorded = local_path(run.artifact_uri)
    moved = root / "artifacts" / run.experiment_id / run.run_id / "artifacts"
    for artifacts in (recorded, moved):
        delivered = artifacts / PROVENANCE if artifacts is not None else None
        if delivered is not None and delivered.is_dir() and folder.is_current():
            files = [path for path in sorted(delivered.rglob("*")) if path.is_file()]
            return {f"{PROVENANCE}/{path.relative_to(delivered)}": path for path in files}
    files = list(write_document(folder, out, settings.load()).files)
    return {f"{PROVENANCE}/{path.relative_to(out)}": path for path in files}
