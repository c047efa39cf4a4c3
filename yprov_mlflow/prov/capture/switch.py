"""Which stores this process captures, and the boundary that keeps errors of capture from users.

Standard library only: MLflow loads this at every start.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from typing import Any

from yprov_mlflow.prov.capture.mlflow_private import SERVER_STORE_VARIABLE
from yprov_mlflow.prov.uris import (
    DELIVERY_OPTION,
    OFFLINE,
    has_prefix,
    is_offline,
    offline_folder,
    offline_uri,
    split_delivery,
    strip_prefix,
)

VARIABLE = "YPROV_MLFLOW"  # set by users: turns capture on for all stores
_TRACKING_URI = "MLFLOW_TRACKING_URI"
_URIS = "_YPROV_MLFLOW_URIS"  # URIs of captured stores, one a line, for child processes
LOGGER = logging.getLogger("yprov_mlflow")


class Boundary:
    """A context manager that passes exceptions to a function instead of raising them.

    Capture runs inside of these: provenance must never break the training, and every store,
    repository and disk raises errors of its own. What ends the process (``KeyboardInterrupt``)
    goes through.
    """

    def __init__(self, handle: Callable[[Exception], object]) -> None:
        self._handle = handle

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        self._handle(error)
        return True


class Switch:
    """Which stores are captured in this process: all, or those with certain URIs.

    It starts with the environment: our variable, that of a parent, and that of MLflow's server.
    """

    def __init__(self) -> None:
        self.everything = _everything()
        lines = filter(None, os.environ.get(_URIS, "").split("\n"))
        # The option of each captured URI, which stands without our prefix and option.
        self.deliveries: dict[str, str | None] = dict(map(split_delivery, lines))
        self.uris = set(self.deliveries)
        self.on = self.everything or bool(self.uris)
        self.wrapped: set[type] = set()  # classes of stores that are wrapped already
        self.broken = False  # capture failed to start; this process continues without it
        # URIs with which MLflow opens captured stores, where they differ: with a driver.
        self.opened: dict[str, str] = {}
        for uri in self.uris:
            self._choose_driver(uri)
        self.unwrap(os.environ.get(SERVER_STORE_VARIABLE))

    def capture(self, uri: str | None = None, delivery: str | None = None) -> None:
        """Capture the store at ``uri``, by default every store, here and in child processes.

        ``delivery`` is the option of the URI; without one, an earlier one of this store stays.
        """
        if uri is None:
            self.everything = True
            os.environ[VARIABLE] = "1"
        elif uri not in self.uris or (delivery and delivery != self.deliveries.get(uri)):
            self.uris.add(uri)
            self.deliveries[uri] = delivery or self.deliveries.get(uri)
            self._choose_driver(uri)
            os.environ[_URIS] = "\n".join(sorted(map(self._line, self.uris)))
        self.on = True

    def _line(self, uri: str) -> str:
        """Return a URI with its option."""
        delivery = self.deliveries.get(uri)
        mark = "&" if "?" in uri else "?"
        return f"{uri}{mark}{DELIVERY_OPTION}={delivery}" if delivery else uri

    def captures(self, uri: object) -> bool:
        """Return whether the store at ``uri``, without our prefix, is captured."""
        return self.everything or uri in self.uris

    def unwrap(self, uri: Any) -> Any:
        """Return ``uri`` without our prefix; if it has one, capture its store from now on.

        That of an offline store is returned with an absolute folder, and captured.
        """
        if has_prefix(uri):
            _, delivery = split_delivery(uri)
            uri = strip_prefix(uri)
            self.capture(uri, delivery)
        if is_offline(uri):
            absolute = _absolute(uri)
            if absolute != uri and os.environ.get(_TRACKING_URI) == uri:
                os.environ[_TRACKING_URI] = absolute  # child processes may start elsewhere
            self.capture(uri := absolute)
        return uri

    def _choose_driver(self, uri: str) -> None:
        """Have MLflow open a database with an installed driver, if its URI names none."""
        # Imported for captured stores only: this module is loaded at every start.
        from yprov_mlflow.prov.drivers import with_driver

        with contextlib.suppress(ImportError):  # MLflow names the missing driver itself
            if (opened := with_driver(uri)) != uri:
                self.opened[uri] = opened

    def attempt(self, wrap: Callable[..., Any], instance: Any, *args: Any) -> Any:
        """Return ``wrap(instance, *args)``, or the instance itself if that fails."""
        with Boundary(self.give_up):
            return wrap(instance, *args)
        return instance

    def give_up(self, error: Exception) -> None:
        """Warn, once, that nothing can be captured in this process."""
        if not self.broken:
            self.broken = True
            LOGGER.warning(
                "Provenance is not captured in this process (%s: %s)", type(error).__name__, error
            )


def _absolute(uri: str) -> str:
    """Return the URI of an offline store with an absolute folder; or as it is, without a folder.

    MLflow asks for its URI in many places; opening the store reports what is wrong with it.
    """
    with contextlib.suppress(ValueError):
        if uri == OFFLINE:
            # Imported for this URI only: this module is loaded at every start.
            from yprov_mlflow.prov.settings import load

            return offline_uri(str(load().directory))
        return offline_uri(offline_folder(uri))
    return uri


def _everything() -> bool:
    """Return whether our variable turns capture on; warn if its value is not valid."""
    value = os.environ.get(VARIABLE, "")
    if not value.strip():
        return False
    # Imported only where the variable is set, so that unused capture costs no start-up time.
    from yprov_mlflow.prov.settings import CAPTURE

    try:
        return CAPTURE.value(VARIABLE, value, f"environment {VARIABLE}")
    except ValueError as error:  # a SettingsError
        LOGGER.warning("%s Until then, capture is off.", error)
        return False


switch = Switch()
