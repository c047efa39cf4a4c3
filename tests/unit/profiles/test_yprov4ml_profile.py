"""The profile of yProv4ML has the shape that yProv4ML's readers look for.

The program ``tests/peers/yprov4ml_readers.py`` runs those readers themselves; here their
expectations are written as facts, so that the suite does not need yProv4ML.
"""

import csv
import json
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from support.builders.run_log import RUN_ID, Log
from support.builders.source_events import source_runs

from yprov_mlflow.prov.convert import Conversion, Request
from yprov_mlflow.prov.convert.executors import InlineExecutor
from yprov_mlflow.prov.errors import UsageError
from yprov_mlflow.prov.events import (
    ArtifactsLogged,
    ContextEntered,
    ContextLeft,
    FactsCollected,
    InputsLogged,
    MetricsLogged,
    ModelLogged,
    OutputsLogged,
    ParamsLogged,
    RunUpdated,
)
from yprov_mlflow.prov.formats.metric_files import yprov4ml_files
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.profiles import PROFILES
from yprov_mlflow.prov.profiles.yprov4ml_document import MOST_ENTITIES
from yprov_mlflow.prov.profiles.yprov4ml_folder import run_names
from yprov_mlflow.prov.translate import translate
from yprov_mlflow.prov.validate import validate

TYPES = {f"provml:{kind}" for kind in ("HyperParameter", "Dataset", "Model", "Artifact", "Metric")}
ENDS = {
    "used": ("prov:activity", "prov:entity"),
    "wasGeneratedBy": ("prov:entity", "prov:activity"),
    "wasInformedBy": ("prov:informed", "prov:informant"),
    "wasAssociatedWith": ("prov:activity", "prov:agent"),
    "wasDerivedFrom": ("prov:generatedEntity", "prov:usedEntity"),
}


def write(document: Document, folder: Path, kind: str = "csv") -> dict:
    """Return the PROV-JSON of a document's profile."""
    folder.mkdir()
    PROFILES["yprov4ml"].write(document, (), folder, str(folder), kind)
    (path,) = folder.glob("*.json")  # the card takes the first one
    return json.loads(path.read_text())


def check_shape(content: dict) -> None:
    """Check the facts about every profile: flat, plain, connected, both ends of each relation."""
    nodes = [name for s in ("activity", "agent", "entity") for name in content.get(s, {})]
    assert len(nodes) == len(set(nodes))
    root = dict(zip(nodes, nodes, strict=True))

    def find(node: str) -> str:
        return node if root[node] == node else find(root[node])

    assert content.keys() - {"prefix", "activity", "agent", "entity"} <= ENDS.keys()
    for section, ends in ENDS.items():
        for relation in content.get(section, {}).values():
            first, second = (find(relation[end]) for end in ends)
            root[first] = second
    assert len({find(node) for node in nodes}) == 1
    for entity in content.get("entity", {}).values():
        assert entity["prov:type"] in TYPES
        assert isinstance(entity["prov:label"], str)
        assert entity.get("prov:role") in ("input", "output", None)
        assert isinstance(entity.get("dcterms:identifier", ""), str)
        assert float(entity.get("yprov:file_size", 0)) >= 0
    main = [r for r in content["activity"].values() if "yprov:experiment_name" in r]
    assert len(main) == 1
    for name, activity in content["activity"].items():
        # The card takes activities without a slash for contexts, and needs their start.
        assert "/" in name or "prov:startedAtTime" in activity or activity in main


def rows(path: str) -> list[tuple[int, float, int]]:
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        return [(int(r["epoch"]), float(r["value"]), int(r["timestep"])) for r in reader]


