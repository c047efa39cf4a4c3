"""The plan of a rerun: the parts that are ready, that differ and that are missing."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

State = Literal["ready", "differs", "missing"]

Content = Callable[[str, str], bytes | None]
"""Returns the bytes of a kept file by its path and SHA-256; None if they are nowhere."""


class Item(NamedTuple):
    """One part of a plan.

    Args:
        part: ``code``, ``environment``, ``data``, ``command`` or ``store``.
        state: ``missing`` parts prevent the rerun, unless the user ignores them.
        text: The finding.
        cure: What to do about it.
    """

    part: str
    state: State
    text: str
    cure: str = ""


@dataclass
class Plan:
    """The parts of a rerun and the work to do.

    Args:
        folder: Folder for everything that the rerun writes.
        items: The findings.
        steps: Work to do before the command, in this order, by its name.
        command: The command, with the interpreter of the rerun.
        variables: Environment variables that the run had.
        work_folder: Working directory of the command.
        tracking_uri: Store of the rerun.
    """

    folder: Path
    items: list[Item] = field(default_factory=list)
    steps: list[tuple[str, Callable[[], None]]] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    work_folder: Path = Path()
    tracking_uri: str = ""

    def add(self, part: str, state: State, text: str, cure: str = "") -> None:
        """Add a finding."""
        self.items.append(Item(part, state, text, cure))

    def extend(self, items: Iterable[Item]) -> None:
        """Add findings."""
        self.items.extend(items)

    def missing(self) -> list[Item]:
        """Return the parts that are missing."""
        return [item for item in self.items if item.state == "missing"]

    def command_line(self) -> str:
        """Return the command as one would type it; empty if it is not known."""
        return shlex.join(self.command)

    @property
    def code_folder(self) -> Path:
        """Folder for the source tree."""
        return self.folder / "code"
