"""Documents as RDF: PROV-O with both the qualified and the plain properties, no blank nodes."""

from __future__ import annotations

from yprov_mlflow.prov.formats.rdf.dataset import to_dataset
from yprov_mlflow.prov.formats.rdf.ontology import vocabulary

__all__ = ["to_dataset", "vocabulary"]
