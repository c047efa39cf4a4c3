"""Inputs of a run: its datasets, their sources, and its models."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from yprov_mlflow.prov.events import STORE_SESSION, InputsLogged
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Attributes
from yprov_mlflow.prov.model.identifiers import RUN, STORE, content, digest, segment
from yprov_mlflow.prov.model.literals import Value, optional_text, plain, text
from yprov_mlflow.prov.translate.artifacts import ARTIFACT_TYPES, add_content
from yprov_mlflow.prov.translate.history import ActivityRef
from yprov_mlflow.prov.translate.models import declare_model
from yprov_mlflow.prov.translate.translation import Translation

CONTEXT = "mlflow.data.context"
"""MLflow's input tag for the purpose of a dataset."""

TERMS = {
    "digest": "mlf:digest",
    "schema": "mlf:schema",
    "profile": "mlf:profile",
}
"""Terms for the fields of a dataset's content."""

USAGE_TERMS = {"source_type": "mlf:sourceType", "source": "mlf:source"}
"""Terms for the fields of a dataset that the usage has, besides its name."""

# MLflow's digests are 8 or more hexadecimal digits; a date is none.
_COMPUTED_DIGEST = re.compile(r"(?!(?:19|20)\d{6}\Z)[0-9a-f]{8,64}")

SOURCE_SHA256 = "mlf:sourceSha256"
"""Term for the hash of the file that a dataset's source names."""

_RUN_SOURCE = re.compile(r"\Aruns:/+([^/]+)/(.+)\Z")

_ROLES = {
    **dict.fromkeys(("train", "training"), "training"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("eval", "evaluation"), "evaluation"),
    **dict.fromkeys(("test", "testing"), "testing"),
}


def on_inputs(translation: Translation, event: InputsLogged) -> None:
    """Add the datasets and models that the run used."""
    ref = translation.activity_ref(event)
    # A store keeps no order of datasets: they are sorted, so that documents are reproducible.
    from_store = event.session == STORE_SESSION
    for dataset in sorted(event.datasets, key=literals.canonical) if from_store else event.datasets:
        if isinstance(dataset, Mapping):
            _use_dataset(translation, ref, dataset)
    later = translation.models_to_create - translation.models_created
    for model_id in event.models:
        model = declare_model(translation, str(model_id))
        # A usage before the creation of the model would be invalid PROV, so it gets no time.
        activity, within = translation.run_usage(ref)
        time = None if model in later else within
        translation.builder.used(activity, model, time, "mlf:inputModel")


def _use_dataset(translation: Translation, ref: ActivityRef, dataset: Mapping[str, Any]) -> None:
    """Add a dataset that the run used.

    The entity is the content; its name and source, which differ from run to run, belong to the
    usage.
    """
    fields = {key: dataset.get(key) for key in ("name", *TERMS, *USAGE_TERMS)}
    entity = content({"dataset": {key: fields[key] for key in _identity(fields)}})
    attributes: dict[str, Value | list[Value] | None] = {
        term: plain(fields[key]) for key, term in TERMS.items()
    }
    builder, dataset_name = translation.builder, optional_text(fields["name"])
    known = builder.records.get("entity", {}).get(entity, {}).get("schema:name")
    names = known if isinstance(known, list) else [known] if known is not None else []
    if dataset_name is not None and dataset_name not in names:
        attributes["schema:name"] = [*names, dataset_name]
    label = None if names else dataset_name or "dataset"
    builder.entity(entity, ["mls:Dataset", "schema:Dataset"], label, attributes)
    tags = literals.pairs(dataset.get("tags"))
    context = tags.pop(CONTEXT, None)
    of_usage: Attributes = {
        "mlf:datasetContext": optional_text(context),
        "mlf:datasetName": dataset_name,
        **{term: plain(fields[key]) for key, term in USAGE_TERMS.items()},
        SOURCE_SHA256: optional_text(dataset.get("source_sha256")),
        "mlf:inputTags": literals.canonical(tags) if tags else None,
    }
    # One run may use a dataset for several purposes, and by several names.
    extra = digest([context, *(fields[key] for key in ("name", *USAGE_TERMS))])[:16]
    role = _ROLES.get(str(context).lower(), "input")
    activity, time = translation.run_usage(ref)
    builder.used(activity, entity, time, f"mlf:{role}", extra, of_usage)
    _add_source(translation, entity, fields["source"], dataset.get("source_sha256"))
    if role == "training" and ref.time is not None:
        translation.training.add_dataset(entity)


def _add_source(translation: Translation, entity: str, source: object, sha256: object) -> None:
    """Derive a dataset from its source: a content, an artifact, or an evaluation dataset."""
    content_of_file = add_content(translation, sha256)
    if content_of_file is not None:
        translation.builder.was_derived_from(entity, content_of_file)
    of_source = literals.mapping(_json(source))
    if isinstance(of_source.get("dataset_id"), str):
        _derive_from_evaluation_dataset(translation, entity, of_source["dataset_id"])
    uri = of_source.get("uri")
    match = _RUN_SOURCE.search(uri) if isinstance(uri, str) else None
    if match is None:
        return
    artifact = translation.namespaces.in_run(match[1], f"artifact/{segment(match[2])}")
    if artifact.startswith(f"{RUN}:"):
        state = translation.artifacts.get(artifact)
        if state is None:  # not before it is made
            return
        artifact = state.latest
    else:
        attributes: Attributes = {"mlf:path": text(match[2])}
        translation.builder.entity(artifact, ARTIFACT_TYPES, text(match[2]), attributes)
    translation.builder.was_derived_from(entity, artifact)


def _derive_from_evaluation_dataset(translation: Translation, entity: str, dataset_id: str) -> None:
    builder, origin = translation.builder, f"{STORE}:dataset/{segment(dataset_id)}"
    is_new = origin not in builder.records["entity"]
    builder.entity(origin, ["mlf:EvaluationDataset"], text(dataset_id) if is_new else None)
    builder.was_derived_from(entity, origin)


def _json(source: object) -> object:
    try:
        return json.loads(source) if isinstance(source, str) else None
    except (ValueError, RecursionError):
        return None


def _identity(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fields that identify the content of a dataset.

    MLflow computes a digest of the content, together with schema and profile. A digest of the
    user's own, or one without both, is only unique for a name and source.
    """
    computed = isinstance(fields["digest"], str) and _COMPUTED_DIGEST.fullmatch(fields["digest"])
    if computed and (fields["schema"] or fields["profile"]):
        return ("digest", "schema", "profile")
    return ("name", *TERMS, *USAGE_TERMS)
