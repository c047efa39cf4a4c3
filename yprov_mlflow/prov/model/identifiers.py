"""Identifiers of records: namespaces, local names, and ids of relations made from both ends."""

from __future__ import annotations

import dataclasses
import hashlib
import uuid

from yprov_mlflow.prov import ids
from yprov_mlflow.prov.model import vocabulary
from yprov_mlflow.prov.model.literals import canonical

RUN = "run"
STORE = "store"
PARENT = "parent"

NO_STORE = "00000000-0000-0000-0000-000000000000"
"""Stands for a store that no event names."""


def segment(key: object) -> str:
    """Quote one segment of a local name; neither ``/``, ``@``, ``+`` nor ``!`` come through."""
    return ids.quote_key(str(key)) or "@empty"


def content(value: object) -> str:
    """Give the id of what is the same wherever its content is: by its SHA-256."""
    return "sha256:" + digest(value)


def digest(value: object) -> str:
    """Give the SHA-256 of a JSON value's canonical text, in hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def purl(package: str, version: object) -> str:
    """Give the package URL of a distribution, as a qualified name."""
    found = segment(package.lower().replace("_", "-"))
    return f"pypi:{found}@{segment(version)}" if version else f"pypi:{found}"


def relation(verb: str, first: str, second: str, extra: str = "") -> str:
    """Give the id of a relation: the verb, then both ends, then what else tells it apart.

    It lies in the run's namespace if an end does, else in the store's, else in the first
    end's. Ends of another namespace keep their prefix, set off by ``$``.
    """
    prefix, _, local = first.partition(":")
    other_prefix, _, other_local = second.partition(":")
    home = prefix
    if other_prefix != prefix:
        prefixes = (prefix, other_prefix)
        home = RUN if RUN in prefixes else STORE if STORE in prefixes else prefix
        if prefix != home:
            local = f"{prefix}${local}"
        if other_prefix != home:
            other_local = f"{other_prefix}${other_local}"
    return f"{home}:{verb}/{local}!{other_local}" + (f"!{extra}" if extra else "")


def unnamed(section: str, first: str, second: str) -> str:
    """Give the key of a relation that PROV gives no id, for formats that need a key."""
    return f"_:{section}/{first.replace(':', '$')}!{second.replace(':', '$')}"


@dataclasses.dataclass
class Namespaces:
    """The namespaces of a document; ``base_uri`` replaces ``urn:uuid:`` for publishing."""

    base_uri: str | None = None
    run_id: str = ""
    store_uuid: str = NO_STORE
    parent_id: str | None = None
    others: dict[str, str] = dataclasses.field(default_factory=dict)

    def of_run(self, run_id: str) -> str:
        """Give the id of a run's activity: this one's, its parent's, or that of another."""
        return f"{self._prefix(run_id)}:run"

    def in_run(self, run_id: str, local: str) -> str:
        """Give the id of something that hangs on a run."""
        return f"{self._prefix(run_id)}:{local}"

    def prefixes(self) -> dict[str, str]:
        """Give all prefixes with their URIs."""
        found = dict(vocabulary.PREFIXES)
        found[STORE] = self._uri("store", self._store())
        if self.run_id:
            found[RUN] = self._run_uri(self.run_id)
        if self.parent_id:
            found[PARENT] = self._run_uri(self.parent_id)
        found.update((prefix, self._run_uri(run_id)) for prefix, run_id in self.others.items())
        return found

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
        except ValueError:
            return str(uuid.uuid5(uuid.UUID(NO_STORE), self.store_uuid))

    def _run_uuid(self, run_id: str) -> str:
        return ids.run_uuid(run_id, self._store())

    def _run_uri(self, run_id: str) -> str:
        return self._uri("run", self._run_uuid(run_id))

    def _uri(self, kind: str, name: str) -> str:
        if self.base_uri:
            return f"{self.base_uri.rstrip('/')}/{kind}/{name}#"
        return f"urn:uuid:{name}#"
