"""Inputs of a run: datasets and models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yprov_mlflow.prov.events import STORE_SESSION, InputsLogged
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.identifiers import content, segment
from yprov_mlflow.prov.model.literals import plain, text
from yprov_mlflow.prov.translate.history import ActivityRef
from yprov_mlflow.prov.translate.models import declare_model
from yprov_mlflow.prov.translate.translation import DatasetUse, Translation

CONTEXT = "mlflow.data.context"
"""MLflow's input tag for the purpose of a dataset."""

TERMS = {
    "digest": "mlf:digest",
    "source_type": "mlf:sourceType",
    "source": "mlf:source",
    "schema": "mlf:schema",
    "profile": "mlf:profile",
}
"""Terms for the fields of a dataset but its name."""

_ROLES = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "eval": "evaluation",
    "evaluation": "evaluation",
    "test": "testing",
    "testing": "testing",
}


def on_inputs(translation: Translation, event: InputsLogged) -> None:
    """Add the datasets and models that the run used."""
    ref = translation.activity_ref(event)
    # A store keeps no order of datasets: they are sorted, so that documents are reproducible.
    from_store = event.session == STORE_SESSION
    for dataset in sorted(event.datasets, key=literals.canonical) if from_store else event.datasets:
        if isinstance(dataset, Mapping):
            _use_dataset(translation, ref, dataset)
    for model_id in event.models:
        model = declare_model(translation, str(model_id))
        # A usage before the creation of the model would be invalid PROV, so it gets no time.
        to_come = model in translation.models_to_create - translation.models_created
        time = None if to_come else ref.time
        usage = translation.builder.used(ref.activity, model, time, "mlf:inputModel")
        translation.models_used.setdefault(model, usage)


def _use_dataset(translation: Translation, ref: ActivityRef, dataset: Mapping[str, Any]) -> None:
    fields = {key: dataset.get(key) for key in ("name", *TERMS)}
    entity = translation.builder.entity(
        content({"dataset": fields}),
        ["mls:Dataset", "schema:Dataset"],
        text(fields["name"] or "data set"),
        {
            "schema:name": plain(fields["name"]),
            **{term: plain(fields[key]) for key, term in TERMS.items()},
        },
    )
    tags = literals.pairs(dataset.get("tags"))
    context = tags.pop(CONTEXT, None)
    role = _ROLES.get(str(context).lower(), "input") if context is not None else "input"
    usage = translation.builder.used(
        ref.activity,
        entity,
        ref.time,
        f"mlf:{role}",
        # One run may use a dataset for several purposes.
        segment(context) if context is not None else "",
        {
            "mlf:datasetContext": text(context) if context is not None else None,
            "mlf:inputTags": literals.canonical(tags) if tags else None,
        },
    )
    # A dataset of unspecified purpose may have been used for training.
    trains = role not in ("evaluation", "testing")
    earlier = translation.datasets.get(entity)
    if earlier is None or (trains and not earlier.trains):
        translation.datasets[entity] = DatasetUse(entity, ref.activity, usage, trains)
