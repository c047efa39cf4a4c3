"""The names of secrets, and their removal from values and URIs; standard library only.

This is the only list of secrets in the package. Capture and the readers of stores use it alike,
so that the same call is redacted in the same way from every source.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

WITHHELD = "(withheld)"
"""Replaces a secret in events, documents and messages."""

IDENTIFYING_FIELDS = frozenset({"name", "secret_id", "secret_name", "webhook_id"})
"""The only arguments and results that are recorded of a call that manages secrets."""

_WORDS = (
    r"secret|password|passwd|credential|auth_config|api_key|encrypted|wrapped|token(?:_hash)?\b"
)
_SECRET = re.compile(_WORDS, re.IGNORECASE)
# Identifiers, names and counts of secrets are not secret: secret_id, token_count.
_PUBLIC = re.compile(r"_(id|name|version|tokens?_count)\Z")
_URI_FIELD = re.compile(r"(uri|url|location|source)\Z", re.IGNORECASE)

# URIs without any of these characters, nearly all of them, need no parsing.
_MAY_HAVE_SECRET = re.compile("[@?&;]")
_AUTHORITY = re.compile(r"[A-Za-z][\w+.-]{0,63}://(?=[^/:]*:(?!\d+[/?#]))")
# Names are bounded in length, so that a long text that is not a URI takes linear time.
_QUERY_SECRET = re.compile(
    r"(?P<name>[?&;](?:user|username|pwd|sig|signature|odbc_connect"
    rf"|[\w.-]{{0,64}}?(?:{_WORDS})[\w.-]{{0,64}})=)[^&]*",
    re.IGNORECASE,
)


def is_secret(name: str) -> bool:
    """Return whether a field of this name holds a secret."""
    return bool(_SECRET.search(name)) and not _PUBLIC.search(name)


def manages_secrets(method: str) -> bool:
    """Return whether a store method creates, reads or changes secrets."""
    # The URL of a webhook may hold a token.
    return bool(_SECRET.search(method)) or "webhook" in method


def redact_field(name: str, value: Any) -> Any:
    """Return the value of a field: withheld if it is secret, redacted if it is a URI."""
    if value is not None and is_secret(name):
        return WITHHELD
    return redact(value) if isinstance(value, str) and _URI_FIELD.search(name) else value


def redact(uri: str) -> str:
    """Remove user, password and secret parameters from a URI.

    Passwords with characters that should have been quoted (``u:p#w@host``) are removed, too.
    """
    if not _MAY_HAVE_SECRET.search(uri):
        return uri
    uri = _QUERY_SECRET.sub(r"\g<name>", _without_user(uri))
    try:
        parts = urlsplit(uri)
    except ValueError:
        return uri.rpartition("@")[2]
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _without_user(uri: str) -> str:
    """Remove the text between the scheme and the last ``@`` if it is a user and a password."""
    before, at, host = uri.rpartition("@")
    if not at:
        return uri
    word = re.split(r"[@\s]", before)[-1]
    match = _AUTHORITY.search(word)
    return uri if match is None else before[: len(before) - len(word)] + word[: match.end()] + host
