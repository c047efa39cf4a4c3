from __future__ import annotations

import json

import pytest
from support.builders.pipeline_documents import EVALUATION, FIRST, NEW, OLD, PREP, SECOND, use
from support.builders.run_log import Log

from yprov_mlflow.prov.events import ArtifactsLogged
from yprov_mlflow.prov.graph.lineage_report import LineageReport, of_thing
from yprov_mlflow.prov.graph.stores import LocalGraph
from yprov_mlflow.prov.model.document import Document

SHA = "7" * 64
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def labels(report: LineageReport) -> set[str]:
    return {f"{thing.kind} {thing.label}" for thing in report.things}


def test_up_names_data_runs_people_and_commits(pipeline_graph: LocalGraph) -> None:
    report = of_thing(pipeline_graph, "models:/clf@champion", "up")
    assert labels(report) == {"version clf 2", "model net", "run second", "dataset clean"}
    assert (report.people, report.commits) == (["bob"], [NEW])


def test_down_finds_everything_made_from_a_dataset(pipeline_graph: LocalGraph) -> None:
    report = of_thing(pipeline_graph, "clean", "down")
    runs = {t.details["run_id"] for t in report.things if t.kind == "run"}
    assert runs == {FIRST, SECOND, EVALUATION}
    versions = {t.label for t in report.things if t.kind == "version"}
    assert versions == {"clf 1", "clf 2"}


def test_depth_limits_the_steps_and_says_so(pipeline_graph: LocalGraph) -> None:
    report = of_thing(pipeline_graph, "clean", "down", 1)
    assert {t.kind for t in report.things} == {"dataset", "run", "model"}
    assert not report.lineage.is_complete
    assert "more beyond this depth" in report.to_tree()
    nothing = of_thing(pipeline_graph, "clean", "down", 0)
    assert labels(nothing) == {"dataset clean"}


def test_down_of_a_commit_is_what_its_runs_made(pipeline_graph: LocalGraph) -> None:
    report = of_thing(pipeline_graph, f"commit:{OLD}", "down")
    runs = {t.details["run_id"] for t in report.things if t.kind == "run"}
    assert runs == {PREP, FIRST, EVALUATION}
    assert of_thing(pipeline_graph, f"commit:{OLD}", "up").lineage.links == ()


def test_params_metrics_and_collectors_are_not_lineage(pipeline_graph: LocalGraph) -> None:
    report = of_thing(pipeline_graph, "second", "up")
    assert labels(report) == {"run second", "dataset clean"}


def test_the_forms_hold_the_same_things(pipeline_graph: LocalGraph) -> None:
    report = of_thing(pipeline_graph, "models:/clf@champion", "up")
    assert len(json.loads(report.to_json())["things"]) == len(report.to_rows()) == 4
    assert len(report.to_pandas()) == 4
    assert len(report.to_rdflib()) == len(report.lineage.links)
    assert report.to_dot().count("->") == len(report.lineage.links)
    assert report.to_mermaid().count("-->") == len(report.lineage.links)
    assert report.to_tree().splitlines()[0] == "version clf 2  @champion"


# -- equal content -------------------------------------------------------------------------


def document(number: int, second: int = 0, *files: tuple[str, str]) -> Document:
    """Return the document of a run that wrote files at a second after the start."""
    log = Log()
    log.add(ArtifactsLogged, [{"path": p, "sha256": s, "size": 1} for p, s in files], after=second)
    written = log.document()
    written.prefixes["run"] = f"urn:uuid:00000000-0000-0000-0000-{number:012d}#"
    written.records["activity"]["run:run"]["mlf:runId"] = f"{number:032d}"
    written.records["activity"]["run:run"]["prov:label"] = f"run {number}"
    return written


def reading(number: int, second: int, sha256: str) -> Document:
    """Return the document of a run that read a file outside of MLflow."""
    read = document(number)
    file = {"prov:type": {"$": "mlf:File", "type": "xsd:QName"}, "mlf:path": "/tmp/x.csv"}
    minutes, seconds = divmod(second, 60)
    use(read, "run:file/read/x", f"2026-01-02T03:{minutes:02d}:{seconds:02d}+00:00", **file)
    content = {"prov:type": {"$": "mlf:Content", "type": "xsd:QName"}}
    read.records["entity"].setdefault(f"sha256:{sha256}", content)
    read.records.setdefault("specializationOf", {})["run:s"] = {
        "prov:specificEntity": "run:file/read/x",
        "prov:generalEntity": f"sha256:{sha256}",
    }
    return read


def origins(*documents: Document) -> set[str]:
    return labels(of_thing(LocalGraph.in_memory(documents), "run 2", "up"))


