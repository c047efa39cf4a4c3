"""What differs between a seal and the files, records and events that it covers."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from yprov_mlflow.prov.errors import SealError
from yprov_mlflow.prov.integrity import manifest, part_digests
from yprov_mlflow.prov.integrity.differences import (
    ADDED,
    CHANGED,
    GOES_ON,
    NO_SEAL,
    REMOVED,
    UNREADABLE,
    Difference,
)
from yprov_mlflow.prov.integrity.envelope import opened
from yprov_mlflow.prov.integrity.file_tree import FileDigest, digest_of
from yprov_mlflow.prov.integrity.manifest import Manifest
from yprov_mlflow.prov.integrity.part_digests import Part, PartDigest
from yprov_mlflow.prov.integrity.sealing import (
    Sealable,
    journal_digests,
    journal_parts,
    journal_path,
    parts_of,
)
from yprov_mlflow.prov.journal import Opener

if TYPE_CHECKING:
    from yprov_mlflow.prov.integrity.signing_keys import PublicKey


class Verified(NamedTuple):
    """The result of a verification; ``seal`` is the SHA-256 of the seal."""

    seal: str
    manifest: Manifest | None
    differences: list[Difference]
    notes: list[str]


def verify(thing: Sealable, key: PublicKey) -> Verified:
    """Compare files and journals with their seal."""
    try:
        with thing.tree.local(thing.seal) as path:
            content = path.read_bytes()
    except FileNotFoundError:
        return Verified("", None, [Difference(REMOVED, thing.name, thing.seal, "", NO_SEAL)], [])
    except OSError as error:
        reason = error.strerror or str(error)
        return Verified("", None, [Difference(UNREADABLE, thing.name, thing.seal, "", reason)], [])
    seal = hashlib.sha256(content).hexdigest()
    try:
        sealed = manifest.of_statement(opened(content, thing.seal, key), thing.seal)
    except SealError as error:
        difference = Difference(CHANGED, thing.name, thing.seal, "", error.what)
        return Verified(seal, None, [difference], [])
    differences = []
    # A valid seal of another run must not pass for the one of this run.
    if sealed.name != thing.name or sealed.ignored != thing.ignored:
        reason = f"it is the seal of {sealed.name}"
        differences.append(Difference(CHANGED, thing.name, thing.seal, "", reason))
    differences += _compare_files(thing, sealed)
    journals, notes = _compare_journals(thing, sealed)
    return Verified(seal, sealed, [*differences, *journals], notes)


def _compare_files(thing: Sealable, sealed: Manifest) -> Iterator[Difference]:
    try:
        names = set(thing.names())
    except SealError as error:
        yield Difference(ADDED, thing.name, error.where or "", "", error.what)
        return
    for name in sorted(names | sealed.files.keys()):
        if name not in sealed.files:
            yield Difference(ADDED, thing.name, name)
        elif name not in names:
            yield Difference(REMOVED, thing.name, name)
        else:
            yield from _compare_file(thing, name, sealed.files[name])


def _compare_file(thing: Sealable, name: str, expected: FileDigest) -> Iterator[Difference]:
    try:
        with thing.tree.local(name) as path:
            if digest_of(path) == expected:
                return
            actual = [*parts_of(name, path)]
    except OSError as error:
        yield Difference(UNREADABLE, thing.name, name, "", error.strerror or str(error))
        return
    yield from _compare_parts(thing, name, actual)


def _compare_journals(thing: Sealable, sealed: Manifest) -> tuple[list[Difference], list[str]]:
    """Return the differences of journals, and a note if this machine lacks all of them."""
    # They may be on another machine, or pruned; a single one that is missing is a difference.
    if thing.journals is None:
        note = "its journals are not on this machine, and were not compared"
        return [], [note] if sealed.journals else []
    differences: list[Difference] = []
    for name in sorted(sealed.journals.keys() | thing.journals.keys()):
        file, openers = journal_path(name), thing.journals.get(name)
        expected = sealed.journals.get(name)
        if openers is None:
            differences.append(Difference(REMOVED, thing.name, file))
        elif expected is None:
            differences.append(Difference(ADDED, thing.name, file, "", GOES_ON))
        else:
            try:
                differences += _compare_journal(thing, name, openers, expected)
            except OSError as error:
                reason = error.strerror or str(error)
                differences.append(Difference(UNREADABLE, thing.name, file, "", reason))
    return differences, []


def _compare_journal(
    thing: Sealable, name: str, openers: Sequence[Opener], expected: FileDigest
) -> Iterator[Difference]:
    file, journal = journal_path(name), {name: openers}
    digest = journal_digests(journal, {name: expected.size})[name]
    if digest != expected:
        yield from _compare_parts(thing, file, journal_parts(openers))
    elif journal_digests(journal)[name] != expected:
        yield Difference(ADDED, thing.name, file, "", GOES_ON)


def _compare_parts(
    thing: Sealable, name: str, actual: Iterable[PartDigest]
) -> Iterator[Difference]:
    """Yield the parts of a changed file that differ; the file as a whole if that is not known."""
    try:
        with thing.tree.local(thing.digests) as path:
            expected = [*part_digests.read(path, name)]
    except (OSError, SealError):
        yield Difference(CHANGED, thing.name, name, "", "its digests cannot be read")
        return
    # A file of digests that was changed as well is among the differences itself.
    actual = [*actual]
    if expected and not actual:
        yield Difference(CHANGED, thing.name, name, "", "it can no longer be read")
        return
    differences = [
        Difference(kind, thing.name, name, str(part)) for kind, part in different(expected, actual)
    ]
    reason = "its parts are the same" if expected else ""
    yield from differences or [Difference(CHANGED, thing.name, name, "", reason)]


def different(
    expected: Iterable[PartDigest], actual: Iterable[PartDigest]
) -> list[tuple[str, Part]]:
    """Return the parts that differ, in order; equal parts may have moved."""
    # As multisets: a file may have equal parts several times, such as points of one step.
    before, after = Counter(expected), Counter(actual)
    missing, extra = before - after, after - before
    removed = Counter(part for part, _ in missing.elements())
    added = Counter(part for part, _ in extra.elements())
    changed = removed & added
    kinds = ((CHANGED, changed), (REMOVED, removed - changed), (ADDED, added - changed))
    return [(kind, part) for kind, parts in kinds for part in sorted(parts)]
