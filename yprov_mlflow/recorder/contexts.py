"""Contexts and epochs that a thread or task is in, for runs that may not exist yet."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextvars import ContextVar

Path = tuple[str | int, ...]


@dataclasses.dataclass(slots=True, eq=False)
class Scope:
    """One entered context or epoch; ``run_id`` is None until the first event binds it."""

    name: str | int
    parent: Scope | None
    run_id: str | None
    entered: bool = False
    left: bool = False

    @property
    def path(self) -> Path:
        """Names from the outermost scope of the same run to this one."""
        return tuple(scope.name for scope in reversed(list(self.chain())))

    def chain(self) -> Iterator[Scope]:
        """Give this scope and those around it that belong to the same run."""
        scope: Scope | None = self
        while scope is not None and scope.run_id == self.run_id:
            yield scope
            scope = scope.parent


current: ContextVar[Scope | None] = ContextVar("yprov_mlflow_scope", default=None)
"""The innermost scope of the running thread or task."""


def bind(run_id: str) -> list[Scope]:
    """Bind scopes that were entered before their run began; give those to be recorded.

    Outermost first. Scopes of other runs around them are left alone.
    """
    scope = current.get()
    unbound = []
    while scope is not None and scope.run_id is None:
        scope.run_id = run_id
        unbound.append(scope)
        scope = scope.parent
    return unbound[::-1]


def path_in(run_id: str) -> Path | None:
    """Give the path of scopes of this run that the caller is in; None in a thread without any.

    A child run inside its parent's context is in no context of its own: an empty path.
    """
    scope = current.get()
    if scope is None:
        return None
    return scope.path if scope.run_id == run_id else ()


class OpenContexts:
    """Contexts of one run that are open now, in whatever thread they were entered.

    Libraries log from worker threads, which inherit no context. While the open contexts form
    one chain there is no doubt which one such a call belongs to.
    """

    def __init__(self) -> None:
        """Start with none open."""
        self._paths: list[Path] = []

    def enter(self, path: Path) -> None:
        """Note that ``path`` was entered."""
        self._paths.append(path)

    def leave(self, path: Path) -> None:
        """Note that ``path`` was left."""
        if path in self._paths:
            self._paths.remove(path)

    def only(self) -> Path:
        """Give the innermost open path if all open ones lie on it, else an empty one."""
        paths = self._paths
        if not paths:
            return ()
        deepest = max(paths, key=len)
        return deepest if all(deepest[: len(p)] == p for p in paths) else ()
