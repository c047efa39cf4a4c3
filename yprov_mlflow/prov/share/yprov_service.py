"""Clients of the yProv services: documents go up, persistent identifiers come back.

Two services exist. The yProv service keeps each document as a graph under a name that the client
chooses, below ``/api/v0``; a second upload under a name is merged into the first. yProvStore keeps
documents as files, chooses the identifier (a handle) and links each version to the one before.
"""

from __future__ import annotations

import dataclasses
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from yprov_mlflow.prov.errors import ServiceError, UsageError
from yprov_mlflow.prov.redaction import WITHHELD, redact

TOKEN, TOKEN_FILE = "YPROV_TOKEN", "YPROV_TOKEN_FILE"
USER, PASSWORD = "YPROV_USER", "YPROV_PASSWORD"

_TIMEOUT_S = 30.0
_RETRIES = 4
_BACKOFF_S = 0.5  # doubled with each retry
_AWAY = (429, 502, 503, 504)
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_MESSAGE_LENGTH = 300

_CURES = {
    400: "Check the document with yprov-mlflow validate",
    403: "Ask its owner for access, or choose another name with --id",
    404: "Check the address, and the identifiers of other documents",
    405: "Check the address: the path belongs to another service",
    409: "Choose another name with --id, or use --replace",
    413: "Push the profile, which is a summary (--profile yprov4ml), or raise the service's limit",
    422: "Check the document with yprov-mlflow validate",
}


@dataclasses.dataclass(frozen=True)
class Target:
    """Address of a service: its kind (``yprov`` or ``yprovstore``) and the base of its routes."""

    kind: str
    base: str


@dataclasses.dataclass(frozen=True)
class Receipt:
    """The result of an upload: identifier, address and version of the document."""

    pid: str
    url: str
    version: int | None = None


@dataclasses.dataclass(frozen=True, repr=False)
class Credentials:
    """A token (or an API key), or user and password to get one; ``repr`` does not show them."""

    token: str | None = None
    user: str | None = None
    password: str | None = None

    @classmethod
    def from_environment(cls) -> Credentials:
        """Return the credentials of the environment.

        Raises:
            UsageError: No credentials are set, or the file with the token cannot be read.
        """
        token = os.environ.get(TOKEN) or None
        if token is None and (file := os.environ.get(TOKEN_FILE)):
            try:
                token = Path(file).expanduser().read_text("utf-8").strip() or None
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError("the file with the token cannot be read", file) from error
        user, password = os.environ.get(USER), os.environ.get(PASSWORD)
        if token is None and not (user and password):
            raise UsageError(
                "the service requires authentication",
                None,
                f"Set {TOKEN}, or {TOKEN_FILE} to a file with the token, or {USER} and {PASSWORD}",
            )
        return cls(token, user, password)


def parse_target(text: str) -> Target:
    """Return the target of an address.

    ``yprov://host[:port]`` and ``yprovstore://host[:port]`` use HTTPS, except on this machine. An
    address with ``http`` or ``https`` is of the yProv service if its path has ``/api/``, else of
    yProvStore.

    Raises:
        UsageError: The address is not valid, or has a password in it.
    """
    parts = urllib.parse.urlsplit(text)
    if parts.scheme not in ("yprov", "yprovstore", "http", "https") or not parts.hostname:
        cure = "Use yprov://host[:port], yprovstore://host[:port], or an address with http"
        raise UsageError("this is not the address of a yProv service", redact(text), cure)
    if parts.username or parts.password:
        cure = f"Remove it and set {USER} and {PASSWORD}"
        raise UsageError("the address contains a user or password", redact(text), cure)
    path = parts.path.rstrip("/")
    if parts.scheme.startswith("http"):
        kind = "yprov" if "/api/" in f"{path}/" else "yprovstore"
        return Target(kind, f"{parts.scheme}://{parts.netloc}{path}")
    scheme = "http" if parts.hostname in _LOOPBACK else "https"
    if parts.scheme == "yprov" and not path:
        path = "/api/v0"
    return Target(parts.scheme, f"{scheme}://{parts.netloc}{path}")


