"""Python's audit hook: what this process opens, renames, and when it changes its folder.

A hook cannot be removed. So there is one for each process, which does nothing without a listener.
Nothing in it may raise: the error would be that of the user's ``open``.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Protocol

READ, WRITTEN = "read", "written"
UPDATED = "updated"
"""Opened for both; the file itself shows whether it was written."""

_FLAGS = {READ: os.O_RDONLY, WRITTEN: os.O_WRONLY | os.O_CREAT, UPDATED: os.O_RDWR}


class Listener(Protocol):
    """Receives what the process does, in the thread that does it, before it is done."""

    def opened(self, path: Any, mode: str | None, flags: int) -> None:
        """Note that a file is opened; ``mode`` is None for ``os.open``."""

    def opened_url(self, url: str, mode: str) -> None:
        """Note that something is opened that is not on this machine."""

    def renamed(self, source: Any, target: Any) -> None:
        """Note that a file is renamed."""

    def moved(self) -> None:
        """Note that the process changes its working folder."""


class _Hook:
    """The one hook of this process."""

    listener: Listener | None = None
    installed = False


def listen(listener: Listener | None) -> None:
    """Have a listener receive what happens from now on; None turns the hook off."""
    _Hook.listener = listener
    if listener is not None and not _Hook.installed:
        _Hook.installed = True
        sys.addaudithook(_on_event)


def current() -> Listener | None:
    """Return the listener of this process."""
    return _Hook.listener


def note(path: str, mode: str, *, is_local: bool = True) -> None:
    """Note a file, or a URL, that a package opens past Python; never raise."""
    try:
        if (listener := _Hook.listener) is None:
            return
        if is_local:
            listener.opened(path, mode, _FLAGS[mode])
        else:
            listener.opened_url(path, READ if mode == READ else WRITTEN)
    except Exception:  # noqa: BLE001 - no error of ours may become one of the user's call
        return


def _on_event(event: str, arguments: tuple[Any, ...], hook: type[_Hook] = _Hook) -> None:
    # Called for each event of the interpreter, also while it ends and modules lose their names.
    try:
        listener = hook.listener
        if listener is None:
            return
        if event == "open":
            listener.opened(*arguments)
        elif event == "os.rename":
            listener.renamed(arguments[0], arguments[1])
        elif event in ("os.chdir", "os.fchdir"):
            listener.moved()
    except Exception:  # noqa: BLE001 - no error of ours may become one of the user's open
        return
