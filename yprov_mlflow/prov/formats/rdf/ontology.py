"""Our own vocabulary as an ontology, to be published where its namespace leads."""

from __future__ import annotations

from yprov_mlflow.prov.formats.rdf.prov_o import RDF, RDFS
from yprov_mlflow.prov.formats.rdf.terms import quote
from yprov_mlflow.prov.translate import NAMESPACE, TERMS

_OWL = "http://www.w3.org/2002/07/owl#"
_KINDS = {
    "class": "rdfs:Class, owl:Class",
    "property": "rdf:Property",
    "individual": "owl:NamedIndividual",
}


def vocabulary() -> bytes:
    """Give the ontology in Turtle: each of our terms with its kind, label and comment."""
    prefixes = {"mlf": NAMESPACE, "owl": _OWL, "rdf": RDF, "rdfs": RDFS}
    ontology = f"<{NAMESPACE.rstrip('#')}>"
    parts = [f"@prefix {prefix}: <{iri}> .\n" for prefix, iri in prefixes.items()]
    parts.append(
        f'\n{ontology} a owl:Ontology ;\n    rdfs:label "yprov-mlflow"@en ;\n'
        '    rdfs:comment "What PROV-O and the vocabularies of machine learning have no word for'
        ' in the provenance of MLflow runs."@en .\n'
    )
    parts += [
        f"\nmlf:{name} a {_KINDS[term.kind]} ;\n"
        f"    rdfs:label {quote(term.label)}@en ;\n"
        f"    rdfs:comment {quote(term.comment)}@en ;\n"
        f"    rdfs:isDefinedBy {ontology} .\n"
        for name, term in sorted(TERMS.items())
    ]
    return "".join(parts).encode()
