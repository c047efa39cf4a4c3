"""The terms of PROV-O for the attributes and relations of PROV-JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from yprov_mlflow.prov.model import relations
from yprov_mlflow.prov.model.relations import ELEMENTS, KINDS, PROV, UNNAMED

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
RDFS = "http://www.w3.org/2000/01/rdf-schema#"
XSD = "http://www.w3.org/2001/XMLSchema#"
VANN = "http://purl.org/vocab/vann/"

STANDARD: Mapping[str, str] = {"prov": PROV, "xsd": XSD}
"""Prefixes that PROV-JSON documents need not declare and cannot redefine."""

TYPE = RDF + "type"
PREFIX = VANN + "preferredNamespacePrefix"
AT_TIME = PROV + "atTime"
DATE_TIME = "xsd:dateTime"

CLASSES: Mapping[str, str] = {section: PROV + KINDS[section].node for section in ELEMENTS}
"""Class of each kind of element."""

PROPERTIES: Mapping[str, str] = {
    "prov:type": TYPE,
    "prov:label": RDFS + "label",
    "prov:location": PROV + "atLocation",
    "prov:role": PROV + "hadRole",
    "prov:startTime": PROV + "startedAtTime",
    "prov:endTime": PROV + "endedAtTime",
    "prov:time": AT_TIME,
}
"""Properties whose names differ from those of the attributes."""


class Qualified(NamedTuple):
    """A relation of PROV-O that a node can describe.

    Args:
        subject: The attribute with the record that the relation starts from.
        object: The attribute with the record that it leads to.
        plain: The property from the subject to the object.
        link: The property from the subject to the node.
        node: The class of the node.
        others: The node's property for each attribute except the subject.
    """

    subject: str
    object: str
    plain: str
    link: str
    node: str
    others: Mapping[str, str]


QUALIFIED: Mapping[str, Qualified] = {
    section: Qualified(
        kind.formals[0],
        kind.formals[1],
        PROV + section,
        f"{PROV}qualified{kind.node}",
        PROV + kind.node,
        {
            formal: PROV + property
            for formal, property in zip(kind.formals, kind.properties, strict=True)
            if property
        },
    )
    for section, kind in KINDS.items()
    if kind.formals and kind.named
}
"""The relations that can have an id, times and attributes."""

PLAIN: Mapping[str, tuple[str, str, str]] = {
    section: (KINDS[section].formals[0], KINDS[section].formals[1], PROV + section)
    for section in UNNAMED
}
"""The relations that are one triple: subject, object, and the property between them."""

IN_BUNDLE = PROV + "asInBundle"
"""From a mentioned entity to its bundle: mentionOf has three ends and so takes two triples."""

DERIVATIONS: Mapping[str, tuple[str, str]] = {
    f"prov:{kind}": (PROV + plain, f"{PROV}qualified{kind}")
    for kind, plain in relations.DERIVATIONS.items()
}
"""Plain property and property to the node for each type of derivation, beside the general ones."""
