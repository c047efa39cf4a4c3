"""Documents of what a program read through MLflow."""

from __future__ import annotations

from typing import Any

from support.builders.run_log import RUN_ID, START_S, Log

from yprov_mlflow.prov.events import (
    STORE_SESSION,
    ArtifactsLogged,
    ContextEntered,
    InputsLogged,
    ModelLogged,
    ObjectRead,
)
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.translate import events_of, translate

OTHER = "b" * 32
OF_OTHER = f"run-{OTHER}"


def usages(document: Document, entity: str) -> list[tuple[Any, ...]]:
    """Return activity, role, time and alias of the usages of an entity."""
    terms = ("mlf:requestedAlias", "mlf:requested")
    return [
        (
            record["prov:activity"],
            record["prov:role"]["$"],
            record.get("prov:time", "")[17:19],
            *(record.get(term) for term in terms),
        )
        for record in document.records["used"].values()
        if record["prov:entity"] == entity
    ]


def pairs(document: Document, section: str) -> set[tuple[Any, Any]]:
    return {
        tuple(value for key, value in record.items() if key.startswith("prov:"))[:2]
        for record in document.records.get(section, {}).values()
    }


def file(path: str, digit: str = "1") -> dict[str, Any]:
    return {"path": path, "size": 3, "sha256": digit * 64}


def test_the_artifact_of_another_run_is_used_under_its_own_name() -> None:
    log = Log()
    uri = f"runs:/{OTHER}/data/a.csv"
    log.add(ObjectRead, "downloaded", {"run": OTHER}, "data/a.csv", uri, None, [file("data/a.csv")])
    document = log.document()
    # Its run may have overwritten it: the content tells which version it is.
    artifact = f"{OF_OTHER}:artifact/data%2Fa.csv/{'1' * 64}"
    assert usages(document, artifact) == [("run:run", "mlf:downloaded", "02", None, uri)]
    assert document.prefixes[OF_OTHER] == "urn:uuid:bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb#"
    assert (artifact, f"sha256:{'1' * 64}") in pairs(document, "specializationOf")
    inputs = document.records["activity"]["run:run"]["mls:hasInput"]
    assert isinstance(inputs, dict) and inputs["$"] == artifact


def test_a_folder_of_another_run_is_used_with_its_files() -> None:
    log = Log()
    files = [file("data/a.csv"), file("data/x/b.csv", "2")]
    log.add(ObjectRead, "downloaded", {"run": OTHER}, "data", None, None, files)
    document = log.document()
    assert usages(document, f"{OF_OTHER}:folder/data")
    members = pairs(document, "hadMember")
    assert (f"{OF_OTHER}:folder/data", f"{OF_OTHER}:artifact/data%2Fa.csv/{'1' * 64}") in members
    assert (f"{OF_OTHER}:folder/data", f"{OF_OTHER}:folder/data%2Fx") in members
    log.add(ObjectRead, "downloaded", {"run": OTHER}, "", None, None, [*files, file("c.csv", "3")])
    document = log.document()
    assert usages(document, f"{OF_OTHER}:artifact/c.csv/{'3' * 64}")
    assert len(usages(document, f"{OF_OTHER}:folder/data")) == 2


def test_what_the_run_made_is_used_by_a_part_of_it_and_is_no_input() -> None:
    log = Log()
    log.add(ArtifactsLogged, [file("a.csv")])
    log.add(ArtifactsLogged, [file("a.csv", "2")])
    log.add(ContextEntered, ("test",))
    read = ("downloaded", {"run": RUN_ID}, "a.csv", None, None, [file("a.csv", "2")], ("test",))
    log.add(ObjectRead, *read)
    log.add(ArtifactsLogged, [file("a.csv", "3")])
    document = log.document()
    (usage,) = usages(document, "run:artifact/a.csv/2")  # the version of that time
    assert usage[:3] == ("run:context/test", "mlf:downloaded", "05")
    assert not usages(document, "run:artifact/a.csv")
    assert "mls:hasInput" not in document.records["activity"]["run:run"]


