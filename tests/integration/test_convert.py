"""``yprov-mlflow convert``: complete, resumable, incremental and reproducible.

``YPROV_MLFLOW_CONVERT_RUNS=2000 YPROV_MLFLOW_KILLS=10`` makes a long test of killed conversions.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.oracles.validity import assert_valid

from yprov_mlflow.prov.convert import Conversion, Request, executors
from yprov_mlflow.prov.convert.remote import is_remote
from yprov_mlflow.prov.formats import open_documents, prov_json
from yprov_mlflow.prov.model.document import Document

RUNS = int(os.environ.get("YPROV_MLFLOW_CONVERT_RUNS", "300"))
KILLS = int(os.environ.get("YPROV_MLFLOW_KILLS", "3"))
SEED = int(os.environ.get("YPROV_MLFLOW_SEED", random.SystemRandom().randrange(2**32)))

OVERVIEW = {"index.csv", "README.md"}
HIDDEN = ".yprov-convert"


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def make_tree(folder: Path, runs: int, points: int = 3) -> list[str]:
    """Write two experiments with alternating runs and a registered model; return the run ids."""
    chance = random.Random(runs)
    ids = [f"{chance.getrandbits(128):032x}" for _ in range(runs)]
    for number, name in enumerate(("first", "second"), start=1):
        write(
            folder / str(number) / "meta.yaml",
            f"artifact_location: file:///elsewhere/{number}\ncreation_time: 1700000000000\n"
            f"experiment_id: '{number}'\nlast_update_time: 1700000000000\n"
            f"lifecycle_stage: active\nname: {name}\n",
        )
    for number, run_id in enumerate(ids):
        experiment, start = number % 2 + 1, 1_700_000_000_000 + number * 60_000
        run = folder / str(experiment) / run_id
        status = 4 if number % 5 == 4 else 3
        write(
            run / "meta.yaml",
            f"artifact_uri: file:///elsewhere/{experiment}/{run_id}/artifacts\n"
            f"end_time: {start + 1000}\nentry_point_name: ''\nexperiment_id: '{experiment}'\n"
            f"lifecycle_stage: active\nrun_id: {run_id}\nrun_name: run-{number}\n"
            f"source_name: ''\nsource_type: 4\nsource_version: ''\nstart_time: {start}\n"
            f"status: {status}\ntags: []\nuser_id: someone\n",
        )
        write(run / "params" / "lr", str(number / 7))
        write(run / "tags" / "mlflow.runName", f"run-{number}")
        lines = (f"{start + i} {i / 3} {i}\n" for i in range(points))
        write(run / "metrics" / "loss", "".join(lines))
        write(run / "artifacts" / "notes.txt", f"run {number}\n")
    write(
        folder / "models" / "champion" / "meta.yaml",
        "creation_timestamp: 1700000000000\ndescription: ''\n"
        "last_updated_timestamp: 1700000000000\nname: champion\n",
    )
    return ids


class Converter:
    """Converts one file store with the command line."""

    def __init__(self, folder: Path, runs: int = 6, points: int = 3) -> None:
        self.source = folder / "mlruns"
        self.out = folder / "prov"
        self.ids = make_tree(self.source, runs, points)
        self.before = ""

    def command(self, *options: str) -> list[str]:
        code = f"{self.before}\nfrom yprov_mlflow.prov.cli import main; main()"
        line = ["convert", str(self.source), "-o", str(self.out), *options]
        return [sys.executable, "-c", code, *line]

    def __call__(self, *options: str, exits: int = 0, **options_of_run: Any) -> str:
        line = self.command(*options)
        done = subprocess.run(line, capture_output=True, text=True, check=False, **options_of_run)
        assert done.returncode == exits, done.stderr
        return done.stdout + done.stderr

    def files(self) -> dict[str, str]:
        """Return the SHA-256 of each output file by its path."""
        return {
            path.relative_to(self.out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.out.rglob("*"))
            if path.is_file() and HIDDEN not in path.parts
        }

    def folder(self, run_id: str) -> Path:
        return self.out / str(self.ids.index(run_id) % 2 + 1) / run_id


@pytest.fixture
def converter(tmp_path: Path) -> Converter:
    return Converter(tmp_path)


def documents(path: Path) -> list[Document]:
    return list(open_documents(path))


def run_ids(documents: list[Document]) -> set[str]:
    return {
        record["mlf:runId"]
        for document in documents
        for record in document.records.get("activity", {}).values()
        if "mlf:runId" in record
    }


# -- documents ---------------------------------------------------------------------------


def test_each_run_becomes_a_valid_complete_document(converter: Converter) -> None:
    output = converter("--workers", "2")
    assert "6 of 6 runs converted" in output
    for number, run_id in enumerate(converter.ids):
        content = json.loads((converter.folder(run_id) / "prov.json").read_bytes())
        assert_valid(content)
        assert content["entity"]["run:param/lr"]["mlf:text"] == str(number / 7)
        assert content["activity"]["run:run"]["mlf:runId"] == run_id
        points = [k for k in content["entity"] if k.startswith("run:metric/@run/loss/")]
        assert len(points) == 3
        assert "run:artifact/notes.txt" in content["entity"]
    store = json.loads((converter.out / "store" / "prov.json").read_bytes())
    assert_valid(store)
    assert "store:model/champion" in store["entity"]
    assert {"store:experiment/1", "store:experiment/2"} <= set(store["entity"])


def test_overview_lists_all_runs_that_are_done(converter: Converter) -> None:
    converter("--run", converter.ids[0])
    converter("--run", converter.ids[1])
    text = (converter.out / "index.csv").read_text("utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert sorted(row["run_id"] for row in rows) == sorted(converter.ids[:2])
    assert all((converter.out / row["document"]).is_file() for row in rows)
    assert "# Provenance of 2 runs" in (converter.out / "README.md").read_text("utf-8")


def test_output_has_default_permissions(converter: Converter) -> None:
    converter()
    folder = converter.folder(converter.ids[0])
    assert folder.stat().st_mode == converter.source.stat().st_mode


def test_several_formats_at_once(converter: Converter) -> None:
    names = [
        "prov-json",
        "prov-jsonld",
        "prov-n",
        "prov-xml",
        "turtle",
        "trig",
        "n-quads",
        "json-ld",
    ]
    converter(*(part for name in names for part in ("--to", name)))
    folder = converter.folder(converter.ids[0])
    [expected] = documents(folder / "prov.json")
    suffixes = {path.suffix for path in folder.iterdir()}
    assert suffixes == {".json", ".provn", ".xml", ".ttl", ".trig", ".nq", ".jsonld"}
    for suffix in (".ttl", ".trig", ".nq", ".jsonld", ".prov.jsonld"):
        assert documents(folder / f"prov{suffix}") == [expected], suffix


@pytest.mark.parametrize("name", ["prov-json", "prov-jsonld", "n-quads", "trig"])
@pytest.mark.parametrize("layout", ["single", "per-experiment"])
def test_combined_documents_have_the_same_content(
    converter: Converter, name: str, layout: str
) -> None:
    converter("--points", "all")
    alone = [
        document
        for path in converter.out.rglob("prov.json")
        if HIDDEN not in path.parts
        for document in documents(path)
    ]
    converter.out = converter.out.with_name("together")
    converter("--points", "all", "--layout", layout, "--to", name)
    paths = [converter.out / path for path in converter.files() if path not in OVERVIEW]
    assert len(paths) == (1 if layout == "single" else 3)
    combined = [document for path in paths for document in documents(path)]
    assert run_ids(combined) == set(converter.ids)
    assert sorted(map(prov_json.dumps, combined)) == sorted(map(prov_json.dumps, alone))


def test_many_points_are_written_to_a_side_file(tmp_path: Path) -> None:
    converter = Converter(tmp_path, runs=2, points=5000)
    converter()
    folder = converter.folder(converter.ids[0])
    content = json.loads((folder / "prov.json").read_bytes())
    [file] = [e for e in content["entity"].values() if e.get("mlf:path") == "metrics.parquet"]
    digest = hashlib.sha256((folder / "metrics.parquet").read_bytes()).hexdigest()
    assert file["mlf:sha256"] == digest
    single = tmp_path / "single"
    converter.out = single
    converter("--layout", "single")
    names = {
        e["mlf:path"]
        for document in documents(single / "prov.json")
        for e in document.records["entity"].values()
        if str(e.get("mlf:path", "")).startswith("metrics/")
    }
    assert len(names) == 2
    assert all((single / name).is_file() for name in names)


def test_mlflow_and_pandas_are_not_imported(tmp_path: Path) -> None:
    converter = Converter(tmp_path, runs=1, points=5000)
    program, option, code, *line = converter.command("--workers", "1")
    prefix = "import sys, atexit; atexit.register(lambda: print(*sys.modules)); "
    done = subprocess.run([program, option, prefix + code, *line], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    loaded = set(done.stdout.split())
    assert "pyarrow" in loaded
    assert not {"mlflow", "pandas"} & loaded


def test_points_none_and_points_all(tmp_path: Path) -> None:
    converter = Converter(tmp_path, runs=1, points=5000)
    folder = converter.folder(converter.ids[0])
    assert " points," not in converter("--points", "none")
    assert [path.name for path in folder.iterdir()] == ["prov.json"]
    series = json.loads((folder / "prov.json").read_bytes())["entity"]["run:metric/@run/loss"]
    assert series["mlf:count"]["$"] == "5000"
    database = f"sqlite:///{tmp_path / 'restored.db'}"
    code = "from yprov_mlflow.prov.cli import main; main()"
    words = ["restore", str(converter.out), "--to", database]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "5000 of its metric points are missing" in done.stdout + done.stderr
    converter("--points", "all")
    assert [path.name for path in folder.iterdir()] == ["prov.json"]
    content = json.loads((folder / "prov.json").read_bytes())
    assert "run:metric/@run/loss/4999" in content["entity"]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--experiment", "second"], lambda n: n % 2 == 1),
        (["--experiment", "1"], lambda n: n % 2 == 0),
        (["--status", "FAILED"], lambda n: n == 4),
        (["--since", "2023-11-14T22:15:20"], lambda n: n >= 2),
    ],
)
def test_selection_of_runs(
    converter: Converter, options: list[str], wanted: Callable[[int], bool]
) -> None:
    converter(*options)
    expected = {run_id for n, run_id in enumerate(converter.ids) if wanted(n)}
    assert {path.parent.name for path in converter.out.glob("[12]/*/prov.json")} == expected


def test_folder_without_any_experiment_is_no_success(converter: Converter) -> None:
    shutil.rmtree(converter.source)
    converter.source.mkdir()
    assert "contains no experiment" in converter(exits=3)


def test_artifacts_out_of_reach_have_an_exit_code_of_their_own(converter: Converter) -> None:
    runs = list(converter.source.glob("*/*/meta.yaml"))
    for number, meta in enumerate(runs):
        shutil.rmtree(meta.parent / "artifacts", ignore_errors=True)
        uri = f"artifact_uri: s3://bucket/{number}/artifacts"
        meta.write_text(re.sub("artifact_uri:.*", uri, meta.read_text()))
    converter("--report", str(converter.out.parent / "report.json"), exits=4)
    report = json.loads((converter.out.parent / "report.json").read_bytes())
    assert {p["kind"] for p in report["problems"] if p["lost"]} == {"artifacts"}
    (runs[0].parent / "params").mkdir(exist_ok=True)
    (runs[0].parent / "params" / "bad").symlink_to("/etc/hostname")
    converter(exits=3)


def test_empty_selection_and_missing_store_are_errors(converter: Converter) -> None:
    output = converter("--experiment", "third", exits=2)
    assert "none of the 6 runs" in output
    assert "Check --experiment" in output
    converter.source = converter.source / "missing"
    assert "Error: " in converter(exits=1)
    assert "holds one run" in converter("--layout", "single", "--to", "turtle", exits=2)


def test_dry_run_lists_experiments_and_writes_nothing(converter: Converter, tmp_path: Path) -> None:
    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    before = files()
    output = converter("--dry-run")
    rows = [line.split() for line in output.splitlines()]
    assert rows[0] == ["runs", "deleted", "to", "do", "experiment"]
    assert rows[1:3] == [["3", "0", "3", "1", "first"], ["3", "0", "3", "2", "second"]]
    assert "6 of 6 runs of " in output
    assert files() == before

    converter("--experiment", "first")
    os.utime(converter.source / "1" / converter.ids[0] / "params" / "lr", (1, 1))
    with (converter.out / HIDDEN / "ledger.jsonl").open("a") as ledger:
        ledger.write("torn")
    report = tmp_path / "report.json"
    report.touch()
    before = files()
    output = converter("--dry-run", "--report", str(report))
    assert "4 of 6 runs of " in output
    assert "\n2 unchanged: " in output
    summary = json.loads(report.read_text())
    assert (
        summary["runs"],
        summary["unchanged"],
        summary["points"],
        summary["problems"],
    ) == (6, 2, 6, [])
    kept = [converter.folder(run_id) for run_id in (converter.ids[2], converter.ids[4])]
    assert summary["bytes"] == sum((folder / "prov.json").stat().st_size for folder in kept)
    assert [item["unchanged"] for item in summary["experiments"]] == [2, 0]
    assert {path for path, time in files().items() if before.get(path) != time} == {report}
    assert "4 of 6 runs converted, 2 unchanged" in converter()

    (converter.source / "2" / "stray").mkdir()
    assert "stray: is not a run" in converter("--dry-run", exits=3)
    assert "none of the 6 runs" in converter("--dry-run", "--run", "abc", exits=2)


# -- object stores and clusters ----------------------------------------------------------


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """Return a function that runs the command in this process, where fsspec has files in memory."""
    from click.testing import CliRunner

    from yprov_mlflow.prov.cli import main

    monkeypatch.setenv("YPROV_MLFLOW_DIR", str(tmp_path / "state"))

    def call(*words: str, exits: int = 0) -> str:
        done = CliRunner().invoke(main, ["convert", *words])
        assert done.exit_code == exits, done.output
        return done.output

    return call


def test_object_store_as_source_and_output(
    converter: Converter, in_process: Callable[..., str]
) -> None:
    import fsspec

    files = fsspec.filesystem("memory")
    files.put(str(converter.source), "/bucket/mlruns", recursive=True)
    words = ("memory://bucket/mlruns", "-o", "memory://bucket/prov", "--workers", "1")
    assert "9 files uploaded to memory://bucket/prov" in in_process(*words)
    uploaded = [path for path in files.find("/bucket/prov") if path.endswith(".json")]
    assert len(uploaded) == 7
    for path in uploaded:
        content = json.loads(files.cat_file(path))
        assert_valid(content)
        assert content["entity"].get("store:store", {}).get("mlf:uri") in (
            "memory://bucket/mlruns",
            None,
        )
    assert "0 files uploaded" in in_process(*words)
    output = in_process("memory://bucket/nothing", "-o", "memory://bucket/prov", exits=1)
    assert "cannot read the runs" in output
    output = in_process("memory://bucket/mlruns/", "-o", "memory://bucket/mlruns/x", exits=2)
    assert "into the store" in output


def test_dask_cluster_converts_to_the_same_files(
    converter: Converter, in_process: Callable[..., str]
) -> None:
    from distributed import LocalCluster

    converter()
    expected = converter.files()
    converter.out = converter.out.with_name("cluster")
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        words = (str(converter.source), "-o", str(converter.out))
        assert "6 of 6" in in_process(*words, "--dask", cluster.scheduler_address)
    assert converter.files() == expected
    output = in_process(*words, "--dask", "tcp://127.0.0.1:1", exits=1)
    assert "the Dask scheduler cannot be reached" in output


# -- repeated and interrupted conversions ------------------------------------------------


def test_repeated_conversion_converts_only_changed_runs(converter: Converter) -> None:
    converter()
    before = converter.files()
    assert "0 of 6 runs converted, 6 unchanged" in converter()
    changed = converter.ids[3]
    metric = converter.source / "2" / changed / "metrics" / "loss"
    metric.write_text(metric.read_text() + "1700000999000 9.5 99\n")
    assert "1 of 6 runs converted, 5 unchanged" in converter()
    after = converter.files()
    differing = {path for path in after if after[path] != before[path]}
    assert differing == {f"2/{changed}/prov.json", "index.csv"}
    (converter.folder(converter.ids[0]) / "prov.json").unlink()
    assert "1 of 6 runs converted" in converter()
    assert converter.files() == after


def test_changed_options_convert_all_runs_again(converter: Converter) -> None:
    converter()
    before = converter.files()
    converter(env={**os.environ, "YPROV_MLFLOW_BASE_URI": "https://example.org/prov"})
    assert converter.files() != before
    assert "6 of 6" in converter()
    assert converter.files() == before


def test_is_remote_excludes_tracking_uris() -> None:
    stores = ("postgresql://h/d", "postgresql+psycopg2://h/d", "mysql://h/d", "yprov+file:///x")
    stores += ("sqlite:///m.db", "http://h", "https://h", "databricks://p", "file:///x", "mlruns")
    assert not any(map(is_remote, stores))
    assert all(map(is_remote, ("s3://b/mlruns", "gs://b/x", "memory://b", "abfs://c@a/x")))


def test_repeated_conversion_assembles_only_changed_documents(converter: Converter) -> None:
    converter("--layout", "per-experiment")
    before = {p: (converter.out / p).stat().st_mtime_ns for p in converter.files()}
    (converter.source / "2" / converter.ids[1] / "tags" / "new").write_text("tag")
    converter("--layout", "per-experiment")
    after = {p: (converter.out / p).stat().st_mtime_ns for p in converter.files()}
    assert {p for p in after if after[p] != before[p]} == {"2/prov.json", "index.csv"}


def test_killed_conversion_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    converter = Converter(tmp_path, runs=RUNS)
    started = time.monotonic()
    converter("--workers", "2")
    duration = time.monotonic() - started
    expected = converter.files()
    converter.out = tmp_path / "killed"
    chance, cut = random.Random(SEED), 0
    print(f"YPROV_MLFLOW_SEED={SEED}")
    for _ in range(KILLS):
        with subprocess.Popen(converter.command("--workers", "2")) as process:
            time.sleep(chance.uniform(0.2, 0.9) * duration / (1 + KILLS / 4))
            cut += process.poll() is None
            process.kill()
        for path in converter.out.glob("*/*/prov.json"):
            name = path.relative_to(converter.out).as_posix()
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            assert HIDDEN in path.parts or digest == expected[name]
    assert cut, "every conversion ended before it was killed"
    converter("--workers", "2")
    assert converter.files() == expected


# A shell ignores the signal in what it starts in the background, and so would the converter.
TAKE_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"


def test_interrupt_says_how_to_continue(tmp_path: Path) -> None:
    converter = Converter(tmp_path, runs=400)
    converter.before = TAKE_INTERRUPTS
    line = converter.command("--workers", "2")
    with subprocess.Popen(line, stderr=subprocess.PIPE, start_new_session=True) as process:
        ledger = converter.out / HIDDEN / "ledger.jsonl"
        while not (ledger.exists() and ledger.stat().st_size) and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        output = process.communicate()[1].decode()
    assert process.returncode == 130
    assert output.strip() == "Interrupted. Repeat the command to continue."
    assert " unchanged" in converter()


def test_killed_worker_loses_no_run(tmp_path: Path) -> None:
    converter = Converter(tmp_path, runs=200)
    converter()
    expected = converter.files()
    converter.out = tmp_path / "killed worker"
    with subprocess.Popen(converter.command("--workers", "2")) as process:
        while not list(converter.out.glob("*/*/prov.json")):
            time.sleep(0.01)
        children = psutil.Process(process.pid).children()
        victim = max(children, key=lambda child: child.cpu_times().user)
        victim.kill()
    assert process.returncode == 0
    assert converter.files() == expected


def test_batch_refused_by_a_broken_pool_is_converted(
    converter: Converter, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = 0

    class Breaking(executors.ProcessPoolExecutor):
        def submit(self, *work: Any, **options: Any) -> Any:
            nonlocal submitted
            submitted += 1
            if submitted == 3:  # as if a process had just died
                raise executors.BrokenProcessPool
            return super().submit(*work, **options)

    monkeypatch.setattr(executors, "ProcessPoolExecutor", Breaking)
    conversion = Conversion(
        Request(str(converter.source), converter.out), executors.ProcessExecutor(1)
    )
    states = [result.state for result in conversion]
    assert states == ["converted"] * len(conversion.units)


@pytest.mark.parametrize(
    ("points", "most"), [(100, 4096), (5000, 16384)], ids=["document", "side file"]
)
def test_full_disk_leaves_only_complete_files(tmp_path: Path, points: int, most: int) -> None:
    converter = Converter(tmp_path, runs=4, points=points)

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    output = converter("--workers", "1", exits=1, preexec_fn=no_room)
    assert "the output cannot be written" in output
    assert "repeat the command" in output
    for path in converter.files():
        assert_valid(json.loads((converter.out / path).read_bytes()))
    assert "4 of 4" in converter()


def test_concurrent_conversion_to_same_folder_is_refused(converter: Converter) -> None:
    from filelock import FileLock

    converter()
    with FileLock(converter.out / HIDDEN / "lock"):
        assert "another conversion" in converter(exits=1)


def test_output_inside_the_store_is_refused(converter: Converter) -> None:
    def contents() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in converter.source.rglob("*") if p.is_file()}

    before = contents()
    link = converter.source.with_name("link")
    link.symlink_to(converter.source)
    for out in (converter.source, converter.source / "prov", link / "prov"):
        converter.out = out
        output = converter(exits=2)
        assert "into the store" in output
        assert "Give a folder outside" in output
    assert contents() == before


def test_foreign_files_are_never_replaced(converter: Converter, tmp_path: Path) -> None:
    backup = tmp_path / "backup of mlruns"
    shutil.copytree(converter.source, backup)
    before = {path for path in backup.rglob("*") if path.is_file()}
    converter.out = backup
    output = converter("--workers", "2", exits=1)
    assert "'artifacts'" in output
    assert "Move the file away" in output
    assert before <= set(backup.rglob("*"))


def test_output_that_is_a_file_is_refused(converter: Converter) -> None:
    converter.out.write_text("a file")
    assert "'--out'" in converter(exits=2)


# -- problems ----------------------------------------------------------------------------


def test_broken_run_is_reported_and_others_are_converted(
    converter: Converter, tmp_path: Path
) -> None:
    run = converter.source / "1" / converter.ids[0]
    (run / "metrics" / "loss").write_text("1700000000000 0.5 0\nnonsense\n1700000000001 0.25 1\n")
    report = tmp_path / "report.json"
    output = converter("--report", str(report), exits=3)
    assert "loss" in output
    summary = json.loads(report.read_text())
    assert (summary["converted"], summary["failed"]) == (6, 0)
    assert any("loss" in problem["place"] and problem["lost"] for problem in summary["problems"])
    content = json.loads((converter.folder(converter.ids[0]) / "prov.json").read_bytes())
    assert content["entity"]["run:metric/@run/loss"]["mlf:count"]["$"] == "2"
    again = converter("--report", str(report), exits=3)
    assert "unchanged" in again
    assert json.loads(report.read_text())["problems"] == summary["problems"]


REFUSING = """
from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import prov_xml

