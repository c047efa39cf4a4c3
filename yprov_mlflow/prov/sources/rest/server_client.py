"""Asking a tracking server: pages, one more try where an answer was torn, errors with a cure."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from yprov_mlflow.prov import ids
from yprov_mlflow.prov.errors import MissingExtraError, StoreError

_PROBE = "/api/2.0/mlflow/experiments/search"
_PROBE_S = 20
_TRIES = 3
_NOT_OFFERED = frozenset({"ENDPOINT_NOT_FOUND", "NOT_FOUND", "NOT_IMPLEMENTED"})
_REFUSED = frozenset(
    "RESOURCE_DOES_NOT_EXIST PERMISSION_DENIED INVALID_PARAMETER_VALUE BAD_REQUEST INVALID_STATE"
    " FEATURE_DISABLED".split()
)
_GAVE_UP = re.compile(r"Max retries|too many \d+ error|timeout", re.IGNORECASE)
"""What the client says after it has tried often enough itself."""
_USER = re.compile(r"(?<=://)[^/@\s]+@")


class Refused(Exception):
    """The server answers, and does not give this one thing."""


class NotOffered(Refused):
    """The server, or MLflow's client here, knows no such thing."""


class Server:
    """A tracking server and the model registry behind the same address."""

    def __init__(self, location: str) -> None:
        """Name the server; it is asked nothing yet."""
        self.shown = ids.redact(location)
        self._location = location
        self._client: Any = None

    @property
    def client(self) -> Any:
        """MLflow's client for this server.

        Raises:
            MissingExtraError: MLflow is not installed.
            StoreError: The server cannot be reached, refuses, or is none of MLflow's.
        """
        if self._client is None:
            try:
                from mlflow import MlflowClient
            except ModuleNotFoundError as error:
                needs = "Reading tracking servers"
                raise MissingExtraError.of("MLflow", "quickstart", needs) from error
            http = self._location.startswith(("http://", "https://"))
            registry = {"registry_uri": self._location} if http else {}
            client = MlflowClient(tracking_uri=self._location, **registry)
            if http:
                self._probe(client)
            self._client = client
        return self._client

    @property
    def store(self) -> Any:
        """MLflow's tracking store for this server, which has pages where the client has none."""
        return self.client._tracking_client.store

    def _probe(self, client: Any) -> None:
        """Ask once, without the minutes of retries that a request has otherwise."""
        from mlflow.exceptions import MlflowException
        from mlflow.utils.rest_utils import http_request

        creds = client._tracking_client.store.get_host_creds()
        options = {"max_retries": 0, "timeout": _PROBE_S, "raise_on_status": False}
        try:
            answer = http_request(creds, _PROBE, "POST", json={"max_results": 1}, **options)
        except MlflowException as error:
            raise self._unreachable(error) from error
        status = answer.status_code
        if status in (401, 403):
            raise self._unauthorised(status)
        try:
            known = status == 200 and isinstance(answer.json(), dict)
        except ValueError:
            known = False
        if not known:
            raise StoreError(
                f"this does not answer as a tracking server does (HTTP {status})",
                self.shown,
                "Give the address that MLFLOW_TRACKING_URI has, with its path if it has one",
            )

    def _unauthorised(self, status: int) -> StoreError:
        return StoreError(
            f"the tracking server wants to know who asks (HTTP {status})",
            self.shown,
            "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
        )

    def _unreachable(self, error: Exception) -> StoreError:
        return StoreError(
            f"the tracking server cannot be reached: {said(error)}",
            self.shown,
            "See that it is up and that the address is right",
        )

    # -- asking ------------------------------------------------------------------------

    def ask(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call a function of MLflow's client or store.

        Raises:
            NotOffered: The server is too old for this.
            Refused: It does not give this one thing; others it may.
            StoreError: It does not answer any more.
        """
        from mlflow.exceptions import MlflowException

        for attempt in range(1, _TRIES + 1):
            try:
                return function(*args, **options)
            except MlflowException as error:
                self._judge(error, last=attempt == _TRIES)
            except (AttributeError, TypeError, NotImplementedError) as error:
                # A client of another version, without this method or this parameter.
                raise NotOffered(said(error)) from error
            except (ValueError, OSError) as error:
                if attempt == _TRIES:
                    raise Refused(said(error)) from error
            time.sleep(0.5 * attempt)
        raise AssertionError("unreachable")

    def _judge(self, error: Any, *, last: bool) -> None:
        """Raise what an error of MLflow's means, if another try is of no use."""
        code = str(error.error_code)
        if code in _NOT_OFFERED or isinstance(error, NotImplementedError):
            raise NotOffered(said(error)) from error
        if code == "UNAUTHENTICATED" or "error code 401" in str(error):
            raise self._unauthorised(401) from error
        if code in _REFUSED or 400 <= error.get_http_status_code() < 500:
            raise Refused(said(error)) from error
        if last or _GAVE_UP.search(str(error)):
            self._probe(self.client)
            raise Refused(said(error)) from error

    def pages(self, function: Callable[..., Any], *args: Any, **options: Any) -> Iterator[Any]:
        """Give the items of all pages of a call that takes a ``page_token``."""
        token: str | None = None
        while True:
            page = self.ask(function, *args, page_token=token, **options)
            items, next_token = page if isinstance(page, tuple) else (page, page.token)
            yield from items
            if not next_token or next_token == token:
                return
            token = next_token


def said(error: Exception) -> str:
    """Give what an error says, in one line and without anybody's password."""
    return _USER.sub("", " ".join(str(error).split()))[:500]
