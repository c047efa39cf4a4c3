"""URIs of ours: the prefix ``yprov+`` that turns capture on, and ``yprov:DIR``, an offline store.

MLflow imports this module at every start, so it imports the standard library's smallest parts only.
"""

import os
import re

SCHEME = "yprov"
"""Scheme under which MLflow knows this package as a plugin."""

PREFIX = f"{SCHEME}+"
OFFLINE = f"{SCHEME}:"
"""Start of the URI of an offline store: ``yprov:DIR``. Without a folder, it is the state folder."""

_OTHER_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")

_folders: dict[str, str] = {}
"""Absolute folders by the path in their URI: a program may change its working directory."""


def has_prefix(uri: object) -> bool:
    """Return whether ``uri`` is a tracking URI that asks for capture."""
    return isinstance(uri, str) and uri.startswith(PREFIX)


DELIVERY_OPTION = "yprov-delivery"
"""Option of a URI that asks for capture: ``yprov+sqlite:///m.db?yprov-delivery=deferred``."""


def strip_prefix(uri: str) -> str:
    """Return the URI of the store itself, which MLflow opens: without our prefix and option."""
    return split_delivery(uri.removeprefix(PREFIX))[0] if has_prefix(uri) else uri


def split_delivery(uri: str) -> tuple[str, str | None]:
    """Return a URI without our option, and the value of the option; None without one."""
    base, mark, query = uri.partition("?")
    if f"{DELIVERY_OPTION}=" not in query:
        return uri, None
    value, others = None, []
    for part in query.split("&"):
        name, _, text = part.partition("=")
        if name == DELIVERY_OPTION:
            value = text
        else:
            others.append(part)
    return base + (mark + "&".join(others) if others else ""), value


def with_prefix(uri: str) -> str:
    """Return the URI that asks for capture of the store at ``uri``."""
    return uri if has_prefix(uri) else f"{PREFIX}{uri}"


def is_offline(uri: object) -> bool:
    """Return whether ``uri`` is that of an offline store."""
    return isinstance(uri, str) and uri.startswith(OFFLINE)


def offline_folder(uri: str) -> str:
    """Return the absolute folder of an offline store.

    Raises:
        ValueError: The URI names no folder; the message says why, and what to write.
    """
    text = uri.removeprefix(OFFLINE)
    if text not in _folders:
        _folders[text] = os.path.abspath(os.path.expanduser(_path(text)))
    return _folders[text]


def offline_uri(folder: str) -> str:
    """Return the URI of the offline store in an absolute folder."""
    return f"{OFFLINE}{folder}"


def _path(text: str) -> str:
    """Return the path in the text after the scheme, as it is: nothing in it is quoted."""
    if text.startswith("//"):
        host, _, path = text[2:].partition("/")
        if host not in ("", "localhost"):
            raise ValueError(
                f"an offline store is a folder, which has no host {host!r}; write "
                f"{OFFLINE}/{text[2:]} for an absolute path"
            )
        text = f"/{path}"
    if not text.strip():
        raise ValueError(f"the URI lacks a folder; write {OFFLINE}DIR, such as {OFFLINE}runs")
    if match := _OTHER_URI.match(text):
        raise ValueError(
            f"{match[0]} is not the start of a folder; write {PREFIX}{text} to capture that store"
        )
    if "\0" in text:
        raise ValueError("a path cannot contain NUL")
    return text
