"""Which stores this process captures. Standard library only: MLflow loads this at every start."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from yprov_mlflow.prov.capture.mlflow_private import SERVER_STORE_VARIABLE
from yprov_mlflow.prov.uris import has_prefix, strip_prefix

VARIABLE = "YPROV_MLFLOW"
"""Variable of users that turns capture on for all stores."""

_URIS = "_YPROV_MLFLOW_URIS"
"""Variable in which child processes inherit the URIs of captured stores, one a line."""

_LOGGER = logging.getLogger("yprov_mlflow")


class Switch:
    """Which stores are captured in this process: all, or those with certain URIs."""

    def __init__(self) -> None:
        """Read the environment: our variable, that of a parent, and that of MLflow's server."""
        self.everything = _everything()
        self.uris = set(filter(None, os.environ.get(_URIS, "").split("\n")))  # without our prefix
        self.on = self.everything or bool(self.uris)
        self.wrapped: set[type] = set()  # classes of stores that are wrapped already
        self.broken = False  # capture failed to start; this process continues without it
        self.unwrap(os.environ.get(SERVER_STORE_VARIABLE))

    def capture(self, uri: str | None = None) -> None:
        """Capture the store at ``uri``, by default every store, here and in child processes."""
        if uri is None:
            self.everything = True
            os.environ[VARIABLE] = "1"
        elif uri not in self.uris:
            self.uris.add(uri)
            os.environ[_URIS] = "\n".join(sorted(self.uris))
        self.on = True

    def captures(self, uri: object) -> bool:
        """Return whether the store at ``uri``, without our prefix, is captured."""
        return self.everything or uri in self.uris

    def unwrap(self, uri: Any) -> Any:
        """Return ``uri`` without our prefix; if it has one, capture its store from now on."""
        if has_prefix(uri):
            uri = strip_prefix(uri)
            self.capture(uri)
        return uri

    def attempt(self, wrap: Callable[..., Any], instance: Any, *args: Any) -> Any:
        """Return ``wrap(instance, *args)``, or the instance itself if that fails."""
        try:
            return wrap(instance, *args)
        except Exception as error:  # noqa: BLE001 - provenance must never break the training
            self.give_up(error)
            return instance

    def give_up(self, error: Exception) -> None:
        """Warn, once, that nothing can be captured in this process."""
        if not self.broken:
            self.broken = True
            _LOGGER.warning(
                "Provenance is not captured in this process (%s: %s)", type(error).__name__, error
            )


def _everything() -> bool:
    """Return whether our variable turns capture on; warn if its value is not valid."""
    value = os.environ.get(VARIABLE, "")
    if not value.strip():
        return False
    # Imported only where the variable is set, so that unused capture costs no start-up time.
    from yprov_mlflow.prov.errors import SettingsError
    from yprov_mlflow.prov.settings import CAPTURE

    try:
        return CAPTURE.value(VARIABLE, value, f"environment {VARIABLE}")
    except SettingsError as error:
        _LOGGER.warning("%s Until then, capture is off.", error)
        return False


switch = Switch()
