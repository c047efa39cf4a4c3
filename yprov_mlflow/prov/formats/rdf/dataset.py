"""Documents as an ``rdflib.Dataset``, for those who work with rdflib."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING, Any

from yprov_mlflow.prov.formats.bundles import Bundle, Names
from yprov_mlflow.prov.formats.rdf import n_quads
from yprov_mlflow.prov.formats.rdf.prov_o import XSD
from yprov_mlflow.prov.formats.rdf.turtle import prefixes_of
from yprov_mlflow.prov.translate import Document

if TYPE_CHECKING:
    from rdflib import Dataset
    from rdflib.term import Node


def to_dataset(documents: Iterable[Document]) -> Dataset:
    """Give documents as a data set with one named graph for each.

    Literals keep their text as it is, which rdflib would change when it reads a file.

    Args:
        documents: Documents of runs or stores.

    Returns:
        The data set, with the prefixes of the documents bound.

    Raises:
        DocumentError: A document has names that are no IRIs, or relations that PROV-O has not.
    """
    from rdflib import Dataset

    dataset = Dataset()
    names = Names()
    terms: dict[object, Node] = {}
    for document in documents:
        for prefix, namespace in prefixes_of(document).items():
            dataset.bind(prefix if prefix != "default" else "", namespace)
        _add(dataset, document, names, terms)
    return dataset


def _add(dataset: Dataset, document: Document, names: Names, terms: dict[object, Node]) -> None:
    """Add a document by way of N-Quads: reading them costs less than rdflib's own terms do."""
    import pyoxigraph
    from rdflib import URIRef

    stream = BytesIO()
    name = names.take(document)
    n_quads.dump([Bundle(document, name)], stream)
    graph = dataset.graph(URIRef(name.iri))
    for quad in pyoxigraph.parse(stream.getvalue(), pyoxigraph.RdfFormat.N_QUADS):
        triple = (quad.subject, quad.predicate, quad.object)
        subject, property, object = (terms.get(one) or _term(one, terms) for one in triple)
        graph.add((subject, property, object))


def _term(term: Any, terms: dict[object, Node]) -> Node:
    from rdflib import Literal, URIRef

    datatype = getattr(term, "datatype", None)
    found: Node
    if datatype is None:
        found = URIRef(term.value)
    elif term.language is not None:
        found = Literal(term.value, lang=term.language)
    elif datatype.value == XSD + "string":
        found = Literal(term.value)
    else:
        found = Literal(term.value, datatype=URIRef(datatype.value), normalize=False)
    terms[term] = found
    return found
