"""Contexts and epochs that a thread or task is in, for runs that may not exist yet."""

from __future__ import annotations

import dataclasses
from contextvars import ContextVar

ContextPath = tuple[str | int, ...]


@dataclasses.dataclass(slots=True, eq=False)
class Scope:
    """One entered context or epoch.

    ``run_id`` is the run that it belongs to; None says that there was none yet when it was
    entered, so that it belongs to every run that begins in it. ``runs`` are those whose
    journals tell of it, each with its path.
    """

    name: str | int
    parent: Scope | None
    run_id: str | None
    runs: dict[str, ContextPath] = dataclasses.field(default_factory=dict)

    def holds(self, run_id: str) -> bool:
        """Tell whether what is logged to the run in here is logged in this scope."""
        return self.run_id is None or self.run_id == run_id

    def path(self, run_id: str) -> ContextPath:
        """Give the names of the run's scopes from the outermost to this one."""
        names = []
        scope: Scope | None = self
        while scope is not None:
            if scope.holds(run_id):
                names.append(scope.name)
            scope = scope.parent
        return tuple(reversed(names))


current: ContextVar[Scope | None] = ContextVar("yprov_mlflow_scope", default=None)
"""The innermost scope of the running thread or task."""


def unrecorded(run_id: str) -> list[Scope]:
    """Give the scopes around the caller that the run's journal lacks, outermost first."""
    scope = current.get()
    found = []
    while scope is not None:
        if scope.holds(run_id) and run_id not in scope.runs:
            found.append(scope)
        scope = scope.parent
    return found[::-1]


def path_in(run_id: str) -> ContextPath | None:
    """Give the path of scopes of this run that the caller is in; None in a thread without any.

    A child run inside its parent's context is in no context of its own: an empty path.
    """
    scope = current.get()
    return None if scope is None else scope.path(run_id)


class OpenContexts:
    """Contexts of one run that are open now, in whatever thread they were entered.

    Libraries log from worker threads, which inherit no context. While the open contexts form
    one chain there is no doubt which one such a call belongs to.
    """

    __slots__ = ("_paths", "any")

    def __init__(self) -> None:
        """Start with none open; ``any`` tells whether one is."""
        self._paths: list[ContextPath] = []
        self.any = False

    def enter(self, path: ContextPath) -> None:
        """Note that ``path`` was entered."""
        self._paths.append(path)
        self.any = True

    def leave(self, path: ContextPath) -> None:
        """Note that ``path`` was left."""
        if path in self._paths:
            self._paths.remove(path)
        self.any = bool(self._paths)

    def only(self) -> ContextPath:
        """Give the innermost open path if all open ones lie on it, else an empty one."""
        paths = self._paths
        if not paths:
            return ()
        deepest = max(paths, key=len)
        return deepest if all(deepest[: len(p)] == p for p in paths) else ()
