"""Views for notebooks: lineage as a picture, and a run while it trains.

IPython is not a dependency: it calls ``_repr_html_``, and without it ``watch`` shows nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlflow.exceptions import MlflowException

from yprov_mlflow.prov.capture import session
from yprov_mlflow.prov.capture.run_views import summary
from yprov_mlflow.prov.capture.switch import LOGGER
from yprov_mlflow.prov.errors import UsageError, YprovMlflowError
from yprov_mlflow.prov.views.summary_report import Summary
from yprov_mlflow.prov.views.view import Table, View

_SHOWN = ("Metrics", "Energy")
_SHARE = 10
"""A view is made again only after so many times as long as making it took."""


class LiveView(View):
    """The last metrics and the energy of a run so far."""

    summary: Summary

    def tables(self) -> Iterator[Table]:
        """Yield the tables of metrics and energy."""
        for table in self.summary.tables():
            if table.title in _SHOWN:
                yield table


@contextmanager
def watch(run_id: str | None = None, *, interval_s: float = 2.0) -> Iterator[None]:
    """Show the last metrics and the energy of a run below the cell of a notebook while it trains.

    ``with mlflow.start_run(), mlflow.prov.watch():``. Outside notebooks it does nothing.

    Args:
        run_id: The run; by default the active one.
        interval_s: Seconds between two views, at least 0.1. Views of runs with many points come
            less often, so that they take a tenth of the time at most.

    Raises:
        UsageError: No run was passed and none is active, or the interval is too short.
    """
    if not interval_s >= 0.1:
        raise UsageError(f"prov.watch takes an interval_s of 0.1 or more, not {interval_s!r}")
    run_id = run_id or session.get().active_run()
    if run_id is None:
        raise UsageError("prov.watch has no run: enter it inside `with mlflow.start_run():`")
    handle = _display()
    if handle is None:
        yield
        return
    ended = threading.Event()
    arguments = (run_id, handle, interval_s, ended)
    thread = threading.Thread(target=_update, args=arguments, name="yprov-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _display() -> Any:
    """Return an output of the cell that can be updated; None outside notebooks."""
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        return None
    return ipython.display.display({"text/plain": ""}, raw=True, display_id=True)


def _update(run_id: str, handle: Any, interval_s: float, ended: threading.Event) -> None:
    is_last = False
    while not is_last:
        # The last view is made after the end, so that it has all points.
        is_last = ended.is_set()
        started = time.monotonic()
        try:
            handle.update(LiveView(summary=summary(run_id)))
        except (YprovMlflowError, MlflowException, OSError) as error:
            LOGGER.warning("The run is not shown any more: %s", error)
            return
        if not is_last:
            ended.wait(max(interval_s, _SHARE * (time.monotonic() - started)))
