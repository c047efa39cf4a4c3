"""Settings and fixtures of all tests."""

from collections.abc import Callable
from pathlib import Path

import corpus
import pytest
from hypothesis import settings

# Machines are shared: how long one example takes says nothing.
settings.register_profile("unhurried", parent=settings(), deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an SQLite database as MLflow makes it; making one takes a second, copying none."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    folder = tmp_path_factory.mktemp("template")
    store = SqlAlchemyStore(f"sqlite:///{folder / 'mlflow.db'}", str(folder / "mlruns"))
    store.engine.dispose()
    return folder / "mlflow.db"


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Callable[[corpus.Row], Path]:
    """Give where a real old store lies; only who reads it as we do may read it there."""
    folder = tmp_path_factory.mktemp("corpus")
    return lambda row: corpus.unpack(row.archive, folder) / row.path
