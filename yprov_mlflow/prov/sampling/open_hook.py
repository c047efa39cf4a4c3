"""Python's audit hook: what this process opens, renames, and when it changes its folder.

A hook cannot be removed. So there is one for each process, which does nothing without a listener.
Nothing in it may raise: the error would be that of the user's ``open``.
"""

from __future__ import annotations

import sys
from typing import Any, Protocol


class Listener(Protocol):
    """Receives what the process does, in the thread that does it, before it is done."""

    def opened(self, path: Any, mode: str | None, flags: int) -> None:
        """Note that a file is opened; ``mode`` is None for ``os.open``."""

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
