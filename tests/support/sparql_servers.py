"""Runs SPARQL servers for tests, on free ports and in temporary folders."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from support.servers import free_port, skip_or_fail, stop, wait_for

_VIRTUOSO_SETTINGS = """
[Database]
DatabaseFile = data.db
ErrorLogFile = error.log
LockFile = data.lck
TransactionFile = data.trx
xa_persistent_file = data.pxa
[TempDatabase]
DatabaseFile = temporary.db
TransactionFile = temporary.trx
[Parameters]
ServerPort = {port}
NumberOfBuffers = 4000
MaxDirtyBuffers = 3000
[HTTPServer]
ServerPort = {http_port}
ServerThreads = 3
"""


def oxigraph(folder: Path) -> contextlib.AbstractContextManager[str]:
    """Run Oxigraph's server and yield its URL."""
    program = shutil.which("oxigraph") or shutil.which("oxigraph", path=Path(sys.executable).parent)
    if program is None:
        skip_or_fail("Oxigraph's server is not installed (pip install oxigraph)")
    port = free_port()
    command = [str(program), "serve", "-l", str(folder / "data"), "-b", f"127.0.0.1:{port}"]
    return _running(command, folder, f"http://127.0.0.1:{port}", "/")


def virtuoso(folder: Path) -> contextlib.AbstractContextManager[str]:
    """Run Virtuoso and yield its URL, with the user that a new server has."""
    program = shutil.which("virtuoso-t")
    if program is None:
        skip_or_fail("Virtuoso is not installed (no virtuoso-t found)")
    http_port = free_port()
    settings = _VIRTUOSO_SETTINGS.format(port=free_port(), http_port=http_port)
    (folder / "virtuoso.ini").write_text(settings, "utf-8")
    command = [str(program), "-f", "-c", "virtuoso.ini"]
    return _running(command, folder, f"http://dba:dba@127.0.0.1:{http_port}", "/sparql")


@contextlib.contextmanager
def _running(command: Sequence[str], folder: Path, url: str, path: str) -> Iterator[str]:
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=folder, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        wait_for(url.replace("dba:dba@", "") + path, process, log)
        yield url
    finally:
        stop(process)


@contextlib.contextmanager
def answering(*answers: tuple[int, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Run a server that gives these answers in turn, the last for ever.

    Yields:
        Its URL, and the list of the requests with their ``Authorization``.
    """
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, body = answers[min(len(requests), len(answers) - 1)]
            requests.append(f"{self.path} {self.headers.get('Authorization')}")
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_POST

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
