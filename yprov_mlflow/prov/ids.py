"""Identifiers: UUIDs of runs and stores, quoting of keys, tokens of sessions."""

from __future__ import annotations

import functools
import hashlib
import re
import uuid
from collections.abc import Mapping
from urllib.parse import quote, unquote

from yprov_mlflow.prov.redaction import redact

_HEX32 = re.compile(r"[0-9a-fA-F]{32}\Z")
_STORES = uuid.UUID("5bd3f7c4-6c1e-5d0c-9a57-0e1f6a3d9b11")
"""Namespace of the UUIDs of stores: an arbitrary constant that must never change."""

_STORE_ID = "store:"


def store_uuid(creation_time_ms: int | None, artifact_location: str | None, uri: str) -> str:
    """Return the UUID of a tracking store, which is the same for all its clients.

    Args:
        creation_time_ms: Creation time of experiment 0; None in stores of old MLflow versions.
        artifact_location: Artifact location of experiment 0.
        uri: Tracking URI, used only without a creation time.
    """
    # The tracking URI differs between clients, and between client and server; an id written
    # into the store would be our data among the user's. Experiment 0 is the same for all.
    first = creation_time_ms and f"{creation_time_ms} {artifact_location or ''}"
    return str(uuid.uuid5(_STORES, first or redact(uri)))


def store_id(store: str) -> str:
    """Return the run id of events that belong to the store with this UUID and not to a run."""
    return _STORE_ID + store


def store_of(run_id: str) -> str | None:
    """Return the UUID of the store if ``run_id`` is from ``store_id``, else None."""
    return run_id.removeprefix(_STORE_ID) if run_id.startswith(_STORE_ID) else None


def offline_experiment(name: str, attempt: int = 0) -> int:
    """Return the id of an experiment in an offline store, which depends on its name alone.

    So the same name is the same experiment in all processes, which do not see each other. Like the
    ids of MLflow's file store, it has 18 digits.

    Args:
        name: Name of the experiment.
        attempt: Number of ids of this name that other experiments have, which were renamed.
    """
    text = f"{name}\n{attempt}" if attempt else name
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return 10**17 + int.from_bytes(digest[:8]) % (9 * 10**17)


def run_uuid(run_id: str, store: str) -> str:
    """Return the run id as a UUID, or a uuid5 in the store's namespace if it is not a UUID."""
    if _HEX32.match(run_id):
        return str(uuid.UUID(run_id))
    return str(uuid.uuid5(uuid.UUID(store), run_id))


@functools.lru_cache(maxsize=4096)
def quote_key(key: str) -> str:
    """Return ``key`` as one segment of an identifier or path; ``unquote_key`` reverses it."""
    try:
        return quote(key, safe="")
    except UnicodeEncodeError:
        # Lone surrogates, which UTF-8 forbids: their bytes occur in no valid text, so the
        # quoting stays reversible.
        return quote(key.encode("utf-8", "surrogatepass"), safe="")


def unquote_key(segment: str) -> str:
    """Return the key from which ``quote_key`` made ``segment``."""
    return unquote(segment, encoding="utf-8", errors="surrogatepass")


def session_token(host: str, pid: int, start_ns: int) -> str:
    """Return a token that is unique to a process across hosts, reused pids and forks."""
    digest = hashlib.sha256(f"{host} {pid} {start_ns}".encode()).hexdigest()
    return digest[:16]


def job_id(rule: str, wildcards: Mapping[str, object]) -> str:
    """Return the id of a job of Snakemake in its execution: ``train:depth=3,seed=1``."""
    return f"{rule}:" + ",".join(sorted(f"{key}={value}" for key, value in wildcards.items()))
