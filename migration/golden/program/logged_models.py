"""Logged models (MLflow 3): a ready one with all that it may have, a failed one."""

import os

from diary import make_file


def log(diary, experiment_id, run_id, child):
    """Log them; gives their ids."""
    if not diary.has("create_logged_model"):
        return []
    ready = _create(diary, experiment_id, run_id, "forest", "READY")
    failed = _create(diary, experiment_id, child, "broken", "FAILED")
    alone = _create(diary, experiment_id, None, "of no run", "READY")
    _measure(diary, run_id, ready)
    _connect(diary, run_id, child, ready)
    return [ready, failed, alone]


def _create(diary, experiment_id, run_id, name, status):
    client = diary.client
    diary.clock.tick()
    params, tags = {"depth": "3", "größe/x": "a\nb"}, {"team": "Zoë"}
    model = client.create_logged_model(
        experiment_id, name=name, source_run_id=run_id, params=params, tags=tags, model_type="tree"
    )
    page = {
        "name": name,
        "experiment_id": str(experiment_id),
        "run_id": run_id,
        "model_type": "tree",
    }
    page.update(params=params, tags=tags, creation_time=diary.clock.ms, artifacts={})
    diary.logged_models[model.model_id] = page
    if status == "READY":
        facts = make_file(os.path.join("files", "MLmodel"), b"flavors: {}\n")
        place = os.path.join("files", "MLmodel")
        if diary.attempt("model file", client.log_model_artifact, model.model_id, place):
            page["artifacts"]["MLmodel"] = facts
    client.set_logged_model_tags(model.model_id, {"later": "yes"})
    page["tags"] = dict(tags, later="yes")
    client.finalize_logged_model(model.model_id, status)
    page["status"] = status
    return model.model_id


def _measure(diary, run_id, model_id):
    """Log metrics of a model, also on a data set."""
    for step, value in enumerate((0.5, 0.75)):
        time_ms = diary.clock.tick()
        named = {"model_id": model_id, "timestamp": time_ms, "step": step}
        if step:
            named.update(dataset_name="iris", dataset_digest="a1b2c3")
        if diary.attempt("model metric", diary.client.log_metric, run_id, "f1", value, **named):
            data = ["iris", "a1b2c3"] if step else None
            diary.point(diary.runs[run_id], "f1", value, time_ms, step, model_id, data)


def _connect(diary, run_id, child, model_id):
    from mlflow.entities import LoggedModelInput, LoggedModelOutput

    client = diary.client
    if diary.attempt("output", client.log_outputs, run_id, [LoggedModelOutput(model_id, 4)]):
        diary.runs[run_id]["outputs"].append([model_id, 4])
    entry = LoggedModelInput(model_id)
    if diary.attempt("model input", client.log_inputs, child, models=[entry]):
        diary.runs[child]["inputs"].append({"model_id": model_id})
