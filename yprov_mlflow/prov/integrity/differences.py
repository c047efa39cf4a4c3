"""What may differ from a seal."""

from __future__ import annotations

from typing import NamedTuple

CHANGED, REMOVED, ADDED, UNREADABLE = "changed", "removed", "added", "unreadable"

NO_SEAL = "there is no seal"
GOES_ON = "a process has logged to the run after it was sealed"


class Difference(NamedTuple):
    """Something that is not as it was sealed.

    Args:
        kind: ``CHANGED``, ``REMOVED``, ``ADDED`` or ``UNREADABLE``.
        thing: The run or folder that was sealed.
        file: The file, or empty for the run as a whole.
        part: The record, point or event, or empty for the file as a whole.
        reason: More about it.
    """

    kind: str
    thing: str
    file: str = ""
    part: str = ""
    reason: str = ""

    def __str__(self) -> str:
        what = " in ".join(text for text in (self.part, self.file) if text) or self.thing
        return f"{self.kind}: {what}" + (f" ({self.reason})" if self.reason else "")
