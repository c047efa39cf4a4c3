"""Summaries as typed values, and their JSON."""

import math

from yprov_mlflow.prov.views import summary


def q(name):
    return {"$": name, "type": "xsd:QName"}


RECORDS = {
    "prefix": {},
    "activity": {
        "run:context/a": {"prov:type": q("mlf:Context"), "prov:label": "a"},
        "run:context/a/epoch/0": {
            "prov:type": [q("mlf:Epoch")],
            "dcterms:isPartOf": q("run:context/a"),
        },
    },
    "entity": {
        "sha256:d": {"prov:type": q("mls:Dataset"), "schema:name": "iris"},
        "store:logged-model/m": {
            "prov:type": q("mlf:LoggedModel"),
            "mlf:modelId": "m-1",
            "mlf:status": q("mlf:READY"),
        },
        "store:logged-model/gone": {"prov:type": q("mlf:LoggedModel")},
        "run:metric/a/loss": {
            "prov:type": q("mlf:MetricSeries"),
            "schema:name": "loss",
            "mlf:context": "a",
            "mlf:first": {"$": "0.5", "type": "xsd:double"},
            "mlf:last": {"$": "INF", "type": "xsd:double"},
            "mlf:min": {"$": "NaN", "type": "xsd:double"},
            "mlf:count": {"$": "many", "type": "xsd:int"},
        },
    },
    "used": {"u": {"prov:entity": "sha256:d", "mlf:datasetContext": "train"}},
    "wasInvalidatedBy": {"i": {"prov:entity": "store:logged-model/gone"}},
}


def test_typed_values():
    run = summary.from_document(RECORDS)
    assert (run.contexts[0].name, run.contexts[0].epochs) == ("a", 1)
    assert (run.datasets[0].name, run.datasets[0].contexts) == ("iris", ("train",))
    (model,) = run.models
    assert (model.id, model.status, model.name) == ("m-1", "READY", None)
    (metric,) = run.metrics
    assert (metric.context, metric.key, metric.first) == (("a",), "loss", 0.5)
    assert metric.last == math.inf
    assert math.isnan(metric.min)
    assert metric.count == "many"  # not a number: its text is kept


def test_json_omits_absent_attributes_and_writes_infinities_as_text():
    run = summary.from_document(RECORDS).to_dict()
    assert run["contexts"] == [{"name": "a", "epochs": 1}]
    assert run["datasets"] == [{"name": "iris", "contexts": ["train"]}]
    assert run["models"] == [{"id": "m-1", "status": "READY"}]
    assert run["metrics"] == [
        {
            "context": ["a"],
            "key": "loss",
            "count": "many",
            "first": 0.5,
            "last": "INF",
            "min": "NaN",
        }
    ]
    assert run["run"] == {"start": None, "end": None, "experiment": None, "user": None}
    assert list(run) == (
        "run params tags metrics contexts datasets models artifacts sessions code environments "
        "hosts records".split()
    )


def test_tables_name_what_the_run_used():
    titles = {table.title for table in summary.from_document(RECORDS).tables() if table.rows}
    assert titles == {"Metrics", "Contexts", "Datasets", "Models"}
