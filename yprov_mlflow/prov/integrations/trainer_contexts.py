"""Contexts and epochs that the hooks of a trainer enter and leave."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from yprov_mlflow.prov.capture import contexts, session, verbs
from yprov_mlflow.prov.capture.switch import LOGGER, Boundary

TRAINING, VALIDATION, TESTING = "training", "validation", "testing"
PREDICTION, SANITY_CHECK = "prediction", "sanity check"


class _Level(NamedTuple):
    """An entered context or epoch, once for each run."""

    name: str | int
    scopes: tuple[verbs.Scoped, ...]


class TrainerContexts:
    """The contexts and epochs that one trainer is in, outermost first.

    No method raises: a failure is logged, and the training continues. A context that the user
    has entered already is not entered again.
    """

    def __init__(self) -> None:
        self._levels: list[_Level] = []

    @property
    def depth(self) -> int:
        """Number of contexts and epochs that are open."""
        return len(self._levels)

    @property
    def innermost(self) -> str | int | None:
        """The innermost open context or epoch, or None."""
        return self._levels[-1].name if self._levels else None

    def position(self, *names: str) -> int | None:
        """Return the depth of the first open context with one of these names, or None."""
        depths = (i for i, level in enumerate(self._levels, 1) if level.name in names)
        return next(depths, None)

    def enter(self, name: str | int, run_ids: Iterable[str] = ()) -> None:
        """Enter a context (a name) or an epoch (a number).

        Args:
            name: Name or number.
            run_ids: Runs of the trainer's own loggers, besides the active run.
        """
        with Boundary(_warn):
            self._levels.append(_Level(name, tuple(_enter(name, run_ids))))

    def leave(self, depth: int = 0, error: BaseException | None = None) -> None:
        """Leave contexts and epochs, innermost first, until ``depth`` of them are open.

        Args:
            depth: Number of those that stay open.
            error: The exception that ended them, if one did.
        """
        while len(self._levels) > depth:
            for scope in reversed(self._levels.pop().scopes):
                with Boundary(_warn):
                    scope.__exit__(None if error is None else type(error), error, None)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle no open contexts: they belong to this process."""
        return {"_levels": []}


def _enter(name: str | int, run_ids: Iterable[str]) -> Iterable[verbs.Scoped]:
    capture = session.attempt()
    active = capture.active_run() if capture is not None else None
    # None: without an active run, the context belongs to every run that starts in it.
    runs: set[str | None] = {active, *run_ids} if active or not run_ids else {*run_ids}
    for run_id in sorted(runs, key=str):
        if run_id is not None and (contexts.path_in(run_id) or (None,))[-1] == name:
            continue
        make = verbs.epoch(name, run_id=run_id) if isinstance(name, int) else None
        yield (make or verbs.context(str(name), run_id=run_id)).__enter__()


def _warn(error: Exception) -> None:
    if session.existing is not None:
        session.existing.recorder.warn(error)
    else:
        LOGGER.warning("Contexts are not recorded (%s: %s)", type(error).__name__, error)
