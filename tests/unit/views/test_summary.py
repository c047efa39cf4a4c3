"""Summaries as typed values, and their JSON."""

import json
import math

import pytest

from yprov_mlflow.prov.views import energy, summary


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


RUN = {**RECORDS, "activity": {**RECORDS["activity"], "run:run": {"mlf:runId": "abc"}}}


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
    assert run["models"] == [{"id": "m-1", "status": "READY", "trained_on": [], "versions": []}]
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
    nothing = dict.fromkeys(("start", "end", "experiment", "user"))
    assert run["run"] == {**nothing, "children": []}
    assert list(run) == (
        "describes run experiments params tags metrics contexts datasets models model_versions"
        " prompts traces artifacts workflow_tasks sessions code environments hosts devices"
        " records".split()
    )


def test_tables_name_what_the_run_used():
    titles = {table.title for table in summary.from_document(RUN).tables() if table.rows}
    assert titles == {"Run", "Metrics", "Contexts", "Datasets", "Models"}


def fired(name):
    return {"prov:type": q("mlf:Trace"), "mlf:traceState": name, "mlf:executionDurationMs": 7}


LINEAGE = {
    "prefix": {"run": "urn:x:run#", "old": "urn:uuid:c89f5f6b-fc55-4ed8-bb84-2bee4e169beb#"},
    "activity": {
        "run:run": {"mlf:runId": "abc"},
        "old:run": {},
        "child:run": {"mlf:runId": "nested"},
        "run:session/1": {"prov:type": q("mlf:RunSession"), "mlf:rank": 0, "mlf:pid": 1},
        "run:session/2": {"prov:type": q("mlf:RunSession"), "mlf:rank": 1, "mlf:pid": 2},
    },
    "entity": {
        "sha256:d": {"prov:type": q("mls:Dataset"), "prov:label": "iris"},
        "store:logged-model/m": {
            "prov:type": q("mlf:LoggedModel"),
            "mlf:modelId": "m-1",
            "schema:name": "clf",
        },
        "store:model/iris%2Fclf/version/1": {"prov:type": q("mlf:ModelVersion")},
        "store:model/iris%2Fclf/version/2": {"prov:type": q("mlf:ModelVersion")},
        "store:model/iris%2Fclf/version/2/entry/e": {
            "prov:type": q("mlf:Entry"),
            "mlf:about": q("store:model/iris%2Fclf/version/2"),
        },
        "store:model/iris%2Fclf/alias/best/1": {
            "prov:type": q("mlf:AliasAssignment"),
            "schema:name": "best",
            "mlf:target": q("store:model/iris%2Fclf/version/1"),
        },
        "store:model/hi/version/3": {"prov:type": [q("mlf:ModelVersion"), q("mlf:PromptVersion")]},
        "store:trace/a": fired("OK"),
        "store:trace/b": fired("ERROR"),
        "run:artifact/a.txt": {"prov:type": q("mlf:Artifact"), "mlf:path": "a.txt"},
        "store:logged-model/m/artifact/MLmodel": {
            "prov:type": q("mlf:Artifact"),
            "mlf:path": "MLmodel",
            "dcterms:isPartOf": q("store:logged-model/m"),
        },
        "run:energy/total": {
            "qudt:numericValue": {"$": "10.0", "type": "xsd:double"},
            "mlf:basis": q("mlf:estimated"),
            "mlf:scope": q("mlf:node"),
        },
        "store:host/h": {
            "prov:type": q("mlf:Host"),
            "prov:label": "node01",
            "mlf:facts": '{"cpu_model":"Xeon"}',
            "mlf:memoryBytes": {"$": "25276510208", "type": "xsd:long"},
        },
        "store:host/h/device/gpu0": {
            "prov:type": q("mlf:Device"),
            "mlf:deviceName": "gpu0",
            "prov:label": "H200",
        },
    },
    "wasStartedBy": {
        "s": {"prov:activity": "run:run", "prov:starter": "old:run"},
        "t": {"prov:activity": "child:run", "prov:starter": "run:run"},
        "u": {"prov:activity": "run:session/1", "prov:starter": "run:run"},
    },
    "wasDerivedFrom": {
        "t": {
            "prov:type": q("mlf:TrainedOn"),
            "prov:generatedEntity": "store:logged-model/m",
            "prov:usedEntity": "sha256:d",
            "mlf:basis": q("mlf:inferred"),
        },
        "v": {
            "prov:generatedEntity": "store:model/iris%2Fclf/version/1",
            "prov:usedEntity": "store:logged-model/m",
        },
    },
    "wasInvalidatedBy": {"i": {"prov:entity": "store:model/iris%2Fclf/version/2/entry/e"}},
}


