"""Fixtures for small databases."""

from functools import partial

import pytest
from support.builders.databases import make_database


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store" / "mlflow.db"


@pytest.fixture
def make(path):
    return partial(make_database, path)
