"""What a run read and put out: data sets, models, files."""

from __future__ import annotations

import re
from typing import Any

from yprov_mlflow.prov.model.identifiers import STORE
from yprov_mlflow.prov.translate.datasets import CONTEXT, TERMS
from yprov_mlflow.prov.translate.inverse.document_index import (
    Reading,
    as_json,
    attribute,
    key,
    names,
)

_MODEL = f"{STORE}:logged-model/"
_OWN_FILE = re.compile(r"(?:run|store):artifact/([^/@]+)(?:/(\d+))?(?:@.*)?\Z")
_FILE_OF = re.compile(r"store:([^/:]+)/([^/]+)/artifact/([^/@]+)(?:/(\d+))?(?:@.*)?\Z")
_OWNERS = {"logged-model": "model"}

Owner = tuple[str, str] | None


def inputs(reading: Reading) -> tuple[list[dict[str, Any]], list[str]]:
    """Give the data sets and models of ``InputsLogged``; each use in one context once."""
    datasets: dict[tuple[str, str | None], dict[str, Any]] = {}
    models: dict[str, None] = {}
    # A store keeps the first use of a data set in a run; what a source told is as the store is.
    live = reading.live
    for record in sorted(reading.relations("used"), key=lambda r: str(r.get("prov:time", ""))):
        entity = str(record.get("prov:entity"))
        if entity.startswith(_MODEL):
            if "mlf:inputModel" in names(record, "prov:role"):
                models[key(entity.removeprefix(_MODEL))] = None
            continue
        found = reading.entities.get(entity, {})
        if "mls:Dataset" not in names(found, "prov:type"):
            continue
        context = attribute(record, "mlf:datasetContext")
        if live and any(known == entity for known, _ in datasets):
            continue
        tags = {} if context is None else {CONTEXT: context}
        datasets.setdefault(
            (entity, context),
            {
                "name": attribute(found, "schema:name"),
                **{field: attribute(found, term) for field, term in TERMS.items()},
                "tags": {**tags, **(as_json(record, "mlf:inputTags") or {})},
            },
        )
    return list(datasets.values()), list(models)


def outputs(reading: Reading) -> list[tuple[str, int]]:
    """Give models and steps of ``OutputsLogged``."""
    found: dict[tuple[str, int], None] = {}
    for record in reading.relations("wasInfluencedBy"):
        if "mlf:RunOutput" in names(record, "prov:type"):
            model = key(str(record.get("prov:influencee")).removeprefix(_MODEL))
            found[model, attribute(record, "mlf:step") or 0] = None
    return list(found)


def artifacts(reading: Reading) -> dict[Owner, list[dict[str, Any]]]:
    """Give the files that are there in the end, by whose they are."""
    latest: dict[tuple[Owner, str], tuple[int, str]] = {}
    for identifier in reading.entities:
        owner: Owner = None
        if own := _OWN_FILE.match(identifier):
            path, number = own[1], own[2]
        elif of := _FILE_OF.match(identifier):
            kind = key(of[1])
            owner, path, number = (_OWNERS.get(kind, kind), key(of[2])), of[3], of[4]
        else:
            continue
        version = int(number or 1)
        if latest.get((owner, path), (0, ""))[0] < version:
            latest[owner, path] = (version, identifier)
    found: dict[Owner, list[dict[str, Any]]] = {}
    for (owner, path), (_, identifier) in sorted(latest.items(), key=lambda item: item[1][1]):
        if reading.holds(identifier):
            record = reading.entities[identifier]
            file = {"path": key(path), "size": attribute(record, "mlf:size")}
            file["sha256"] = attribute(record, "mlf:sha256")
            found.setdefault(owner, []).append(file)
    return found