def test_an_artifact_read_before_it_is_made_is_used_without_a_time() -> None:
    log = Log()
    log.add(ObjectRead, "downloaded", {"run": RUN_ID}, "a.csv", None, None, [file("a.csv")])
    log.add(ArtifactsLogged, [file("a.csv")], session=STORE_SESSION)
    document = log.document()
    (usage,) = usages(document, "run:artifact/a.csv")
    assert usage[2] == ""
    assert "run:artifact/a.csv" in {
        g["prov:entity"] for g in document.records["wasGeneratedBy"].values()
    }


def test_a_version_is_the_one_that_the_alias_named_then() -> None:
    log = Log()
    uri = "models:/clf@champion"
    for version in ("1", "2"):
        subject = {"model": "clf", "version": version, "logged-model": f"m-{version}"}
        log.add(ObjectRead, "loaded", subject, "", uri, "champion")
    document = log.document()
    for version in ("1", "2"):
        entity = f"store:model/clf/version/{version}"
        (usage,) = usages(document, entity)
        assert usage[:2] + usage[3:] == ("run:run", "mlf:loaded", "champion", uri)
        assert (entity, f"store:logged-model/m-{version}") in pairs(document, "wasDerivedFrom")


def test_a_model_derives_from_the_loaded_model_that_was_logged_again() -> None:
    log = Log()
    log.add(ModelLogged, "m-2", "clf", None, "READY", "1", "file:///m", START_S * 1000)
    base = {"model": "clf", "version": "1"}
    log.add(ModelLogged, "m-2", *[None] * 10, base)
    derived = ("store:logged-model/m-2", "store:model/clf/version/1")
    document = log.document()
    assert derived in pairs(document, "wasDerivedFrom")
    bases = [e.base for e in events_of(document) if isinstance(e, ModelLogged)]
    assert base in bases


def test_a_dataset_derives_from_the_file_or_artifact_that_is_its_source() -> None:
    log = Log()
    data = {"name": "d", "digest": "0a1b2c3d", "source_type": "local", "schema": "{}"}
    local = {**data, "source": '{"uri": "raw.csv"}', "source_sha256": "1" * 64}
    artifact = {**data, "source": f'{{"uri": "runs:/{OTHER}/a.csv"}}'}
    log.add(InputsLogged, [local, artifact])
    document = log.document()
    origins = {origin for _, origin in pairs(document, "wasDerivedFrom")}
    assert origins == {f"sha256:{'1' * 64}", f"{OF_OTHER}:artifact/a.csv"}


def test_readings_survive_the_way_to_a_document_and_back() -> None:
    log = Log()
    uri = "models:/clf@best"
    log.add(ObjectRead, "loaded", {"model": "clf", "version": "3"}, "", uri, "best")
    log.add(ObjectRead, "read", {"prompt": "qa", "version": "1"}, "", "qa", None)
    log.add(ObjectRead, "read", {"trace": "tr-1"})
    log.add(ObjectRead, "read", {"dataset": "d-1"})
    log.add(ObjectRead, "loaded", {"logged-model": "m-1"})
    log.add(ObjectRead, "downloaded", {"logged-model": "m-1"}, "a", None, None, [file("a")])
    files = [file("data/a.csv"), file("data/x/b.csv", "2")]
    log.add(ObjectRead, "downloaded", {"run": OTHER}, "data", None, None, files)
    log.add(ObjectRead, "downloaded", {}, "", "s3://b/k", None, [file("k")])

    def content(document: Document) -> set[tuple[Any, ...]]:
        return {
            (
                (e.role, e.path, e.uri, e.alias),
                *sorted(e.subject.items()),
                *sorted((f["path"], f["sha256"]) for f in e.files if e.subject),
            )
            for e in events_of(document)
            if isinstance(e, ObjectRead)
        }

    document = prov_json.loads(prov_json.dumps(log.document()))
    assert len(content(document)) == 8
    again = translate(events_of(document))
    assert content(again) == content(document)
    # A file that was only read belongs to others.
    assert not [e for e in events_of(document) if isinstance(e, ArtifactsLogged)]
