"""A proxy in front of a tracking server that fails in the ways in which networks and servers do."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = ("drop", "reset", "delay", "duplicate", "500", "503")
"""Faults: a request that is lost, an answer that is lost, a slow request, and so on."""

DELAY_S = 0.3
_SKIPPED = {"transfer-encoding", "connection", "content-length", "host"}


class FaultyProxy:
    """Forwards requests to ``target``, a port of this machine, with faults.

    Args:
        target: The port.
        seed: Start of the random faults.
        share: Share of the requests that get a fault.
        faults: The kinds of faults; a server on files keeps both points of a duplicate.
    """

    def __init__(
        self,
        target: int,
        seed: int = 0,
        share: float = 0.0,
        faults: Sequence[str] = FAULTS,
    ) -> None:
        self.target = target
        self.faults = faults
        self.share = share
        self.is_away = False  # every connection is closed
        self.counts: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def fault(self) -> str:
        """Return the fault of the next request; empty for none."""
        with self._lock:
            fault = self._random.choice(self.faults) if self._random.random() < self.share else ""
            fault = "drop" if self.is_away else fault
            self.counts[fault] += 1
            return fault

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Run the proxy, and yield its URI."""
        handler = type("Handler", (_Handler,), {"proxy": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultyProxy
    protocol_version = "HTTP/1.1"

    def handle_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.proxy.fault()
        if fault == "drop":
            self._close()
        elif fault in ("500", "503"):
            self._answer(int(fault), b"<html>out of order</html>", "text/html")
        else:
            if fault == "delay":
                time.sleep(DELAY_S)
            if fault == "duplicate":
                self._forward(body)
            answer = self._forward(body)
            if fault == "reset" or answer is None:
                self._close()
            else:
                self._answer(*answer)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_request

    def _forward(self, body: bytes) -> tuple[int, bytes, str] | None:
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _SKIPPED}
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.target, timeout=30)
        try:
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            kind = response.headers.get("Content-Type", "")
            return response.status, response.read(), kind
        except OSError:
            return None
        except http.client.HTTPException:
            return None
        finally:
            connection.close()

    def _answer(self, status: int, content: bytes, kind: str) -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def _close(self) -> None:
        """Reset the connection."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, *_: Any) -> None:
        """Write no log."""
