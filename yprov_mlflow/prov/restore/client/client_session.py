"""MLflow's client, asked for one thing at a time: what it refuses is reported, the rest goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from yprov_mlflow.prov.errors import StoreError
from yprov_mlflow.prov.ids import redact
from yprov_mlflow.prov.restore.restore_report import RestoreReport


class Session:
    """The client of the target, and the report of what it did not take."""

    def __init__(self, uri: str, report: RestoreReport) -> None:
        """Reach the target.

        Raises:
            StoreError: It does not answer.
        """
        from mlflow import MlflowClient

        self.report = report
        try:
            self.client: Any = MlflowClient(uri, uri)
            with _impatient():
                self.client.search_experiments(max_results=1)
        except Exception as error:
            # Each kind of store has its own errors; the user needs one.
            raise StoreError(
                f"the target cannot be reached: {_told(error)}",
                redact(uri),
                "Give the URI of a running server, of a database or of a folder for runs",
            ) from error

    @contextmanager
    def reporting(self, place: str) -> Iterator[None]:
        """Report what the target refuses, and go on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - see above: one refusal ends no restoration
            self.report.lose(place, f"the target refuses it: {_told(error)}")

    def each(
        self, place: str, items: Sequence[Any], size: int, write: Callable[[Sequence[Any]], object]
    ) -> None:
        """Write items in batches; of a batch that is refused one by one."""
        for start in range(0, len(items), size):
            batch = items[start : start + size]
            try:
                write(batch)
            except Exception:  # noqa: BLE001 - as above; which of them it was will show
                for item in batch:
                    with self.reporting(f"{place}, {getattr(item, 'key', item)}"):
                        write([item])

    def cut(self, place: str, values: Mapping[str, str], most: int) -> dict[str, str]:
        """Cut values to what MLflow takes; reports which."""
        found = {}
        for key, value in values.items():
            found[key] = value[:most]
            if len(value) > most:
                self.report.lose(
                    f"{place}, {key}", f"is cut to {most} of its {len(value)} characters"
                )
        return found


@contextmanager
def _impatient() -> Iterator[None]:
    """Let MLflow not try for minutes to reach a server that is not there."""
    name = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    if name in os.environ:
        yield
        return
    os.environ[name] = "2"
    try:
        yield
    finally:
        del os.environ[name]


def _told(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
