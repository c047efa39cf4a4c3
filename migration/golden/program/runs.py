"""Runs: one with everything, a nested one, one by the client, a deleted one, an open one."""

import os
import subprocess

import mlflow
from diary import make_file

PARAMS = {
    "rate": 0.001,
    "learning rate": "1e-3",
    "model/depth": 12,
    "größe": "übergroß ☃",
    "dotted.name-1": True,
    "spaces": "  around  ",
    "long": "x" * 400,
    "nothing": None,
    "yaml": "!!python/name:os.system",
}
UNREADABLE = {"lines": "one\ntwo\r\nthree", "empty": ""}
"""Params after which an early MLflow can read their run no more, nor end it."""
TAGS = {
    "stage": "draft",
    "team/owner": "Zoë",
    "two words": "a: b # c",
    "lines": "first\n\nlast",
    "empty": "",
    "mlflow.note.content": "# What for\n*To see.*",
}
FILES = {
    "notes.txt": b"made to be kept\n",
    "plots/loss curve.svg": "<svg>größe</svg>".encode(),
    "plots/deep/er/data.bin": bytes(range(256)),
    "empty.txt": b"",
    "größe.txt": "ü\n".encode("latin-1"),
}


def log(diary, kept, dropped):
    """Log the runs; gives the ids of the full one and of the nested one."""
    full = _start(diary, kept, "full")
    for key, value in PARAMS.items():
        _log_param(diary, full, key, value)
    _log_metrics(diary, diary.runs[full])
    _log_tags(diary, full)
    _log_files(diary, full)
    child = _log_nested(diary, kept, full)
    _end(diary, full, "FINISHED")
    for key, value in UNREADABLE.items():
        run_id = _start(diary, kept, "no end")
        _log_param(diary, run_id, key, value)
        _log_metric_of_data(diary, run_id)
        _forget()
    run_id = _start(diary, dropped, "in the dropped experiment")
    _end(diary, run_id, "FAILED")
    if diary.client is not None:
        _log_by_client(diary, kept)
        _log_deleted(diary, kept)
    return full, child


def _start(diary, experiment_id, name, **how):
    diary.clock.tick()
    if diary.version >= (0, 8):
        how["run_name"] = name
    active = mlflow.start_run(experiment_id=experiment_id, **how)
    info = getattr(active, "info", None) or active.run_info
    run_id = getattr(info, "run_id", None) or info.run_uuid
    page = diary.run(
        run_id,
        experiment_id=str(experiment_id),
        name=how.get("run_name"),
        user="ada",
        start_time=diary.clock.ms,
    )
    if diary.version < (1,):  # later it is in tags
        commit = subprocess.check_output(["git", "rev-parse", "HEAD"]).decode().strip()
        page["source"] = {"name": "train.py", "version": commit}
    return run_id


def _end(diary, run_id, status):
    diary.clock.tick()
    mlflow.end_run(status)
    diary.runs[run_id].update(status=status, end_time=diary.clock.ms)


def _forget():
    """Leave the run open, as a process does that is killed."""
    for module in (mlflow.tracking, getattr(mlflow.tracking, "fluent", None)):
        if hasattr(module, "_active_run"):
            module._active_run = None
        stack = getattr(module, "_active_run_stack", None)
        if stack is not None:
            getattr(stack, "get", lambda stack=stack: stack)().clear()


def _log_param(diary, run_id, key, value):
    if diary.attempt(f"param {key!r}", mlflow.log_param, key, value):
        diary.runs[run_id]["params"][key] = str(value)


def _log_metrics(diary, page):
    late = diary.version >= (1,)
    points = [("loss", 1 / (step + 1), step) for step in range(5)]
    points += [("val/loss", 0.25, 10), ("val/loss", 0.5, 3), ("val/loss", 0.125, -1)]
    points += [("accuracy of all", 0.1 + 0.2, 0), ("größe", 1e-300, 0), ("größe", 2**53 + 1, 1)]
    points += [("odd", float("nan"), 0), ("odd", float("inf"), 1), ("odd", float("-inf"), 2)]
    points += [("same", 7.0, 0), ("same", 7.0, 0), ("same", 8.0, 0)]
    for key, value, step in points:
        if key != "same":
            diary.clock.tick()
        named = {"step": step} if late else {}
        if diary.attempt(f"metric {key!r} {value}", mlflow.log_metric, key, value, **named):
            time_ms = diary.clock.ms if late else diary.clock.whole_second_ms
            diary.point(page, key, value, time_ms, step if late else 0)


def _log_metric_of_data(diary, run_id):
    """A data set with a space in its name: files of MLflow 3 have it, MLflow can't read it."""
    if diary.version >= (3,):
        told = {"timestamp": diary.clock.ms, "dataset_name": "iris & co", "dataset_digest": "d4"}
        diary.client.log_metric(run_id, "f1", 0.25, step=2, **told)
        diary.point(diary.runs[run_id], "f1", 0.25, diary.clock.ms, 2, data=["iris & co", "d4"])


