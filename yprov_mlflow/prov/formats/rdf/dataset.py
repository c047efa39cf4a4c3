"""Documents as an ``rdflib.Dataset``."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING, Any

from yprov_mlflow.prov.formats.bundles import Bundle, NameAllocator
from yprov_mlflow.prov.formats.rdf.prov_o import XSD
from yprov_mlflow.prov.formats.rdf.turtle import N_QUADS, prefixes_of
from yprov_mlflow.prov.model.document import Document

if TYPE_CHECKING:
    from rdflib import Dataset
    from rdflib.term import Node


def to_dataset(documents: Iterable[Document]) -> Dataset:
    """Return documents as a dataset with one named graph for each.

    Literals keep their text, which rdflib would normalize if it read a file.

    Args:
        documents: Documents of runs or stores.

    Returns:
        The dataset, with the prefixes of the documents bound.

    Raises:
        DocumentError: A name is not an IRI, or PROV-O lacks a relation.
    """
    from rdflib import Dataset

    dataset = Dataset()
    names = NameAllocator()
    terms: dict[object, Node] = {}
    for document in documents:
        for prefix, namespace in prefixes_of(document).items():
            dataset.bind(prefix if prefix != "default" else "", namespace)
        _add(dataset, document, names, terms)
    return dataset


def _add(
    dataset: Dataset, document: Document, names: NameAllocator, terms: dict[object, Node]
) -> None:
    import pyoxigraph
    from rdflib import URIRef

    stream = BytesIO()
    name = names.allocate(document)
    N_QUADS.dump([Bundle(document, name)], stream)
    graph = dataset.graph(URIRef(name.iri))
    # Parsing N-Quads with pyoxigraph costs less than creating all terms with rdflib.
    for quad in pyoxigraph.parse(stream.getvalue(), pyoxigraph.RdfFormat.N_QUADS):
        triple = (quad.subject, quad.predicate, quad.object)
        subject, property, object = (terms.get(term) or _add_term(term, terms) for term in triple)
        graph.add((subject, property, object))


def _add_term(term: Any, terms: dict[object, Node]) -> Node:
    from rdflib import Literal, URIRef

    datatype = getattr(term, "datatype", None)
    node: Node
    if datatype is None:
        node = URIRef(term.value)
    elif term.language is not None:
        node = Literal(term.value, lang=term.language)
    elif datatype.value == XSD + "string":
        node = Literal(term.value)
    else:
        node = Literal(term.value, datatype=URIRef(datatype.value), normalize=False)
    terms[term] = node
    return node
