"""The verb ``mlflow.prov.deferred``: how logging calls reach their store from now on."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any

from yprov_mlflow.prov import settings
from yprov_mlflow.prov.capture import mlflow_private, session, wrappers
from yprov_mlflow.prov.capture.switch import switch
from yprov_mlflow.prov.setting_values import DEFERRED

_VARIABLE = "YPROV_MLFLOW_DELIVERY"


def deferred() -> contextlib.AbstractContextManager[None]:
    """Let logging calls return when they are in the journal, and write them to the store later.

    ``prov.deferred()`` does so from now on, for all captured stores of this process and of its
    child processes; ``with prov.deferred():`` inside of a block, whose end waits for the store,
    but not for long. A store whose URI has the option ``yprov-delivery`` keeps to it.
    """
    before = os.environ.get(_VARIABLE)
    _set(DEFERRED)
    return _until_exit(before)


@contextlib.contextmanager
def _until_exit(before: str | None) -> Iterator[None]:
    try:
        yield
    finally:
        _set(before)


def _set(mode: str | None) -> None:
    """Set the mode of the environment, None to remove it, and of stores without the option."""
    if mode is None:
        os.environ.pop(_VARIABLE, None)
    else:
        os.environ[_VARIABLE] = mode
    current = session.attempt()
    if current is None:
        return
    delivery = settings.load(delivery=mode).delivery
    current.recorder.settings = dataclasses.replace(current.recorder.settings, delivery=delivery)
    stores: Mapping[Any, Any] = current.tracking
    for uri, store in stores.items():
        if not switch.deliveries.get(uri) and mlflow_private.store_uri(store) is not None:
            wrappers.deliver(current, store, current.delivery_of(uri))
