"""Links between things of a store: made by one call, ended by another."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from yprov_mlflow.prov.model.identifiers import segment
from yprov_mlflow.prov.model.literals import name, text
from yprov_mlflow.prov.translate.history import VersionedProperty
from yprov_mlflow.prov.translate.store_calls.method_names import thing, update
from yprov_mlflow.prov.translate.store_calls.registry import prompts_of
from yprov_mlflow.prov.translate.store_calls.store_call import Call, Handler


def _link(call: Call, subject: str, target: str, *, ended: bool = False) -> None:
    facet = VersionedProperty(
        f"{subject}/link/{target.replace(':', '$')}", ("mlf:Link",), subject=subject
    )
    histories = call.translation.histories
    if ended:
        histories.remove(facet, call.act)
    else:
        histories.assign(facet, call.act, None, {"mlf:target": name(target)})


def _traces_and_run(call: Call, *, ended: bool = False) -> bool:
    run_id, traces = call.arguments.get("run_id"), call.arguments.get("trace_ids")
    if not isinstance(run_id, str) or not isinstance(traces, list | tuple):
        return False
    run = call.translation.namespaces.of_run(run_id)
    call.builder.activity(run)
    for trace in traces:
        _link(call, call.subject(("trace", segment(trace)), text(trace)), run, ended=ended)
    return True


def _prompts_to_trace(call: Call) -> bool:
    trace = thing(call, "trace")
    if trace is None:
        return False
    for prompt in prompts_of(call, call.arguments.get("prompt_versions")):
        _link(call, trace, prompt)
    return True


def _dataset_and_experiments(call: Call, *, ended: bool = False) -> bool:
    dataset, experiments = thing(call, "dataset"), call.arguments.get("experiment_ids")
    if dataset is None or not isinstance(experiments, list | tuple):
        return False
    for experiment in experiments:
        target = call.subject(("experiment", segment(experiment)))
        _link(call, dataset, target, ended=ended)
    return True


HANDLERS: Mapping[str, Handler] = {
    "upsert_dataset_records": partial(update, "dataset"),
    "delete_dataset_records": partial(update, "dataset"),
    "link_traces_to_run": _traces_and_run,
    "unlink_traces_from_run": partial(_traces_and_run, ended=True),
    "link_prompts_to_trace": _prompts_to_trace,
    "add_dataset_to_experiments": _dataset_and_experiments,
    "remove_dataset_from_experiments": partial(_dataset_and_experiments, ended=True),
}
