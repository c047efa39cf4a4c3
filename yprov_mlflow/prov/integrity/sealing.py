"""Making the seal of a file tree and of the journals that its document was made from."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from yprov_mlflow.prov.errors import DocumentError, MissingExtraError
from yprov_mlflow.prov.integrity import part_digests
from yprov_mlflow.prov.integrity.envelope import signed
from yprov_mlflow.prov.integrity.file_tree import FileDigest, FileTree, digest_of
from yprov_mlflow.prov.integrity.manifest import Link, Manifest
from yprov_mlflow.prov.integrity.part_digests import PartDigest
from yprov_mlflow.prov.journal import Opener
from yprov_mlflow.prov.layout import JOURNALS, SEAL, SEAL_DIGESTS

if TYPE_CHECKING:
    from yprov_mlflow.prov.integrity.signing_keys import PrivateKey

_CHUNK = 2**20


class Sealable(NamedTuple):
    """Files that get a seal of their own.

    Args:
        name: The run, or the name of the folder.
        tree: The files.
        prefix: Folder in the tree for the seal, with a slash at its end, or empty.
        journals: What opens each part of the journals of the run, by filename; None if
            they are not on this machine.
        experiment: Id of the run's experiment.
        skipped: Folders that the seal does not cover.
    """

    name: str
    tree: FileTree
    prefix: str
    journals: Mapping[str, Sequence[Opener]] | None = None
    experiment: str = ""
    skipped: tuple[str, ...] = ()

    @property
    def seal(self) -> str:
        """The path of the seal in the tree."""
        return self.prefix + SEAL

    @property
    def digests(self) -> str:
        """The path of the digests of parts in the tree."""
        return self.prefix + SEAL_DIGESTS

    @property
    def ignored(self) -> tuple[str, ...]:
        """The paths that the seal does not cover: itself, and some folders."""
        return (self.seal, *self.skipped)

    def names(self) -> list[str]:
        """Return the paths of the files that the seal covers.

        Raises:
            SealError: The tree has a link, or something else that is not a file.
        """
        return [
            name
            for name in self.tree.names()
            if name != self.seal and not any(name.startswith(f"{s}/") for s in self.skipped)
        ]


class Seal(NamedTuple):
    """A seal that was made: its SHA-256 and its content."""

    sha256: str
    manifest: Manifest


def seal(thing: Sealable, key: PrivateKey, link: Link | None = None) -> Seal:
    """Write the seal of a file tree into it.

    Raises:
        SealError: The tree has a link, or something else that is not a file.
        OSError: A file cannot be read, or the seal cannot be written.
    """
    # Journals come first: what is appended meanwhile is beyond the sizes in the seal.
    journals = journal_digests(thing.journals or {})
    with tempfile.TemporaryDirectory(prefix="yprov-") as scratch:
        digests = Path(scratch, SEAL_DIGESTS)
        files: dict[str, FileDigest] = {}
        part_digests.write(digests, _parts(thing, files, journals))
        thing.tree.put(thing.digests, digests.read_bytes())
        files[thing.digests] = digest_of(digests)
    manifest = Manifest(
        name=thing.name,
        time=now(),
        files=files,
        ignored=thing.ignored,
        journals=journals,
        link=link,
        experiment=thing.experiment,
    )
    # The seal comes last: without it, a verification says that there is none.
    content = signed(manifest.statement(), key)
    thing.tree.put(thing.seal, content)
    return Seal(hashlib.sha256(content).hexdigest(), manifest)


def now() -> str:
    """Return the time of a seal."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _parts(
    thing: Sealable, files: dict[str, FileDigest], journals: Mapping[str, FileDigest]
) -> Iterator[tuple[str, Iterator[PartDigest]]]:
    """Yield the parts of each file and journal, and enter the digests of all files."""
    for name in thing.names():
        if name == thing.digests:
            continue
        with thing.tree.local(name) as path:
            files[name] = digest_of(path)
            yield name, parts_of(name, path)
    for name, openers in (thing.journals or {}).items():
        yield journal_path(name), journal_parts(openers, journals[name].size)


def parts_of(name: str, path: Path) -> Iterator[PartDigest]:
    """Yield the parts of a file; nothing for a file without parts, or with damaged content."""
    read = part_digests.reader_of(name)
    if read is not None:
        try:
            yield from read(path)
        # Its whole digest still shows that it changed.
        except (DocumentError, MissingExtraError, OSError):
            return


def journal_path(name: str) -> str:
    """Return the name of a journal among the files of a seal."""
    return f"{JOURNALS}/{name}"


def journal_parts(openers: Sequence[Opener], size: int = sys.maxsize) -> Iterator[PartDigest]:
    """Yield the lines of a journal, or of its first ``size`` bytes."""
    for open_part in openers:
        with open_part() as file:
            yield from part_digests.lines(file, size)
            size -= file.tell()


def journal_digests(
    journals: Mapping[str, Sequence[Opener]], sizes: Mapping[str, int] | None = None
) -> dict[str, FileDigest]:
    """Return SHA-256 and size of each journal, or of as many first bytes as ``sizes`` says.

    Raises:
        OSError: A journal cannot be read.
    """
    result = {}
    for name, openers in journals.items():
        digest, size = hashlib.sha256(), 0
        limit = sys.maxsize if sizes is None else sizes[name]
        for open_part in openers:
            with open_part() as file:
                while chunk := file.read(min(_CHUNK, limit - size)):
                    digest.update(chunk)
                    size += len(chunk)
        result[name] = FileDigest(digest.hexdigest(), size)
    return result


def seal_digest(thing: Sealable) -> str:
    """Return the SHA-256 of a seal, which is not verified; an empty text without a seal."""
    try:
        with thing.tree.local(thing.seal) as path:
            return digest_of(path).sha256
    except OSError:
        return ""
