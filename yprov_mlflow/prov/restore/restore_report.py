"""The report of a restoration: counts, differences, losses and new ids."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from yprov_mlflow.prov.errors import first_line

MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""Errors of code that reads values of another type than any document of ours has."""

RESTORED, UNCHANGED, REPLACED, REFUSED = "restored", "unchanged", "replaced", "refused"
EXTENDED = "extended"
"""The target had an earlier state of the record, and has the present one now."""

UP_TO_DATE = "up to date"
"""The journals of the run have not changed since the target got it."""

RESTORED_FROM = "yprov.restored_from"
"""Tag with the original id of a record that has another id in the target."""


DATA, ARTIFACTS = "data", "artifacts"
"""Kinds of notes: about the documents' content, or about artifact files that are out of reach."""


@dataclasses.dataclass(frozen=True)
class Note:
    """A difference between the target and the documents: where it is, its reason and kind."""

    place: str
    reason: str
    kind: str = DATA


@dataclasses.dataclass
class RestoreReport:
    """The result of a restoration.

    Args:
        target: URI of the target, without password.
        counts: Number of records by kind (such as ``"run"``) and outcome.
        points: Number of metric points.
        collapsed: How many of them were equal to others, which databases keep once.
        files: Number of artifact files by outcome.
        changes: Differences without a loss.
        losses: Records that the target holds in part or not at all.
        ids: New ids by kind and original id.
    """

    target: str
    counts: dict[str, Counter[str]] = dataclasses.field(default_factory=dict)
    points: int = 0
    collapsed: int = 0
    files: Counter[str] = dataclasses.field(default_factory=Counter)
    changes: list[Note] = dataclasses.field(default_factory=list)
    losses: list[Note] = dataclasses.field(default_factory=list)
    ids: dict[str, str] = dataclasses.field(default_factory=dict)

    def count(self, kind: str, outcome: str) -> None:
        """Count a record of a kind."""
        self.counts.setdefault(kind, Counter())[outcome] += 1

    def add_change(self, label: str, reason: str) -> None:
        """Add a difference that loses nothing; ``label`` names the record or file."""
        self.changes.append(Note(label, reason))

    def add_loss(self, label: str, reason: str, kind: str = DATA) -> None:
        """Add something that is lost in part or entirely; ``label`` names the record or file."""
        self.losses.append(Note(label, reason, kind))

    @contextmanager
    def guard(self, label: str) -> Iterator[None]:
        """Report a value that no document should have as a loss; others must go on."""
        try:
            yield
        except MALFORMED as error:
            self.add_loss(label, f"has a malformed value: {first_line(error)}")

    def refuse(self, kind: str, label: str, reason: str) -> None:
        """Count a record that was not restored, and add it to the losses."""
        self.count(kind, REFUSED)
        self.add_loss(label, reason)

    @property
    def total(self) -> int:
        """The number of records that the target holds as they should be."""
        outcomes = (RESTORED, UNCHANGED, REPLACED, EXTENDED, UP_TO_DATE)
        return sum(counts[outcome] for counts in self.counts.values() for outcome in outcomes)

    @property
    def changed(self) -> int:
        """The number of records that were written."""
        outcomes = (RESTORED, REPLACED, EXTENDED)
        return sum(counts[outcome] for counts in self.counts.values() for outcome in outcomes)

    @property
    def lacks_only_artifacts(self) -> bool:
        """Whether everything is restored but artifact files that are out of reach."""
        refused = any(counts[REFUSED] for counts in self.counts.values())
        return not refused and all(note.kind == ARTIFACTS for note in self.losses)

    @property
    def complete(self) -> bool:
        """Whether nothing was refused and nothing lost."""
        return not self.losses and not any(counts[REFUSED] for counts in self.counts.values())

    def add(self, other: RestoreReport) -> None:
        """Add the counts and notes of the report of a part."""
        for kind, counts in other.counts.items():
            self.counts.setdefault(kind, Counter()).update(counts)
        self.points += other.points
        self.collapsed += other.collapsed
        self.files.update(other.files)
        self.changes += other.changes
        self.losses += other.losses
        self.ids.update(other.ids)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RestoreReport:
        """Return the report in a JSON object of ``to_json``."""
        return cls(
            value["target"],
            {kind: Counter(counts) for kind, counts in value["things"].items()},
            value["points"],
            value["collapsed_points"],
            Counter(value["files"]),
            [Note(**note) for note in value["changes"]],
            [Note(**note) for note in value["losses"]],
            value["ids"],
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {
            "target": self.target,
            # Scripts read this key, so it stays although the attribute has another name.
            "things": {kind: dict(counts) for kind, counts in sorted(self.counts.items())},
            "points": self.points,
            "collapsed_points": self.collapsed,
            "files": dict(self.files),
            "changes": [dataclasses.asdict(note) for note in self.changes],
            "losses": [dataclasses.asdict(note) for note in self.losses],
            "ids": dict(self.ids),
        }
