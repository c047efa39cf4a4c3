"""Stand-ins for the yProv service and yProvStore, made from the routes that they publish.

Each answers with the status codes and JSON of the original. The yProv service merges documents of
one name; yProvStore numbers the versions of a lineage.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any]


class FakeService:
    """State of a stand-in; tests set what it refuses, and read what it has."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.url = ""
        self.users: dict[str, str] = {"user@example.org": "correct horse"}
        self.tokens: set[str] = set()
        self.documents: dict[str, Any] = {}
        self.records: dict[str, dict[str, Any]] = {}
        self.related: dict[str, list[str]] = {}
        self.metadata: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str]] = []
        self.refusals: list[int] = []  # status codes of the next answers
        self.delay_s = 0.0

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        url = urllib.parse.urlsplit(path)
        self.requests.append((method, path))
        time.sleep(self.delay_s)
        if self.refusals and (status := self.refusals.pop(0)):
            token = headers.get("Authorization", "").removeprefix("Bearer ")
            return status, {"description": f"refused for a test: {token} is not welcome"}
        route = url.path.removeprefix("/api/v0") if self.kind == "yprov" else url.path
        if route.startswith("/auth/"):
            return self._authenticate(route, json.loads(body))
        if headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            key = "error" if self.kind == "yprov" else "description"
            return 401, {key: "Signature expired. Please log in again!"}
        if self.kind == "yprov":
            return self._yprov(method, urllib.parse.unquote(route), headers, body)
        return self._yprovstore(method, route, urllib.parse.parse_qs(url.query), headers, body)

    def issue(self) -> str:
        token = f"token-{len(self.tokens)}-{time.monotonic_ns()}"
        self.tokens.add(token)
        return token

    def _authenticate(self, route: str, fields: dict[str, str]) -> Answer:
        user = fields["user" if self.kind == "yprov" else "email"]
        if route in ("/auth/register", "/auth/signup"):
            if user in self.users:
                return (400 if self.kind == "yprov" else 409), {"error": "Username not available"}
            self.users[user] = fields["password"]
            return 201, {"message": "Registered!"}
        if self.users.get(user) != fields["password"]:
            return 401, {"error": "Please register!"}
        key = "result" if self.kind == "yprov" else "access_token"
        return 200, {key: self.issue()}

    def _yprov(self, method: str, route: str, headers: Any, body: bytes) -> Answer:
        name = route.removeprefix("/documents").removeprefix("/")
        if method == "GET" and not name:
            return 200, {"result": sorted(self.documents)}
        if method == "DELETE":
            self.documents.pop(name)
            return 200, {"message": "Document deleted"}
        if method != "PUT" or headers.get("Content-Type") != "application/json":
            return 400, {"error": "Content-Type not supported!"}
        if name.startswith("foreign"):
            return 403, {"error": "User does not have permission to execute this operation"}
        merged = self.documents.setdefault(name, {})
        for section, records in json.loads(body).items():
            merged.setdefault(section, {}).update(records)
        return 201, {"message": "Document uploaded"}

    def _yprovstore(
        self, method: str, route: str, query: dict[str, list[str]], headers: Any, body: bytes
    ) -> Answer:
        if method == "PATCH" and route.endswith("/metadata"):
            pid = route.removeprefix("/documents/").removesuffix("/metadata")
            if pid not in self.records:
                return 404, {"description": "The specified document PID does not exist."}
            self.metadata.setdefault(pid, {}).update(json.loads(body))
            return 200, self.metadata[pid]
        if method == "PATCH":
            pid = route.removeprefix("/documents/").removesuffix("/related")
            others = json.loads(body)["related_pids"]
            if pid not in self.records or not set(others) <= set(self.records):
                return 400, {"description": "Related PID record does not exist."}
            self.related.setdefault(pid, []).extend(others)
            return 200, {"pid": pid, "related_pids": self.related[pid]}
        if (method, route) != ("POST", "/documents"):
            return 405, {"detail": "Method Not Allowed"}
        parent = query.get("parent_document_pid", [None])[0]
        if parent is not None and parent not in self.records:
            return 404, {"description": "The specified parent document PID does not exist."}
        boundary = headers["Content-Type"].partition("boundary=")[2].encode()
        (part,) = (p for p in body.split(b"--" + boundary) if b'name="document_file"' in p)
        assert re.search(rb"Content-Type: application/json", part)
        pid = f"21.T11999/{len(self.records)}"
        self.documents[pid] = json.loads(part.partition(b"\r\n\r\n")[2])
        version = self.records[parent]["version"] + 1 if parent is not None else 1
        self.records[pid] = {
            "pid": pid,
            "version": version,
            "storage_url": f"{self.url}/documents/{pid}/download",
            "owner_email": "user@example.org",
            "parent_document_pid": parent,
        }
        return 200, self.records[pid]


@contextlib.contextmanager
def running(kind: str) -> Iterator[FakeService]:
    """Run a stand-in: ``yprov`` or ``yprovstore``."""
    service = FakeService(kind)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, content = service.answer(self.command, self.path, self.headers, body)
            data = json.dumps(content).encode()
            with contextlib.suppress(ConnectionError):  # the client has given up
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
