"""A real MariaDB for tests, on a free port, gone after the test."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration import servers

PASSWORD = "se-cret"


@contextlib.contextmanager
def mariadb(folder: Path) -> Iterator[str]:
    """Run MariaDB in ``folder``; give its address.

    The address is ``user:password@host:port``, to be followed by a database's name.
    """
    programs = [shutil.which(name) for name in ("mariadb-install-db", "mariadbd")]
    if None in programs:
        servers.missing("MariaDB is not installed (no mariadbd found)")
    install, daemon = (str(program) for program in programs)
    become = servers._unprivileged()
    if become:
        os.chown(folder, int(become[1].partition("=")[2]), -1)
    data, socket, port = folder / "data", folder / "socket", servers.free_port()
    options = ["--no-defaults", f"--datadir={data}"]
    once = ["--skip-test-db", "--auth-root-authentication-method=normal"]
    subprocess.run(
        [*become, install, *options, *once],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=servers.BOOT_S,
    )
    options += [f"--socket={socket}", f"--port={port}", "--bind-address=127.0.0.1"]
    # A test's database need not survive a power cut.
    options += ["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*become, daemon, *options],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _make_user(socket, process)
        yield f"mlflow:{PASSWORD}@127.0.0.1:{port}"
    finally:
        servers.stop(process)


def _make_user(socket: Path, process: subprocess.Popen[bytes]) -> None:
    import pymysql

    end = time.monotonic() + servers.BOOT_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(pymysql.err.OperationalError):
            with pymysql.connect(unix_socket=str(socket), user="root") as connection:
                cursor = connection.cursor()
                cursor.execute(f"CREATE USER mlflow@'%' IDENTIFIED BY '{PASSWORD}'")
                cursor.execute("GRANT ALL ON *.* TO mlflow@'%'")
            return
        time.sleep(0.1)
    pytest.fail("MariaDB did not start")
