"""Documents as RDF: PROV-O with both qualified and plain properties, without blank nodes."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from typing import TYPE_CHECKING

from yprov_mlflow.prov import model
from yprov_mlflow.prov.model.document import Document

if TYPE_CHECKING:
    from rdflib import Dataset

__all__ = ["to_dataset", "vocabulary"]


def to_dataset(documents: Iterable[Document]) -> Dataset:
    """Return documents as an ``rdflib`` dataset with one named graph for each.

    Literals keep their text, which rdflib would normalize if it read a file.

    Args:
        documents: Documents of runs or stores.

    Returns:
        The dataset, with the prefixes of the documents bound.

    Raises:
        DocumentError: A name is not an IRI, or PROV-O lacks a relation.
    """
    # rdflib takes longer to import than capture may delay a training script.
    from yprov_mlflow.prov.formats.rdf import dataset

    return dataset.to_dataset(documents)


def vocabulary() -> bytes:
    """Return the ontology of our own terms in Turtle, as published at its namespace."""
    return resources.files(model).joinpath("vocabulary.ttl").read_bytes()
