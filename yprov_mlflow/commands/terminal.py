"""What every command does at the terminal: text that is safe to print, errors of stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from yprov_mlflow.errors import RunNotFoundError, StoreError, YprovMlflowError
from yprov_mlflow.identity import redact


def printable(text: str) -> str:
    """Replace what would steer the terminal: names of runs and keys are anybody's text."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


@contextmanager
def when_store_fails(uri: str | None, run_id: str | None = None) -> Iterator[None]:
    """Turn what MLflow, a database or the network raises into an error that says the cure.

    Raises:
        RunNotFoundError: The store does not know ``run_id``.
        StoreError: Anything else.
    """
    try:
        yield
    except YprovMlflowError:
        raise
    except Exception as error:  # each backend has its own; the user needs one
        where = redact(uri) if uri else "the tracking store"
        if run_id is not None and getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
            raise RunNotFoundError.of(printable(run_id), where) from error
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise StoreError.failed(where, printable(reason)) from error
