"""The vocabulary: namespaces, every term of ours with its meaning, every borrowed one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

NAMESPACE = "https://w3id.org/yprov/mlflow#"
"""Namespace of our own terms, ``mlf:`` in documents."""

PREFIXES: Mapping[str, str] = {
    "dcterms": "http://purl.org/dc/terms/",
    "fair4ml": "https://w3id.org/fair4ml#",
    "mlf": NAMESPACE,
    "mls": "http://www.w3.org/ns/mls#",
    "pypi": "pkg:pypi/",
    "quantitykind": "http://qudt.org/vocab/quantitykind/",
    "qudt": "http://qudt.org/schema/qudt/",
    "schema": "https://schema.org/",
    "sha256": "urn:sha256:",
    "sosa": "http://www.w3.org/ns/sosa/",
    "unit": "http://qudt.org/vocab/unit/",
}
"""Prefixes of every document; those of run and store come with the document."""

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
"""Units of QUDT that quantities have, each with the quantity kinds that go with it."""

BORROWED: Mapping[str, frozenset[str]] = {
    "dcterms": frozenset({"isPartOf"}),
    "fair4ml": frozenset({"MLModel"}),
    "mls": frozenset(
        {"Dataset", "HyperParameterSetting", "Model", "ModelEvaluation", "Run", "hasValue"}
    ),
    "schema": frozenset(
        {
            "Dataset",
            "MediaObject",
            "SoftwareSourceCode",
            "codeRepository",
            "contentUrl",
            "encodingFormat",
            "name",
            "softwareVersion",
        }
    ),
    "sosa": frozenset({"Platform", "Result"}),
    "qudt": frozenset({"QuantityValue", "hasQuantityKind", "hasUnit", "numericValue"}),
    "quantitykind": frozenset().union(*UNITS.values()),
    "unit": frozenset(UNITS),
}
"""Terms of published vocabularies that documents have, by prefix."""


class Term(NamedTuple):
    """A term of ours; ``kind`` is ``class``, ``property`` or ``individual``."""

    kind: str
    label: str
    comment: str


_CLASSES = {
    "Alias": "The name that a registry gives to one version of a model at a time.",
    "AliasAssignment": "An alias, while it named one version.",
    "Artifact": "A version of a file of a run, a logged model or a trace.",
    "ArtifactFolder": "A folder of artifacts.",
    "Assessment": "What a person or a program thought of a trace.",
    "AssessmentValue": "The value of an assessment, until it was changed.",
    "BasedOn": "Derivation of a model from one that its run had read.",
    "Collection": "A collector's measuring in one session.",
    "Context": "A named part of a run, such as its training.",
    "Device": "A device of a host, such as a GPU or a processor.",
    "Emissions": "What energy use put into the air, as CO2 equivalent.",
    "Entry": "The entry of something in a store, from its creation to its deletion.",
    "Environment": "The installed packages, the interpreter and the platform of a session.",
    "Epoch": "One epoch of a run or of a context.",
    "EvaluationDataset": "A data set that a store keeps for evaluations.",
    "Expectation": "An assessment that says what the answer should have been.",
    "Experiment": "A collection of runs.",
    "Facet": "Something of a thing that has one value at a time.",
    "Facts": "What a collector found out about a session.",
    "Feedback": "An assessment that judges an answer.",
    "Gauge": "A quantity that goes up and down: its mean over time, with bounds.",
    "Host": "The machine that a session ran on.",
    "Link": "That two things belong together, while a store said so.",
    "LoggedModel": "A model that a run logged.",
    "MetricPoints": "A file that has every point of a run's metrics.",
    "MetricSample": "One measured value of a metric.",
    "MetricSeries": "All values of one metric in one context.",
    "ModelStatus": "The status of a logged model, until it changed.",
    "ModelVersion": "A version of a registered model.",
    "Name": "The name of something, until it was renamed.",
    "Package": "An installed distribution in one version.",
    "Param": "A parameter that a run or a model was given.",
    "Part": "What a total grew by during a context or epoch.",
    "Procedure": "How a collector comes to its numbers.",
    "Prompt": "A prompt of the prompt registry.",
    "PromptVersion": "A version of a prompt.",
    "Property": "A property of something in a store, until it changed.",
    "Quantity": "A number with its unit, found by a collector or from what one found.",
    "RegisteredModel": "A model of the model registry.",
    "RegistryOperation": "A call that changed the model registry.",
    "Result": "What a call to a store gave back.",
    "Resume": "That a session went on with what another one had begun.",
    "Run": "A run of MLflow, as it ran.",
    "RunOutput": "That a model was put out by a run.",
    "RunRecord": "The record of a run in its store.",
    "RunSession": "A process's part in a run.",
    "SoftwareCarbonIntensity": "The quantities of the Software Carbon Intensity specification.",
    "Span": "One operation that was traced.",
    "SpanInput": "What a traced operation was given.",
    "SpanOutput": "What a traced operation gave.",
    "StageAssignment": "The stage of a model version, until it changed.",
    "StoreObject": "Something that a store keeps; mlf:objectKind says what.",
    "StoreOperation": "A call that changed a store.",
    "Tag": "The value of a tag, until it was set again or deleted.",
    "TagKey": "A tag over all its values.",
    "Total": "A quantity that only grows: by how much it did.",
    "TotalEnergy": "All energy of a run that was measured or estimated.",
    "Trace": "A trace, as a store keeps it.",
    "TrackingStore": "A store of runs.",
    "TrainedOn": "Derivation of a model from a data set that its run had read.",
}

_PROPERTIES = {
    "about": "What an entity tells of.",
    "arguments": "The arguments of a call, as JSON.",
    "artifactUri": "Where artifacts are kept.",
    "assessmentMetadata": "Metadata of an assessment, as JSON.",
    "carbonIntensity": "Grams of CO2 equivalent for a kWh of electricity.",
    "carbonIntensitySource": "Where a carbon intensity comes from.",
    "clientRequestId": "The client's own name for a traced request.",
    "collector": "Name of a collector.",
    "commandLine": "The command line of a process, as a JSON list.",
    "component": "Part of a machine that energy went to: cpu, gpu or memory.",
    "context": "Name of a context that a metric was logged in.",
    "count": "Number of values in a series.",
    "cpuCount": "Number of logical processors of a host.",
    "cpuSeconds": "Processor time that measuring took.",
    "creationTime": "When MLflow says that something was created.",
    "creationTimeMs": "The same in milliseconds since 1970.",
    "datasetContext": "What a data set was used for, in the user's words.",
    "datasetDigest": "MLflow's digest of the data set that a value was measured on.",
    "datasetName": "Name of the data set that a value was measured on.",
    "deviceName": "Short name of a device on its host.",
    "digest": "MLflow's digest of a data set.",
    "during": "The context or epoch that a part of a total belongs to.",
    "endTimeMs": "End of a run in milliseconds since 1970, as the store has it.",
    "entryPoint": "The file or module that a program was started by.",
    "entryPointSha256": "SHA-256 of the file that a program was started by.",
    "epoch": "Number of an epoch.",
    "exact": "Attributes whose text is not exactly what the store has, as a JSON object.",
    "executionDurationMs": "How long a traced request took, in milliseconds.",
    "experimentId": "MLflow's id of an experiment.",
    "facts": "Facts that have no term of their own, as JSON.",
    "failed": "Whether an exception ended an activity.",
    "fields": "What else a store says of something, as JSON.",
    "first": "First value of a series, by step and time stamp.",
    "gitBranch": "Branch that the code was on.",
    "gitCommit": "Commit that the code was at.",
    "gitDiffSha256": "SHA-256 of the difference between the code and its commit.",
    "gitDirty": "Whether the code differed from its commit.",
    "inputTags": "Tags of the use of a data set, as JSON.",
    "intervalSeconds": "Time between two samples.",
    "jsonForm": "What PROV-JSON spelt in a way that its triples do not tell, as JSON.",
    "last": "Last value of a series, by step and time stamp: the one that MLflow shows.",
    "leftToOthers": "What another process of the run measures, as a JSON list.",
    "localRank": "Rank of a process on its host.",
    "loggedBy": "The call that logged a span.",
    "machine": "Hardware architecture of a host.",
    "max": "Greatest number of a series.",
    "memoryBytes": "Memory of a host in bytes.",
    "method": "Method of a store that was called; how a quantity came about.",
    "min": "Smallest number of a series.",
    "model": "The logged model that a value was measured of.",
    "modelId": "MLflow's id of a logged model.",
    "modelType": "MLflow's type of a logged model.",
    "nanCount": "Number of values of a series that are not a number.",
    "notMeasured": "Quantities that could not be read, as a JSON list.",
    "objectKind": "What MLflow calls something in its store.",
    "ofDevice": "The device that a quantity is of.",
    "operatingSystem": "Operating system of a host.",
    "partOfTotal": "The total that a part is of.",
    "path": "Path of a file below the root of artifacts.",
    "pid": "Process id of a session.",
    "platform": "Platform that an environment is for.",
    "points": "The file that has the values of a series.",
    "problems": "What went wrong while measuring, as a JSON list.",
    "procedure": "How a collector comes to its numbers, in words.",
    "profile": "Profile of a data set.",
    "pythonImplementation": "Implementation of the Python interpreter.",
    "pythonVersion": "Version of the Python interpreter.",
    "rank": "Rank of a process in a distributed run.",
    "rationale": "Why an assessment is what it is.",
    "requestPreview": "Start of a traced request.",
    "requestTimeMs": "When a traced request came, in milliseconds since 1970.",
    "responsePreview": "Start of the response to a traced request.",
    "result": "What a call gave back, as JSON.",
    "runId": "MLflow's id of a run.",
    "samples": "Number of samples.",
    "schema": "Schema of a data set.",
    "sciEmbodiedGrams": "M of the Software Carbon Intensity: embodied emissions, in grams.",
    "sciEnergyKwh": "E of the Software Carbon Intensity: energy, in kWh.",
    "sciFunctionalUnit": "R of the Software Carbon Intensity: what the number is for.",
    "sciIntensity": "I of the Software Carbon Intensity: grams of CO2 equivalent for a kWh.",
    "scope": "Whose quantity it is: a device's, a process's, a job's or a node's.",
    "sequence": "Place of a call among those of its session, or of what a store told.",
    "session": "The session that entered a context.",
    "sha256": "SHA-256 of a file's bytes.",
    "side": "Whether a session was seen by the client or the server.",
    "size": "Size of a file in bytes.",
    "source": "Where something came from.",
    "sourceType": "Kind of source of a data set.",
    "spanAttributes": "Attributes of a span, as JSON.",
    "spanEvents": "Events of a span, as JSON.",
    "spanFields": "What no other attribute tells of a span, as JSON.",
    "spanId": "Id of the span that an assessment is about.",
    "spanStatus": "Status of a span.",
    "spanType": "Kind of operation that a span is.",
    "startTimeMs": "Start of a run in milliseconds since 1970, as the store has it.",
    "status": "Status of a run, a session's end or a logged model.",
    "step": "Step of a value.",
    "subjects": "What a call was about, as JSON.",
    "target": "What an alias or a link leads to.",
    "text": "A param as MLflow keeps it.",
    "timestamp": "When a value was measured, by the user or MLflow.",
    "timestampMs": "The same in milliseconds since 1970, where no calendar has it.",
    "token": "Name of a process in journals and side files.",
    "trace": "The trace of a span.",
    "traceMetadata": "Metadata of a trace, as JSON.",
    "traceState": "State of a trace.",
    "uri": "URI of a store, without password.",
    "userId": "Login name of the user of a run, as the store has it.",
    "version": "Number of a version.",
    "workingDirectory": "Working directory of a process.",
    "worldSize": "Number of processes of a distributed run.",
}

_INDIVIDUALS = {
    "DELETED": "Status: deleted.",
    "FAILED": "Status: ended by an error.",
    "FINISHED": "Status: ended as it should.",
    "KILLED": "Status: ended from outside.",
    "PENDING": "Status: a model that is not complete yet.",
    "READY": "Status: a model that can be used.",
    "RUNNING": "Status: not ended.",
    "SCHEDULED": "Status: not started.",
    "collected": "Role of facts that a collector found out.",
    "collectorAgent": "Role of the software that measures.",
    "device": "Scope: a device.",
    "environment": "Role of the environment of a session.",
    "estimated": "Method: by a model and not by a sensor.",
    "evaluation": "Role of data used for evaluation.",
    "host": "Role of the machine of a session.",
    "input": "Role of data used without a purpose being told.",
    "inputModel": "Role of a model that a run read.",
    "job": "Scope: a job of a scheduler.",
    "measured": "Method: by a sensor, or counted by the system.",
    "measuredDevice": "Role of a device that is measured.",
    "modelParam": "Role of a param of a logged model.",
    "node": "Scope: a machine with all that runs on it.",
    "operator": "Role of who started a process.",
    "owner": "Role of the user whose run it is.",
    "param": "Role of a param of a run.",
    "process": "Scope: a process and its children.",
    "recorder": "Role of the software that records provenance.",
    "testing": "Role of data used for testing.",
    "tracker": "Role of the software that tracks runs.",
    "training": "Role of data used for training.",
    "validation": "Role of data used for validation.",
}


def _label(term: str) -> str:
    if term.isupper():
        return term.lower()
    return "".join(f" {c.lower()}" if c.isupper() else c for c in term).strip()


TERMS: Mapping[str, Term] = {
    term: Term(kind, _label(term), comment)
    for kind, terms in (
        ("class", _CLASSES),
        ("property", _PROPERTIES),
        ("individual", _INDIVIDUALS),
    )
    for term, comment in terms.items()
}
"""Our terms by their local names."""
