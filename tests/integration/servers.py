"""Real servers for tests: PostgreSQL and MLflow's own, on free ports, gone after the test."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

REQUIRE = "YPROV_MLFLOW_REQUIRE_SERVERS"
BOOT_S = 60.0


def missing(what: str) -> None:
    """Skip the test, or fail it where the environment promises that all servers are there."""
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{what}, and {REQUIRE}=1 demands it")
    pytest.skip(what)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def mlflow_server(
    folder: Path, environment: Mapping[str, str], *options: str
) -> Iterator[tuple[str, Path]]:
    """Run ``mlflow server`` with one worker; give its address and its log."""
    port = free_port()
    log = folder / "server.log"
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--artifacts-destination", str(folder / "artifacts")),
        *options,
    ]
    settings = {**environment, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=settings,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(f"{address}/health", process, log)
        yield address, log
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes], patience_s: float = 10.0) -> None:
    """Ask a server and its workers to end, then make them."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(patience_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + BOOT_S
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(url, timeout=2).close()
            return
        time.sleep(0.1)
    pytest.fail(f"the server at {url} did not start:\n{log.read_text('utf-8', 'replace')[-4000:]}")


def postgres_programs() -> Path:
    """Give the folder of PostgreSQL's programs, of the newest version that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    if found:
        return found[-1].parent
    if (initdb := shutil.which("initdb")) is not None:
        return Path(initdb).parent
    missing("PostgreSQL is not installed (no initdb found)")
    raise AssertionError("unreachable")


def _version(initdb: Path) -> float:
    name = initdb.parent.parent.name
    return float(name) if name.replace(".", "").isdigit() else 0.0


def _unprivileged() -> list[str]:
    """Give the words that start a program as somebody else: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        missing("PostgreSQL refuses to run as root and there is no setpriv")
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return [
                str(setpriv),
                f"--reuid={user.pw_uid}",
                f"--regid={user.pw_gid}",
                "--clear-groups",
            ]
    missing("PostgreSQL refuses to run as root and there is no user postgres or nobody")
    raise AssertionError("unreachable")


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run PostgreSQL in ``folder``, which its user must be able to reach; give its address.

    The address is ``user:password@host:port``, to be followed by a database's name.
    """
    programs = postgres_programs()
    become = _unprivileged()
    if become:
        owner = int(become[1].partition("=")[2])
        os.chown(folder, owner, -1)
    port = free_port()
    (folder / "password").write_text("se-cret", "utf-8")
    (folder / "password").chmod(0o644)

    def call(program: str, *options: str) -> None:
        done = subprocess.run(
            [*become, str(programs / program), *options],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=BOOT_S,
        )
        if done.returncode != 0:
            pytest.fail(f"{program} failed:\n{done.stdout}\n{done.stderr}")

    data = str(folder / "data")
    call(
        "initdb",
        *("-D", data, "-U", "mlflow", "-A", "scram-sha-256", "-E", "UTF8", "--no-locale"),
        *("--no-sync", "--pwfile", str(folder / "password")),
    )
    # -F: a test's database need not survive a power cut.
    options = f"-p {port} -F -c listen_addresses=127.0.0.1 -c unix_socket_directories="
    log = str(folder / "log")
    # Its output must not be a pipe of ours: the server would hold it open.
    subprocess.run(
        [*become, str(programs / "pg_ctl"), "-D", data, "-w", "-l", log, "-o", options, "start"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
        timeout=BOOT_S,
    )
    try:
        yield f"mlflow:se-cret@127.0.0.1:{port}"
    finally:
        call("pg_ctl", "-D", data, "-m", "immediate", "stop")
