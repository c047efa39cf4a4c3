"""Units of work: a run, or what belongs to no run; where each is written; what came of it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator

from yprov_mlflow.prov.convert.request import Request
from yprov_mlflow.prov.ids import quote_key
from yprov_mlflow.prov.sources.source import Problem, RunRef

STORE = "store"
"""Folder of the document of what belongs to no run, and the key of its unit."""

_LONGEST = 150
"""Bytes of a folder's name; file systems take 255."""


@dataclasses.dataclass(frozen=True)
class Unit:
    """One piece of work; ``ref`` is None for what belongs to no run.

    ``folder`` is its place relative to the output, ``known`` the fingerprint that it had when
    it was converted last, None if it was not, or not like this.
    """

    key: str
    folder: str
    ref: RunRef | None
    known: str | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of a unit: the figures of its document, what of it could not be converted.

    ``state`` is ``"converted"``, ``"unchanged"`` or ``"failed"``; ``sizes`` has the bytes of
    each file by its path relative to the output.
    """

    key: str
    state: str
    fingerprint: str = ""
    records: int = 0
    points: int = 0
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def plan(refs: Iterable[RunRef], request: Request) -> Iterator[Unit]:
    """Give a unit for each run that is asked for, each with a folder of its own."""
    taken: set[str] = {STORE}
    for ref in refs:
        if not request.wants(ref):
            continue
        wanted = f"{_folder_name(ref.experiment_id)}/{_folder_name(ref.run_id)}"
        folder, count = wanted, 1
        while folder in taken:
            count += 1
            folder = f"{wanted}@{count}"
        taken.add(folder)
        yield Unit(ref.key, folder, ref)


def _folder_name(name: str) -> str:
    """Give a name that every file system takes and that leads nowhere else."""
    quoted = quote_key(name)
    if quoted.strip(".") == "" or quoted == STORE:
        quoted = f"@{quoted}"
    if len(quoted) > _LONGEST:
        digest = hashlib.sha256(quoted.encode()).hexdigest()[:16]
        quoted = f"{quoted[: _LONGEST - 17]}@{digest}"
    return quoted
