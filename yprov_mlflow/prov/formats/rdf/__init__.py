"""Documents as RDF: PROV-O with both qualified and plain properties, without blank nodes."""

from __future__ import annotations

from importlib import resources

from yprov_mlflow.prov import model
from yprov_mlflow.prov.formats.rdf.dataset import to_dataset

__all__ = ["to_dataset", "vocabulary"]


def vocabulary() -> bytes:
    """Return the ontology of our own terms in Turtle, as published at its namespace."""
    return resources.files(model).joinpath("vocabulary.ttl").read_bytes()
