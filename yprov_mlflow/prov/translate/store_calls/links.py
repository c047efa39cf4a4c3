"""Calls that link objects of a store, or end such a link."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from yprov_mlflow.prov.model.identifiers import segment
from yprov_mlflow.prov.model.literals import name, text
from yprov_mlflow.prov.translate.history import VersionedProperty
from yprov_mlflow.prov.translate.models import declare_model
from yprov_mlflow.prov.translate.store_calls.method_names import on_noun
from yprov_mlflow.prov.translate.store_calls.store_call import Call, Handler


def _link(call: Call, subject: str, target: str, *, unlink: bool = False) -> None:
    base = f"{subject}/link/{target.replace(':', '$')}"
    link = VersionedProperty(base, ("mlf:Link",), subject=subject)
    history = call.translation.history
    if unlink:
        entity = history.remove(link, call.ref)
    else:
        entity = history.assign(link, call.ref, None, {"mlf:target": name(target)})
    if entity is not None:
        for end in (subject, target):
            call.builder.was_influenced_by(entity, end)


def _traces_to_run(call: Call, *, unlink: bool = False) -> bool:
    run_id, traces = call.arguments.get("run_id"), call.arguments.get("trace_ids")
    if not isinstance(run_id, str) or not isinstance(traces, list | tuple):
        return False
    run = call.translation.namespaces.of_run(run_id)
    call.builder.activity(run)
    for trace in traces:
        _link(call, call.declare(("trace", segment(trace)), text(trace)), run, unlink=unlink)
    return True


def _dataset_to_experiments(call: Call, dataset: str, *, unlink: bool = False) -> bool:
    experiments = call.arguments.get("experiment_ids")
    if not isinstance(experiments, list | tuple):
        return False
    for experiment in experiments:
        target = call.declare(("experiment", segment(experiment)))
        _link(call, dataset, target, unlink=unlink)
    return True


def _prompts_to_trace(call: Call, trace: str) -> bool:
    prompts = call.arguments.get("prompt_versions")
    for prompt in prompts if isinstance(prompts, list | tuple) else ():
        if isinstance(prompt, Mapping) and "name" in prompt and "version" in prompt:
            version = call.declare_version(prompt["name"], prompt["version"])
            call.mark_prompt(version.rpartition("/version/")[0])
            call.mark_prompt(version)
            _link(call, trace, version)
    return True


def _prompt_to_model_or_run(call: Call, version: str) -> bool:
    model, run = call.arguments.get("model_id"), call.arguments.get("run_id")
    if isinstance(model, str):
        target = declare_model(call.translation, model)
    elif isinstance(run, str):
        target = call.translation.namespaces.of_run(run)
        call.builder.activity(target)
    else:
        return False
    _link(call, version, target)
    return True


HANDLERS: Mapping[str, Handler] = {
    "link_traces_to_run": _traces_to_run,
    "unlink_traces_from_run": partial(_traces_to_run, unlink=True),
    "link_prompts_to_trace": on_noun("trace", _prompts_to_trace),
    "link_prompt_version_to_model": on_noun("prompt_version", _prompt_to_model_or_run),
    "link_prompt_version_to_run": on_noun("prompt_version", _prompt_to_model_or_run),
    "add_dataset_to_experiments": on_noun("dataset", _dataset_to_experiments),
    "remove_dataset_from_experiments": on_noun(
        "dataset", partial(_dataset_to_experiments, unlink=True)
    ),
}
