"""Namespaces of documents, and the terms of other vocabularies; ``vocabulary.ttl`` has our own."""

from __future__ import annotations

from collections.abc import Mapping

NAMESPACE = "https://w3id.org/yprov/mlflow#"
"""Namespace of our own terms, ``mlf:`` in documents."""

PREFIXES: Mapping[str, str] = {
    "dcterms": "http://purl.org/dc/terms/",
    "fair4ml": "https://w3id.org/fair4ml#",
    "mlf": NAMESPACE,
    "mls": "http://www.w3.org/ns/mls#",
    "quantitykind": "http://qudt.org/vocab/quantitykind/",
    "qudt": "http://qudt.org/schema/qudt/",
    "schema": "https://schema.org/",
    "sha256": "urn:sha256:",
    "sosa": "http://www.w3.org/ns/sosa/",
    "unit": "http://qudt.org/vocab/unit/",
}
"""Prefixes of every document; each document adds those of its run and store."""

UNITS: Mapping[str, frozenset[str]] = {
    unit: frozenset(kinds.split())
    for unit, kinds in {
        "J": "ElectricEnergy Energy",
        "KiloW-HR": "ElectricEnergy Energy",
        "W": "ElectricPower ActivePower Power",
        "V": "Voltage",
        "A": "ElectricCurrent",
        "PERCENT": "DimensionlessRatio",
        "UNITLESS": "Dimensionless DimensionlessRatio",
        "NUM": "Count Dimensionless",
        "BYTE": "InformationEntropy",
        "BYTE-PER-SEC": "DataRate",
        "DEG_C": "Temperature",
        "HZ": "Frequency",
        "MegaHZ": "Frequency",
        "REV-PER-MIN": "AngularVelocity",
        "GM": "CO2Equivalent Mass",
        "KiloGM": "CO2Equivalent Mass",
        "SEC": "Time",
    }.items()
}
"""Units of QUDT, each with the quantity kinds that may have it."""

BORROWED: Mapping[str, frozenset[str]] = {
    "dcterms": frozenset("creator description identifier isPartOf license publisher title".split()),
    "fair4ml": frozenset({"MLModel", "trainedOn"}),
    "mls": frozenset(
        "Dataset HyperParameterSetting Model ModelEvaluation Run hasInput hasOutput"
        " hasValue".split()
    ),
    "schema": frozenset(
        "Dataset MediaObject Organization Project SoftwareSourceCode affiliation codeRepository"
        " contentUrl encodingFormat funding identifier keywords name softwareVersion url".split()
    ),
    "sosa": frozenset({"Platform", "Result"}),
    "qudt": frozenset("QuantityValue hasQuantityKind hasUnit numericValue".split()),
    "quantitykind": frozenset().union(*UNITS.values()),
    "unit": frozenset(UNITS),
}
"""Terms of other vocabularies that documents use, by prefix."""