@pytest.fixture
def document() -> Document:
    log = Log(argv=["train.py", "--lr", "0.1"], python="3.11.7")
    git = {"commit": "0c1f", "remote": "https://me:secret@example.org/a.git"}
    log.add(FactsCollected, "git", git)
    log.add(FactsCollected, "environment", {"python": "3.11", "packages": {"numpy": "2.1.0"}})
    log.add(FactsCollected, "host", {"os": "Linux", "machine": "x86_64", "hostname": "node01"})
    log.add(ParamsLogged, {"lr": "0.1", "acc": "goal", "source_code_style": "ruff"})
    dataset = {"name": "digits", "digest": "0123abcd", "source": "s3://b/d", "source_type": "s3"}
    dataset |= {"schema": None, "profile": None, "tags": {"mlflow.data.context": "training"}}
    log.add(InputsLogged, [dataset])
    log.add(ContextEntered, ("training",))
    log.metric("top_acc", 0.75, "training")
    log.metric("acc", 0.5, "training")
    log.metric("val/loss", math.nan, "training")
    log.add(ContextEntered, ("training", "fine: tune"))
    log.metric("acc", 0.25, "training", "fine: tune")
    log.add(ContextLeft, ("training", "fine: tune"))
    log.add(ContextLeft, ("training",))
    log.add(ContextEntered, ("alice",))  # also the user
    log.add(ContextLeft, ("alice",))
    log.metric("acc", 1.0)
    log.add(ArtifactsLogged, [{"path": "plots/a.png", "size": 7, "sha256": "a" * 64}])
    log.add(ModelLogged, "m-1", "net", None, "READY", "1", "file:///a/m-1", 1_767_322_800_000)
    log.add(OutputsLogged, [("m-1", 0)])
    log.add(RunUpdated, "FINISHED", (1_767_322_800 + 60) * 1000)
    return log.document()


def of_kind(content: dict, kind: str) -> dict[str, dict]:
    entities = content["entity"].values()
    return {e["prov:label"]: e for e in entities if e["prov:type"] == f"provml:{kind}"}


def test_getters_get_params_data_models_and_artifacts(document: Document, tmp_path: Path) -> None:
    content = write(document, tmp_path / "run")
    check_shape(content)
    params = of_kind(content, "HyperParameter")
    assert params["lr"]["prov:value"] == {"$": "0.1", "type": "xsd:string"}
    assert set(params) == {"lr", "acc", "source_code_style", "source_code", "execution_command"}
    assert of_kind(content, "Dataset")["digits"]["dcterms:identifier"] == "s3://b/d"
    assert of_kind(content, "Model")["net"]["dcterms:identifier"] == "file:///a/m-1"
    artifact = of_kind(content, "Artifact")["plots/a.png"]
    assert (artifact["prov:role"], artifact["yprov:file_size"]) == ("output", "7")
    assert artifact["dcterms:identifier"] == "file:///a/plots/a.png"


