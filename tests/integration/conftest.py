"""Fixtures that run real scripts, stores and servers in temporary folders."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support import servers, warm_python
from support.mariadb import mariadb
from support.readers.documents import RunDocument

SYNC_TOKEN = "a-secret"

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "COVERAGE_PROCESS_START", "VIRTUAL_ENV")


def environment(journal: Path) -> dict[str, str]:
    """Return the environment of a user's process, without inherited settings of MLflow or ours."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {
        **inherited,
        "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{inherited.get('PATH', '')}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_ENABLE_PROGRESS_BAR": "false",
        "GIT_PYTHON_REFRESH": "quiet",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "YPROV_MLFLOW_DIR": str(journal),
        # Tests look for the file of the document right after the end of a run.
        "YPROV_MLFLOW_END_WAIT": "10",
        "YPROV_MLFLOW_SINKS": "none",  # a report for each of many short runs would cost most
    }


class CommandResult(NamedTuple):
    """Exit code and output of a command; ``json`` is its last line of output, if that is JSON."""

    code: int
    out: str
    err: str
    json: Any


class Sandbox:
    """A folder with a database, a journal and an environment in which tests run user scripts."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.folder = folder
        self.journal = folder / "state"
        self.database = folder / "mlflow.db"
        self.environment = environment(self.journal)
        shutil.copy(template, self.database)
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            connection.execute(
                "UPDATE experiments SET artifact_location = ?, creation_time = creation_time + ?",
                (str(folder / "mlruns" / "0"), hash(str(folder)) % 1_000_000),
            )
            connection.commit()

    @property
    def sqlite(self) -> str:
        return f"sqlite:///{self.database}"

    @property
    def files(self) -> str:
        return f"file://{self.folder / 'mlruns'}"

    def run(
        self, source: str | Path, uri: str | None = None, *args: str, check: bool = True, **env: str
    ) -> CommandResult:
        """Run a script (source text or path) in a new interpreter, with ``uri`` for tracking."""
        script = str(self._script(source))
        return self.call(sys.executable, script, *args, uri=uri, check=check, **env)

    def train(
        self, source: str | Path, uri: str | None = None, *args: str, check: bool = True, **env: str
    ) -> CommandResult:
        """Run a script as ``run`` does, in a new process that has MLflow imported already.

        It takes a fifth of the time of ``run``, which is for tests of imports.
        """
        variables = self._variables(uri, env)
        done = warm_python.run(self._script(source), *args, cwd=self.folder, env=variables)
        return _result(done, check=check)

    def call(
        self, *command: str, uri: str | None = None, check: bool = True, **env: str
    ) -> CommandResult:
        """Run a command; unless ``check`` is false, fail the test if the command fails."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._variables(uri, env),
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        return _result(done, check=check)

    def _script(self, source: str | Path) -> Path:
        if isinstance(source, Path):
            return source
        script = self.folder / "train.py"
        script.write_text(textwrap.dedent(source), "utf-8")
        return script

    def _variables(self, uri: str | None, env: Mapping[str, str]) -> dict[str, str]:
        tracking = {"MLFLOW_TRACKING_URI": uri} if uri is not None else {}
        return {**self.environment, **tracking, **env}

    def yprov(self, *words: str, uri: str | None = None, check: bool = True) -> CommandResult:
        """Run ``yprov-mlflow`` in a process that has MLflow imported already."""
        command = Path(sysconfig.get_path("scripts"), "yprov-mlflow")
        variables = self._variables(uri, {})
        done = warm_python.run(command, *words, cwd=self.folder, env=variables)
        return _result(done, check=check)

    def document(self, run_id: str, uri: str | None = None) -> RunDocument:
        """Download a run's document with plain MLflow."""
        return RunDocument.fetch(run_id, uri or self.sqlite)

    def journals(self) -> list[Path]:
        """Return all files in the journal folder."""
        return sorted(path for path in self.journal.rglob("*") if path.is_file())


def _result(done: subprocess.CompletedProcess[str], *, check: bool) -> CommandResult:
    if check and done.returncode != 0:
        pytest.fail(
            f"{' '.join(done.args)} ended with {done.returncode}:\n"
            f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
        )
    return CommandResult(done.returncode, done.stdout, done.stderr, _last_json(done.stdout))


