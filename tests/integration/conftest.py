"""Workplaces, stores and servers: everything real, everything in folders of the test's own."""

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

from integration import servers
from integration.documents import RunDocument
from integration.mariadb import mariadb

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "COVERAGE_PROCESS_START", "VIRTUAL_ENV")


def environment(journal: Path) -> dict[str, str]:
    """Give the environment of a user's process: nothing of MLflow's or ours is left over."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {
        **kept,
        "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{kept.get('PATH', '')}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_ENABLE_PROGRESS_BAR": "false",
        "GIT_PYTHON_REFRESH": "quiet",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "YPROV_MLFLOW_DIR": str(journal),
    }


class Outcome(NamedTuple):
    """What a script printed and how it ended; ``made`` is its last line, read as JSON."""

    code: int
    out: str
    err: str
    made: Any


class Workplace:
    """A folder, a journal and an environment in which to run users' scripts."""

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
    ) -> Outcome:
        """Run a script, given as text or as a file, in a new interpreter."""
        if isinstance(source, str):
            script = self.folder / "train.py"
            script.write_text(textwrap.dedent(source), "utf-8")
        else:
            script = source
        return self.call(sys.executable, str(script), *args, uri=uri, check=check, **env)

    def call(
        self, *command: str, uri: str | None = None, check: bool = True, **env: str
    ) -> Outcome:
        """Run any command in this workplace."""
        chosen = {"MLFLOW_TRACKING_URI": uri} if uri is not None else {}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **chosen, **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        if check and done.returncode != 0:
            pytest.fail(
                f"{' '.join(command)} ended with {done.returncode}:\n"
                f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
            )
        return Outcome(done.returncode, done.stdout, done.stderr, _last_json(done.stdout))

    def yprov(self, *words: str, uri: str | None = None, check: bool = True) -> Outcome:
        """Run our own command."""
        return self.call("yprov-mlflow", *words, uri=uri, check=check)

    def document(self, run_id: str, uri: str | None = None) -> RunDocument:
        """Fetch a run's document as any user of plain MLflow would."""
        return RunDocument.fetch(run_id, uri or self.sqlite)

    def journals(self) -> list[Path]:
        """Give all files in the folder of the journals."""
        return sorted(path for path in self.journal.rglob("*") if path.is_file())


def _last_json(out: str) -> Any:
    lines = out.strip().splitlines()
    with contextlib.suppress(ValueError, IndexError):
        return json.loads(lines[-1])
    return None


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this process, which only looks at stores, out of the user's folders."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "YPROV_MLFLOW_")) and name != servers.REQUIRE:
            monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_ENABLE_PROGRESS_BAR", "false")
    monkeypatch.setenv("YPROV_MLFLOW_DIR", str(tmp_path / "state"))


@pytest.fixture
def workplace(tmp_path: Path, empty_database: Path) -> Workplace:
    return Workplace(tmp_path, empty_database)


@pytest.fixture(scope="module")
def shared_workplace(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Workplace:
    """A workplace for tests that all look at what one script did."""
    return Workplace(tmp_path_factory.mktemp("shared"), empty_database)


class Server(NamedTuple):
    """A running tracking server, its log, and the journal that it would write to."""

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
    """MLflow's server as it is; only clients can capture."""
    with _server(tmp_path_factory, empty_database, "sqlite") as server:
        yield server


@pytest.fixture(scope="session")
def capturing_server(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> Iterator[Server]:
    """A server that captures because its backend's URI says so."""
    with _server(tmp_path_factory, empty_database, "yprov+sqlite") as server:
        yield server


@pytest.fixture(scope="module")
def app_server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Server]:
    """A server that captures because it is our app."""
    with _server(tmp_path_factory, empty_database, "sqlite", "--app-name", "yprov") as server:
        yield server


@pytest.fixture(scope="session")
def postgres_address() -> Iterator[str]:
    """``user:password@host:port`` of a PostgreSQL with a database ``postgres``."""
    # Not under pytest's folder: that is closed to all users but the one who runs the tests.
    with tempfile.TemporaryDirectory(prefix="yprov-postgres-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with servers.postgres(folder) as address:
            yield address


@pytest.fixture(scope="session")
def mariadb_address() -> Iterator[str]:
    """``user:password@host:port`` of a MariaDB."""
    with tempfile.TemporaryDirectory(prefix="yprov-mariadb-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with mariadb(folder) as address:
            yield address


@pytest.fixture(scope="session")
def interpreter_without_package(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words that start Python with all packages but ours: as after ``pip uninstall``."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("purelib", "platlib"):
        for path in Path(sysconfig.get_path(name)).iterdir():
            ours = "yprov_mlflow" in path.name.replace("-", "_")
            if not ours and path.suffix != ".pth" and not (folder / path.name).exists():
                (folder / path.name).symlink_to(path)
    return ["env", f"PYTHONPATH={folder}", sys.executable, "-S"]
