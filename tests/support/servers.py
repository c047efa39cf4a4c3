"""Runs PostgreSQL and MLflow's server for tests, on free ports and in temporary folders."""

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


def skip_or_fail(reason: str) -> None:
    """Skip the test, or fail it if the environment requires all servers."""
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{reason}, and {REQUIRE}=1 requires it")
    pytest.skip(reason)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def mlflow_server(
    folder: Path, environment: Mapping[str, str], *options: str
) -> Iterator[tuple[str, Path]]:
    """Run ``mlflow server`` with one worker, and yield its URI and its log file."""
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
        wait_for(f"{address}/health", process, log)
        yield address, log
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes], timeout_s: float = 10.0) -> None:
    """Terminate a server and its workers, and kill them after a timeout."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
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
    """Return the folder with the programs of the newest installed PostgreSQL."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    if programs:
        return programs[-1].parent
    if (initdb := shutil.which("initdb")) is not None:
        return Path(initdb).parent
    skip_or_fail("PostgreSQL is not installed (no initdb found)")
    raise AssertionError("unreachable")


def _version(initdb: Path) -> float:
    name = initdb.parent.parent.name
    return float(name) if name.replace(".", "").isdigit() else 0.0


def unprivileged() -> list[str]:
    """Return a command prefix that runs a program as another user if this process is root."""
    # PostgreSQL refuses to run as root.
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        skip_or_fail("PostgreSQL refuses to run as root and there is no setpriv")
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return [
                str(setpriv),
                f"--reuid={user.pw_uid}",
                f"--regid={user.pw_gid}",
                "--clear-groups",
            ]
    skip_or_fail("PostgreSQL refuses to run as root and there is no user postgres or nobody")
    raise AssertionError("unreachable")


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run PostgreSQL in ``folder`` and yield its ``user:password@host:port``.

    An unprivileged user must be able to enter the folder.
    """
    programs = postgres_programs()
    as_user = unprivileged()
    if as_user:
        owner = int(as_user[1].partition("=")[2])
        os.chown(folder, owner, -1)
    port = free_port()
    (folder / "password").write_text("se-cret", "utf-8")
    (folder / "password").chmod(0o644)

    def call(program: str, *options: str) -> None:
        done = subprocess.run(
            [*as_user, str(programs / program), *options],
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
    # -F: test data need not survive a power failure.
    options = f"-p {port} -F -c listen_addresses=127.0.0.1 -c unix_socket_directories="
    log = str(folder / "log")
    # No pipe for its output: the server would inherit it, and run() would wait for the server.
    subprocess.run(
        [*as_user, str(programs / "pg_ctl"), "-D", data, "-w", "-l", log, "-o", options, "start"],
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
