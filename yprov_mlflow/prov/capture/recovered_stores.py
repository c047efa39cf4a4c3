"""The stores of recovered runs: whole URIs for those in journals, and each store asked once."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from yprov_mlflow.prov.capture import session as process
from yprov_mlflow.prov.capture.diagnosis import is_sql, local_path
from yprov_mlflow.prov.capture.mlflow_private import SERVER_STORE_VARIABLE
from yprov_mlflow.prov.errors import StoreError, first_line
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.uris import strip_prefix

_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_BACKEND_STORE_URI", SERVER_STORE_VARIABLE)
"""Where MLflow's clients and servers have the whole URI of a store."""


def with_password(recorded: str, current: str) -> str:
    """Return the whole URI of a store that a journal has without its password.

    Args:
        recorded: The URI in the journal, which may be whole.
        current: MLflow's tracking URI.
    """
    candidates = [current, *(strip_prefix(os.environ.get(name, "")) for name in _VARIABLES)]
    same = (uri for uri in candidates if uri and redact(process.absolute(uri)) == recorded)
    return next(same, recorded)


class OpenStores:
    """Stores by URI. One that did not answer is not asked again: thousands of runs may wait."""

    def __init__(self) -> None:
        self._stores: dict[str, Any] = {}
        self._failures: dict[str, str] = {}

    def get(self, uri: str, open_store: Callable[[str], Any]) -> Any:
        """Return the store at a URI.

        Raises:
            StoreError: It did not answer when it was asked for another run, or now, with an URI
                that may lack a password.
        """
        if uri in self._failures:
            raise StoreError.silent(redact(uri), self._failures[uri])
        if uri not in self._stores:
            try:
                store = open_store(uri)
                store.search_experiments(max_results=1)
            except Exception as error:  # each kind of store has its own errors
                self._failures[uri] = redact(first_line(error))
                # Users and passwords of URIs are not in journals.
                if is_sql(uri) and local_path(uri) is None and uri == redact(uri):
                    raise StoreError.without_password(uri, self._failures[uri]) from error
                raise
            self._stores[uri] = store
        return self._stores[uri]
