"""Broken trees, the normal case: what can be saved is, the rest is told with place and reason."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
from readings import Reading
from trees import RUN, STARTED, Tree, describe, put

from yprov_mlflow.prov.events import (
    ArtifactsLogged,
    InputsLogged,
    MetricsLogged,
    RunCreated,
    RunUpdated,
)

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "ab" * 32 + "\nsize 12345\n"


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "mlruns")


def rewrite(folder, change):
    path = folder / "meta.yaml"
    path.write_bytes(change(path.read_bytes()))


# -- descriptions ------------------------------------------------------------------------


def test_a_run_without_description_is_one_if_it_has_logged_anything(tree):
    logged = tree.run(1, params={"a": "1"})
    bare = tree.run(2, artifacts={"x.bin": "x"})
    stray = tree.root / "0" / "notes"
    put(stray, {"readme.txt": "hello"})
    for folder in (logged, bare):
        (folder / "meta.yaml").unlink()
    found = Reading(tree.root)
    assert [ref.run_id for ref in found.refs] == [logged.name]
    assert found.refs[0].status is None
    assert found.params() == {"a": "1"}
    assert found.losses() == {
        f"0/{logged.name}": "the run's status, times, user and name",
        f"0/{bare.name}": "the list of these artifacts",
        "0/notes": "the folder",
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (LFS.encode(), "git-lfs pointer"),
        (b"\x00\x01\x02 not text", "is not YAML"),
        (b"just some words", "has no keys"),
        (b"- a\n- b\n", "has no keys"),
    ],
)
def test_a_description_that_says_nothing_costs_only_what_it_said(tree, content, reason):
    folder = tree.run(params={"a": "1"}, metrics={"m": [(1, 2.0, 3)]})
    (folder / "meta.yaml").write_bytes(content)
    found = Reading(tree.root)
    (problem,) = found.problems
    assert reason in problem.reason
    assert problem.place == str(folder / "meta.yaml")
    assert problem.lost == "all that it said"
    assert found.params() == {"a": "1"}
    assert found.points("m") == [(1, 2.0, 3)]
    assert found.one(RunUpdated).status is None


def test_a_half_written_description_is_saved_line_by_line(tree):
    folder = tree.run()
    rewrite(folder, lambda data: data[: data.index(b"user_id") + 4])
    found = Reading(tree.root)
    created = found.one(RunCreated)
    assert (created.start_time_ms, created.user_id) == (STARTED, None)
    assert found.one(RunUpdated).status == "FINISHED"
    assert "is not YAML" in found.reasons("meta.yaml")[0]
    assert "'user'" in found.problems[0].lost


def test_of_a_merge_conflict_in_a_description_the_first_side_is_taken(tree):
    folder = tree.run()
    conflict = b"<<<<<<< HEAD\nstatus: 3\n=======\nstatus: 4\n>>>>>>> other\n"
    rewrite(folder, lambda data: data.replace(b"status: 3\n", conflict))
    found = Reading(tree.root)
    assert found.one(RunUpdated).status == "FINISHED"
    assert found.one(RunCreated).user_id == "alice"
    (problem,) = found.problems
    assert "merge-conflict" in problem.reason
    assert "status: 4" in problem.lost


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data.replace(b"\n", b"\r\n"), "CR LF"),
        (lambda data: b"\xef\xbb\xbf" + data, "byte order mark"),
        (lambda data: data.decode().encode("utf-16"), "UTF-16"),
    ],
)
def test_other_line_ends_and_encodings_of_a_description_lose_nothing(tree, change, reason):
    tree.run(1)
    expected = Reading(tree.root).of()
    rewrite(tree.root / "0" / f"{RUN}1", change)
    found = Reading(tree.root)
    assert found.of() == expected
    (problem,) = found.problems
    assert reason in problem.reason
    assert problem.lost == ""


def test_a_description_in_latin_1_is_read_as_that(tree):
    folder = tree.run()
    rewrite(folder, lambda data: data.replace(b"alice", "Jürgen".encode("latin-1")))
    found = Reading(tree.root)
    assert found.one(RunCreated).user_id == "Jürgen"
    assert found.problems[0].reason == "is not UTF-8, and was read as Latin-1"


def test_an_experiment_without_description_keeps_its_runs(tree):
    tree.experiment("7")
    tree.run(1, experiment="7")
    (tree.root / "7" / "meta.yaml").unlink()
    found = Reading(tree.root)
    (ref,) = found.refs
    assert (ref.experiment_id, ref.experiment_name) == ("7", None)
    assert [e.result for e in found.calls("create_experiment")] == ["0"]
    assert found.losses() == {"mlruns/7": "these"}


def test_unknown_statuses_and_times_are_kept_or_told(tree):
    tree.run(1, status=9)
    tree.run(2, status="ODD", start_time="yesterday")
    found = Reading(tree.root)
    assert [found.one(RunUpdated, f"{RUN}{i}").status for i in (1, 2)] == ["9", "ODD"]
    assert [ref.status for ref in found.refs] == ["9", "ODD"]
    assert found.one(RunCreated, f"{RUN}2").start_time_ms is None
    assert sum("status that MLflow does not have" in reason for reason in found.reasons()) == 2
    assert "its start_time" in found.losses().values()


def test_a_renamed_run_keeps_its_id_and_a_copied_one_gets_its_folders(tree):
    renamed = tree.run(1)
    renamed.rename(renamed.with_name("renamed"))
    tree.run(2)
    tree.run("backup", run_id=f"{RUN}2")
    found = Reading(tree.root)
    assert {ref.key: ref.run_id for ref in found.refs} == {
        f"0/{RUN}2": f"{RUN}2",
        "0/backup": "backup",
        "0/renamed": f"{RUN}1",
    }
    assert found.one(RunCreated, "backup").fields["run_id"] == f"{RUN}2"
    assert all(problem.lost == "" for problem in found.problems)


def test_of_two_that_say_they_are_the_same_only_one_is(tree):
    for folder in ("copy", "other"):
        tree.experiment(folder, name=folder, meta={"experiment_id": "5"})
        tree.run(folder, run_id=f"{RUN}7", params={"p": folder})
        describe(tree.root / f"models/{folder}/meta.yaml", name="net", description=folder)
    found = Reading(tree.root)
    assert {ref.key: ref.run_id for ref in found.refs} == {"0/copy": f"{RUN}7", "0/other": "other"}
    made = {
        e.arguments["name"]: e.arguments["experiment_id"] for e in found.calls("create_experiment")
    }
    assert made == {"Default": "0", "copy": "5", "other": "other"}
    models = {
        e.arguments["description"]: e.arguments["name"]
        for e in found.calls("create_registered_model")
    }
    assert models == {"copy": "net", "other": "other"}
    assert len(found.problems) == 6


def test_an_experiment_that_is_in_the_trash_as_well_is_told(tree):
    tree.experiment("1")
    tree.experiment("1", trash=True)
    (problem,) = Reading(tree.root).problems
    assert (problem.place, problem.lost) == (str(tree.root / ".trash/1"), "")
    assert problem.reason == "has the id of another experiment, that in 1"


def test_a_registered_model_without_description_does_not_hide_the_others(tree):
    describe(tree.root / "models/a/version-1/meta.yaml", name="a", version=1, run_id=f"{RUN}1")
    describe(tree.root / "models/b/meta.yaml", name="b")
    (tree.root / "models/b/version-7").mkdir()
    (tree.root / "models/c").mkdir()
    found = Reading(tree.root)
    assert [e.arguments["name"] for e in found.calls("create_registered_model")] == ["a", "b"]
    assert [e.subjects["version"] for e in found.calls("create_model_version")] == ["1", "7"]
    assert found.losses() == {
        "models/a": "the model's description and times",
        "b/version-7": "the version's source, run, stage and times",
        "models/c": "the folder",
    }


def test_inputs_whose_data_set_is_gone_are_told(tree):
    folder = tree.run()
    linked = {"source_type": "DATASET", "source_id": "gone"}
    describe(folder / "inputs/i0/meta.yaml", **linked)
    (folder / "inputs/i1").mkdir()
    describe(folder / "inputs/i2/meta.yaml", source_type="MODEL_INPUT", source_id="m-1")
    found = Reading(tree.root)
    assert found.one(InputsLogged).models == ["m-1"]
    assert found.losses() == {"i0/meta.yaml": "the data set", "inputs/i1": "what it stood for"}


def test_traces_that_are_broken_tell_what_they_can(tree):
    top = tree.root / "0" / "traces"
    put(top / "tr-1" / "request_metadata", {"k": "v"})
    put(top / "tr-2" / "artifacts", {"traces.json": '{"spans": [1'})
    describe(top / "tr-2" / "trace_info.yaml", trace_id="tr-2", request_time="some day")
    put(top / "tr-3", {"x": "y"})
    found = Reading(tree.root)
    infos = [event.arguments["trace_info"] for event in found.calls("start_trace")]
    assert [(one["trace_id"], one["request_time"]) for one in infos] == [
        ("tr-1", None),
        ("tr-2", None),
    ]
    assert found.losses() == {
        "traces/tr-1": "its time, duration and state",
        "artifacts/traces.json": "the spans",
        "tr-2/trace_info.yaml": "its request_time",
        "tr-3/x": "the file",
        "traces/tr-3": "the folder",
    }


# -- metric files ------------------------------------------------------------------------


def test_an_empty_metric_file_is_told(tree):
    tree.run(metrics={"empty": "", "whole": [(1, 2.0, 3)]})
    found = Reading(tree.root)
    assert [event.keys[0] for event in found.all(MetricsLogged)] == ["whole"]
    assert found.losses() == {"metrics/empty": "its points, if there were any"}


def test_a_description_cut_off_between_lines_is_told(tree):
    run = tree.run()
    for folder in (run, run.parent):
        meta = folder / "meta.yaml"
        meta.write_text("".join(meta.read_text().splitlines(keepends=True)[:2]))
    found = {
        (p.place.removeprefix(f"{tree.root}/"), p.reason, p.lost)
        for p in Reading(tree.root).problems
        if p.lost
    }
    assert found == {
        (
            str((run / "meta.yaml").relative_to(tree.root)),
            "does not have start_time, status, and was perhaps cut off",
            "what is not there",
        ),
        (
            str((run.parent / "meta.yaml").relative_to(tree.root)),
            "does not have name, and was perhaps cut off",
            "what is not there",
        ),
    }


def test_a_metric_file_cut_off_in_a_line_keeps_its_whole_lines(tree):
    tree.run(metrics={"m": "1 0.5 0\n2 0.25 1\n3 0.", "n": "1 0.5 0\n2 0.25 1"})
    found = Reading(tree.root)
    assert found.points("m") == [(1, 0.5, 0), (2, 0.25, 1)]
    assert found.points("n") == [(1, 0.5, 0), (2, 0.25, 1)]
    assert found.losses() == {"metrics/m": "these"}
    assert "line 3: '3 0.'" in found.reasons("metrics/m")[0]
    assert found.reasons("metrics/n") == ["ends within a line, whose last number may be cut"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"1 0.5 0\r\n2 nan 1\r\n", "has lines that end in CR LF"),
        (b"\xef\xbb\xbf1 0.5 0\n2 nan 1\n", "starts with a byte order mark"),
        ("1 0.5 0\n2 nan 1\n".encode("utf-16"), "is UTF-16 and not UTF-8, and was read as that"),
        (
            b"<<<<<<< HEAD\n1 0.5 0\n=======\n2 nan 1\n>>>>>>> x\n",
            "has merge-conflict markers; the points of all sides are kept",
        ),
    ],
)
def test_metric_files_in_another_form_lose_nothing(tree, content, reason):
    tree.run(metrics={"m": content})
    found = Reading(tree.root)
    assert str(found.points("m")) == "[(1, 0.5, 0), (2, nan, 1)]"
    assert [(p.reason, p.lost) for p in found.problems] == [(reason, "")]


def test_lines_that_are_no_points_are_left_out_and_counted(tree):
    tree.run(metrics={"m": "1 0.5 0\nhello\n\n2 x 1\n3 0.5 2 surplus\n4 1e400 5.0\n5 1_0 1.5\n"})
    found = Reading(tree.root)
    assert found.points("m") == [(1, 0.5, 0), (3, 0.5, 2), (4, float("inf"), 5), (5, 10.0, 1)]
    reasons = found.reasons("metrics/m")
    assert any("line 2: 'hello' and 1 more" in reason for reason in reasons)
    assert "has lines with one column too many" in reasons
    assert "has a time stamp or step with a fraction, cut off" in reasons


@pytest.mark.parametrize("point", [(2**70, 1.0, 2), (1, 1.0, -(2**80))])
def test_numbers_of_more_than_64_bits_are_told_since_no_document_has_them(tree, point):
    tree.run(metrics={"m": [point, (1, 2.0, 3)], "edge": [(2**63 - 1, 1.0, -(2**63))]})
    found = Reading(tree.root)
    assert found.points("m") == [point, (1, 2.0, 3)]
    reason = "has time stamps or steps of more than 64 bits, for which the nearest stands"
    assert [(p.reason, p.lost) for p in found.problems] == [(reason, "these numbers")]


def test_a_faulty_block_of_a_long_file_does_not_spoil_the_others(tree):
    rows = [f"{i} {i / 3} {i}" for i in range(120_000)]
    rows[50_000] = "x" * 3_000_000
    rows[70_000] = "broken"
    tree.run(metrics={"m": "\n".join(rows) + "\n"})
    found = Reading(tree.root)
    expected = [i for i in range(120_000) if i not in (50_000, 70_000)]
    assert [step for _, _, step in found.points("m")] == expected
    assert "line 50001" in found.reasons("metrics/m")[0]
    assert "1 more" in found.reasons("metrics/m")[0]


@pytest.mark.parametrize("kind", ["metrics", "params", "tags"])
def test_a_git_lfs_pointer_is_no_value(tree, kind):
    tree.run(**{kind: {"big": LFS}})
    found = Reading(tree.root)
    assert len(found.of()) == 2
    assert list(found.losses()) == [f"{kind}/big"]
    assert "git-lfs" in found.problems[0].reason


def test_a_git_lfs_pointer_among_artifacts_tells_of_the_file_that_it_stands_for(tree):
    tree.run(artifacts={"model.pkl": LFS})
    found = Reading(tree.root)
    (file,) = found.one(ArtifactsLogged).files
    assert file == {"path": "model.pkl", "size": 12345, "sha256": "ab" * 32}
    assert found.losses() == {}


# -- values and names --------------------------------------------------------------------


def test_values_in_another_encoding_are_read_as_latin_1_without_loss(tree):
    everything = bytes(range(256))
    tree.run(params={"p": everything}, tags={"t": "größe".encode("latin-1")})
    found = Reading(tree.root)
    assert found.params()["p"].encode("latin-1") == everything
    assert found.tags() == {"t": "größe"}
    (problem,) = found.problems
    assert problem.reason.startswith("is not UTF-8, and was read as Latin-1")
    assert "so are 1 more" in problem.reason


def test_marks_and_conflicts_in_values_are_kept_and_told(tree):
    conflict = "<<<<<<< HEAD\n1\n=======\n2\n>>>>>>> x\n"
    tree.run(params={"bom": "\ufeff0.1", "conflict": conflict})
    found = Reading(tree.root)
    assert found.params() == {"bom": "\ufeff0.1", "conflict": conflict}
    assert len(found.problems) == 2
    assert found.losses() == {}


def test_names_in_another_encoding_are_read_as_latin_1(tree):
    folder = tree.run(params={"a": "1"})
    try:
        (folder / "params" / os.fsdecode(b"gr\xf6\xdfe")).write_text("2")
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    found = Reading(tree.root)
    assert found.params() == {"a": "1", "größe": "2"}
    assert "\\udcf6" in found.problems[0].place


def test_what_other_programs_leave_in_folders_is_no_news(tree):
    folder = tree.run(params={".hidden": "1"}, artifacts={"a": "a"})
    apples = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X"
    for part in ("", "params", "metrics", "tags", "artifacts"):
        put(folder / part, {".DS_Store": b"\0\0\0\1Bud1", "._x": apples})
    put(tree.root, {"Thumbs.db": "x", ".gitignore": "*.pkl", ".git/HEAD": "x"})
    put(tree.root / "0" / ".ipynb_checkpoints", {"x-checkpoint.yaml": "x"})
    found = Reading(tree.root)
    assert found.params() == {".hidden": "1"}
    assert len(found.one(ArtifactsLogged).files) == 1
    assert found.problems == []


def test_what_is_no_part_of_a_tree_is_told(tree):
    folder = tree.run()
    put(tree.root, {"notes.txt": "x", "mlflow.db": b"SQLite format 3\0", "scratch/a.txt": "x"})
    put(folder, {"log.txt": "x", "extra/y": "z"})
    model = tree.model("m-1", folder)
    put(model, {"weights.bin": "w"})
    found = Reading(tree.root)
    assert set(found.losses()) == {
        "mlruns/notes.txt",
        "mlruns/mlflow.db",
        "mlruns/scratch",
        f"{folder.name}/log.txt",
        f"{folder.name}/extra",
        "m-1/weights.bin",
    }
    assert any("convert it, too" in reason for reason in found.reasons("mlflow.db"))


# -- files that cannot be read -------------------------------------------------------------


def test_what_is_no_model_and_no_trace_is_told(tree, tmp_path):
    tree.model("m-1", tree.run())
    put(tree.root / "0", {"models/notes.txt": "x", "traces/notes.txt": "x"})
    (tree.root / "0/models/empty").mkdir()
    put(tmp_path / "elsewhere", {"meta.yaml": "model_id: m-2"})
    (tree.root / "0/models/link").symlink_to(tmp_path / "elsewhere")
    found = Reading(tree.root)
    assert found.losses() == {
        "models/notes.txt": "the file",
        "traces/notes.txt": "the file",
        "models/empty": "the folder",
        "models/link": "what it links to",
    }
    assert len(found.problems) == 4


def test_a_file_in_the_place_of_a_folder_is_told(tree):
    folder = tree.run()
    for part in ("params", "metrics"):
        (folder / part).rmdir()
        (folder / part).write_text("x")
    found = Reading(tree.root)
    assert len(found.of()) == 2
    assert set(found.losses()) == {f"{folder.name}/params", f"{folder.name}/metrics"}


@pytest.mark.skipif(os.name != "posix", reason="rights are set otherwise here")
def test_unreadable_files_and_folders_cost_only_themselves(tree, tmp_path):
    folder = tree.run(1, params={"a": "1", "b": "2"}, metrics={"m": [(1, 2.0, 3)]}, artifacts=_TWO)
    tree.run(2, params={"a": "1"})
    closed = tree.run(3, params={"a": "1"})
    for path in (folder / "params/b", folder / "metrics", folder / "artifacts/y", closed):
        path.chmod(0)
    for parent in (tmp_path, *tmp_path.parents):
        if Path(tempfile.gettempdir()) in parent.parents:
            parent.chmod(0o755)
    script = _AS_NOBODY.format(root=str(tree.root), paths=sys.path)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    for path in (folder / "metrics", closed):
        path.chmod(0o755)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"0/{RUN}1",
        "['a']",
        "x True",
        "y False",
        f"0/{RUN}2",
        "['a']",
        "lost 0/" + closed.name,
        f"lost {folder.name}/metrics",
        "lost artifacts/y",
        "lost params/b",
    ]


_TWO = {"x": "x", "y": "y"}
_AS_NOBODY = textwrap.dedent(
    """
    import sys
    sys.path[:] = {paths!r}
    import os
    from pathlib import Path
    from yprov_mlflow.sources import open_source
    import yprov_mlflow.sources.tree
    if os.geteuid() == 0:
        os.setuid(65534)
    source = open_source({root!r})
    for ref in source.runs():
        print(ref.key)
        for event in source.events(ref):
            if event.kind == "params":
                print(sorted(event.params))
            elif event.kind == "artifacts":
                for file in event.files:
                    print(file["path"], file["sha256"] is not None)
    problems = source.problems()
    for place in sorted("/".join(Path(p.place).parts[-2:]) for p in problems):
        print("lost", place)
    assert all("Permission denied" in problem.reason for problem in problems)
    """
)
