"""The chain of the seals that were made on this machine for the runs of a store.

Each seal, and its line here, names the SHA-256 of the previous line, so a run cannot vanish without
a gap. Only the newest lines can vanish together with the seals of their runs; a copy of the digest
of the last line, kept elsewhere, shows that as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from filelock import FileLock

from yprov_mlflow.prov.integrity.differences import ADDED, CHANGED, REMOVED, Difference
from yprov_mlflow.prov.integrity.manifest import FILES, Link, Manifest
from yprov_mlflow.prov.layout import PRIVATE_FILE, SEAL_CHAIN, SEALS, STORE_SEAL, private_folder

if TYPE_CHECKING:
    from yprov_mlflow.prov.integrity.verification import Verified

_LOCK_TIMEOUT_S = 60.0


class ChainedSeal(NamedTuple):
    """A line of the chain: the digest of a seal, the run that it is of, and its position.

    ``run`` is empty for the seal of the store. ``journals`` has the sizes of the run's journals.
    """

    chain: str
    number: int
    previous: str
    seal: str
    run: str
    experiment: str
    time: str
    journals: Mapping[str, int]

    @classmethod
    def of(cls, seal: str, manifest: Manifest) -> ChainedSeal:
        """Return the line of a seal with this digest and content."""
        link = manifest.link or Link("", 0, "")
        run = manifest.name if manifest.kind == FILES else ""
        sizes = {name: digest.size for name, digest in manifest.journals.items()}
        return cls(*link, seal, run, manifest.experiment, manifest.time, sizes)

    def line(self) -> bytes:
        """Return the line without its newline."""
        return json.dumps(self._asdict()).encode()

    def digest(self) -> str:
        """Return the SHA-256 of the line."""
        return hashlib.sha256(self.line()).hexdigest()


class SealChain:
    """The chain of one store."""

    def __init__(self, state: Path, store: str) -> None:
        self.folder = state / SEALS / store
        self.path = self.folder / SEAL_CHAIN
        self.store_seal = self.folder / STORE_SEAL
        self._root = state

    @classmethod
    def all(cls, state: Path) -> Iterator[SealChain]:
        """Yield the chains of all stores."""
        folder = state / SEALS
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
        yield from (cls(state, name) for name in names)

    def lines(self) -> tuple[list[ChainedSeal], int]:
        """Return the seals in the chain, and the number of lines that cannot be read."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return [], 0
        seals, unreadable = [], 0
        for line in content.splitlines():
            with suppress(ValueError, TypeError):
                seal = ChainedSeal(**json.loads(line))
                # Other spellings of the same values would have another digest.
                if seal.line() == line:
                    seals.append(seal)
                    continue
            unreadable += 1
        return seals, unreadable

    @contextmanager
    def turn(self) -> Iterator[Link]:
        """Let one process at a time add a seal, whose position this is."""
        private_folder(self.folder, self._root)
        with FileLock(self.folder / "lock", _LOCK_TIMEOUT_S, mode=PRIVATE_FILE):
            seals, _ = self.lines()
            if seals:
                yield Link(seals[-1].chain, seals[-1].number + 1, seals[-1].digest())
            else:
                yield Link(uuid.uuid4().hex, 1, "")

    def add(self, seal: ChainedSeal) -> None:
        """Add a line, in a turn."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        with os.fdopen(fd, "rb+") as file:
            # A process that was killed may have left a part of a line.
            file.seek(file.read().rfind(b"\n") + 1)
            file.truncate()
            file.write(seal.line() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def head(self) -> str:
        """Return the digest of the last line, or an empty text."""
        seals, _ = self.lines()
        return seals[-1].digest() if seals else ""

    def check_head(self, head: str) -> Iterator[Difference]:
        """Yield a difference if no line has this digest."""
        if all(seal.digest() != head for seal in self.lines()[0]):
            yield Difference(REMOVED, "chain", str(self.path), "", f"no line has digest {head}")

    def latest(self) -> dict[str, ChainedSeal]:
        """Return the last seal of each run."""
        return {seal.run: seal for seal in self.lines()[0] if seal.run}


def check_chain(
    chain: SealChain, verified: Mapping[str, Verified], experiment: str = ""
) -> Iterator[Difference]:
    """Yield gaps in a chain, and what its lines and the seals of the runs contradict.

    Args:
        chain: The chain.
        verified: The result of the verification of each run of the store, or of the experiment.
        experiment: Only the runs of this experiment; all if it is empty.
    """
    yield from _gaps(chain)
    latest = chain.latest()
    for run in sorted(latest.keys() - verified.keys()):
        line = latest[run]
        if experiment in ("", line.experiment):
            yield Difference(REMOVED, f"run {run}", "", "", f"it was sealed at {line.time}")
    own = next((line.chain for line in latest.values()), "")
    for run, result in verified.items():
        # Seals of other machines have chains of their own.
        if result.manifest is None or result.manifest.link is None:
            continue
        if own and result.manifest.link.chain != own:
            continue
        line_of_run = latest.get(run)
        if line_of_run is None:
            where = f"line {result.manifest.link.number}"
            yield Difference(REMOVED, f"run {run}", str(chain.path), where, "its seal has it")
        elif line_of_run != ChainedSeal.of(result.seal, result.manifest):
            reason = "the chain has another seal of this run"
            yield Difference(CHANGED, f"run {run}", "", "", reason)


def _gaps(chain: SealChain) -> Iterator[Difference]:
    seals, unreadable = chain.lines()
    where = str(chain.path)
    if unreadable:
        yield Difference(CHANGED, "chain", where, "", f"{unreadable} lines cannot be read")
    number, previous = 0, ""
    for seal in seals:
        if seal.number != number + 1:
            reason = f"line {seal.number} follows line {number}"
            kind = REMOVED if seal.number > number else ADDED
            yield Difference(kind, "chain", where, f"line {number + 1}", reason)
        elif seal.previous != previous:
            reason = f"line {seal.number} was written after another line"
            yield Difference(CHANGED, "chain", where, f"line {number}", reason)
        number, previous = seal.number, seal.digest()
