"""Runs MariaDB for tests, on a free port and in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import servers

PASSWORD = "se-cret"


@contextlib.contextmanager
def mariadb(folder: Path) -> Iterator[str]:
    """Run MariaDB in ``folder`` and yield its ``user:password@host:port``."""
    programs = [shutil.which(name) for name in ("mariadb-install-db", "mariadbd")]
    if None in programs:
        servers.skip_or_fail("MariaDB is not installed (no mariadbd found)")
    install, daemon = (str(program) for program in programs)
    as_user = servers.unprivileged()
    if as_user:
        os.chown(folder, int(as_user[1].partition("=")[2]), -1)
    data, socket, port = folder / "data", folder / "socket", servers.free_port()
    options = ["--no-defaults", f"--datadir={data}"]
    install_options = ["--skip-test-db", "--auth-root-authentication-method=normal"]
    subprocess.run(
        [*as_user, install, *options, *install_options],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=servers.BOOT_S,
    )
    options += [f"--socket={socket}", f"--port={port}", "--bind-address=127.0.0.1"]
    # Test data need not survive a power failure.
    options += ["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*as_user, daemon, *options],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _create_user(socket, process)
        yield f"mlflow:{PASSWORD}@127.0.0.1:{port}"
    finally:
        servers.stop(process)


def _create_user(socket: Path, process: subprocess.Popen[bytes]) -> None:
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
