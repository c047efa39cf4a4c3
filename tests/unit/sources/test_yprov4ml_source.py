"""Folders that yProv4ML wrote, of three versions, intact and damaged, as a source of runs."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from yprov_mlflow.prov.errors import StoreError
from yprov_mlflow.prov.events import (
    ArtifactsLogged,
    ContextEntered,
    Event,
    InputsLogged,
    MetricsLogged,
    ModelLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    SessionStarted,
    TagsSet,
)
from yprov_mlflow.prov.formats.metric_files import yprov4ml_files
from yprov_mlflow.prov.profiles import PROFILES
from yprov_mlflow.prov.sources import open_source
from yprov_mlflow.prov.sources.document_source import DocumentSource
from yprov_mlflow.prov.sources.source import Problem
from yprov_mlflow.prov.translate import translate
from yprov_mlflow.prov.validate import validate

DATA = Path(__file__).parents[2] / "data" / "yprov4ml"
LOSS = {"TRAINING/loss": [1.0, 0.5, 1 / 3], "VALIDATION/loss": [2.0, 1.0, 2 / 3]}


def read(path: Path) -> tuple[list[Event], list[Problem]]:
    """Return the events and problems of the only run below a path."""
    source = open_source(str(path))
    (ref,) = source.runs()
    events = list(source.events(ref))
    return events, source.problems()


def of(cls: type, events: list[Event]) -> Iterator:
    return (event for event in events if isinstance(event, cls))


def params(events: list[Event]) -> dict[str, str]:
    return {k: v for event in of(ParamsLogged, events) for k, v in event.params.items()}


def points(events: list[Event]) -> dict[str, list[float]]:
    values: dict[str, list[tuple[int, float]]] = {}
    for event in of(MetricsLogged, events):
        for key, step, value in zip(event.keys, event.steps, event.values, strict=True):
            values.setdefault(key, []).append((step, value))
    return {key: [value for _, value in sorted(rows)] for key, rows in values.items()}


def files(events: list[Event]) -> list[str]:
    return sorted(f["path"] for event in of(ArtifactsLogged, events) for f in event.files)


@pytest.mark.parametrize("version", ["1.0", "2.0", "3.2"])
def test_each_version_becomes_a_valid_document(version: str) -> None:
    events, _ = read(DATA / version)
    document = translate(events)
    assert not [f for f in validate(document) if f.severity == "error"]
    created, updated = next(of(RunCreated, events)), next(of(RunUpdated, events))
    assert created.experiment_name.startswith("mnist")
    assert updated.status == "FINISHED"
    assert created.start_time_ms <= updated.end_time_ms < created.start_time_ms + 60_000
    assert created.user_id == "root"


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_old_versions(version: str) -> None:
    events, problems = read(DATA / version)
    # Version 1 has params as entities, version 2 as attributes, some of them as Python text.
    assert {"lr": "0.01", "fmt": "{'a': 1}"}.items() <= params(events).items()
    series = points(events)
    assert {key: series[key] for key in LOSS} == LOSS
    assert any(path.endswith(("net_1.pth", "net_1.pt")) for path in files(events))
    # Version 1 copied no artifacts: this one is named, but was not in the folder.
    lost = [p for p in problems if p.lost]
    assert [(p.place, p.kind) for p in lost] == (
        [("data.txt", "artifacts")] if version == "1.0" else []
    )


def test_version_3_has_contexts_ranks_models_and_datasets() -> None:
    events, problems = read(DATA / "3.2")
    assert problems == []
    assert params(events)["layers"] == "{'a': [1, 2]}"
    series = points(events)
    assert set(series) == {
        f"{rank}{key}"
        for rank in ("", "rank_1/")
        for key in ("TRAINING/loss", "VALIDATION/loss", "power", "old", "deep", "final")
    }
    assert series["rank_1/TRAINING/loss"] == [1 / (step + 3) + 1 for step in range(10)]
    sessions = list(of(SessionStarted, events))
    assert [s.facts["rank"] for s in sessions] == [0, 1]
    paths = {tuple(event.path) for event in of(ContextEntered, events)}
    assert {("TRAINING",), ("TRAINING", "INNER"), ("VALIDATION",)} <= paths
    in_context = {
        (key, tuple(event.context_paths[0]) if event.context_paths else ())
        for event in of(MetricsLogged, events)
        for key in event.keys
    }
    assert ("deep", ("TRAINING", "INNER")) in in_context
    assert ("final", ()) in in_context
    tags = next(of(TagsSet, events)).tags
    assert tags["yprov.source.power"] == '["meter A"]'
    assert tags["yprov4ml.host_name"] == "node1"
    models = [m for m in of(ModelLogged, events) if m.name == "network"]
    assert [m.params["total_params"] for m in models] == ["3", "3"]
    inputs = next(of(InputsLogged, events)).datasets
    assert {d["name"] for d in inputs} == {"data.txt", "train_set"}
    assert json.loads(inputs[1]["profile"])["batch_size"] == "2"
    # A timestamp of the user outside the run tells no time of the call.
    assert all(e.session == "store" for e in of(MetricsLogged, events) if "old" in e.keys[0])


def test_ids_do_not_depend_on_the_place(tmp_path: Path) -> None:
    shutil.copytree(DATA, tmp_path / "moved")
    ids = [{ref.run_id for ref in open_source(str(p)).runs()} for p in (DATA, tmp_path / "moved")]
    assert ids[0] == ids[1] and len(ids[0]) == 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "prov" / "mnist_csv_0"
    shutil.copytree(DATA / "3.2" / "mnist_csv_0", path)
    shutil.rmtree(path / "metrics_GR1")
    shutil.rmtree(path / "artifacts_GR1")
    (path / "prov_mnist_csv_GR1_0.json").unlink()
    return path


def document_of(folder: Path) -> Path:
    return folder / "prov_mnist_csv_GR0_0.json"


@pytest.mark.parametrize("share", (0, 5, 30, 60, 99))
def test_cut_document_gives_what_is_before_the_cut(folder: Path, share: int) -> None:
    path = document_of(folder)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * share // 100])
    whole, _ = read(DATA / "3.2")
    events, problems = read(folder)
    assert any(p.place == str(path) and "cut off" in p.reason and p.lost for p in problems)
    assert params(events).items() <= params(whole).items()
    # Metric files are whole, whatever the document names; only their names may then tell less.
    assert sum(map(len, points(events).values())) == 42
    assert not [f for f in validate(translate(events)) if f.severity == "error"]


def test_missing_and_damaged_files_are_named(folder: Path) -> None:
    metrics = folder / "metrics_GR0"
    (metrics / "deep_INNER_None_GR0.csv").unlink()
    loss = metrics / "loss_TRAINING_None_GR0.csv"
    loss.write_text(loss.read_text().replace("3,", "three,", 1) + "99,0.5")
    (metrics / "power_TRAINING_meter A_GR0.csv").write_bytes(b"\xff\xfe no header")
    (folder / "artifacts_GR0" / "data.txt").unlink()
    events, problems = read(folder)
    reasons = {p.reason.partition(":")[0]: p for p in problems}
    assert "'deep'" in reasons["the metric file 'deep_INNER_None_GR0.csv' is missing"].lost
    assert reasons["2 lines are damaged"].lost
    assert any("power" in p.place and p.lost == "its points" for p in problems)
    assert any(p.kind == "artifacts" and "'data.txt'" in p.lost for p in problems)
    assert len(points(events)["TRAINING/loss"]) == 9


def test_folder_without_document(folder: Path) -> None:
    document_of(folder).unlink()
    events, problems = read(folder)
    assert "the document of rank 0 is missing" in {p.reason for p in problems}
    # The names of the files tell metric, context and source.
    assert points(events)["VALIDATION/loss"][0] == 2 / 3
    assert points(events)["final"] == [0.25]
    assert next(of(RunUpdated, events)).status is None


def test_text_is_never_evaluated(folder: Path, tmp_path: Path) -> None:
    path, mark = document_of(folder), tmp_path / "evaluated"
    content = json.loads(path.read_text())
    code = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    entity = content["entity"]["lr//mnist_csv_GR0_0"]
    entity["prov:value"] = code
    content["entity"]["n//x"] = {
        **entity, "prov:label": "n", "prov:value": "{'$': 5, 'type': 'xsd:int'}",
    }  # fmt: skip
    content["entity"]["m//x"] = [{**entity, "prov:label": "m", "prov:value": {"$": "7"}}]
    content["entity"]["empty//x"] = {"prov:type": "provml:HyperParameter", "prov:label": "empty"}
    path.write_text(json.dumps(content))
    events, problems = read(folder)
    assert params(events)["lr"] == code
    assert (params(events)["n"], params(events)["m"]) == ("5", "7")
    assert "the param 'empty' lacks a value" in {p.reason for p in problems}
    assert not mark.exists()


def test_links_and_paths_do_not_lead_out(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("epoch,value,timestep\n0,42.0,0\n")
    path = document_of(folder)
    content = json.loads(path.read_text())
    metric = content["entity"]["final//mnist_csv_GR0_0"]
    metric["dcterms:identifier"] = f"prov/mnist_csv_0/../../{secret.name}"
    path.write_text(json.dumps(content))
    (folder / "artifacts_GR0" / "link").symlink_to(secret)
    events, _ = read(folder)
    assert 42.0 not in [v for values in points(events).values() for v in values]
    assert "link" not in files(events)


def test_contexts_in_a_circle(folder: Path) -> None:
    path = document_of(folder)
    content = json.loads(path.read_text())
    for relation in content["wasInformedBy"].values():
        if relation["prov:informed"] == "TRAINING":
            relation["prov:informant"] = "INNER"
    path.write_text(json.dumps(content))
    events, _ = read(folder)
    assert sum(map(len, points(events).values())) == 42


def test_arrays_of_unequal_length(tmp_path: Path) -> None:
    path = tmp_path / "loss_TRAINING_None_GR0.zarr"
    name = yprov4ml_files.SeriesName("loss", "TRAINING", "None")
    yprov4ml_files.append(path, name, yprov4ml_files.Columns([1, 2], [0.5, 0.25], [10, 20]))
    import zarr

    zarr.open_group(str(path), mode="a")["values"].append([0.125])
    content = yprov4ml_files.read(path)
    assert content.faults == ["1 points lack a column"]
    assert (list(content.columns.values), content.name) == ([0.5, 0.25], name)


def test_other_folders_are_not_runs(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "artifacts").mkdir()
    with pytest.raises(StoreError):
        open_source(str(tmp_path))
    # A single document stands for its run.
    (ref,) = open_source(str(DATA / "3.2/mnist_csv_0/prov_mnist_csv_GR1_0.json")).runs()
    assert ref.experiment_name == "mnist_csv"


def test_own_profile_is_read_through_its_full_document(tmp_path: Path) -> None:
    document = translate(read(DATA / "3.2")[0])
    folder = tmp_path / "mnist_1"
    (folder / "provenance").mkdir(parents=True)
    (folder / "provenance" / "prov.json").write_bytes(document.to_json_bytes())
    PROFILES["yprov4ml"].write(document, (), folder, str(folder), "csv")
    assert isinstance(open_source(str(tmp_path)), DocumentSource)
    # The source of a metric comes back as yProv4ML writes it.
    assert [p.name for p in folder.rglob("power_*meter A_GR1*")]
