"""Damaged file stores: everything readable is read, and the rest is reported."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
from support.builders.file_store_builder import (
    RUN,
    STARTED,
    FileStoreBuilder,
    write_files,
    write_meta,
)
from support.readers.source_contents import SourceContents

from yprov_mlflow.prov.events import (
    ArtifactsLogged,
    InputsLogged,
    MetricsLogged,
    ModelLogged,
    OutputsLogged,
    RunCreated,
    RunUpdated,
)
from yprov_mlflow.prov.sources.file_store.meta import decode_meta

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "ab" * 32 + "\nsize 12345\n"


@pytest.fixture
def tree(tmp_path):
    return FileStoreBuilder(tmp_path / "mlruns")


def rewrite(folder, change):
    path = folder / "meta.yaml"
    path.write_bytes(change(path.read_bytes()))


# -- meta.yaml ---------------------------------------------------------------------------


def test_run_without_meta_yaml_needs_logged_values(tree):
    logged = tree.run(1, params={"a": "1"})
    bare = tree.run(2, artifacts={"x.bin": "x"})
    stray = tree.root / "0" / "notes"
    write_files(stray, {"readme.txt": "hello"})
    for folder in (logged, bare):
        (folder / "meta.yaml").unlink()
    reading = SourceContents(tree.root)
    assert [ref.run_id for ref in reading.refs] == [logged.name]
    assert reading.refs[0].status is None
    assert reading.params() == {"a": "1"}
    assert reading.losses() == {
        f"0/{logged.name}": "the run's status, times, user and name",
        f"0/{bare.name}": "the list of these artifacts",
        "0/notes": "the folder",
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (LFS.encode(), "Git LFS pointer"),
        (b"\x00\x01\x02 not text", "is not YAML"),
        (b"just some words", "has no keys"),
        (b"- a\n- b\n", "has no keys"),
    ],
)
def test_unreadable_meta_yaml_loses_only_its_content(tree, content, reason):
    folder = tree.run(params={"a": "1"}, metrics={"m": [(1, 2.0, 3)]})
    (folder / "meta.yaml").write_bytes(content)
    reading = SourceContents(tree.root)
    (problem,) = reading.problems
    assert reason in problem.reason
    assert problem.place == str(folder / "meta.yaml")
    assert problem.lost == "its content"
    assert reading.params() == {"a": "1"}
    assert reading.points("m") == [(1, 2.0, 3)]
    assert reading.single(RunUpdated).status is None


def test_truncated_meta_yaml_is_salvaged_line_by_line(tree):
    folder = tree.run()
    rewrite(folder, lambda data: data[: data.index(b"user_id") + 4])
    reading = SourceContents(tree.root)
    created = reading.single(RunCreated)
    assert (created.start_time_ms, created.user_id) == (STARTED, None)
    assert reading.single(RunUpdated).status == "FINISHED"
    assert "is not YAML" in reading.reasons("meta.yaml")[0]
    assert "'user'" in reading.problems[0].lost


def test_merge_conflict_in_meta_yaml_keeps_first_side(tree):
    folder = tree.run()
    conflict = b"<<<<<<< HEAD\nstatus: 3\n=======\nstatus: 4\n>>>>>>> other\n"
    rewrite(folder, lambda data: data.replace(b"status: 3\n", conflict))
    reading = SourceContents(tree.root)
    assert reading.single(RunUpdated).status == "FINISHED"
    assert reading.single(RunCreated).user_id == "alice"
    (problem,) = reading.problems
    assert "merge-conflict" in problem.reason
    assert "status: 4" in problem.lost


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data.replace(b"\n", b"\r\n"), "CRLF"),
        (lambda data: b"\xef\xbb\xbf" + data, "byte order mark"),
        (lambda data: data.decode().encode("utf-16"), "UTF-16"),
    ],
)
def test_crlf_bom_and_utf_16_in_meta_yaml_lose_nothing(tree, change, reason):
    tree.run(1)
    expected = SourceContents(tree.root).run_events()
    rewrite(tree.root / "0" / f"{RUN}1", change)
    reading = SourceContents(tree.root)
    assert reading.run_events() == expected
    (problem,) = reading.problems
    assert reason in problem.reason
    assert problem.lost == ""


def test_latin_1_meta_yaml_is_decoded(tree):
    folder = tree.run()
    rewrite(folder, lambda data: data.replace(b"alice", "Jürgen".encode("latin-1")))
    reading = SourceContents(tree.root)
    assert reading.single(RunCreated).user_id == "Jürgen"
    assert reading.problems[0].reason == "is not UTF-8, and was read as Latin-1"


def test_experiment_without_meta_yaml_keeps_its_runs(tree):
    tree.experiment("7")
    tree.run(1, experiment="7")
    (tree.root / "7" / "meta.yaml").unlink()
    reading = SourceContents(tree.root)
    (ref,) = reading.refs
    assert (ref.experiment_id, ref.experiment_name) == ("7", None)
    assert [e.result for e in reading.calls("create_experiment")] == ["0"]
    assert reading.losses() == {"mlruns/7": "the experiment's name, times and artifact location"}


def test_unknown_status_is_kept_and_invalid_time_reported(tree):
    tree.run(1, status=9)
    tree.run(2, status="ODD", start_time="yesterday")
    reading = SourceContents(tree.root)
    assert [reading.single(RunUpdated, f"{RUN}{i}").status for i in (1, 2)] == ["9", "ODD"]
    assert [ref.status for ref in reading.refs] == ["9", "ODD"]
    assert reading.single(RunCreated, f"{RUN}2").start_time_ms is None
    assert sum("status that MLflow does not define" in reason for reason in reading.reasons()) == 2
    assert "its start_time" in reading.losses().values()


def test_fractions_of_times_and_steps_are_cut_and_reported(tree):
    meta = {"creation_time": 4.5, "last_update_time": "5.5"}
    tree.experiment("1", meta=meta)
    tree.run(start_time=1.5, end_time=2.75, metrics={"m": "3.5 0.5 2.7\n4 0.5 3\n"})
    times = {"creation_timestamp": 6.5, "last_updated_timestamp": 7}
    write_meta(tree.root / "0/models/m-1/meta.yaml", model_id="m-1", status=2, **times)
    write_meta(tree.root / "models/net/meta.yaml", name="net", **times)
    write_meta(tree.root / "0/traces/tr-1/trace_info.yaml", trace_id="tr-1", timestamp_ms=8.25)
    reading = SourceContents(tree.root)
    assert reading.single(RunCreated).start_time_ms == 1
    assert reading.single(RunUpdated).end_time_ms == 2
    assert reading.points("m") == [(3, 0.5, 2), (4, 0.5, 3)]
    experiment = reading.calls("create_experiment")[-1].arguments
    assert (experiment["creation_time"], experiment["last_update_time"]) == (4, 5)
    (model,) = reading.calls("create_registered_model")
    assert model.arguments["creation_timestamp"] == 6
    (trace,) = reading.calls("start_trace")
    assert trace.arguments["trace_info"]["request_time"] == 8
    cut = [p for p in reading.problems if "fraction, which is cut off" in p.reason and p.lost]
    assert len(cut) == 8


DIGITS = "00000000000000000000000000000012"
"""An id that YAML reads as 10 without quotes."""


def test_ids_of_digits_without_quotes_keep_their_links(tree):
    run = tree.run(DIGITS, source_version="0717", end_time=..., run_uuid=...)
    dataset = {"digest": "0123", "name": "007", "source_type": "local", "source": "s"}
    write_meta(tree.root / f"0/datasets/{DIGITS}/meta.yaml", **dataset)
    write_meta(run / "inputs/i/meta.yaml", source_type="DATASET", source_id=DIGITS)
    write_meta(run / "outputs/0123/meta.yaml", destination_id="0123", step=1)
    model = {"model_id": "0123", "name": "net", "status": 2, "source_run_id": DIGITS}
    write_meta(tree.root / "0/models/0123/meta.yaml", **model)
    for path in tree.root.glob("0/**/meta.yaml"):
        path.write_text(path.read_text().replace("'", ""))
    reading = SourceContents(tree.root)
    assert [ref.run_id for ref in reading.refs] == [DIGITS]
    assert reading.single(RunCreated).fields["source_version"] == "0717"
    (used,) = reading.single(InputsLogged).datasets
    assert (used["name"], used["digest"]) == ("007", "0123")
    assert reading.single(ModelLogged).model_id == "0123"
    assert reading.single(ModelLogged).fields == {"source_run_id": DIGITS}
    assert reading.single(OutputsLogged).models == [("0123", 1)]


@pytest.mark.parametrize("line", ["run_id: 0123", "run_id: 0123\nnot yaml: ["])
def test_written_text_of_numbers_is_kept(line):
    meta = decode_meta(f"{line}\nquoted: '0123'\nstart_time: 0x10\n".encode()).values
    assert (meta.text("run_id"), meta.text("quoted")) == ("0123", "0123")
    assert meta.time("start_time") == 16


def test_renamed_run_keeps_its_id_and_copied_run_uses_folder_name(tree):
    renamed = tree.run(1)
    renamed.rename(renamed.with_name("renamed"))
    tree.run(2)
    tree.run("backup", run_id=f"{RUN}2")
    reading = SourceContents(tree.root)
    assert {ref.key: ref.run_id for ref in reading.refs} == {
        f"0/{RUN}2": f"{RUN}2",
        "0/backup": "backup",
        "0/renamed": f"{RUN}1",
    }
    assert reading.single(RunCreated, "backup").fields["run_id"] == f"{RUN}2"
    assert all(problem.lost == "" for problem in reading.problems)


def test_duplicate_ids_are_used_once(tree):
    for folder in ("copy", "other"):
        tree.experiment(folder, name=folder, meta={"experiment_id": "5"})
        tree.run(folder, run_id=f"{RUN}7", params={"p": folder})
        write_meta(tree.root / f"models/{folder}/meta.yaml", name="net", description=folder)
    reading = SourceContents(tree.root)
    assert {ref.key: ref.run_id for ref in reading.refs} == {
        "0/copy": f"{RUN}7",
        "0/other": "other",
    }
    experiments = {
        e.arguments["name"]: e.arguments["experiment_id"]
        for e in reading.calls("create_experiment")
    }
    assert experiments == {"Default": "0", "copy": "5", "other": "other"}
    models = {
        e.arguments["description"]: e.arguments["name"]
        for e in reading.calls("create_registered_model")
    }
    assert models == {"copy": "net", "other": "other"}
    assert len(reading.problems) == 6


def test_experiment_also_in_trash_is_reported(tree):
    tree.experiment("1")
    tree.experiment("1", trash=True)
    (problem,) = SourceContents(tree.root).problems
    assert (problem.place, problem.lost) == (str(tree.root / ".trash/1"), "")
    assert problem.reason == "has the same id as the experiment in 1"


def test_registered_model_without_meta_yaml_is_reported(tree):
    write_meta(tree.root / "models/a/version-1/meta.yaml", name="a", version=1, run_id=f"{RUN}1")
    write_meta(tree.root / "models/b/meta.yaml", name="b")
    (tree.root / "models/b/version-7").mkdir()
    (tree.root / "models/c").mkdir()
    reading = SourceContents(tree.root)
    assert [e.arguments["name"] for e in reading.calls("create_registered_model")] == ["a", "b"]
    assert [e.subjects["version"] for e in reading.calls("create_model_version")] == ["1", "7"]
    assert reading.losses() == {
        "models/a": "the model's description and times",
        "b/version-7": "the version's source, run, stage and times",
        "models/c": "the folder",
    }


def test_inputs_with_missing_dataset_are_reported(tree):
    folder = tree.run()
    linked = {"source_type": "DATASET", "source_id": "gone"}
    write_meta(folder / "inputs/i0/meta.yaml", **linked)
    (folder / "inputs/i1").mkdir()
    write_meta(folder / "inputs/i2/meta.yaml", source_type="MODEL_INPUT", source_id="m-1")
    reading = SourceContents(tree.root)
    assert reading.single(InputsLogged).models == ["m-1"]
    assert reading.losses() == {
        "i0/meta.yaml": "the dataset",
        "inputs/i1": "the input, output or dataset",
    }


def test_broken_traces_are_salvaged(tree):
    top = tree.root / "0" / "traces"
    write_files(top / "tr-1" / "request_metadata", {"k": "v"})
    write_files(top / "tr-2" / "artifacts", {"traces.json": '{"spans": [1'})
    write_meta(top / "tr-2" / "trace_info.yaml", trace_id="tr-2", request_time="some day")
    write_files(top / "tr-3", {"x": "y"})
    reading = SourceContents(tree.root)
    infos = [event.arguments["trace_info"] for event in reading.calls("start_trace")]
    assert [(info["trace_id"], info["request_time"]) for info in infos] == [
        ("tr-1", None),
        ("tr-2", None),
    ]
    assert reading.losses() == {
        "traces/tr-1": "its time, duration and state",
        "artifacts/traces.json": "the spans",
        "tr-2/trace_info.yaml": "its request_time",
        "tr-3/x": "the file",
        "traces/tr-3": "the folder",
    }


# -- metric files ------------------------------------------------------------------------


def test_empty_metric_file_is_reported(tree):
    tree.run(metrics={"empty": "", "whole": [(1, 2.0, 3)]})
    reading = SourceContents(tree.root)
    assert [event.keys[0] for event in reading.select(MetricsLogged)] == ["whole"]
    assert reading.losses() == {"metrics/empty": "its content"}


def test_meta_yaml_cut_off_between_lines_is_reported(tree):
    run = tree.run()
    for folder in (run, run.parent):
        meta = folder / "meta.yaml"
        meta.write_text("".join(meta.read_text().splitlines(keepends=True)[:2]))
    reading = {
        (p.place.removeprefix(f"{tree.root}/"), p.reason, p.lost)
        for p in SourceContents(tree.root).problems
        if p.lost
    }
    assert reading == {
        (
            str((run / "meta.yaml").relative_to(tree.root)),
            "lacks start_time, status; it may have been cut off",
            "the missing values",
        ),
        (
            str((run.parent / "meta.yaml").relative_to(tree.root)),
            "lacks name; it may have been cut off",
            "the missing values",
        ),
    }


def test_metric_file_cut_off_in_a_line_keeps_complete_lines(tree):
    tree.run(metrics={"m": "1 0.5 0\n2 0.25 1\n3 0.", "n": "1 0.5 0\n2 0.25 1"})
    reading = SourceContents(tree.root)
    assert reading.points("m") == [(1, 0.5, 0), (2, 0.25, 1)]
    assert reading.points("n") == [(1, 0.5, 0), (2, 0.25, 1)]
    assert reading.losses() == {"metrics/m": "these lines"}
    assert "line 3: '3 0.'" in reading.reasons("metrics/m")[0]
    assert reading.reasons("metrics/n") == [
        "lacks a final line feed; its last number may be cut off"
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"1 0.5 0\r\n2 nan 1\r\n", "has CRLF line endings"),
        (b"\xef\xbb\xbf1 0.5 0\n2 nan 1\n", "starts with a byte order mark"),
        ("1 0.5 0\n2 nan 1\n".encode("utf-16"), "is UTF-16 instead of UTF-8, and was read as such"),
        (
            b"<<<<<<< HEAD\n1 0.5 0\n=======\n2 nan 1\n>>>>>>> x\n",
            "has merge-conflict markers; all sides are kept",
        ),
    ],
)
def test_crlf_bom_utf_16_and_conflicts_in_metrics_lose_nothing(tree, content, reason):
    tree.run(metrics={"m": content})
    reading = SourceContents(tree.root)
    assert str(reading.points("m")) == "[(1, 0.5, 0), (2, nan, 1)]"
    assert [(p.reason, p.lost) for p in reading.problems] == [(reason, "")]


def test_invalid_metric_lines_are_skipped_and_counted(tree):
    tree.run(metrics={"m": "1 0.5 0\nhello\n\n2 x 1\n3 0.5 2 surplus\n4 1e400 5.0\n5 1_0 1.5\n"})
    reading = SourceContents(tree.root)
    assert reading.points("m") == [(1, 0.5, 0), (3, 0.5, 2), (4, float("inf"), 5), (5, 10.0, 1)]
    reasons = reading.reasons("metrics/m")
    assert any("line 2: 'hello' and 1 more" in reason for reason in reasons)
    assert "has lines with an extra column" in reasons
    assert "has timestamps or steps with a fraction, which is cut off" in reasons


@pytest.mark.parametrize("point", [(2**70, 1.0, 2), (1, 1.0, -(2**80))])
def test_integers_beyond_64_bits_are_reported(tree, point):
    tree.run(metrics={"m": [point, (1, 2.0, 3)], "edge": [(2**63 - 1, 1.0, -(2**63))]})
    reading = SourceContents(tree.root)
    assert reading.points("m") == [point, (1, 2.0, 3)]
    reason = "has timestamps or steps beyond 64 bits, replaced by the nearest value"
    assert [(p.reason, p.lost) for p in reading.problems] == [(reason, "these numbers")]


def test_invalid_lines_of_a_long_metric_lose_no_other_lines(tree):
    rows = [f"{i} {i / 3} {i}" for i in range(120_000)]
    rows[50_000] = "x" * 3_000_000
    rows[70_000] = "broken"
    tree.run(metrics={"m": "\n".join(rows) + "\n"})
    reading = SourceContents(tree.root)
    expected = [i for i in range(120_000) if i not in (50_000, 70_000)]
    assert [step for _, _, step in reading.points("m")] == expected
    assert "line 50001" in reading.reasons("metrics/m")[0]
    assert "1 more" in reading.reasons("metrics/m")[0]


@pytest.mark.parametrize("kind", ["metrics", "params", "tags"])
def test_git_lfs_pointer_is_not_read_as_value(tree, kind):
    tree.run(**{kind: {"big": LFS}})
    reading = SourceContents(tree.root)
    assert len(reading.run_events()) == 2
    assert list(reading.losses()) == [f"{kind}/big"]
    assert "Git LFS" in reading.problems[0].reason


def test_git_lfs_pointer_of_an_artifact_gives_size_and_hash(tree):
    tree.run(artifacts={"model.pkl": LFS})
    reading = SourceContents(tree.root)
    (file,) = reading.single(ArtifactsLogged).files
    assert file == {"path": "model.pkl", "size": 12345, "sha256": "ab" * 32}
    assert reading.losses() == {}


# -- values and names --------------------------------------------------------------------


def test_values_that_are_not_utf_8_are_read_as_latin_1(tree):
    everything = bytes(range(256))
    tree.run(params={"p": everything}, tags={"t": "größe".encode("latin-1")})
    reading = SourceContents(tree.root)
    assert reading.params()["p"].encode("latin-1") == everything
    assert reading.tags() == {"t": "größe"}
    (problem,) = reading.problems
    assert problem.reason.startswith("is not UTF-8, and was read as Latin-1")
    assert "also 1 more files" in problem.reason


def test_bom_and_conflict_markers_in_values_are_kept(tree):
    conflict = "<<<<<<< HEAD\n1\n=======\n2\n>>>>>>> x\n"
    tree.run(params={"bom": "\ufeff0.1", "conflict": conflict})
    reading = SourceContents(tree.root)
    assert reading.params() == {"bom": "\ufeff0.1", "conflict": conflict}
    assert len(reading.problems) == 2
    assert reading.losses() == {}


def test_names_that_are_not_utf_8_are_read_as_latin_1(tree):
    folder = tree.run(params={"a": "1"})
    try:
        (folder / "params" / os.fsdecode(b"gr\xf6\xdfe")).write_text("2")
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    reading = SourceContents(tree.root)
    assert reading.params() == {"a": "1", "größe": "2"}
    assert "\\udcf6" in reading.problems[0].place


def test_files_of_other_programs_are_ignored(tree):
    folder = tree.run(params={".hidden": "1"}, artifacts={"a": "a"})
    apples = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X"
    for part in ("", "params", "metrics", "tags", "artifacts"):
        write_files(folder / part, {".DS_Store": b"\0\0\0\1Bud1", "._x": apples})
    write_files(tree.root, {"Thumbs.db": "x", ".gitignore": "*.pkl", ".git/HEAD": "x"})
    write_files(tree.root / "0" / ".ipynb_checkpoints", {"x-checkpoint.yaml": "x"})
    reading = SourceContents(tree.root)
    assert reading.params() == {".hidden": "1"}
    assert len(reading.single(ArtifactsLogged).files) == 1
    assert reading.problems == []


def test_unknown_files_and_folders_are_reported(tree):
    folder = tree.run()
    write_files(
        tree.root, {"notes.txt": "x", "mlflow.db": b"SQLite format 3\0", "scratch/a.txt": "x"}
    )
    write_files(folder, {"log.txt": "x", "extra/y": "z"})
    model = tree.model("m-1", folder)
    write_files(model, {"weights.bin": "w"})
    reading = SourceContents(tree.root)
    assert set(reading.losses()) == {
        "mlruns/notes.txt",
        "mlruns/mlflow.db",
        "mlruns/scratch",
        f"{folder.name}/log.txt",
        f"{folder.name}/extra",
        "m-1/weights.bin",
    }
    assert any("convert it separately" in reason for reason in reading.reasons("mlflow.db"))


# -- files that cannot be read -----------------------------------------------------------


def test_folders_that_are_not_models_or_traces_are_reported(tree, tmp_path):
    tree.model("m-1", tree.run())
    write_files(tree.root / "0", {"models/notes.txt": "x", "traces/notes.txt": "x"})
    (tree.root / "0/models/empty").mkdir()
    write_files(tmp_path / "elsewhere", {"meta.yaml": "model_id: m-2"})
    (tree.root / "0/models/link").symlink_to(tmp_path / "elsewhere")
    reading = SourceContents(tree.root)
    assert reading.losses() == {
        "models/notes.txt": "the file",
        "traces/notes.txt": "the file",
        "models/empty": "the folder",
        "models/link": "its target",
    }
    assert len(reading.problems) == 4


def test_file_instead_of_folder_is_reported(tree):
    folder = tree.run()
    for part in ("params", "metrics"):
        (folder / part).rmdir()
        (folder / part).write_text("x")
    reading = SourceContents(tree.root)
    assert len(reading.run_events()) == 2
    assert set(reading.losses()) == {f"{folder.name}/params", f"{folder.name}/metrics"}


@pytest.mark.skipif(os.name != "posix", reason="rights are set otherwise here")
def test_unreadable_files_and_folders_lose_only_themselves(tree, tmp_path):
    folder = tree.run(1, params={"a": "1", "b": "2"}, metrics={"m": [(1, 2.0, 3)]}, artifacts=_TWO)
    tree.run(2, params={"a": "1"})
    closed = tree.run(3, params={"a": "1"})
    for path in (folder / "params/b", folder / "metrics", folder / "artifacts/y", closed):
        path.chmod(0)
    for parent in (tmp_path, *tmp_path.parents):
        if Path(tempfile.gettempdir()) in parent.parents:
            parent.chmod(0o755)
    script = _UNPRIVILEGED.format(root=str(tree.root), paths=sys.path)
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
_UNPRIVILEGED = textwrap.dedent(
    """
    import sys
    sys.path[:] = {paths!r}
    import os
    from pathlib import Path
    from yprov_mlflow.prov.sources import open_source
    import yprov_mlflow.prov.sources.file_store
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