def test_a_file_that_was_read_comes_from_the_run_that_wrote_its_content() -> None:
    both = document(1, 10, ("a.csv", SHA)), reading(2, 50, SHA)
    assert {"run run 1", "file a.csv"} <= origins(*both)
    down = of_thing(LocalGraph.in_memory(both), "run 1", "down")
    assert "run run 2" in labels(down)


def test_content_that_is_written_later_is_not_an_origin() -> None:
    assert "run run 1" not in origins(document(1, 90, ("a.csv", SHA)), reading(2, 50, SHA))


def test_runs_that_log_equal_content_are_not_connected() -> None:
    both = [document(1, 10, ("a.csv", SHA)), document(2, 20, ("b.csv", SHA))]
    assert origins(*both) == {"run run 2"}
    assert labels(of_thing(LocalGraph.in_memory(both), "file:b.csv", "up")) >= {"run run 2"}


@pytest.mark.parametrize(("path", "sha256"), [("a.csv", EMPTY), ("model/requirements.txt", SHA)])
def test_content_that_says_nothing_connects_nothing(path: str, sha256: str) -> None:
    assert "run run 1" not in origins(document(1, 10, (path, sha256)), reading(2, 50, sha256))


def test_a_copy_of_what_a_run_read_is_not_an_origin() -> None:
    copying = reading(1, 5, SHA)
    copy = document(1, 20, ("a.csv", SHA))
    for section in ("entity", "wasGeneratedBy", "specializationOf"):
        copying.records.setdefault(section, {}).update(
            {i: r for i, r in copy.records[section].items() if i not in copying.records[section]}
        )
    assert "run run 1" not in origins(copying, reading(2, 50, SHA))


def test_an_artifact_that_was_read_is_the_version_of_its_run_with_that_content() -> None:
    other = document(3, 5, ("b.csv", SHA))
    writer = document(1, 10, ("a.csv", "8" * 64), ("a.csv", SHA))
    reader = document(2, 50, ("c.csv", "9" * 64))
    reader.prefixes["other"] = "urn:uuid:00000000-0000-0000-0000-000000000001#"
    name, content = f"other:artifact/a.csv/{SHA}", f"sha256:{SHA}"
    use(reader, name, "2026-01-02T03:00:40+00:00", **reader.records["entity"]["run:artifact/c.csv"])
    reader.records["specializationOf"]["run:copy"] = {
        "prov:specificEntity": name,
        "prov:generalEntity": content,
    }
    graph = LocalGraph.in_memory([other, writer, reader])
    up = of_thing(graph, "run 2", "up")
    assert "run run 1" in labels(up)
    assert "run run 3" not in labels(up)
    (source,) = {link.before for link in up.lineage.links if link.relation == "used"}
    assert source.endswith("000000000001#artifact/a.csv/2")
    assert "run run 2" in labels(of_thing(graph, "run 1", "down"))
    assert "run run 2" not in labels(of_thing(graph, "run 3", "down"))


def test_a_cycle_in_what_users_logged_ends() -> None:
    first, second = document(1, 10, ("a.csv", SHA)), document(2, 20, ("b.csv", "8" * 64))
    for one, other, path in ((first, 2, "b.csv"), (second, 1, "a.csv")):
        one.prefixes["other"] = f"urn:uuid:00000000-0000-0000-0000-{other:012d}#"
        use(one, f"other:artifact/{path}", "2026-01-02T03:00:30+00:00")
    report = of_thing(LocalGraph.in_memory([first, second]), "run 1", "up")
    assert labels(report) == {"run run 1", "run run 2", "file a.csv", "file b.csv"}
    assert "(above)" in report.to_tree()


def test_a_long_chain_is_followed_to_its_end() -> None:
    documents = []
    for number in range(1, 61):
        link = document(number, number, (f"{number}.csv", f"{number:064d}"))
        if number > 1:
            link.prefixes["other"] = f"urn:uuid:00000000-0000-0000-0000-{number - 1:012d}#"
            use(link, f"other:artifact/{number - 1}.csv", "2026-01-02T03:59:00+00:00")
        documents.append(link)
    report = of_thing(LocalGraph.in_memory(documents), "run 60", "up")
    assert len([t for t in report.things if t.kind == "run"]) == 60
    assert len(report.to_tree().splitlines()) == 119


def test_names_cannot_break_the_pictures() -> None:
    report = of_thing(
        LocalGraph.in_memory([document(1, 1, ('a"]; evil --> x\n.csv', SHA))]), "run 1", "down"
    )
    assert '\\"]; evil' in report.to_dot()
    assert "\n.csv" not in report.to_dot()
    assert '"]; evil' not in report.to_mermaid()
    assert report.to_mermaid().count("-->") == 1
