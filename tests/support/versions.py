"""Marks of tests that need what only newer versions of MLflow have."""

from __future__ import annotations

import mlflow
import pytest
from packaging.version import Version


def since(version: str, what: str) -> pytest.MarkDecorator:
    """Return a mark that skips a test that needs ``what`` with MLflow before a version."""
    older = Version(mlflow.__version__) < Version(version)
    return pytest.mark.skipif(older, reason=f"needs {what}, as of MLflow {version}")
