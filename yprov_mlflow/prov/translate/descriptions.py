"""Title, license, authors and project in the record of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yprov_mlflow.prov.authorship import ORCID, ROR, license_url, orcid_id, ror_id
from yprov_mlflow.prov.model.builder import Builder
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.model.identifiers import RUN, STORE, segment
from yprov_mlflow.prov.model.literals import Value, name, optional_text, text
from yprov_mlflow.prov.translate.translation import Translation

_RUN = f"{RUN}:run"
_RECORD = f"{RUN}:record"
_TERMS = ("dcterms:title", "dcterms:description", "dcterms:license", "dcterms:creator")


def add_description(translation: Translation, facts: Mapping[str, Any]) -> None:
    """Add what the project file states to the document of a run that is being built."""
    writer = _Writer(translation.builder)
    writer.write(facts)
    for author, agent in writer.authors:
        login = author.get("login")
        user = translation.user_id(str(login)) if login else None
        if user in translation.builder.records.get("agent", {}):
            writer.connect_login(str(user), agent)
    translation.namespaces.outside.update(writer.prefixes)


def described(document: Document, facts: Mapping[str, Any]) -> Document:
    """Return the document of a run with the facts; one that has a description keeps its own."""
    record = document.records.get("entity", {}).get(_RECORD)
    if record is None or not facts or is_described(document):
        return document
    builder = Builder(document.records)
    # The records of the other document stay as they are: these are the only ones that change.
    for section, identifier in (("entity", _RECORD), ("activity", _RUN)):
        builder.records[section][identifier] = dict(builder.records[section].get(identifier, {}))
    writer = _Writer(builder)
    writer.write(facts)
    for author, agent in writer.authors:
        user = f"{STORE}:user/{segment(author.get('login'))}"
        if author.get("login") and user in builder.records.get("agent", {}):
            writer.connect_login(user, agent)
    return builder.document({**document.prefixes, **writer.prefixes})


def is_described(document: Document) -> bool:
    """Return whether a document has a title, description, license or authors."""
    record = document.records.get("entity", {}).get(_RECORD, {})
    return any(term in record for term in _TERMS)


class _Writer:
    """Adds the agents and the attributes of the record."""

    def __init__(self, builder: Builder) -> None:
        self.authors: list[tuple[Mapping[str, Any], str]] = []
        self.prefixes: dict[str, str] = {}
        self._builder = builder

    def write(self, facts: Mapping[str, Any]) -> None:
        """Add what the facts state."""
        builder = self._builder
        for author in facts.get("authors") or ():
            agent = self._person(author)
            self.authors.append((author, agent))
            builder.was_attributed_to(_RECORD, agent)
        publisher = facts.get("publisher")
        organization = self._organization(publisher) if publisher else None
        if organization is not None:
            builder.was_attributed_to(_RECORD, organization)
        url = license_url(facts.get("license"))
        license_: Value | None = {"$": url, "type": "xsd:anyURI"} if url else None
        attributes: dict[str, Any] = {
            "dcterms:title": optional_text(facts.get("title")),
            "dcterms:description": optional_text(facts.get("description")),
            "dcterms:license": license_ or optional_text(facts.get("license")),
            "dcterms:creator": [name(agent) for _, agent in self.authors] or None,
            "dcterms:publisher": name(organization) if organization is not None else None,
            "schema:keywords": [text(word) for word in facts.get("keywords") or ()] or None,
        }
        builder.entity(_RECORD, attributes=attributes)
        if project := facts.get("project"):
            self._add_project(project)

    def connect_login(self, user: str, agent: str) -> None:
        """Add that a login is that of an author: the account acts for the person."""
        self._builder.acted_on_behalf_of(user, agent, _RUN)

    def _person(self, author: Mapping[str, Any]) -> str:
        orcid = orcid_id(author)
        if orcid is not None:
            self.prefixes["orcid"] = ORCID
        agent = f"orcid:{orcid}" if orcid else f"{STORE}:author/{segment(author['name'])}"
        attributes: dict[str, Any] = {"schema:name": text(author["name"])}
        if orcid is None:  # a wrong ORCID is kept, but not as an id
            attributes["schema:identifier"] = optional_text(author.get("orcid"))
        if affiliation := author.get("affiliation"):
            organization = self._organization(affiliation)
            attributes["schema:affiliation"] = name(organization)
        self._builder.agent(agent, ["prov:Person"], text(author["name"]), attributes)
        if affiliation:
            # The file states the affiliation; that the work was done for it is our rule.
            basis = {"mlf:basis": name("mlf:inferred")}
            self._builder.acted_on_behalf_of(agent, organization, _RUN, basis)
        return agent

    def _organization(self, facts: Mapping[str, Any]) -> str:
        ror = ror_id(facts)
        if ror is not None:
            self.prefixes["ror"] = ROR
        agent = f"ror:{ror}" if ror else f"{STORE}:organization/{segment(facts['name'])}"
        attributes = {
            "schema:name": text(facts["name"]),
            "schema:identifier": None if ror else optional_text(facts.get("ror")),
        }
        types = ["prov:Organization", "schema:Organization"]
        return self._builder.agent(agent, types, text(facts["name"]), attributes)

    def _add_project(self, facts: Mapping[str, Any]) -> None:
        agent = f"{STORE}:project/{segment(facts['name'])}"
        attributes = {
            "schema:name": text(facts["name"]),
            "schema:url": optional_text(facts.get("url")),
            "schema:funding": optional_text(facts.get("funding")),
        }
        types = ["prov:Organization", "schema:Project"]
        self._builder.agent(agent, types, text(facts["name"]), attributes)
        self._builder.was_associated_with(_RUN, agent, "mlf:project")