def test_metrics_have_a_file_for_each_series(document: Document, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    content = write(document, folder)
    found_first = {}
    for record in content["entity"].values():
        if record["prov:type"] == "provml:Metric":
            key = record["prov:label"], record["yprov:context"]
            end = f"{key[0]}_{key[1]}_None"
            # get_metric searches the paths in order, and opens the first that has the name.
            paths = [
                r["dcterms:identifier"]
                for r in content["entity"].values()
                if r["prov:type"] == "provml:Metric" and end in r["dcterms:identifier"]
                and r["yprov:context"] == key[1]
            ]  # fmt: skip
            found_first[key] = rows(paths[0])
    time_ms = (1_767_322_800 + 5) * 1000
    main = run_names(document).run
    assert found_first["acc", "training"] == [(0, 0.5, time_ms)]
    assert found_first["top_acc", "training"] == [(0, 0.75, time_ms)]
    assert found_first["acc", "training.fine%3A%20tune"] == [(0, 0.25, time_ms)]
    assert found_first["acc", main] == [(0, 1.0, time_ms)]
    assert math.isnan(found_first["val/loss", "training"][0][1])
    assert len(found_first) == 5


def test_card_has_its_fields(document: Document, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    content = write(document, folder)
    main = next(r for r in content["activity"].values() if "yprov:experiment_name" in r)
    fields = "run_id python_version host_name operating_system machine time_zone global_rank"
    assert all(f"yprov:{field}" in main for field in fields.split())
    # Without a zone, as the card subtracts them from local times.
    assert main["prov:startedAtTime"] == "2026-01-02T03:00:00"
    assert main["prov:endedAtTime"] == "2026-01-02T03:01:00"
    assert next(iter(content["agent"].values()))["prov:label"] == "alice"
    # The id and the plain value that the card looks for; a slash, at which it splits.
    assert content["entity"]["execution_command"]["prov:value"] == "python train.py --lr 0.1"
    code = of_kind(content, "HyperParameter")["source_code"]["prov:value"]
    assert code == "https://example.org/a.git/0c1f"
    # It splits the values of all inputs with this name, so that other ones must not be inputs.
    assert "prov:role" not in of_kind(content, "HyperParameter")["source_code_style"]
    assert (folder / "artifacts_GR0/requirements.txt").read_text() == "numpy==2.1.0\n"
    metrics = folder / "metrics_GR0"
    assert all(path.is_file() and path.suffix == ".csv" for path in metrics.iterdir())
    assert any("gpu_temperature" in path.name for path in metrics.iterdir())
    # Its times of a context come from the files that have its name.
    for context in ("training", "alice"):
        times = [row[2] for p in metrics.iterdir() if f"_s_{context}_" in p.name for row in rows(p)]
        assert (max(times) - min(times)) % 1000 == 0 and len(times) == 2


@pytest.mark.parametrize("kind", ["csv", "netcdf", "zarr"])
def test_metric_files_hold_all_values(kind: str, tmp_path: Path) -> None:
    values = [0.0, -0.0, 0.1 + 0.2, 1e-300, math.inf, -math.inf, math.nan]
    columns = yprov4ml_files.Columns(
        [0, -1, 2**40, 3, 4, 5, 6], values, [0, *range(10**12, 10**12 + 6)]
    )
    path = tmp_path / f"loss_training_None_GR0{yprov4ml_files.SUFFIXES[kind]}"
    for _ in range(2):
        yprov4ml_files.append(path, yprov4ml_files.SeriesName("loss", "training", "None"), columns)
    yprov4ml_files.finish(path)
    read, faults, *_ = yprov4ml_files.read(path)
    assert faults == []
    assert [list(read.epochs), list(read.times_ms)] == [[*c, *c] for c in (columns[0], columns[2])]
    assert list(map(repr, read.values)) == [*map(repr, values)] * 2


def test_many_artifacts_become_folders(tmp_path: Path) -> None:
    log = Log()
    count = MOST_ENTITIES + 100
    files = [{"path": f"d{n % 7}/f{n}", "size": 1, "sha256": None} for n in range(count)]
    log.add(ArtifactsLogged, files)
    document, folder = log.document(), tmp_path / "run"
    folder.mkdir()
    omitted = PROFILES["yprov4ml"].write(document, (), folder, str(folder), "csv")
    content = json.loads(next(folder.glob("*.json")).read_text())
    check_shape(content)
    artifacts = of_kind(content, "Artifact")
    assert set(artifacts) == {f"d{n}" for n in range(7)}
    assert sum(int(a["yprov:file_count"]) for a in artifacts.values()) == count
    assert omitted == ["single artifacts, of which it has the folders"]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=source_runs())
def test_every_run_has_a_profile(events, tmp_path_factory: pytest.TempPathFactory) -> None:
    document = translate(events)
    folder = tmp_path_factory.mktemp("profile") / "run"
    content = write(document, folder)
    check_shape(content)
    assert not [f for f in validate(_as_document(content)) if f.severity == "error"]
    params: dict[str, str] = {}
    points: dict[str, int] = {}
    for event in events:
        if isinstance(event, ParamsLogged):
            params |= event.params
        if isinstance(event, MetricsLogged):
            for key in event.keys:
                points[key] = points.get(key, 0) + 1
    entities = of_kind(content, "HyperParameter")
    assert len(entities) >= len(params)
    metrics = [e for e in content["entity"].values() if e["prov:type"] == "provml:Metric"]
    assert len({e["prov:label"] for e in metrics}) == len(points)
    assert content["activity"][next(iter(content["activity"]))]["mlf:runId"] == RUN_ID


def _as_document(content: dict) -> Document:
    return Document(content["prefix"], {k: v for k, v in content.items() if k != "prefix"})


def test_conversion_writes_a_folder_of_runs(tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "data" / "yprov4ml"
    out = tmp_path / "out"
    request = Request(str(source), out, profile="yprov4ml")
    for state in ("converted", "unchanged"):
        results = list(Conversion(request, InlineExecutor()))
        assert [r.state for r in results if r.key != "store"] == [state] * 3
    runs = [
        path
        for path in out.iterdir()
        if path.is_dir() and path.name not in ("store", ".yprov-convert")
    ]
    assert len(runs) == 3
    for run in runs:
        assert (run / "provenance" / "prov.json").is_file()
        (path,) = run.glob("*.json")  # yProv4ML's project reader takes the first one
        content = json.loads(path.read_text())
        check_shape(content)
        for metric in content["entity"].values():
            if metric["prov:type"] == "provml:Metric":
                assert rows(metric["dcterms:identifier"])
    with pytest.raises(UsageError, match="profile"):
        Request(str(source), out, layout="single", profile="yprov4ml").check()
