"""The journals on this machine: what they hold, removal of old ones, packing of finished ones."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from yprov_mlflow.prov import settings
from yprov_mlflow.prov.capture import sinks
from yprov_mlflow.prov.capture.delivery import locked
from yprov_mlflow.prov.capture.run_document import ExpectedState
from yprov_mlflow.prov.events import TERMINAL
from yprov_mlflow.prov.ids import store_of
from yprov_mlflow.prov.integrity.seal_chain import ChainedSeal, SealChain
from yprov_mlflow.prov.journal import JournalDirectory, merge
from yprov_mlflow.prov.journal.packing import pack as pack_files
from yprov_mlflow.prov.journal.packing import unpack
from yprov_mlflow.prov.layout import JOURNAL_SUFFIX, JOURNALS, PACKS, SERVER

_DAY_S = 86_400
_NS = 1_000_000_000

OPEN, ENDED, DELIVERED, SEALED = "open", "ended", "delivered", "sealed"


class RunJournals(NamedTuple):
    """The journals of a run, or of what belongs to a store.

    Args:
        run_id: The run, or what stands for the store (``ids.store_id``).
        state: ``OPEN``, or the last that is true of ``ENDED``, ``DELIVERED`` (its document has
            everything) and ``SEALED`` (its seal covers the journals as they are).
        sessions: Number of processes that wrote to it.
        bytes: Size of the journals.
        files: Number of files and folders outside packs.
        last_write_s: When something was last written to it, in seconds since the epoch.
        packed: Whether journals of it are in a pack.
        side: ``"client"``, or ``"server"`` for what capture inside ``mlflow server`` wrote.
    """

    run_id: str
    state: str
    sessions: int
    bytes: int
    files: int
    last_write_s: float
    packed: bool
    side: str


def _roots() -> dict[str, Path]:
    directory = settings.load().directory
    return {"client": directory, "server": directory / SERVER}


def journals(run_ids: Sequence[str] = ()) -> Iterator[RunJournals]:
    """Yield the journals of all runs, or of these."""
    seals = _seals()
    for side, root in _roots().items():
        for folder in JournalDirectory.all(root):
            if run_ids and folder.run_id not in run_ids:
                continue
            sizes = folder.sizes()
            inside = list(folder.path.rglob("*")) if folder.path.is_dir() else None
            yield RunJournals(
                folder.run_id,
                _state(folder, sizes, seals.get(folder.run_id)),
                len(sizes),
                sum(sizes.values()),
                0 if inside is None else len(inside) + 1,
                last_write_s(folder),
                bool(folder.packed()),
                side,
            )


def _seals() -> Mapping[str, ChainedSeal]:
    """Return the last seal of each run that was sealed on this machine."""
    seals: dict[str, ChainedSeal] = {}
    for chain in SealChain.all(settings.load().directory):
        seals |= chain.latest()
    return seals


def _state(folder: JournalDirectory, sizes: Mapping[str, int], seal: ChainedSeal | None) -> str:
    if _status(folder) not in TERMINAL and not store_of(folder.run_id):
        return OPEN
    if not folder.is_current():
        return ENDED
    return SEALED if _is_sealed(sizes, seal) else DELIVERED


def _is_sealed(sizes: Mapping[str, int], seal: ChainedSeal | None) -> bool:
    return seal is not None and all(size == seal.journals.get(n) for n, size in sizes.items())


def _status(folder: JournalDirectory) -> str | None:
    """Return the status that a run has by its journals."""
    state = ExpectedState()
    for event in merge(folder.readers()[0]):
        state.feed(event)
    return state.status


def last_write_s(folder: JournalDirectory) -> float:
    """Return when something was last written to the journals of a run."""
    packed = [part.time_ns / _NS for parts in folder.packed().values() for part in parts]
    files = folder.path.glob(f"*{JOURNAL_SUFFIX}")
    return max((*packed, *(path.lstat().st_mtime for path in files)), default=time.time())


def prunable(
    days: float,
    run_ids: Sequence[str] = (),
    directory: Path | None = None,
    *,
    sealed: bool = False,
) -> Iterator[JournalDirectory]:
    """Yield the journals that can be removed: of runs that ended and have their document.

    Args:
        days: Nothing was written to them for so many days.
        run_ids: Only these runs.
        directory: State folder; by default that of the settings.
        sealed: Only runs whose seal covers their journals.
    """
    names = settings.load().sinks
    # Without --sealed, no chain has to be read.
    seals = _seals() if sealed else {}
    for folder in JournalDirectory.all(directory or settings.load().directory):
        if store_of(folder.run_id) or (run_ids and folder.run_id not in run_ids):
            continue
        if sealed and not _is_sealed(folder.sizes(), seals.get(folder.run_id)):
            continue
        if not sinks.pending(folder, names) and _is_finished(folder, days):
            yield folder


def _is_finished(folder: JournalDirectory, days: float) -> bool:
    """Return whether a run ended, has its document, and was not written to for so many days."""
    if not folder.is_current() or folder.is_document_requested():
        return False
    if time.time() - last_write_s(folder) < days * _DAY_S:
        return False
    readers, problems = folder.readers()
    state = ExpectedState()
    for event in merge(readers):
        state.feed(event)
    # A run that has not ended may be written to again, and damage is to be looked at.
    damaged = problems or any(reader.problems for reader in readers)
    return not damaged and state.status in TERMINAL


class Pruned(NamedTuple):
    """The runs whose journals were removed, and why those of others were not, by run."""

    run_ids: list[str]
    failures: dict[str, Exception]


def prune(folders: Iterable[JournalDirectory]) -> Pruned:
    """Remove journals."""
    result = Pruned([], {})
    removed: dict[Path, list[JournalDirectory]] = {}
    for folder in folders:
        root = folder.path.parents[1]
        try:
            with locked(folder):  # waits for a delivery
                is_current = folder.is_current()
            # Without the lock: NFS does not remove a folder while a file in it is open.
            if not is_current:
                continue
            with suppress(FileNotFoundError):  # it is in a pack
                shutil.rmtree(folder.path)
            # From a server's journal, recover would replace the document of the client.
            shutil.rmtree(JournalDirectory(root / SERVER, folder.run_id).path, ignore_errors=True)
        except OSError as error:
            result.failures[folder.run_id] = error
            continue
        removed.setdefault(root, []).append(folder)
    # All at once, as each removal writes a pack again.
    for root, group in removed.items():
        names = [folder.path.name for folder in group]
        run_ids = [folder.run_id for folder in group]
        try:
            unpack(root, names, root)
            unpack(root / SERVER, names, root)
        except OSError as error:
            result.failures.update(dict.fromkeys(run_ids, error))
        else:
            result.run_ids.extend(run_ids)
    return result


def packable(days: float) -> Iterator[JournalDirectory]:
    """Yield the journals that can be packed: finished, and not written to for so many days."""
    for root in _roots().values():
        for folder in JournalDirectory.all(root):
            if folder.path.is_dir() and not store_of(folder.run_id) and _is_finished(folder, days):
                yield folder


def pack(folders: Iterable[JournalDirectory]) -> int:
    """Move journals into packs, and return the number of runs."""
    by_root: dict[Path, list[JournalDirectory]] = {}
    for folder in folders:
        by_root.setdefault(folder.path.parents[1], []).append(folder)
    root = _roots()["client"]
    return sum(pack_files(directory, group, root) for directory, group in by_root.items())


def file_count() -> int:
    """Return the number of files and folders that journals and packs occupy."""
    folders = [root / name for root in _roots().values() for name in (JOURNALS, PACKS)]
    return sum(1 for folder in folders for _ in folder.rglob("*"))
