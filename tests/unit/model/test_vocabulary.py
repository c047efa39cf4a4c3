"""The vocabulary."""

from __future__ import annotations

import re

import rdflib

from yprov_mlflow.prov.formats.rdf import vocabulary
from yprov_mlflow.prov.model.vocabulary import NAMESPACE

ONTOLOGY = rdflib.URIRef(NAMESPACE.rstrip("#"))


def test_every_term_has_a_kind_a_label_and_a_sentence() -> None:
    graph = rdflib.Graph().parse(data=vocabulary(), format="turtle")
    terms = set(graph.subjects()) - {ONTOLOGY}
    assert len(terms) > 150
    for term in terms:
        name = str(term).removeprefix(NAMESPACE)
        is_class = (term, rdflib.RDF.type, rdflib.RDFS.Class) in graph
        kinds = set(graph.objects(term, rdflib.RDF.type))
        assert is_class or kinds & {rdflib.RDF.Property, rdflib.OWL.NamedIndividual}, name
        if is_class:
            assert graph.value(term, rdflib.RDFS.subClassOf) is not None, name
        if rdflib.RDF.Property in kinds:
            assert kinds & {rdflib.OWL.ObjectProperty, rdflib.OWL.DatatypeProperty}, name
        assert name[0].isupper() == (is_class or name.isupper())
        assert re.fullmatch(r"[a-z0-9 ]+", str(graph.value(term, rdflib.RDFS.label))), name
        assert re.fullmatch(r"[A-Z].*\.", str(graph.value(term, rdflib.RDFS.comment))), name
        assert graph.value(term, rdflib.RDFS.isDefinedBy) == ONTOLOGY


def test_the_ontology_has_a_version() -> None:
    graph = rdflib.Graph().parse(data=vocabulary(), format="turtle")
    assert graph.value(ONTOLOGY, rdflib.OWL.versionInfo) is not None