write = prov_xml.dump
def dump(documents, stream, *, single=False):
    documents = list(documents)
    if any(b"Out of memory" in document.to_json_bytes() for document in documents):
        raise DocumentError.unwritable("PROV-XML", "a tag")
    write(documents, stream, single=single)
prov_xml.dump = dump
"""


def test_document_impossible_in_a_format_is_reported(converter: Converter, tmp_path: Path) -> None:
    tag = converter.source / "1" / converter.ids[0] / "tags" / "error"
    tag.write_text("Out of memory")
    report = tmp_path / "report.json"
    converter.before = REFUSING

    def problems(*options: str) -> list[str]:
        converter(*options, "--workers", "1", "--report", str(report), exits=3)
        return [problem["place"] for problem in json.loads(report.read_text())["problems"]]

    both = ("--to", "prov-json", "--to", "prov-xml")
    [location] = problems(*both)
    assert converter.ids[0] in location
    assert problems(*both) == [location]
    assert [path.name for path in converter.folder(converter.ids[0]).iterdir()] == ["prov.json"]
    assert all((converter.folder(run) / "prov.xml").exists() for run in converter.ids[1:])
    assert problems("--to", "prov-xml") == [location]
    assert json.loads(report.read_text())["failed"] == 1
    assert problems(*both, "--layout", "per-experiment") == [str(converter.out / "1")]
    assert (converter.out / "1" / "prov.json").exists()
    assert (converter.out / "2" / "prov.xml").exists()
