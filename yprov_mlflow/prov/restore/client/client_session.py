"""MLflow's client, one operation at a time: rejected operations are reported, others continue."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mlflow import MlflowClient

from yprov_mlflow.prov.errors import StoreError, first_line
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.restore.restore_report import RestoreReport

_CURE = (
    "Give the URI of a running server, a database (sqlite, postgresql, mysql or mssql) or a folder"
    " with --to"
)


class ClientSession:
    """The client of the target, and the report of the operations that it rejected."""

    def __init__(self, uri: str, report: RestoreReport) -> None:
        """Connect to the target.

        Raises:
            StoreError: The target does not answer.
        """
        self.report = report
        try:
            self.client: Any = MlflowClient(uri, uri)
            with _few_retries():
                self.client.search_experiments(max_results=1)
        except Exception as error:
            # Each kind of store raises its own errors; the user needs one kind.
            reason = f"the target cannot be reached: {first_line(error)}"
            if "unsupported URI" in reason:
                reason = f"MLflow has no stores of the kind {uri.partition(':')[0]!r}"
            raise StoreError(reason, redact(uri), _CURE) from error

    @contextmanager
    def reporting(self, label: str) -> Iterator[None]:
        """Report an error of the target as a loss, and continue."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - stores raise anything; the others must go on
            self.report.add_loss(label, f"the target rejects it: {first_line(error)}")

    def put_batches(
        self, label: str, items: Sequence[Any], size: int, write: Callable[[Sequence[Any]], object]
    ) -> None:
        """Write items in batches; the items of a rejected batch one by one."""
        for start in range(0, len(items), size):
            batch = items[start : start + size]
            try:
                write(batch)
            except Exception:  # noqa: BLE001 - as above; the items are tried one by one
                for item in batch:
                    with self.reporting(f"{label}, {getattr(item, 'key', item)}"):
                        write([item])

    def cut(self, label: str, values: Mapping[str, str], limit: int) -> dict[str, str]:
        """Return the values cut to a length that MLflow accepts; report those that are longer."""
        for key, value in values.items():
            if len(value) > limit:
                reason = f"was cut to {limit} of its {len(value)} characters"
                self.report.add_loss(f"{label}, {key}", reason)
        return {key: value[:limit] for key, value in values.items()}


@contextmanager
def _few_retries() -> Iterator[None]:
    """Limit MLflow's retries, which last minutes if the server is down."""
    name = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    is_default = name not in os.environ  # otherwise the user has chosen a number
    os.environ.setdefault(name, "2")
    try:
        yield
    finally:
        if is_default:
            del os.environ[name]
