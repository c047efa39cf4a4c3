"""Calls about evaluation datasets with their records, and about versions of scorers."""

from __future__ import annotations

from collections.abc import Mapping

from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.identifiers import segment
from yprov_mlflow.prov.model.literals import integer, plain, text
from yprov_mlflow.prov.translate.store_calls.method_names import create, on_noun, update
from yprov_mlflow.prov.translate.store_calls.store_call import Call, Handler


def _add_records(call: Call, dataset: str) -> bool:
    """Add the records of a call to a dataset, which keeps the records of earlier calls."""
    records = call.arguments.get("records")
    if not isinstance(records, list):
        return False
    call.use(dataset)
    batch = f"{dataset}/records/{call.ref.token}"
    attributes = {"prov:value": plain(records), "mlf:count": integer(len(records))}
    call.builder.entity(batch, ["mlf:DatasetRecords"], text("records"), attributes)
    call.builder.was_generated_by(batch, call.ref.activity, call.ref.time)
    call.builder.had_member(dataset, batch)
    return True


def _register_scorer(call: Call, scorer: str) -> bool:
    """Add a version of a scorer; earlier versions stay in the store."""
    number = literals.number(call.find("scorer_version", "version"))
    if number is None:
        return create(call, scorer)
    if scorer not in call.builder.generations:
        call.create(scorer)
    return create(call, _version_of(call, scorer, number))


def _delete_scorer(call: Call, scorer: str) -> bool:
    """Delete a version of a scorer, or all of them if the call names none."""
    number = literals.number(call.arguments.get("version"))
    if number is not None:
        call.delete(_version_of(call, scorer, number))
        return True
    start = f"{scorer}/version/"
    entities = [e for e in call.builder.records["entity"] if e.startswith(start)]
    for version in [e for e in entities if "/" not in e.removeprefix(start)]:
        call.delete(version)
    call.delete(scorer)
    return True


def _version_of(call: Call, scorer: str, number: int) -> str:
    words = tuple(scorer.partition(":")[2].split("/"))
    name = call.find("name")
    version = call.declare((*words, "version", segment(number)), text(f"{name} {number}"))
    call.builder.specialization_of(version, scorer)
    call.builder.entity(version, (), None, {"mlf:version": integer(number)})
    return version


HANDLERS: Mapping[str, Handler] = {
    "upsert_dataset_records": on_noun("dataset", _add_records),
    # By the words of its name, this would change something called "dataset records".
    "delete_dataset_records": on_noun("dataset", update),
    "register_scorer": on_noun("scorer", _register_scorer),
    "delete_scorer": on_noun("scorer", _delete_scorer),
}
