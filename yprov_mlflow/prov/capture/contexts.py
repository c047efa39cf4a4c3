"""Contexts and epochs that a thread or task is in, for runs that may not exist yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextvars import ContextVar

ContextPath = tuple[str | int, ...]


@dataclasses.dataclass(slots=True, eq=False)
class Scope:
    """One entered context or epoch.

    A scope without a run was entered while no run was active: it belongs to every run that
    starts in it.
    """

    name: str | int  # of a context, or the number of an epoch
    parent: Scope | None  # the scope around this one
    run_id: str | None
    runs: dict[str, ContextPath] = dataclasses.field(default_factory=dict)  # whose journals have it

    def path(self, run_id: str) -> ContextPath:
        """Return the names of the run's scopes, from the outermost to this one."""
        return tuple(scope.name for scope in _scopes(self, run_id))[::-1]


# The innermost scope of the running thread or task.
current: ContextVar[Scope | None] = ContextVar("yprov_mlflow_scope", default=None)


def _scopes(scope: Scope | None, run_id: str) -> Iterator[Scope]:
    """Yield this scope and those around it, as far as they belong to the run."""
    while scope is not None:
        if scope.run_id in (None, run_id):
            yield scope
        scope = scope.parent


def unrecorded(run_id: str) -> list[Scope]:
    """Return the scopes around the caller that the run's journal lacks, outermost first."""
    return [scope for scope in _scopes(current.get(), run_id) if run_id not in scope.runs][::-1]


def path_in(run_id: str) -> ContextPath | None:
    """Return the path of this run's scopes around the caller; None in a thread without scopes.

    The path is empty for a child run in a context of its parent: that is not its own.
    """
    scope = current.get()
    return None if scope is None else scope.path(run_id)


class OpenContexts:
    """Contexts of one run that are open now, in any thread.

    Libraries log from worker threads, which do not inherit a context. While the open contexts
    are nested in each other, such a call belongs to the innermost of them without doubt.
    """

    __slots__ = ("_paths", "any")

    def __init__(self) -> None:
        self._paths: list[ContextPath] = []
        self.any = False  # an attribute and not a property: log_metric reads it each time

    def enter(self, path: ContextPath) -> None:
        """Note that the context at ``path`` was entered."""
        self._paths.append(path)
        self.any = True

    def leave(self, path: ContextPath) -> None:
        """Note that the context at ``path`` was left."""
        if path in self._paths:
            self._paths.remove(path)
        self.any = bool(self._paths)

    def only(self) -> ContextPath:
        """Return the innermost open path if it contains all others, else an empty path."""
        deepest = max(self._paths, key=len, default=())
        return deepest if all(deepest[: len(path)] == path for path in self._paths) else ()
