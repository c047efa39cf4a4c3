"""Traces: one in a run, one of no run that failed; what people thought of them."""

import mlflow


def log(diary, experiment_id, run_id):
    """Trace two requests, where this version traces."""
    if not hasattr(mlflow, "start_span"):
        return
    mlflow.set_experiment(experiment_id=experiment_id)
    mlflow.start_run(run_id=run_id)
    first = _ask(diary, "What is größe?", run_id)
    mlflow.end_run("FINISHED")
    diary.runs[run_id].update(status="FINISHED", end_time=diary.clock.ms)
    _ask(diary, "", None)
    if diary.has("set_trace_tag"):
        diary.client.set_trace_tag(first, "seen by", "Zoë")
        diary.traces[first]["tags"]["seen by"] = "Zoë"
    if hasattr(mlflow, "log_feedback"):
        _judge(diary, first)
    diary.attempt("evaluation data", _collect, diary, experiment_id)


def _ask(diary, question, run_id):
    begin = diary.clock.tick()
    failed = not question
    try:
        with mlflow.start_span("ask", span_type="CHAIN", attributes={"größe": [1, 2]}) as root:
            root.set_inputs({"question": question})
            diary.clock.tick()
            with mlflow.start_span("look up/it", span_type="RETRIEVER") as inner:
                inner.set_inputs({"words": question.split()})
                diary.clock.tick()
                if failed:
                    raise ValueError("no question")
                inner.set_outputs(["a", None, 0.5])
            root.set_outputs({"answer": "ü"})
    except ValueError:
        pass
    trace_id = getattr(root, "trace_id", None) or root.request_id
    diary.traces[trace_id] = {
        "run_id": run_id,
        "state": "ERROR" if failed else "OK",
        "request_time": begin,
        "execution_ms": diary.clock.ms - begin,
        "tags": {},
        "spans": {
            "ask": {"inputs": {"question": question}, "type": "CHAIN"},
            "look up/it": {"inputs": {"words": question.split()}, "type": "RETRIEVER"},
        },
        "assessments": {},
    }
    return trace_id


def _collect(diary, experiment_id):
    """A data set for evaluations, which late databases keep."""
    from mlflow.genai import datasets

    diary.clock.tick()
    kept = datasets.create_dataset(name="asked", experiment_id=experiment_id, tags={"of": "ü"})
    diary.evaluation_data[kept.dataset_id] = {"name": "asked", "records": []}
    record = {"inputs": {"question": "größe?"}, "expectations": {"answer": "ü"}}
    kept.merge_records([record])
    diary.evaluation_data[kept.dataset_id]["records"].append(record)


def _judge(diary, trace_id):
    diary.clock.tick()
    page = diary.traces[trace_id]["assessments"]
    said = {"trace_id": trace_id, "name": "helpful", "value": True, "rationale": "it is ü"}
    if diary.attempt("feedback", mlflow.log_feedback, **said):
        page["helpful"] = True
    said = {"trace_id": trace_id, "name": "expected", "value": "größe"}
    if diary.attempt("expectation", mlflow.log_expectation, **said):
        page["expected"] = "größe"