class Service:
    """A connection to a service; logs in with the first request, and again if a token expires.

    Args:
        target: Its address.
        credentials: Token, or user and password.
        timeout_s: Seconds to wait for a connection, and for each part of an answer.
        retries: Number of retries if the service is away or busy.
        backoff_s: Wait before the second retry; doubled with each further one.
    """

    def __init__(
        self,
        target: Target,
        credentials: Credentials,
        *,
        timeout_s: float = _TIMEOUT_S,
        retries: int = _RETRIES,
        backoff_s: float = _BACKOFF_S,
    ) -> None:
        self.target = target
        self._credentials = credentials
        self._token = credentials.token
        self._timeout_s = timeout_s
        # No retry after a lost answer: the service may have created a version already.
        retry = Retry(
            total=retries,
            read=False,
            status_forcelist=_AWAY,
            allowed_methods=None,
            backoff_factor=backoff_s,
            raise_on_status=False,
        )
        self._http = requests.Session()
        # A ~/.netrc would replace our header otherwise.
        self._http.auth = lambda request: request
        for scheme in ("http://", "https://"):
            self._http.mount(scheme, HTTPAdapter(max_retries=retry))

    # -- documents ---------------------------------------------------------------------------

    def upload(
        self, document: bytes, name: str, *, parent: str | None = None, replace: bool = False
    ) -> Receipt:
        """Upload a document in PROV-JSON.

        Args:
            document: The document.
            name: Its name at the yProv service; a name of its file for yProvStore.
            parent: Identifier of the version before, at yProvStore.
            replace: Whether to delete a document that has the name, at the yProv service.

        Raises:
            ServiceError: The service is away, rejects the document, or has another one of this
                name.
        """
        if self.target.kind == "yprovstore":
            return self._create(document, name, parent)
        path = f"/documents/{urllib.parse.quote(name, safe='')}"
        if name in self._json(self._request("GET", "/documents")).get("result", ()):
            if not replace:
                raise ServiceError(
                    "the service has a document of this name, into which it would merge this one",
                    f"{self.target.base}{path}",
                    "Use --replace to delete it first, or choose another name with --id",
                )
            self._request("DELETE", path)
        headers = {"Content-Type": "application/json"}
        self._request("PUT", path, data=document, headers=headers)
        return Receipt(f"{self.target.base}{path}", f"{self.target.base}{path}")

    def _create(self, document: bytes, name: str, parent: str | None) -> Receipt:
        response = self._request(
            "POST",
            "/documents",
            params={"parent_document_pid": parent} if parent else None,
            files={"document_file": (f"{name}.json", document, "application/json")},
        )
        record = self._json(response)
        pid, version = record.get("pid"), record.get("version")
        if not isinstance(pid, str) or not pid:
            raise ServiceError("the answer has no identifier", self.target.base, _CURES[405])
        url = f"{self.target.base}/documents/{pid}"
        return Receipt(pid, url, version if isinstance(version, int) else None)

    def relate(self, pid: str, others: Sequence[str]) -> None:
        """Add identifiers of related documents to one at yProvStore.

        Raises:
            ServiceError: An identifier does not exist, or the service lacks this route.
        """
        path = f"/documents/{urllib.parse.quote(pid, safe='/')}/related"
        self._request("PATCH", path, json={"related_pids": list(others)})

    def describe(self, pid: str, fields: Mapping[str, Any]) -> None:
        """Set what others find a document at yProvStore by; other fields stay.

        Args:
            pid: Identifier of the document.
            fields: ``title``, ``description`` and ``author`` as text, ``keywords`` as a list.

        Raises:
            ServiceError: The service rejects the fields, or lacks this route.
        """
        path = f"/documents/{urllib.parse.quote(pid, safe='/')}/metadata"
        self._request("PATCH", path, json=dict(fields))

    def register(self) -> None:
        """Register the user; one who is registered already stays.

        Raises:
            UsageError: User or password is missing.
            ServiceError: The service rejects the registration.
        """
        route = "/auth/signup" if self.target.kind == "yprovstore" else "/auth/register"
        response = self._send("POST", route, json=self._login_fields())
        # The yProv service has no status of its own for a name that is in use.
        exists = response.status_code in (400, 409) and self._log_in().status_code == 200
        if not response.ok and not exists:
            raise self._rejected(response)

    # -- requests ----------------------------------------------------------------------------

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send an authenticated request; a rejected token is renewed once if that is possible."""
        if self._token is None:
            self._renew_token()
        response = self._send(method, path, **options)
        if response.status_code == 401 and self._credentials.password:
            self._renew_token()
            response = self._send(method, path, **options)
        if not response.ok or response.is_redirect:
            raise self._rejected(response)
        return response

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = dict(options.pop("headers", {}))
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        url = f"{self.target.base}{path}"
        try:
            return self._http.request(
                method,
                url,
                headers=headers,
                timeout=self._timeout_s,
                # A redirect would repeat an upload as a GET.
                allow_redirects=False,
                **options,
            )
        except requests.Timeout as error:
            cure = "Try again later. At yProvStore, look first whether the document has arrived"
            raise ServiceError("the service does not answer in time", url, cure) from error
        except requests.RequestException as error:
            cure = "Check the address and the network, then try again"
            what = f"the service cannot be reached: {type(error).__name__}"
            raise ServiceError(what, url, cure) from error

    def _login_fields(self) -> dict[str, str]:
        user, password = self._credentials.user, self._credentials.password
        if not user or not password:
            raise UsageError("a login needs user and password", None, f"Set {USER} and {PASSWORD}")
        key = "email" if self.target.kind == "yprovstore" else "user"
        return {key: user, "password": password}

    def _log_in(self) -> requests.Response:
        return self._send("POST", "/auth/login", json=self._login_fields())

    def _renew_token(self) -> None:
        self._token = None
        response = self._log_in()
        if not response.ok:
            raise self._rejected(response)
        key = "access_token" if self.target.kind == "yprovstore" else "result"
        token = self._json(response).get(key)
        if not isinstance(token, str):
            raise ServiceError(
                "the answer to the login has no token", self.target.base, _CURES[405]
            )
        self._token = token

    def _json(self, response: requests.Response) -> Mapping[str, Any]:
        try:
            value = response.json()
        except ValueError as error:
            what = "the answer is not JSON, so this is another service"
            raise ServiceError(what, response.url, _CURES[405]) from error
        return value if isinstance(value, Mapping) else {}

    def _rejected(self, response: requests.Response) -> ServiceError:
        status, message = response.status_code, self._message(response)
        if status == 401:
            what = "the service rejects the token or password, or the token has expired"
            cure = f"Set {USER} and {PASSWORD} to log in, or {TOKEN} to a new token"
        elif status in _AWAY:
            what, cure = "the service is busy or away", "Try again later"
        elif response.is_redirect:
            what = "the service has moved"
            cure = f"Use the address {redact(response.headers['Location'])}"
        else:
            what = "the service rejects the request"
            cure = _CURES.get(status, "Ask those who run the service")
        detail = f"{what} (HTTP {status}{': ' if message else ''}{message})"
        return ServiceError(detail, response.url.partition("?")[0], cure)

    def _message(self, response: requests.Response) -> str:
        """Return the message of an answer, without our own secrets."""
        try:
            body = response.json()
        except ValueError:
            body = None
        fields = body if isinstance(body, Mapping) else {}
        keys = ("error", "description", "detail", "message")
        text = next((str(fields[key]) for key in keys if fields.get(key)), "")
        for secret in (self._token, self._credentials.token, self._credentials.password):
            text = text.replace(secret, WITHHELD) if secret else text
        return redact(" ".join(text.split())[:_MESSAGE_LENGTH])