def _log_tags(diary, run_id):
    if not hasattr(mlflow, "set_tag"):
        return
    diary.clock.tick()
    for key, value in [*TAGS.items(), ("stage", "final")]:
        if diary.attempt(f"tag {key!r}", mlflow.set_tag, key, value):
            diary.runs[run_id]["tags"][key] = value
    if diary.has("delete_tag"):
        mlflow.set_tag("removed", "soon")
        diary.client.delete_tag(run_id, "removed")


def _log_files(diary, run_id):
    for path, content in FILES.items():
        facts = make_file(os.path.join("files", path), content)
        folder = os.path.dirname(path) or None
        if diary.attempt(f"file {path}", mlflow.log_artifact, os.path.join("files", path), folder):
            diary.runs[run_id]["artifacts"][path] = facts
    if diary.attempt("folder", mlflow.log_artifacts, os.path.join("files", "plots"), "copy"):
        for path, content in FILES.items():
            if path.startswith("plots/"):
                facts = make_file(os.path.join("files", path), content)
                diary.runs[run_id]["artifacts"]["copy" + path[5:]] = facts


def _log_nested(diary, kept, full):
    if diary.version < (0, 8) or (diary.version < (1,) and diary.in_database):
        return None  # 0.9 sets the tag of the parent twice, which its own tables refuse
    child = _start(diary, kept, "nested in it", nested=True)
    diary.runs[child]["parent"] = full
    _log_param(diary, child, "fold", 1)
    _end(diary, child, "FAILED")
    return child


def _log_by_client(diary, kept):
    """A run whose times are told, and one metric with times that no clock gave."""
    client, late, begin = diary.client, diary.version >= (1,), diary.clock.tick()
    named = {} if late else {"user_id": "grace", "run_name": "by the client"}
    tags = {"from": "client"}
    run = client.create_run(kept, start_time=begin - 3600000, tags=tags, **named)
    run_id = getattr(run.info, "run_id", None) or run.info.run_uuid
    page = diary.run(
        run_id,
        experiment_id=str(kept),
        name=named.get("run_name"),
        user=named.get("user_id"),
        start_time=begin - 3600000,
        tags=dict(tags),
    )
    client.log_param(run_id, "key", "value")
    page["params"]["key"] = "value"
    for number, time_ms in enumerate([begin - 1000, begin - 2000] + [123000] * late):
        steps = {"step": 5 - number} if late else {}
        client.log_metric(run_id, "told", float(number), timestamp=time_ms, **steps)
        diary.point(page, "told", float(number), time_ms, steps.get("step", 0))
    for status in ("KILLED", "FAILED"):  # nobody could be killed before 1.0
        if diary.attempt("end", client.set_terminated, run_id, status, begin - 1800000):
            page.update(status=status, end_time=begin - 1800000)
            break
    if diary.has("update_run"):
        client.update_run(run_id, name="renamed")
        page["name"] = "renamed"
    _log_inputs(diary, run_id)


def _log_inputs(diary, run_id):
    if not diary.has("log_inputs"):
        return
    from mlflow.entities import Dataset, DatasetInput, InputTag

    for digest, context in (("a1b2c3", "training"), ("d4e5f6", "eval/größe")):
        fields = {
            "name": "iris & co",
            "digest": digest,
            "source_type": "http",
            "source": '{"url": "https://example.org/iris.csv"}',
            "schema": '{"mlflow_colspec": [{"type": "double", "name": "größe"}]}',
            "profile": '{"num_rows": 150}',
        }
        tags = {"mlflow.data.context": context, "split": "1"}
        pairs = [InputTag(key, value) for key, value in tags.items()]
        entry = DatasetInput(Dataset(**fields), pairs)
        if diary.attempt("data set", diary.client.log_inputs, run_id, [entry]):
            fields["tags"] = tags
            diary.runs[run_id]["inputs"].append(fields)


def _log_deleted(diary, kept):
    run_id = _start(diary, kept, "deleted")
    _log_param(diary, run_id, "gone", "but kept")
    _end(diary, run_id, "FINISHED")
    diary.clock.tick()
    diary.client.delete_run(run_id)
    diary.runs[run_id].update(deleted=True, deleted_time=diary.clock.ms)


def look_at_tags(diary):
    """Note the tags that MLflow set by itself, as it shows them, if it can read the run."""
    for run_id, page in diary.runs.items():
        page["more_tags"] = None
        if diary.client is not None:
            diary.attempt("look", _look_at_tags, diary, run_id, page)


def _look_at_tags(diary, run_id, page):
    found = diary.client.get_run(run_id).data.tags
    if not isinstance(found, dict):
        found = {tag.key: tag.value for tag in found}
    page["more_tags"] = {key: found[key] for key in found if key not in page["tags"]}
