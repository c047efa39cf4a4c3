from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from support.builders.pipeline_documents import CLEAN, EVALUATION, FAILED, FIRST, MODELS, OLD, PREP
from support.builders.run_log import STORE

from yprov_mlflow.prov.errors import ThingError
from yprov_mlflow.prov.graph.stores import LocalGraph
from yprov_mlflow.prov.graph.thing_names import resolve, resolve_run
from yprov_mlflow.prov.ids import run_uuid
from yprov_mlflow.prov.model.document import Document


def run_iri(run_id: str) -> str:
    return f"urn:uuid:{run_uuid(run_id, '')}#run"


@pytest.mark.parametrize(
    ("name", "run_id"),
    [
        (FIRST, FIRST),
        (f"runs:/{FIRST}", FIRST),
        (FIRST[:5], FIRST),
        ("prep", PREP),
        ("run:prep", PREP),
        ("E/first", FIRST),
        ("F/first", FAILED),
        ("latest", FAILED),
        ("evaluation", EVALUATION),
    ],
)
def test_a_run_by_id_prefix_name_and_experiment(
    pipeline_graph: LocalGraph, name: str, run_id: str
) -> None:
    assert resolve(pipeline_graph, name).records == (run_iri(run_id),)
    assert resolve_run(pipeline_graph, name) == run_iri(run_id)


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("models:/clf/1", "model/clf/version/1"),
        ("models:/clf@champion", "model/clf/version/2"),
        ("clf@champion", "model/clf/version/2"),
        (f"models:/{MODELS[FIRST]}", f"logged-model/{MODELS[FIRST]}"),
        (MODELS[FIRST], f"logged-model/{MODELS[FIRST]}"),
    ],
)
def test_a_model_by_uri_alias_and_id(pipeline_graph: LocalGraph, name: str, record: str) -> None:
    assert resolve(pipeline_graph, name).records == (f"urn:uuid:{STORE['uuid']}#{record}",)


def test_a_registered_model_is_all_its_versions(pipeline_graph: LocalGraph) -> None:
    assert len(resolve(pipeline_graph, "models:/clf").records) == 2


@pytest.mark.parametrize("name", ["clean", "bbbb2222", "dataset:clean"])
def test_a_dataset_by_name_and_digest(pipeline_graph: LocalGraph, name: str) -> None:
    assert resolve(pipeline_graph, name).kind == "dataset"


@pytest.mark.parametrize("name", ["data/clean.csv", CLEAN, f"file:{CLEAN}", "file:data/clean.csv"])
def test_a_file_by_path_and_hash(pipeline_graph: LocalGraph, name: str) -> None:
    artifact = f"urn:uuid:{run_uuid(PREP, '')}#artifact/data%2Fclean.csv"
    assert {artifact, f"urn:sha256:{CLEAN}"} <= set(resolve(pipeline_graph, name).records)
    exact = resolve(pipeline_graph, f"runs:/{PREP}/data/clean.csv")
    assert exact.records == (artifact,)


def test_a_file_of_this_machine_is_found_by_its_content(tmp_path: Path) -> None:
    local = tmp_path / "renamed.csv"
    local.write_text("1,2")
    digest = hashlib.sha256(b"1,2").hexdigest()
    document = Document(
        {"sha256": "urn:sha256:"},
        {"entity": {f"sha256:{digest}": {"prov:type": {"$": "mlf:Content", "type": "xsd:QName"}}}},
    )
    document.prefixes["mlf"] = "https://w3id.org/yprov/mlflow#"
    match = resolve(LocalGraph.in_memory([document]), str(local))
    assert match.records == (f"urn:sha256:{digest}",)


def test_the_source_of_a_dataset_is_a_file(pipeline_graph: LocalGraph) -> None:
    assert resolve(pipeline_graph, "raw.csv").kind == "file"


def test_a_commit_by_its_first_digits(pipeline_graph: LocalGraph) -> None:
    assert resolve(pipeline_graph, OLD[:8]).kind == "commit"


@pytest.mark.parametrize(
    "name",
    ["nothing", "", "models:/clf@nobody", "models:/none/1", f"runs:/{PREP}/nothing.txt", "run:clf",
     "f" * 64, 'a"b', "x\ny", "models:/", "runs:/"],
)  # fmt: skip
def test_a_thing_that_is_not_there_gets_the_cure(pipeline_graph: LocalGraph, name: str) -> None:
    with pytest.raises(ThingError, match="yprov-mlflow index"):
        resolve(pipeline_graph, name)


def test_an_ambiguous_name_lists_the_candidates(pipeline_graph: LocalGraph) -> None:
    with pytest.raises(ThingError) as error:
        resolve(pipeline_graph, "first")
    assert f"run:{FIRST}" in str(error.value)
    assert f"run:{FAILED}" in str(error.value)
    assert resolve(pipeline_graph, f"run:{FAILED}").records == (run_iri(FAILED),)
