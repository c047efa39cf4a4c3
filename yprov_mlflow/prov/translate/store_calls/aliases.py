"""Aliases: who was champion when."""

from __future__ import annotations

from yprov_mlflow.prov.model.identifiers import segment
from yprov_mlflow.prov.model.literals import name, text
from yprov_mlflow.prov.translate.history import VersionedProperty
from yprov_mlflow.prov.translate.store_calls.store_call import Call


def _facet(call: Call, subject: str) -> VersionedProperty | None:
    alias = call.arguments.get("alias")
    if not isinstance(alias, str):
        return None
    base = f"{subject}/alias/{segment(alias)}"
    return VersionedProperty(base, ("mlf:AliasAssignment",), alias, subject, "mlf:Alias")


def set_alias(call: Call, subject: str, target: str) -> bool:
    """Make the records of an alias that was given to the version ``target``."""
    facet = _facet(call, subject)
    if facet is None:
        return False
    call.use(target)
    version = text(target.rpartition("/")[2])
    assignment = call.translation.histories.assign(
        facet, call.act, version, {"mlf:target": name(target)}, always=True
    )
    if assignment is not None:
        call.builder.alternate_of(assignment, target)
    return True


def delete_alias(call: Call, subject: str) -> bool:
    """Make the record of an alias's end."""
    facet = _facet(call, subject)
    if facet is None:
        return False
    call.translation.histories.remove(facet, call.act)
    return True
