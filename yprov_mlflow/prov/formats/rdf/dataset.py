"""Documents as an ``rdflib.Dataset``; the package imports rdflib only through this module."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from io import BytesIO
from typing import Any

import pyoxigraph
from rdflib import Dataset, Literal, URIRef
from rdflib.term import Node

from yprov_mlflow.prov.formats.bundles import Bundle, NameAllocator
from yprov_mlflow.prov.formats.rdf.prov_o import XSD
from yprov_mlflow.prov.formats.rdf.turtle import N_QUADS, prefixes_of
from yprov_mlflow.prov.model.document import Document


def to_dataset(documents: Iterable[Document]) -> Dataset:
    """Return documents as a dataset; see ``rdf.to_dataset``."""
    dataset = Dataset()
    names = NameAllocator()
    node = functools.cache(_node)  # for this dataset only, so that no term outlives it
    for document in documents:
        for prefix, namespace in prefixes_of(document).items():
            dataset.bind(prefix if prefix != "default" else "", namespace)
        stream = BytesIO()
        name = names.allocate(document)
        N_QUADS.dump([Bundle(document, name)], stream)
        graph = dataset.graph(URIRef(name.iri))
        # Parsing N-Quads with pyoxigraph costs less than creating all terms with rdflib.
        for quad in pyoxigraph.parse(stream.getvalue(), pyoxigraph.RdfFormat.N_QUADS):
            graph.add((node(quad.subject), node(quad.predicate), node(quad.object)))
    return dataset


def _node(term: Any) -> Node:
    datatype = getattr(term, "datatype", None)
    if datatype is None:
        return URIRef(term.value)
    if term.language is not None:
        return Literal(term.value, lang=term.language)
    if datatype.value == XSD + "string":
        return Literal(term.value)
    return Literal(term.value, datatype=URIRef(datatype.value), normalize=False)