def test_everything_around_a_run_is_shown():
    tables = {t.title: t.filled() for t in summary.from_document(LINEAGE).tables() if t.rows}
    rows = {title: [tuple(row) for row in table.rows] for title, table in tables.items()}
    assert rows["Related runs"] == [
        ("parent", "c89f5f6bfc554ed8bb842bee4e169beb"),
        ("child", "nested"),
    ]
    assert rows["Models"] == [("clf", "m-1", "iris (inferred)", "iris/clf 1")]
    assert rows["Registered versions"] == [("iris/clf", "1", "best", "m-1")]
    assert rows["Prompts"] == [("hi", "3")]
    assert [row[:3] for row in rows["Traces: 1 OK, 1 ERROR"]] == [("a", "OK", 7), ("b", "ERROR", 7)]
    assert [row[0] for row in rows["Artifacts"]] == ["a.txt"]
    assert [row[0] for row in rows["Artifacts of model clf, m-1"]] == ["MLmodel"]
    assert [row[0] for row in rows["Sessions"]] == [0, 1]
    assert rows["Energy"] == [("hardware", "10 J = 2.78e-06 kWh, estimated, node")]
    assert rows["Ran on"] == [
        ("host", "node01"),
        ("processor", "Xeon, 25.28 GB memory"),
        ("device", "gpu0, H200"),
    ]


def test_parent_and_prompts_are_read_from_tags():
    tags = {"mlflow.parentRunId": "p", "mlflow.linkedPrompts": '[{"name": "hi", "version": "1"}]'}
    entities = {
        f"run:tag/{key}/1": {"prov:type": q("mlf:Tag"), "schema:name": key, "prov:value": value}
        for key, value in tags.items()
    }
    run = summary.from_document({"activity": {"run:run": {}}, "entity": entities})
    assert run.run.parent == "p"
    assert [(prompt.name, prompt.version) for prompt in run.prompts] == [("hi", "1")]


def test_many_traces_are_counted_and_the_first_are_listed():
    entities = {f"store:trace/{number:02}": fired("OK") for number in range(20)}
    run = summary.from_document({"activity": {"run:run": {}}, "entity": entities})
    (table,) = [table for table in run.tables() if table.title == "Traces: 20 OK"]
    assert [row[0] for row in table.rows] == ["00", "01", "02", "03", "04", "and 15 more"]
    assert len(run.to_dict()["traces"]) == 20


def test_heading_names_what_is_described():
    experiment = {"prov:type": q("mlf:Experiment"), "prov:label": "demo"}
    documents = {
        "Run": LINEAGE,
        "Store: data outside runs": {
            "prefix": {"store": "urn:uuid:s#"},
            "entity": {"store:experiment/7": experiment},
        },
        "PROV document of neither a run nor a store of MLflow": {"entity": {"ex:e": {}}},
    }
    for title, records in documents.items():
        shown = summary.from_document(records)
        assert next(iter(shown.tables())).title == title
    store = summary.from_document(documents["Store: data outside runs"])
    assert (store.describes, store.store.id) == ("store", "s")
    assert [(e.id, e.name) for e in store.experiments] == [("7", "demo")]


ODD = [None, True, [], ["a", "b"], {}, {"$": [1]}, {"$": "9" * 400, "type": "xsd:int"}, [[1], [2]]]


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("view", [summary, energy])
def test_odd_values_of_other_programs_are_shown(view, odd):
    for section in LINEAGE.keys() - {"prefix"}:
        for identifier, record in LINEAGE[section].items():
            for term in record:
                changed = {**LINEAGE[section], identifier: {**record, term: odd}}
                shown = view.from_document({**LINEAGE, section: changed})
                assert list(shown.tables()), (identifier, term)
                json.dumps(shown.to_dict())
