"""Settings and fixtures of all tests."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from support.readers import corpus

# Machines are shared, so the duration of a single example means nothing.
settings.register_profile("no-deadline", parent=settings(), deadline=None)
settings.load_profile("no-deadline")

# Tests look for the file of the document right after the end of a run.
os.environ.setdefault("YPROV_MLFLOW_END_WAIT", "10")
# Most tests end many short runs: the report of each would cost more than all else that they do.
os.environ.setdefault("YPROV_MLFLOW_SINKS", "none")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an SQLite database with MLflow's tables, to be copied."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # Creating the tables takes a second; a copy of the file takes none.
    folder = tmp_path_factory.mktemp("template")
    store = SqlAlchemyStore(f"sqlite:///{folder / 'mlflow.db'}", str(folder / "mlruns"))
    store.engine.dispose()
    return folder / "mlflow.db"


@pytest.fixture(scope="session")
def unpack_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[corpus.Row], Path]:
    """Return a function that unpacks a store of the corpus and returns its path.

    All tests share the files: do not open them with MLflow, which changes them.
    """
    folder = tmp_path_factory.mktemp("corpus")
    return lambda row: corpus.unpack(row.archive, folder) / row.path
