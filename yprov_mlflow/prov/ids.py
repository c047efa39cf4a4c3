"""Identifiers: namespaces of runs and stores, quoting of keys, tokens of sessions."""

from __future__ import annotations

import functools
import hashlib
import re
import uuid
from urllib.parse import quote, unquote, urlsplit, urlunsplit

OF_CAPTURE = re.compile(r"provenance/(prov(-[0-9a-f]+)?\.json|metrics(-[0-9a-f]+)?\.parquet)\Z")
"""Files that capture puts among the artifacts of a run, of which its document does not speak."""

_HEX32 = re.compile(r"[0-9a-fA-F]{32}\Z")
_STORES = uuid.UUID("5bd3f7c4-6c1e-5d0c-9a57-0e1f6a3d9b11")
"""Name space of the uuid5 of stores; any constant would do, as long as it stays."""


def store_uuid(creation_time_ms: int | None, artifact_location: str | None, uri: str) -> str:
    """Name a tracking store by what its first experiment is, whoever asks.

    The tracking URI differs between clients (and between client and server) and a note left in
    the store would be ours in the user's data; creation time and artifact location of
    experiment 0 are the same for all. Without them (old stores) the URI has to do.
    """
    known = creation_time_ms and f"{creation_time_ms} {artifact_location or ''}"
    name = known or redact(uri)
    return str(uuid.uuid5(_STORES, name))


_STORE_ID = "store:"


def store_id(store: str) -> str:
    """Give what stands for a run id in events that belong to the store and to no run."""
    return _STORE_ID + store


def store_of(run_id: str) -> str | None:
    """Give the store's UUID if ``run_id`` was made by ``store_id``, else None."""
    return run_id.removeprefix(_STORE_ID) if run_id.startswith(_STORE_ID) else None


def run_uuid(run_id: str, store: str) -> str:
    """Give the run's UUID: its id, or a uuid5 in the store's name space if that is no UUID."""
    if _HEX32.match(run_id):
        return str(uuid.UUID(run_id))
    return str(uuid.uuid5(uuid.UUID(store), run_id))


@functools.lru_cache(maxsize=4096)
def quote_key(key: str) -> str:
    """Quote one segment of an identifier, injectively; ``unquote_key`` reverses it.

    Lone surrogates, which no encoding of text can carry, are quoted as the bytes that they
    would have: no other text has those.
    """
    try:
        return quote(key, safe="")
    except UnicodeEncodeError:
        return quote(key.encode("utf-8", "surrogatepass"), safe="")


def unquote_key(segment: str) -> str:
    """Give the key that ``quote_key`` made ``segment`` from."""
    return unquote(segment, encoding="utf-8", errors="surrogatepass")


_AUTHORITY = re.compile(r"[A-Za-z][\w+.-]{0,63}://(?=[^/:]*:(?!\d+[/?#]))")
_SECRET = re.compile(
    r"(?P<name>[?&;](?:user|username|password|passwd|pwd|token|sig|secret|odbc_connect)=)[^&]*",
    re.IGNORECASE,
)


def redact(uri: str) -> str:
    """Remove user and password from a URI, in its authority and in its query.

    A password may hold what should have been quoted (``u:p#w@host``): it goes, too. What is no
    URI but long, such as a file's text, takes no more time than its length calls for.
    """
    uri = _SECRET.sub(r"\g<name>", _without_user(uri))
    try:
        parts = urlsplit(uri)
    except ValueError:
        return uri.rpartition("@")[2]
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _without_user(uri: str) -> str:
    """Remove what is between the scheme and the last ``@`` if that is a user and a password."""
    before, at, host = uri.rpartition("@")
    if not at:
        return uri
    word = re.split(r"[@\s]", before)[-1]
    found = _AUTHORITY.search(word)
    return uri if found is None else before[: len(before) - len(word)] + word[: found.end()] + host


def session_token(host: str, pid: int, start_ns: int) -> str:
    """Name a process uniquely over hosts, pids that come again, and forks."""
    digest = hashlib.sha256(f"{host} {pid} {start_ns}".encode()).hexdigest()
    return digest[:16]
