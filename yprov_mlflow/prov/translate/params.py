"""Params: entities with a typed value that a session used."""

from __future__ import annotations

from yprov_mlflow.prov.events import ParamsLogged
from yprov_mlflow.prov.model.identifiers import RUN, segment
from yprov_mlflow.prov.model.literals import name, parsed, text
from yprov_mlflow.prov.translate.history import ActivityRef
from yprov_mlflow.prov.translate.translation import Translation

_TYPES = ("mls:HyperParameterSetting", "mlf:Param")


def on_params(translation: Translation, event: ParamsLogged) -> None:
    """Make the records of params; the same value again adds nothing."""
    act = translation.act(event)
    for key, value in event.params.items():
        add_param(translation, act, f"{RUN}:param/{segment(key)}", key, value)


def add_param(
    translation: Translation,
    act: ActivityRef,
    identifier: str,
    key: object,
    value: object,
    subject: str | None = None,
) -> None:
    """Make the records of one param of a run, or of the model ``subject``.

    MLflow lets no param change. A store in which one did all the same gets an entity for
    each value.
    """
    builder = translation.builder
    raw = text(value)
    entities = builder.records.get("entity", {})
    entity, previous, count = identifier, None, 1
    while (known := entities.get(entity)) is not None:
        if known["mlf:text"] == raw:
            return
        count += 1
        previous, entity = entity, f"{identifier}@{count}"
    typed = parsed(raw)
    builder.entity(
        entity,
        _TYPES,
        text(key),
        {
            "schema:name": text(key),
            "prov:value": typed,
            "mls:hasValue": typed,
            "mlf:text": raw,
            "mlf:about": name(subject) if subject is not None else None,
        },
    )
    role = "mlf:param" if subject is None else "mlf:modelParam"
    builder.used(act.activity, entity, act.time, role)
    if previous is not None:
        builder.was_revision_of(entity, previous)