def _last_json(out: str) -> Any:
    lines = out.strip().splitlines()
    with contextlib.suppress(ValueError, IndexError):
        return json.loads(lines[-1])
    return None


@pytest.fixture(autouse=True)
def isolated_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the test process away from the user's folders and settings."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "YPROV_MLFLOW_")) and name != servers.REQUIRE:
            monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_ENABLE_PROGRESS_BAR", "false")
    monkeypatch.setenv("YPROV_MLFLOW_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("YPROV_MLFLOW_END_WAIT", "10")
    monkeypatch.setenv("YPROV_MLFLOW_SINKS", "none")


@pytest.fixture
def sandbox(tmp_path: Path, empty_database: Path) -> Sandbox:
    return Sandbox(tmp_path, empty_database)


@pytest.fixture(scope="module")
def shared_sandbox(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Sandbox:
    """Return a sandbox for the tests of a module that check the results of the same script."""
    return Sandbox(tmp_path_factory.mktemp("shared"), empty_database)


class Server(NamedTuple):
    """URI of a running tracking server, its log, and its journal folder, if it captures."""

    uri: str
    log: Path
    journal: Path


StartServer = Callable[..., contextlib.AbstractContextManager[Server]]


@contextlib.contextmanager
def _server(
    factory: pytest.TempPathFactory, template: Path, scheme: str, *options: str, **env: str
) -> Iterator[Server]:
    folder = factory.mktemp("server")
    shutil.copy(template, folder / "mlflow.db")
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        connection.execute("UPDATE experiments SET artifact_location = 'mlflow-artifacts:/0'")
        connection.commit()
    journal = folder / "state"
    store = ("--backend-store-uri", f"{scheme}:///{folder / 'mlflow.db'}")
    variables: Mapping[str, str] = {**environment(journal), **env}
    with servers.mlflow_server(folder, variables, *store, *options) as (uri, log):
        yield Server(uri, log, journal)


@pytest.fixture(scope="session")
def plain_server(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> Iterator[Server]:
    """Run MLflow's server without capture."""
    with _server(tmp_path_factory, empty_database, "sqlite") as server:
        yield server


@pytest.fixture(scope="session")
def capturing_server(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> Iterator[Server]:
    """Run a server that captures because of the ``yprov+`` in its backend URI."""
    with _server(tmp_path_factory, empty_database, "yprov+sqlite") as server:
        yield server


@pytest.fixture(scope="module")
def app_server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Server]:
    """Run a server with two workers that captures because of ``--app-name yprov``."""
    options = ("--app-name", "yprov", "--workers", "2")
    with _server(tmp_path_factory, empty_database, "sqlite", *options) as server:
        yield server


@pytest.fixture(scope="session")
def syncing_server(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> Iterator[Server]:
    """Run a server that takes runs with their ids from clients with ``SYNC_TOKEN``."""
    options = ("--app-name", "yprov")
    token = {"YPROV_MLFLOW_SYNC_TOKEN": SYNC_TOKEN}
    with _server(tmp_path_factory, empty_database, "sqlite", *options, **token) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_address() -> Iterator[str]:
    """Run PostgreSQL and return its ``user:password@host:port``; its database is ``postgres``."""
    # Not below pytest's folder, which only the user who runs the tests can enter.
    with tempfile.TemporaryDirectory(prefix="yprov-postgres-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with servers.postgres(folder) as address:
            yield address


@pytest.fixture(scope="session")
def mariadb_address() -> Iterator[str]:
    """Run MariaDB and return its ``user:password@host:port``."""
    with tempfile.TemporaryDirectory(prefix="yprov-mariadb-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with mariadb(folder) as address:
            yield address


@pytest.fixture(scope="session")
def interpreter_without_package(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return a command that starts Python with all packages except ours."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("purelib", "platlib"):
        for path in Path(sysconfig.get_path(name)).iterdir():
            ours = "yprov_mlflow" in path.name.replace("-", "_")
            if not ours and path.suffix != ".pth" and not (folder / path.name).exists():
                (folder / path.name).symlink_to(path)
    return ["env", f"PYTHONPATH={folder}", sys.executable, "-S"]
