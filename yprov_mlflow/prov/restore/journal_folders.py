"""Folders of journals as a synchronization reads them: state folders, and those of offline runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from yprov_mlflow.prov.errors import DeliveryError
from yprov_mlflow.prov.events import TERMINAL, Event, RunCreated
from yprov_mlflow.prov.ids import store_of
from yprov_mlflow.prov.journal import JournalDirectory, Problem, merge
from yprov_mlflow.prov.journal.reader import INCOMPLETE
from yprov_mlflow.prov.layout import JOURNALS, SERVER
from yprov_mlflow.prov.state import Run


class Group(NamedTuple):
    """The journals of runs of one store, and of the store itself; these come first.

    ``uri`` is that of the store without password; empty if no journal names it.
    """

    uri: str
    folders: list[JournalDirectory]


def groups(root: Path, run_ids: Sequence[str]) -> list[Group]:
    """Return the journals below a folder by the store that their runs were logged to.

    Experiments of different stores may have the same id.

    Raises:
        DeliveryError: The folder lacks journals, or those of a run.
    """
    if not (root / JOURNALS).is_dir() and not (root / SERVER / JOURNALS).is_dir():
        raise DeliveryError.no_journals(str(root))
    runs, stores = _folders(root)
    if missing := [run_id for run_id in run_ids if run_id not in runs]:
        raise DeliveryError.no_journal(missing[0], str(root / JOURNALS))
    chosen = [runs[run_id] for run_id in run_ids] if run_ids else list(runs.values())
    by_uri: dict[str, list[JournalDirectory]] = {}
    for folder in chosen:
        by_uri.setdefault(folder.store(), []).append(folder)
    # The journals of a store do not name its URI; with one store there is no doubt.
    if len(by_uri) == 1:
        ((uri, folders),) = by_uri.items()
        return [Group(uri, [*stores, *folders])]
    origins = _uris_of_stores(chosen) if stores else {}
    for folder in stores:
        uri = origins.get(store_of(folder.run_id) or "", "")
        by_uri.setdefault(uri, []).insert(0, folder)
    return [Group(uri, folders) for uri, folders in by_uri.items()]


def _folders(root: Path) -> tuple[dict[str, JournalDirectory], list[JournalDirectory]]:
    """Return the journals of runs by id, and those of stores.

    A server has journals of its own; of a run, those of its client have more.
    """
    runs: dict[str, JournalDirectory] = {}
    stores: list[JournalDirectory] = []
    for directory in (root, root / SERVER):
        for folder in JournalDirectory.all(directory):
            if store_of(folder.run_id):
                stores.append(folder)
            else:
                runs.setdefault(folder.run_id, folder)
    return runs, stores


def _uris_of_stores(folders: Sequence[JournalDirectory]) -> Mapping[str, str]:
    """Return the URIs of stores by their UUID, from the creation of their runs."""
    uris: dict[str, str] = {}
    for folder in folders:
        events = (event for journal in folder.readers()[0] for event in journal)
        created = next((event for event in events if isinstance(event, RunCreated)), None)
        if created is not None:
            uris.setdefault(str(created.store.get("uuid")), folder.store())
    return uris


class RunJournals:
    """The journals of one run, read once; ``sizes`` are theirs before."""

    def __init__(self, folder: JournalDirectory) -> None:
        self.folder = folder
        # First: what is appended meanwhile must make them not current.
        self.sizes = folder.sizes()
        self._readers, self._problems = folder.readers()

    def events(self) -> Iterator[Event]:
        """Yield the events of all sessions in the order of time."""
        return merge(self._readers)

    def losses(self, run: Run | None) -> list[Problem]:
        """Return how events were lost, once all were read.

        A process that was killed, or still writes, leaves the last line incomplete: no caller saw
        that event succeed.
        """
        has_ended = run is not None and run.status in TERMINAL
        problems = [p for reader in self._readers for p in reader.problems]
        return [
            problem
            for problem in [*self._problems, *problems]
            if problem.lost and (has_ended or problem.reason != INCOMPLETE)
        ]
