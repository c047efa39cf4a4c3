"""What a facet's value is in the end: of tags, names, params."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from yprov_mlflow.prov.model.document import Record
from yprov_mlflow.prov.translate.inverse.document_index import Reading, attribute, key

_STAMPED = re.compile(r"\d{8}T")


def last_values(reading: Reading, found: Iterable[tuple[str, Record]], base: str) -> dict[str, Any]:
    """Give the values that still hold, by key.

    ``found`` are the records of facets and of their values, by what follows ``base`` in their
    ids: ``<key>`` and ``<key>/<n>``.
    """
    latest: dict[str, tuple[tuple[bool, int, str], str, Record]] = {}
    for rest, record in found:
        segment, slash, number = rest.partition("/")
        if slash and "prov:value" in record:
            order = _order(number)
            if segment not in latest or latest[segment][0] < order:
                latest[segment] = (order, f"{base}{rest}", record)
    return {
        key(segment): attribute(record, "prov:value")
        for segment, (_, identifier, record) in latest.items()
        if reading.holds(identifier)
    }


def _order(number: str) -> tuple[bool, int, str]:
    """Sort values of a facet: by number, or by time; what a store told comes last."""
    plain = number.partition("@")[0]
    if plain.isdecimal() and len(plain) < 8:
        return (True, int(plain), number)
    return (not _STAMPED.match(number), 0, number)


def param_values(found: Iterable[tuple[str, Record]]) -> dict[str, str]:
    """Give params by key: of one with several values, which no store should have, the last."""
    latest: dict[str, tuple[int, str]] = {}
    for rest, record in found:
        segment, again, count = rest.rpartition("@")
        if not again or not count.isdecimal():
            segment, count = rest, "1"
        if "mlf:text" in record and latest.get(segment, (0, ""))[0] < int(count):
            latest[segment] = (int(count), str(attribute(record, "mlf:text")))
    return {key(segment): value for segment, (_, value) in latest.items()}
