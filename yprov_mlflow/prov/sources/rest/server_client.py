"""Requests to a tracking server: pages, retries of damaged answers, errors with a cure."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from yprov_mlflow.prov.errors import MissingExtraError, StoreError
from yprov_mlflow.prov.redaction import redact

_PROBE = "/api/2.0/mlflow/experiments/search"
_PROBE_TIMEOUT_S = 20
_TRIES = 3
_NOT_OFFERED = frozenset({"ENDPOINT_NOT_FOUND", "NOT_FOUND", "NOT_IMPLEMENTED"})
_REFUSED = frozenset(
    "RESOURCE_DOES_NOT_EXIST PERMISSION_DENIED INVALID_PARAMETER_VALUE BAD_REQUEST INVALID_STATE"
    " FEATURE_DISABLED".split()
)
# Messages of MLflow's client after it has already retried.
_RETRIED = re.compile(r"Max retries|too many \d+ error|timeout", re.IGNORECASE)

Function = Callable[..., Any] | None


class Refused(Exception):
    """The server answers, but does not provide this one thing."""


class NotOffered(Refused):
    """The server, or the installed client, is too old for this request."""


class Server:
    """A tracking server, and the model registry at the same address.

    Nothing is requested before ``client`` or ``store`` is first used.
    """

    def __init__(self, location: str) -> None:
        self.location = redact(location)
        self._location = location
        self._client: Any = None

    @property
    def client(self) -> Any:
        """MLflow's client for this server.

        Raises:
            MissingExtraError: MLflow is not installed.
            StoreError: The server cannot be reached, denies access, or is not a tracking server.
        """
        if self._client is None:
            try:
                from mlflow import MlflowClient
            except ModuleNotFoundError as error:
                purpose = "Reading tracking servers"
                raise MissingExtraError.of("MLflow", "quickstart", purpose) from error
            http = self._location.startswith(("http://", "https://"))
            # By default the client would use the registry of MLFLOW_REGISTRY_URI.
            registry = {"registry_uri": self._location} if http else {}
            client = MlflowClient(tracking_uri=self._location, **registry)
            if http:
                self._probe(client)
            self._client = client
        return self._client

    @property
    def store(self) -> Any:
        """MLflow's tracking store; it has pages where the client does not."""
        return self.client._tracking_client.store

    def _probe(self, client: Any) -> None:
        """Send one request without MLflow's retries, which would take minutes."""
        from mlflow.exceptions import MlflowException
        from mlflow.utils.rest_utils import http_request

        credentials = client._tracking_client.store.get_host_creds()
        options = {"max_retries": 0, "timeout": _PROBE_TIMEOUT_S, "raise_on_status": False}
        try:
            answer = http_request(credentials, _PROBE, "POST", json={"max_results": 1}, **options)
        except MlflowException as error:
            raise StoreError(
                f"the tracking server cannot be reached: {_message(error)}",
                self.location,
                "Check that it is running and that the address is right",
            ) from error
        status = answer.status_code
        if status in (401, 403):
            raise self._unauthorized(status)
        with suppress(ValueError):  # an answer that is not JSON
            if status == 200 and isinstance(answer.json(), dict):
                return
        raise StoreError(
            f"this does not answer as a tracking server does (HTTP {status})",
            self.location,
            "Give the address in MLFLOW_TRACKING_URI, including its path if it has one",
        )

    def _unauthorized(self, status: int) -> StoreError:
        return StoreError(
            f"the tracking server requires authentication (HTTP {status})",
            self.location,
            "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
        )

    def ask(self, function: Function, *args: Any, **options: Any) -> Any:
        """Return the result of a function of MLflow's client or store.

        Args:
            function: The function; None if the installed MLflow lacks it.
            args: Its arguments.
            options: Its keyword arguments.

        Raises:
            NotOffered: The server or the client is too old for this.
            Refused: The server does not provide this one thing.
            StoreError: The server no longer answers.
        """
        from mlflow.exceptions import MlflowException

        if function is None:
            raise NotOffered("the installed MLflow is too old for this")
        for attempt in range(1, _TRIES + 1):
            try:
                return function(*args, **options)
            except MlflowException as error:
                self._raise_final(error, last=attempt == _TRIES)
            except (AttributeError, TypeError, NotImplementedError) as error:
                # A client of another version, without this method or parameter.
                raise NotOffered(_message(error)) from error
            except (ValueError, OSError) as error:
                # The connection broke within the answer.
                if attempt == _TRIES:
                    raise Refused(_message(error)) from error
            time.sleep(0.5 * attempt)
        raise AssertionError("unreachable")

    def _raise_final(self, error: Any, *, last: bool) -> None:
        """Raise what an error of MLflow means, unless another attempt may succeed."""
        code = str(error.error_code)
        if code in _NOT_OFFERED or isinstance(error, NotImplementedError):
            raise NotOffered(_message(error)) from error
        if code == "UNAUTHENTICATED" or "error code 401" in str(error):
            raise self._unauthorized(401) from error
        if code in _REFUSED or 400 <= error.get_http_status_code() < 500:
            raise Refused(_message(error)) from error
        if last or _RETRIED.search(str(error)):
            # Either the whole server is gone, which the probe raises, or only this one thing.
            self._probe(self.client)
            raise Refused(_message(error)) from error

    def pages(self, function: Function, *args: Any, **options: Any) -> Iterator[Any]:
        """Yield the items of all pages of a function that takes a ``page_token``."""
        token: str | None = None
        while True:
            page = self.ask(function, *args, page_token=token, **options)
            items, next_token = page if isinstance(page, tuple) else (page, page.token)
            yield from items
            # A server that repeats the token would be asked forever.
            if not next_token or next_token == token:
                return
            token = next_token


def _message(error: Exception) -> str:
    """Return an error's message in one line, without secrets."""
    return redact(" ".join(str(error).split()))[:500]
