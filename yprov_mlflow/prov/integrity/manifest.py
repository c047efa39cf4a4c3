"""The content of a seal: an in-toto statement about files, as OpenSSF's model-signing writes it.

Model-signing ignores other fields of the predicate, so ours can hold what it does not know: the
run, its journals, and the previous seal of the same store.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from yprov_mlflow.prov.errors import SealError
from yprov_mlflow.prov.integrity.envelope import STATEMENT
from yprov_mlflow.prov.integrity.file_tree import FileDigest

FILES = "https://model_signing/signature/v1.0"
"""Type of the statement about the files of a run or folder."""

RUNS = "https://w3id.org/yprov/mlflow/seal/runs/v1"
"""Type of the statement about the runs of a store, each with the digest of its seal."""

_OURS = "yprov_mlflow"


class Link(NamedTuple):
    """The position of a seal in the chain of a store; ``previous`` is the SHA-256 of a line."""

    chain: str
    number: int
    previous: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The content of a seal: digests of files and journals, or of the seals of runs.

    Args:
        name: The run or folder, or the UUID of the store.
        time: When it was sealed, by the clock of the machine, as an ISO 8601 timestamp.
        files: Digests of the files by path, or of the seals by run.
        ignored: Paths that are not covered: the seal itself.
        journals: Digests of the journals by filename, up to the size that they had.
        link: Position in the chain of a store; None for a folder.
        experiment: Id of the run's experiment.
        kind: ``FILES`` or ``RUNS``.
    """

    name: str
    time: str
    files: Mapping[str, FileDigest]
    ignored: tuple[str, ...] = ()
    journals: Mapping[str, FileDigest] = dataclasses.field(default_factory=dict)
    link: Link | None = None
    experiment: str = ""
    kind: str = FILES

    def statement(self) -> dict[str, Any]:
        """Return the in-toto statement."""
        ours = {
            "version": 1,
            "time": self.time,
            "experiment": self.experiment,
            "link": self.link and self.link._asdict(),
            "journals": {name: digest._asdict() for name, digest in self.journals.items()},
        }
        # Sorted, as the digest of the subject is over the digests in this order.
        resources = [
            {"name": name, "algorithm": "sha256", "digest": digest.sha256, "size": digest.size}
            for name, digest in sorted(self.files.items())
        ]
        serialization = {
            "method": "files",
            "hash_type": "sha256",
            "allow_symlinks": False,
            "ignore_paths": list(self.ignored),
        }
        predicate = {"serialization": serialization, "resources": resources, _OURS: ours}
        subject = {"name": self.name, "digest": {"sha256": self._root_digest()}}
        return {
            "_type": STATEMENT,
            "subject": [subject],
            "predicateType": self.kind,
            "predicate": predicate,
        }

    def _root_digest(self) -> str:
        digests = (digest.sha256 for _, digest in sorted(self.files.items()))
        return hashlib.sha256(bytes.fromhex("".join(digests))).hexdigest()


def of_statement(statement: Mapping[str, Any], where: str) -> Manifest:
    """Return the manifest in a statement.

    Raises:
        SealError: The statement is not one of ``Manifest.statement``.
    """
    try:
        predicate = statement["predicate"]
        ours = predicate[_OURS]
        manifest = Manifest(
            name=str(statement["subject"][0]["name"]),
            time=str(ours["time"]),
            files={
                str(row["name"]): FileDigest(str(row["digest"]), int(row["size"]))
                for row in predicate["resources"]
            },
            ignored=tuple(map(str, predicate["serialization"]["ignore_paths"])),
            journals={
                str(name): FileDigest(str(row["sha256"]), int(row["size"]))
                for name, row in ours["journals"].items()
            },
            link=Link(**ours["link"]) if ours["link"] else None,
            experiment=str(ours["experiment"]),
            kind=str(statement["predicateType"]),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise SealError.unreadable(where, f"{type(error).__name__}: {error}") from error
    if manifest.kind not in (FILES, RUNS):
        raise SealError.unreadable(where, f"it is of the unknown kind {manifest.kind}")
    return manifest
