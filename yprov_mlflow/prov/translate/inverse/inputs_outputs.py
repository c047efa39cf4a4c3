"""Inputs and outputs of a run: datasets, models, files."""

from __future__ import annotations

import re
from typing import Any

from yprov_mlflow.prov.model.identifiers import STORE
from yprov_mlflow.prov.translate.datasets import CONTEXT, TERMS
from yprov_mlflow.prov.translate.inverse.document_index import (
    DocumentIndex,
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
"""Kind and id of the object that files belong to; None for the run or the store itself."""


def inputs(index: DocumentIndex) -> tuple[list[dict[str, Any]], list[str]]:
    """Return datasets and models of ``InputsLogged``, each once per context."""
    datasets: dict[tuple[str, str | None], dict[str, Any]] = {}
    models: dict[str, None] = {}
    live = index.live
    for record in sorted(index.relations("used"), key=lambda r: str(r.get("prov:time", ""))):
        entity = str(record.get("prov:entity"))
        if entity.startswith(_MODEL):
            if "mlf:inputModel" in names(record, "prov:role"):
                models[key(entity.removeprefix(_MODEL))] = None
            continue
        dataset = index.entities.get(entity, {})
        if "mls:Dataset" not in names(dataset, "prov:type"):
            continue
        context = attribute(record, "mlf:datasetContext")
        # MLflow keeps only the first use of a dataset in a run. A document made from a store
        # has just what the store holds, so there all uses are kept.
        if live and any(used == entity for used, _ in datasets):
            continue
        tags = {} if context is None else {CONTEXT: context}
        datasets.setdefault(
            (entity, context),
            {
                "name": attribute(dataset, "schema:name"),
                **{field: attribute(dataset, term) for field, term in TERMS.items()},
                "tags": {**tags, **(as_json(record, "mlf:inputTags") or {})},
            },
        )
    return list(datasets.values()), list(models)


def outputs(index: DocumentIndex) -> list[tuple[str, int]]:
    """Return models and steps of ``OutputsLogged``."""
    models: dict[tuple[str, int], None] = {}
    for record in index.relations("wasInfluencedBy"):
        if "mlf:RunOutput" in names(record, "prov:type"):
            model = key(str(record.get("prov:influencee")).removeprefix(_MODEL))
            models[model, attribute(record, "mlf:step") or 0] = None
    return list(models)


def artifacts(index: DocumentIndex) -> dict[Owner, list[dict[str, Any]]]:
    """Return the latest version of each file that was not deleted, by owner."""
    latest: dict[tuple[Owner, str], tuple[int, str]] = {}
    for identifier in index.entities:
        owner: Owner = None
        if match := _OWN_FILE.match(identifier):
            path, number = match[1], match[2]
        elif match := _FILE_OF.match(identifier):
            kind = key(match[1])
            owner, path, number = (_OWNERS.get(kind, kind), key(match[2])), match[3], match[4]
        else:
            continue
        version = int(number or 1)
        if latest.get((owner, path), (0, ""))[0] < version:
            latest[owner, path] = (version, identifier)
    files: dict[Owner, list[dict[str, Any]]] = {}
    for (owner, path), (_, identifier) in sorted(latest.items(), key=lambda item: item[1][1]):
        if index.is_current(identifier):
            record = index.entities[identifier]
            file = {"path": key(path), "size": attribute(record, "mlf:size")}
            file["sha256"] = attribute(record, "mlf:sha256")
            files.setdefault(owner, []).append(file)
    return files
