"""Feeding a view: journals of other processes become rows of the view's database.

The road is that of ``restore``: events, state records, rows. The journals decide; a record that
another process has changed is written again as a whole.

All is imported before the first run: a child that is forked while a thread imports the same modules
would wait for that thread, which it does not have.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.capture import session as process
from yprov_mlflow.prov.capture.offline.view_rows import ViewRows
from yprov_mlflow.prov.capture.switch import LOGGER, Boundary
from yprov_mlflow.prov.events import ArtifactsLogged, Event, ModelLogged, StoreCalled
from yprov_mlflow.prov.ids import store_id, store_of
from yprov_mlflow.prov.journal import JournalDirectory, merge
from yprov_mlflow.prov.layout import OFFLINE_ARTIFACTS
from yprov_mlflow.prov.restore.replay import StateBuilder
from yprov_mlflow.prov.state import Run, StoreState
from yprov_mlflow.prov.uris import is_offline, offline_folder

_MAX_BYTES = 2**28  # of journals of others that a search reads
_SHARE = 20  # of the time between two looks at all journals, a look takes 1 part at most

_STORES = store_id("")

_RECORDS = ("experiments", "models", "registered_models", "traces", "evaluation_datasets")
"""Mappings of ``StoreState`` with a record for each key."""


class ViewFeed:
    """Keeps the view of one process up to date with the journals of others.

    Args:
        folder: Folder of the offline store.
        with_own: Whether the view lacks what this process itself has written.
    """

    def __init__(self, folder: Path, *, with_own: bool = False) -> None:
        self._folder = folder
        self._with_own = with_own
        self._lock = threading.RLock()
        # Sizes of journals that the view has, by folder and file name.
        self._sizes: dict[str, dict[str, int]] = {}
        # Events that belong to no single run, by the folder of their journals.
        self._shared: dict[str, list[Event]] = {}
        self._due: dict[str, float] = {}
        # Where the store was when it was written to, if it has moved since.
        self._former: set[str] = set()
        self._is_limited = False

    def of_run(self, engine: Any, run_id: str) -> bool:
        """Feed a run that other processes have written to; return whether they have."""
        folder = JournalDirectory(self._folder, run_id)
        return self._limited(run_id, lambda: self._feed(engine, [folder]))

    def of_stores(self, engine: Any) -> bool:
        """Feed experiments, and all else that other processes have written outside of runs."""
        return self._limited(_STORES, lambda: self._feed(engine, self._of_stores()))

    def of_all(self, engine: Any) -> bool:
        """Feed all runs and all else of other processes, unless there is too much of it."""
        return self._limited("", lambda: self._feed(engine, self._affordable()))

    def _of_stores(self) -> list[JournalDirectory]:
        return [f for f in JournalDirectory.all(self._folder) if store_of(f.run_id)]

    def _limited(self, key: str, feed: Callable[[], bool]) -> bool:
        """Call ``feed`` unless it was called just before, measured by the time that it took."""
        with self._lock:
            start = time.monotonic()
            if start < self._due.get(key, 0.0):
                return False
            try:
                return feed()
            finally:
                now = time.monotonic()
                self._due[key] = now + _SHARE * (now - start)

    def _affordable(self) -> list[JournalDirectory]:
        """Return the folders of all journals; those of stores alone if there is too much else."""
        folders = list(JournalDirectory.all(self._folder))
        size = sum(sum(self._others(folder).values()) for folder in folders)
        if size <= _MAX_BYTES:
            return folders
        if not self._is_limited:
            self._is_limited = True
            LOGGER.warning(
                "The other processes have written %d MB to %s. A search while offline shows the "
                "runs of this process and those that it has asked for by their id; sync the "
                "folder to a store to search them all. This is logged once.",
                size >> 20,
                self._folder,
            )
        return [folder for folder in folders if store_of(folder.run_id)]

    def _others(self, folder: JournalDirectory) -> dict[str, int]:
        """Return the sizes of the journals that other processes have written."""
        own = self._own_sessions(folder.run_id)
        return {name: size for name, size in folder.sizes().items() if Path(name).stem not in own}

    def _feed(self, engine: Any, folders: Iterable[JournalDirectory]) -> bool:
        changed = {}
        for folder in folders:
            sizes = self._others(folder)
            if sizes and sizes != self._sizes.get(folder.path.name):
                changed[folder.path.name] = folder, sizes
        if not changed:
            return False
        with Boundary(_warn_unfed):
            rows = ViewRows(engine, self._folder / OFFLINE_ARTIFACTS)
            for name, (folder, sizes) in changed.items():
                run = self._read(folder)
                if run is not None:
                    rows.put_run(self._relocated(run))
                self._sizes[name] = sizes
            rows.finish(self._shared_state())
        return True

    def _read(self, folder: JournalDirectory) -> Run | None:
        """Return the run of some journals; keep the events that belong to no single run."""
        if self._with_own:
            folder = _with_unsaved(folder)
        events = list(merge(folder.readers()[0]))
        self._shared[folder.path.name] = [event for event in events if _is_shared(event)]
        run = StateBuilder().feed(events)
        return run if run is not None and run.created and run.lifecycle != "purged" else None

    def _shared_state(self) -> StoreState:
        """Return the records that other processes have changed, as all processes left them."""
        events = list(itertools.chain.from_iterable(self._shared.values()))
        others, everything = StateBuilder(), StateBuilder()
        others.feed(e for e in events if e.session not in self._own_sessions(e.run_id))
        everything.feed(events)
        changed, state = others.finish(), everything.finish()
        for name in _RECORDS:
            records = getattr(state, name)
            kept = {key: records[key] for key in getattr(changed, name) if key in records}
            setattr(state, name, kept)
        for model in state.models.values():
            model.artifact_location = self._present(model.artifact_location)
        return state

    def _relocated(self, run: Run) -> Run:
        """Return a run with its artifacts where they are now."""
        uri = run.store.get("uri", "")
        if is_offline(uri) and (former := offline_folder(uri)) != str(self._folder):
            self._former.add(former)
        run.artifact_uri = self._present(run.artifact_uri)
        return run

    def _present(self, uri: str | None) -> str | None:
        """Return where a folder of artifacts in this store is now."""
        for former in self._former if uri else ():
            for prefix in (f"{former}/", f"file://{former}/"):
                if uri is not None and uri.startswith(prefix):
                    return f"{self._folder}/{uri.removeprefix(prefix)}"
        return uri

    def _own_sessions(self, run_id: str) -> set[str]:
        """Return the sessions of this process that the view has already."""
        if self._with_own:
            return set()
        recorder = process.get().recorder
        state = recorder.get(run_id)
        return {recorder.session, *([state.writer.session] if state is not None else [])}


def _with_unsaved(folder: JournalDirectory) -> JournalDirectory:
    """Return the journals with the lines that this process could not write."""
    state = process.get().recorder.get(folder.run_id)
    unsaved = state.writer.unsaved() if state is not None else b""
    if state is None or not unsaved:
        return folder
    return JournalDirectory(folder.directory, folder.run_id, {state.writer.session: unsaved})


def _is_shared(event: Event) -> bool:
    return isinstance(event, StoreCalled | ModelLogged) or (
        isinstance(event, ArtifactsLogged) and event.owner is not None
    )


def _warn_unfed(error: Exception) -> None:
    LOGGER.debug("feeding the view", exc_info=error)
    LOGGER.warning(
        "Runs of other processes cannot be shown (%s: %s); this process goes on.",
        type(error).__name__,
        error,
    )
