"""What a restoration did: counts, what is not as it was, what was left out, new ids."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

RESTORED, UNCHANGED, REPLACED, REFUSED = "restored", "unchanged", "replaced", "refused"


@dataclasses.dataclass(frozen=True)
class Note:
    """One thing that is not in the target as the documents have it: what, and why."""

    place: str
    reason: str


@dataclasses.dataclass
class RestoreReport:
    """Counts of things by kind and outcome, and notes.

    ``changes`` are things that the target holds otherwise, without a loss; ``losses`` are those
    that it holds in part or not at all.
    """

    target: str
    things: dict[str, Counter[str]] = dataclasses.field(default_factory=dict)
    points: int = 0
    collapsed: int = 0
    files: Counter[str] = dataclasses.field(default_factory=Counter)
    changes: list[Note] = dataclasses.field(default_factory=list)
    losses: list[Note] = dataclasses.field(default_factory=list)
    ids: dict[str, str] = dataclasses.field(default_factory=dict)

    def count(self, kind: str, outcome: str, number: int = 1) -> None:
        """Count things of a kind."""
        self.things.setdefault(kind, Counter())[outcome] += number

    def change(self, place: str, reason: str) -> None:
        """Note that something is held otherwise, and nothing of it is lost."""
        self.changes.append(Note(place, reason))

    def lose(self, place: str, reason: str) -> None:
        """Note that something is lost, in part or as a whole."""
        self.losses.append(Note(place, reason))

    @property
    def total(self) -> int:
        """Give the number of things that are in the target as they should be."""
        kept = (RESTORED, UNCHANGED, REPLACED)
        return sum(counts[outcome] for counts in self.things.values() for outcome in kept)

    @property
    def complete(self) -> bool:
        """Tell whether nothing was refused and nothing lost."""
        return not self.losses and not any(c[REFUSED] for c in self.things.values())

    def to_json(self) -> dict[str, Any]:
        """Give the report as a JSON object."""
        return {
            "target": self.target,
            "things": {kind: dict(counts) for kind, counts in sorted(self.things.items())},
            "points": self.points,
            "collapsed_points": self.collapsed,
            "files": dict(self.files),
            "changes": [dataclasses.asdict(note) for note in self.changes],
            "losses": [dataclasses.asdict(note) for note in self.losses],
            "ids": dict(self.ids),
        }
