"""Persons, organizations and the license of an RO-Crate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from yprov_mlflow.prov.authorship import ORCID, ROR, license_url
from yprov_mlflow.prov.views.summary_report import About, Author, Organization, Summary

_TABLE = "[tool.yprov-mlflow.about] of the project file"
_NO_LICENSE = "No license is stated."

Entity = dict[str, Any]


class People:
    """Adds agents to a crate.

    Args:
        add: Adds an entity and returns a reference to it.
        add_blank: Called with each recommended statement that is not known.
    """

    def __init__(self, add: Callable[[Entity], Entity], add_blank: Callable[[str], object]) -> None:
        self._add = add
        self._blank = add_blank

    def agent(self, summary: Summary) -> Entity | list[Entity] | None:
        """Return who ran a run: the author with its login, the login, or else the authors."""
        authors = summary.about.authors if summary.about is not None else ()
        user = summary.run.user
        if user is not None:
            own = [author for author in authors if author.login == user]
            person = {"@id": f"#user/{quote(user)}", "@type": "Person", "name": user}
            return [self.author(author) for author in own] or self._add(person)
        if not authors:
            self._blank(f"agent of a run: the document names no user; set authors in {_TABLE}")
        return [self.author(author) for author in authors]

    def author(self, author: Author) -> Entity:
        """Add an author with the affiliation; return the reference."""
        identifier = f"{ORCID}{author.orcid}" if author.orcid else f"#{quote(str(author.name))}"
        affiliation = author.affiliation
        if affiliation is None:
            self._blank(f"affiliation of {author.name}: set affiliation in {_TABLE}")
        return self._add(
            {
                "@id": identifier,
                "@type": "Person",
                "name": author.name,
                "affiliation": None if affiliation is None else self.organization(affiliation),
            }
        )

    def organization(self, organization: Organization) -> Entity:
        """Add an organization; return the reference."""
        url = f"{ROR}{organization.ror}" if organization.ror else None
        if url is None:
            self._blank(f"URL of {organization.name}: set its ror in {_TABLE}")
        identifier = url or f"#{quote(str(organization.name))}"
        entity = {"@id": identifier, "@type": "Organization", "name": organization.name}
        return self._add({**entity, "url": url})

    def of_root(self, about: About | None) -> Mapping[str, Any]:
        """Return license, authors, publisher, keywords and project as properties of the crate."""
        if about is None or not about.authors:
            self._blank(f"authors: set authors in {_TABLE}")
        if about is None or about.publisher is None:
            self._blank(f"publisher: set publisher in {_TABLE}")
        return {
            "license": self._license(about.license if about is not None else None),
            **({} if about is None else self._stated(about)),
        }

    def _stated(self, about: About) -> Mapping[str, Any]:
        publisher, project = about.publisher, about.project
        return {
            "author": [self.author(author) for author in about.authors],
            "publisher": None if publisher is None else self.organization(publisher),
            "keywords": list(about.keywords),
            "sourceOrganization": None
            if project is None
            else self._add(
                {
                    "@id": project.url or f"#{quote(str(project.name))}",
                    "@type": "Project",
                    "name": project.name,
                    "url": project.url,
                    "funding": project.funding,
                }
            ),
        }

    def _license(self, license_: str | None) -> Entity | str:
        if license_ is None:
            self._blank(f"license: set license in {_TABLE}, to an SPDX id or a URL")
            return _NO_LICENSE
        url = license_url(license_)
        name = license_.rpartition("/")[2] if url else license_
        entity = {"@id": url or "#license", "@type": "CreativeWork", "name": name}
        return self._add({**entity, "url": url, "description": f"License: {license_}"})
