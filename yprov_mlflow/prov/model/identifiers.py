"""Identifiers of records: namespaces, local names, and ids of relations from their ends."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import uuid

from yprov_mlflow.prov import ids
from yprov_mlflow.prov.model import vocabulary
from yprov_mlflow.prov.model.literals import canonical

RUN = "run"
STORE = "store"
PARENT = "parent"

NO_STORE = "00000000-0000-0000-0000-000000000000"
"""Id of a store that no event names."""


def segment(key: object) -> str:
    """Quote one segment of a local name; ``/``, ``@``, ``+`` and ``!`` are escaped."""
    # Segments must not be empty. No key is quoted as "@empty", because "@" is escaped.
    return ids.quote_key(str(key)) or "@empty"


def content(value: object) -> str:
    """Return the id of an entity that is identified by its content, in any document."""
    return "sha256:" + digest(value)


def digest(value: object) -> str:
    """Return the SHA-256 of a JSON value's canonical text as hexadecimal text."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def relation(verb: str, first: str, second: str, extra: str = "") -> str:
    """Return the id of a relation: its verb, both ends, and a part that makes it unique.

    Its namespace is that of the run if an end has it, else that of the store, else that of the
    first end. An end of another namespace keeps its prefix, followed by ``$``.
    """
    # Made from content and not from a counter, an id is the same in every document that states
    # the relation, so that merged documents have it once.
    prefix, _, local = first.partition(":")
    other_prefix, _, other_local = second.partition(":")
    home = prefix
    if other_prefix != prefix:
        home = next((p for p in (RUN, STORE) if p in (prefix, other_prefix)), prefix)
        if prefix != home:
            local = f"{prefix}${local}"
        if other_prefix != home:
            other_local = f"{other_prefix}${other_local}"
    return f"{home}:{verb}/{local}!{other_local}" + (f"!{extra}" if extra else "")


def unnamed(section: str, first: str, second: str) -> str:
    """Return the key of a relation without an id, for formats that need a key."""
    return f"_:{section}/{first.replace(':', '$')}!{second.replace(':', '$')}"


_BY_CONTENT = re.compile(r"(.*[:#/]artifact/[^/]+)/([0-9a-f]{64})\Z")


def version_by_content(first: str, sha256: str) -> str:
    """Return the id of a version of an artifact whose number is not known.

    Args:
        first: Id of the first version.
        sha256: Content of this one.
    """
    return f"{first}/{sha256}"


def parts_of_version(identifier: str) -> tuple[str, str] | None:
    """Return first version and content of an id by ``version_by_content``, None for others."""
    match = _BY_CONTENT.match(identifier)
    return (match[1], match[2]) if match is not None else None


@dataclasses.dataclass
class Namespaces:
    """The namespaces of a document; those of ``others`` are added when an id needs them.

    Args:
        base_uri: Start of URIs, instead of ``urn:uuid:``, for published documents.
        run_id: The run of the document; empty for the document of a store.
        store_uuid: The store.
        parent_id: The run around a nested run.
        others: Other runs, by prefix.
        outside: Namespaces of identifiers that others assign, such as ORCID, by prefix.
    """

    base_uri: str | None = None
    run_id: str = ""
    store_uuid: str = NO_STORE
    parent_id: str | None = None
    others: dict[str, str] = dataclasses.field(default_factory=dict)
    outside: dict[str, str] = dataclasses.field(default_factory=dict)

    def of_run(self, run_id: str) -> str:
        """Return the id of the activity of any run."""
        return self.in_run(run_id, "run")

    def in_run(self, run_id: str, local: str) -> str:
        """Return an id in the namespace of any run."""
        return f"{self._prefix(run_id)}:{local}"

    def prefixes(self) -> dict[str, str]:
        """Return the URIs of all prefixes."""
        uris = {**vocabulary.PREFIXES, **self.outside, STORE: self._uri("store", self._store())}
        runs = {RUN: self.run_id or None, PARENT: self.parent_id or None, **self.others}
        for prefix, run_id in runs.items():
            if run_id is not None:
                uris[prefix] = self._uri("run", self._run_uuid(run_id))
        return uris

    def _prefix(self, run_id: str) -> str:
        if run_id == self.run_id:
            return RUN
        if run_id == self.parent_id:
            return PARENT
        prefix = f"run-{self._run_uuid(run_id).replace('-', '')}"
        self.others[prefix] = run_id
        return prefix

    def _store(self) -> str:
        try:
            return str(uuid.UUID(self.store_uuid))
        except ValueError:  # an id in another form still needs a UUID of its own
            return str(uuid.uuid5(uuid.UUID(NO_STORE), self.store_uuid))

    def _run_uuid(self, run_id: str) -> str:
        return ids.run_uuid(run_id, self._store())

    def _uri(self, kind: str, name: str) -> str:
        start = f"{self.base_uri.rstrip('/')}/{kind}/" if self.base_uri else "urn:uuid:"
        return f"{start}{name}#"
