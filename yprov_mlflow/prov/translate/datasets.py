"""What a run read: data sets and models."""

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
_CONTENT = ("name", "digest", "source_type", "source", "schema", "profile")
TERMS = {
    "digest": "mlf:digest",
    "source_type": "mlf:sourceType",
    "source": "mlf:source",
    "schema": "mlf:schema",
    "profile": "mlf:profile",
}


def on_inputs(translation: Translation, event: InputsLogged) -> None:
    """Make the records of data sets and models that the run read."""
    act = translation.act(event)
    for dataset in _ordered(event):
        if isinstance(dataset, Mapping):
            _use_dataset(translation, act, dataset)
    for model_id in event.models:
        model = declare_model(translation, str(model_id))
        # Nothing is used before it is made, even where clocks or callers say so.
        to_come = model in translation.models_to_come - translation.models_made
        time = None if to_come else act.time
        usage = translation.builder.used(act.activity, model, time, "mlf:inputModel")
        translation.models_used.setdefault(model, usage)


def _ordered(event: InputsLogged) -> list[Mapping[str, Any]]:
    """Give the data sets as they came; stores keep no order, so theirs is that of content."""
    found = list(event.datasets)
    return found if event.session != STORE_SESSION else sorted(found, key=literals.canonical)


def _use_dataset(translation: Translation, act: ActivityRef, dataset: Mapping[str, Any]) -> None:
    found = {key: dataset.get(key) for key in _CONTENT}
    label = str(found["name"] or "data set")
    entity = translation.builder.entity(
        content({"dataset": found}),
        ["mls:Dataset", "schema:Dataset"],
        text(label),
        {
            "schema:name": plain(found["name"]),
            **{term: plain(found[key]) for key, term in TERMS.items()},
        },
    )
    tags = literals.pairs(dataset.get("tags"))
    context = tags.pop(CONTEXT, None)
    role = _ROLES.get(str(context).lower(), "input") if context is not None else "input"
    usage = translation.builder.used(
        act.activity,
        entity,
        act.time,
        f"mlf:{role}",
        segment(context) if context is not None else "",
        {
            "mlf:datasetContext": text(context) if context is not None else None,
            "mlf:inputTags": literals.canonical(tags) if tags else None,
        },
    )
    trains = role not in ("evaluation", "testing")
    known = translation.datasets.get(entity)
    if known is None or (trains and not known.trains):
        translation.datasets[entity] = DatasetUse(entity, act.activity, usage, trains)
