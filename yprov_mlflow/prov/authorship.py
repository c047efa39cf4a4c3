"""Authors and subject of the work: the table ``[tool.yprov-mlflow.about]`` of the project file.

The table becomes plain JSON facts, which journals, documents, crates and cards share. Wrong names
of fields are errors. A value that only looks wrong, such as an ORCID with a typing error, is kept
as text and listed under ``problems``: no training stops because of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.errors import SettingsError
from yprov_mlflow.prov.redaction import redact

TABLE = "about"
"""Name of the table below ``[tool.yprov-mlflow]``, and of the collector that reports it."""

ORCID = "https://orcid.org/"
ROR = "https://ror.org/"
_SPDX = "https://spdx.org/licenses/"

_ORCID = re.compile(r"(?:https?://orcid\.org/)?(\d{4}-\d{4}-\d{4}-\d{3}[\dX])/?\Z", re.IGNORECASE)
# Crockford's base 32, which lacks I, L, O and U, and two check digits.
_ROR = re.compile(r"(?:(?:https?://)?ror\.org/)?(0[a-hjkmnp-tv-z0-9]{6}\d{2})/?\Z", re.IGNORECASE)
_URL = re.compile(r"https?://[^\s<>\"{}|\\^`]+\Z")
_SPDX_ID = re.compile(r"[A-Za-z0-9.+-]+\Z")

Facts = dict[str, Any]


def read(source: object) -> Facts:
    """Return the facts of the table, or of the table in a TOML file; empty without one.

    Args:
        source: The table, or the path of a file that has ``[tool.yprov-mlflow.about]``.

    Returns:
        ``title``, ``description``, ``license`` (an SPDX id, a URL, or other text) as texts,
        ``keywords`` as a list, ``project`` (``name``, ``url``, ``funding``), ``authors`` (each
        ``name``, ``orcid``, ``login``, ``affiliation`` with ``name`` and ``ror``), ``publisher``
        (as ``affiliation``), and ``problems`` as sentences; only those that are set.

    Raises:
        SettingsError: The file cannot be read, or the table has unknown fields or other types.
    """
    where = f"[tool.yprov-mlflow.{TABLE}]"
    if isinstance(source, (str, os.PathLike)):
        where = f"{where} of {os.fspath(source)}"
        source = _table(Path(source), where)
    problems: list[str] = []
    facts = _Reader(where, problems).fields(source, _FIELDS)
    return {**facts, "problems": problems} if problems else facts


def _table(path: Path, where: str) -> object:
    import tomllib  # most projects lack the table: they need no parser at the start of a script

    try:
        document = tomllib.loads(path.read_bytes().decode())
    except (OSError, ValueError) as error:
        raise SettingsError(f"the file cannot be read: {error}", where, "Correct it") from error
    for key in ("tool", "yprov-mlflow", TABLE):
        table = document.get(key)
        if not isinstance(table, dict):
            raise SettingsError("the table is missing", where, "Put the fields below that heading")
        document = table
    return document


class _Reader:
    """Parses tables; ``where`` is for error messages, ``problems`` collects the lesser ones."""

    def __init__(self, where: str, problems: list[str]) -> None:
        self._where = where
        self.problems = problems

    def fields(self, table: object, parsers: Mapping[str, _Parser]) -> Facts:
        """Return the values of a table that are not empty, in the order of ``parsers``."""
        if not isinstance(table, Mapping):
            raise self.error(f"expected a table with {', '.join(parsers)}, not {table!r}")
        for key in table:
            if key not in parsers:
                cure = f"The fields are {', '.join(parsers)}"
                raise SettingsError(f"unknown field {key!r}", self._where, cure)
        values = {key: parse(self, table[key]) for key, parse in parsers.items() if key in table}
        return {key: value for key, value in values.items() if value}

    def text(self, value: object) -> str:
        """Return a text, without secrets."""
        if not isinstance(value, str):
            raise self.error(f"expected a text, not {value!r}")
        return redact(value.strip())

    def texts(self, value: object) -> list[str]:
        """Return a list of texts; a single text has commas between them."""
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, Sequence):
            raise self.error(f"expected a list of texts, not {value!r}")
        return [text for item in items if (text := self.text(item))]

    def orcid(self, value: object) -> str:
        """Return the 16 digits of an ORCID with hyphens; wrong ones are a problem."""
        text = self.text(value)
        match = _ORCID.match(text)
        if match is None or not _has_check_digit(match[1].upper()):
            cure = "Copy it from https://orcid.org: 16 digits, the last one checks the others"
            self.problems.append(f"{text!r} is not an ORCID. {cure}.")
            return text
        return match[1].upper()

    def ror(self, value: object) -> str:
        """Return the nine characters of a ROR id; wrong ones are a problem."""
        text = self.text(value)
        match = _ROR.match(text)
        if match is None:
            cure = "Copy it from https://ror.org: nine characters, such as 05trd4x28"
            self.problems.append(f"{text!r} is not a ROR id. {cure}.")
            return text
        return match[1].lower()

    def license(self, value: object) -> str:
        """Return a URL, or an SPDX expression in its canonical form; others are a problem."""
        # Imported late: only projects with a license need the list of them.
        from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

        text = self.text(value)
        if not text or _URL.match(text):
            return text
        try:
            return str(canonicalize_license_expression(text))
        except InvalidLicenseExpression:
            cure = "Use an id of https://spdx.org/licenses, such as Apache-2.0, or a URL"
            self.problems.append(f"the license {text!r} is unknown and kept as text. {cure}.")
            return text

    def url(self, value: object) -> str:
        """Return a URL; other text is a problem."""
        text = self.text(value)
        if text and not _URL.match(text):
            self.problems.append(f"{text!r} is not a URL. Begin it with https://.")
        return text

    def organization(self, value: object) -> Facts:
        """Return an organization, from a table or its name alone."""
        return self._named({"name": value} if isinstance(value, str) else value, _ORGANIZATION)

    def project(self, value: object) -> Facts:
        """Return a project, from a table or its name alone."""
        return self._named({"name": value} if isinstance(value, str) else value, _PROJECT)

    def authors(self, value: object) -> list[Facts]:
        """Return the authors: tables, or names alone."""
        items = [value] if isinstance(value, (str, Mapping)) else value
        if not isinstance(items, Sequence):
            raise self.error(f"expected a list of authors, not {value!r}")
        return [
            self._named({"name": item} if isinstance(item, str) else item, _AUTHOR)
            for item in items
        ]

    def _named(self, table: object, parsers: Mapping[str, _Parser]) -> Facts:
        facts = self.fields(table, parsers)
        if "name" not in facts:
            raise self.error(f"the name is missing in {table!r}")
        return facts

    def error(self, what: str) -> SettingsError:
        """Return an error that names the page with the fields."""
        return SettingsError(what, self._where, "docs/sharing.md shows the table")


_Parser = Callable[[_Reader, object], Any]

_ORGANIZATION: Mapping[str, _Parser] = {"name": _Reader.text, "ror": _Reader.ror}
_PROJECT: Mapping[str, _Parser] = {
    "name": _Reader.text,
    "url": _Reader.url,
    "funding": _Reader.text,
}
_AUTHOR: Mapping[str, _Parser] = {
    "name": _Reader.text,
    "orcid": _Reader.orcid,
    "login": _Reader.text,
    "affiliation": _Reader.organization,
}
_FIELDS: Mapping[str, _Parser] = {
    "title": _Reader.text,
    "description": _Reader.text,
    "keywords": _Reader.texts,
    "license": _Reader.license,
    "project": _Reader.project,
    "authors": _Reader.authors,
    "publisher": _Reader.organization,
}


def _has_check_digit(orcid: str) -> bool:
    """Return whether the last digit of an ORCID is right, by ISO 7064 MOD 11-2."""
    total = 0
    for digit in orcid[:-1].replace("-", ""):
        total = (total + int(digit)) * 2
    return "0123456789X"[(12 - total % 11) % 11] == orcid[-1]


def orcid_id(author: Mapping[str, Any]) -> str | None:
    """Return the ORCID of an author, None if it is missing or wrong."""
    text = str(author.get("orcid") or "")
    return text if _ORCID.fullmatch(text) and _has_check_digit(text) else None


def ror_id(organization: Mapping[str, Any]) -> str | None:
    """Return the ROR id of an organization, None if it is missing or wrong."""
    text = str(organization.get("ror") or "")
    return text if _ROR.fullmatch(text) else None


def license_url(license_: object) -> str | None:
    """Return the URL of a license: itself, or the page of a single SPDX id; None for others."""
    text = str(license_ or "")
    if _URL.match(text):
        return text
    if not _SPDX_ID.match(text):
        return None
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        return f"{_SPDX}{canonicalize_license_expression(text)}"
    except InvalidLicenseExpression:
        return None
