"""The prefix that turns capture on for a tracking URI: ``yprov+sqlite:///mlflow.db``.

MLflow imports this module at every start, so it imports nothing itself.
"""

SCHEME = "yprov"
"""Scheme under which MLflow knows this package as a plugin; it names no store by itself."""

PREFIX = f"{SCHEME}+"


def has_prefix(uri: object) -> bool:
    """Return whether ``uri`` is a tracking URI that asks for capture."""
    return isinstance(uri, str) and uri.startswith(PREFIX)


def strip_prefix(uri: str) -> str:
    """Return the URI of the store itself, which MLflow opens."""
    return uri.removeprefix(PREFIX)


def with_prefix(uri: str) -> str:
    """Return the URI that asks for capture of the store at ``uri``."""
    return uri if has_prefix(uri) else f"{PREFIX}{uri}"
