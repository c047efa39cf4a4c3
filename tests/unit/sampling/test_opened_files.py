"""The collector of files: what a run opens, and what of that is said."""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow
import pyarrow.dataset
import pyarrow.parquet
import pytest

from yprov_mlflow.prov.capture import file_adapters
from yprov_mlflow.prov.events import FilesAccessed
from yprov_mlflow.prov.sampling import hashing, hashing_program, open_hook
from yprov_mlflow.prov.sampling.file_clock import file_clock_ns
from yprov_mlflow.prov.sampling.file_filter import FileFilter
from yprov_mlflow.prov.sampling.opened_files import NO_RUN, FileWatch

RUN, OTHER = "1" * 32, "2" * 32


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Watch:
    """A watch whose events are kept, and whose active run a test sets."""

    def __init__(self) -> None:
        self.events: list[tuple[str, list[dict[str, Any]], int | None]] = []
        self.active: str | None = None
        self.errors: list[BaseException] = []
        self.watch = FileWatch(self._append, lambda: self.active, self.errors.append)

    def _append(self, run_id: str, cls: type, files: Any, most: int | None = None) -> None:
        assert cls is FilesAccessed
        self.events.append((run_id, files, most))

    def begin(self, run_id: str = RUN, limit: int = 1 << 30, excluded: Any = ()) -> None:
        self.watch.begin(run_id, limit, excluded, ())

    def finish(self, run_id: str = RUN) -> dict[tuple[str, str], dict[str, Any]]:
        """End a run; return the last word about each file, by mode and name."""
        self.watch.finish(run_id)
        assert not self.errors
        files = {}
        for run, rows, _ in self.events:
            for row in rows if run == run_id else ():
                key = row["mode"], os.path.basename(row["path"])
                files[key] = row
                if row.get("removed"):
                    del files[key]
        return files


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for data, which is not that of temporary files."""
    (tmp_path / "temporary").mkdir()
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "data"


@pytest.fixture
def watch(data: Path) -> Iterator[Watch]:
    """Return a watch that is turned off after the test."""
    watch = Watch()
    yield watch
    open_hook.listen(None)
    for process in filter(None, (watch.watch._hashing, watch.watch._second)):
        process.close()


@pytest.fixture
def old_file(data: Path) -> Callable[..., Path]:
    """Return a function that writes a file which is older than what opens it next."""

    def write(name: str, text: str = "x") -> Path:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(text)
        time.sleep(0.012)  # the clock of file systems is that coarse
        return data / name

    return write


def test_files_read_and_written_have_hashes(watch, data, old_file):
    source = old_file("train.csv", "a,b\n")
    watch.begin()
    source.read_text()
    (data / "model.bin").write_text("weights")
    files = watch.finish()
    assert set(files) == {("read", "train.csv"), ("written", "model.bin")}
    assert files["read", "train.csv"]["sha256"] == sha256("a,b\n")
    assert files["read", "train.csv"]["size"] == 4
    assert files["written", "model.bin"]["sha256"] == sha256("weights")


def test_what_a_run_wrote_itself_is_no_input(watch, data):
    watch.begin()
    (data / "cache.txt").write_text("1")
    (data / "cache.txt").read_text()
    assert set(watch.finish()) == {("written", "cache.txt")}


def test_a_path_may_be_written_in_several_ways(watch, data, old_file):
    source = old_file("a.txt")
    watch.begin()
    for path in (f"{data}/./a.txt", f"{data}//a.txt", f"{data}/../data/a.txt", str(source)):
        open(path).close()
    (data / "own.txt").write_text("1")
    open(f"{data}//own.txt").close()
    files = watch.finish()
    assert set(files) == {("read", "a.txt"), ("written", "own.txt")}
    rows = [row for _, rows, _ in watch.events for row in rows if row["mode"] == "read"]
    assert [row["path"] for row in rows] == [str(source)]


def test_a_file_that_was_opened_for_writing_in_vain_is_not_written(watch, data, old_file):
    source = old_file("log.txt")
    watch.begin()
    source.open("a").close()
    source.open("r+").close()
    (data / "removed.txt").write_text("1")
    (data / "removed.txt").unlink()
    with pytest.raises(FileNotFoundError):
        (data / "none" / "x.txt").write_text("1")
    with pytest.raises(FileNotFoundError):
        (data / "none.txt").read_text()
    assert set(watch.finish()) == {("read", "log.txt")}


def test_a_file_that_is_updated_is_read_and_written(watch, old_file):
    source = old_file("state.bin", "1")
    watch.begin()
    with source.open("r+") as file:
        file.write("22")
    files = watch.finish()
    assert files["read", "state.bin"]["not_hashed"] == "it changed after it was opened"
    assert files["read", "state.bin"].get("sha256") is None
    assert files["written", "state.bin"]["sha256"] == sha256("22")


def test_a_renamed_file_has_its_last_name(watch, data):
    watch.begin()
    (data / "model.tmp").write_text("w")
    time.sleep(0.5)  # the journal has the first name by now
    (data / "model.tmp").replace(data / "model.bin")
    with pytest.raises(FileNotFoundError):
        (data / "model.tmp").read_text()
    assert set(watch.finish()) == {("written", "model.bin")}


def test_a_file_that_the_run_created_after_a_failed_open_is_not_read(watch, data):
    watch.begin()
    with pytest.raises(FileNotFoundError):
        (data / "zarr.json").read_text()
    (data / "zarr.json").write_text("{}")
    assert set(watch.finish()) == {("written", "zarr.json")}


def test_pipes_and_large_files_are_not_read_by_us(watch, data, old_file):
    os.mkfifo(data / "pipe")
    with (data / "huge.bin").open("wb") as file:
        file.truncate(10**12)
    old_file("small.txt", "four")
    watch.begin(limit=4)
    os.close(os.open(data / "pipe", os.O_RDONLY | os.O_NONBLOCK))
    for name in ("huge.bin", "small.txt"):
        with (data / name).open("rb") as file:
            file.read(1)
    start = time.monotonic()
    files = watch.finish()
    assert time.monotonic() - start < 5
    assert set(files) == {("read", "huge.bin"), ("read", "small.txt")}
    assert "YPROV_MLFLOW_FILES_LIMIT" in files["read", "huge.bin"]["not_hashed"]
    assert files["read", "small.txt"]["sha256"] == sha256("four")


def test_names_of_any_bytes_and_changes_of_folder(watch, data, old_file, monkeypatch):
    old_file("new\nline.txt", "n")
    odd = os.fsencode(data) + b"/\xff\xfe.bin"
    with open(odd, "w") as file:
        file.write("q")
    old_file("sub/a.txt", "a")
    old_file("a.txt", "b")
    watch.begin()
    monkeypatch.chdir(data)
    for name in ("new\nline.txt", odd, "a.txt"):
        with open(name) as file:
            file.read()
    monkeypatch.chdir(data / "sub")
    Path("a.txt").read_text()
    watch.finish()
    rows = {row["path"]: row["sha256"] for _, rows, _ in watch.events for row in rows}
    assert rows == {
        str(data / "new\nline.txt"): sha256("n"),
        os.fsdecode(odd): sha256("q"),
        str(data / "a.txt"): sha256("b"),
        str(data / "sub/a.txt"): sha256("a"),
    }


def test_files_belong_to_the_active_run_or_the_only_one(watch, old_file):
    names = [old_file(f"{i}.txt") for i in range(5)]
    watch.begin(RUN)
    thread = threading.Thread(target=names[0].read_text)
    thread.start()
    thread.join()
    watch.begin(OTHER)
    names[1].read_text()  # two runs, and none is that of the thread
    watch.active = OTHER
    names[2].read_text()
    watch.active = NO_RUN
    names[3].read_text()
    watch.active = "3" * 32  # a run that is not captured
    names[4].read_text()
    assert set(watch.finish(RUN)) == {("read", "0.txt")}
    assert set(watch.finish(OTHER)) == {("read", "2.txt")}
    watch.active = None
    names[1].read_text()
    assert open_hook.current() is None


def test_forked_children_send_what_they_open(watch, data, old_file):
    source = old_file("part.csv", "p")

    def work() -> None:
        watch.watch.forked()  # as the session does in each child
        source.read_text()
        (data / "out.txt").write_text("o")
        (data / "out.txt").read_text()

    watch.begin()
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    assert child.exitcode == 0
    files = watch.finish()
    assert files["read", "part.csv"]["sha256"] == sha256("p")
    assert files["written", "out.txt"]["sha256"] == sha256("o")
    assert len(files) == 2


def test_a_run_goes_on_without_the_process_that_hashes(watch, old_file, monkeypatch):
    monkeypatch.setattr(hashing.sys, "executable", "/usr/bin/uwsgi")
    source = old_file("a.csv", "abc")
    watch.begin()
    source.read_text()
    (row,) = watch.finish().values()
    assert (row["size"], row["not_hashed"]) == (3, "this program cannot start Python")


def test_a_program_may_take_the_descriptors_of_the_process_that_hashes(watch, data, old_file):
    sources = [old_file("a.csv", "a"), old_file("b.csv", "b")]
    watch.begin()
    sources[0].read_text()
    end = time.monotonic() + 10
    while not watch.events and time.monotonic() < end:
        time.sleep(0.05)
    own = os.open(data / "own.bin", os.O_RDWR | os.O_CREAT)
    os.dup2(own, watch.watch._hashing._requests)  # as after a call of os.closerange
    sources[1].read_text()
    files = watch.finish()
    assert files["read", "a.csv"]["sha256"] == sha256("a")
    assert "closed the files" in files["read", "b.csv"]["not_hashed"]
    assert os.fstat(own).st_size == 0
    os.close(own)


def test_a_slow_hash_does_not_hold_the_end_of_a_run(watch, old_file, monkeypatch):
    monkeypatch.setattr(hashing.HashingProcess, "receive", lambda _: iter(()))
    source = old_file("a.csv", "abc")
    watch.begin()
    source.read_text()
    start = time.monotonic()
    watch.watch.finish(RUN, timeout_s=0.5)
    assert time.monotonic() - start < 3
    rows = [row for _, rows, _ in watch.events for row in rows]
    assert [(row["size"], row["not_hashed"]) for row in rows] == [(3, "the run ended before")]


def test_a_process_that_others_leave_no_time_does_not_leave_files_without_hash(watch, old_file):
    sources = [old_file("a.csv", "a"), old_file("b.csv", "b")]
    watch.begin()
    sources[0].read_text()
    end = time.monotonic() + 10
    while not watch.events and time.monotonic() < end:
        time.sleep(0.05)
    pipe = f"pipe:[{os.fstat(watch.watch._hashing._requests).st_ino}]"
    (starved,) = (
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid() and pipe in _files_of(process)
    )
    starved.suspend()
    try:
        sources[1].read_text()
        files = watch.finish()
    finally:
        starved.kill()
    assert files["read", "b.csv"]["sha256"] == sha256("b")


def _files_of(process: psutil.Process) -> set[str]:
    folder = f"/proc/{process.pid}/fd"
    with contextlib.suppress(OSError):
        return {os.readlink(f"{folder}/{name}") for name in os.listdir(folder)}
    return set()


@pytest.mark.skipif(sys.platform != "linux", reason="the clock of file systems is Linux's")
def test_a_file_that_changed_one_tick_before_it_was_read_has_a_hash(watch, data):
    watch.begin()
    watch.active = NO_RUN
    (data / "new.txt").write_text("x")
    changed_ns = (data / "new.txt").stat().st_ctime_ns
    while file_clock_ns() <= changed_ns:
        pass
    watch.active = RUN
    (data / "new.txt").read_text()
    assert watch.finish()["read", "new.txt"]["sha256"] == sha256("x")


def test_more_files_than_are_watched(watch, old_file, monkeypatch):
    monkeypatch.setattr("yprov_mlflow.prov.sampling.opened_files._MOST_FILES", 2)
    paths = [old_file(f"{i}.txt") for i in range(4)]
    watch.begin()
    for path in paths:
        path.read_text()
    assert len(watch.finish()) == 2
    assert watch.events[-1][2] == 2


def test_errors_in_the_hook_are_not_those_of_the_user(watch, old_file):
    source = old_file("a.txt")
    watch.watch._owner = lambda: 1 / 0
    watch.begin()
    assert source.read_text() == "x"
    assert watch.finish() == {}


def test_data_is_told_from_other_files(data, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/ada/.cache")
    monkeypatch.setenv("HOME", "/home/ada")
    rules = FileFilter(("*.log", "scratch/*"), ("/w/state/",))
    for path in (
        "/data/train.csv",
        "/data/model.pth",
        "/home/ada/.cache/huggingface/hub/m/w.bin",
        "/home/ada/.keras/datasets/mnist.npz",
    ):
        assert rules.is_data(path), path
    for path in (
        f"{sys.prefix}/lib/python3.11/x.dat",
        "/proc/self/stat",
        "/data/train.py",
        "/data/libx.so.1",
        "/data/a.log",
        "/w/scratch/a.csv",
        "/w/state/journal/a",
        "/home/ada/.cache/matplotlib/font.json",
        "/home/ada/.aws/credentials",
        "/w/mlruns/0/meta.yaml",
        "/w/.git/index",
    ):
        assert not rules.is_data(path), path
    assert rules.is_temporary(f"{tempfile.gettempdir()}/x.csv")


def test_a_temporary_file_is_an_input_if_it_is_older_than_the_run(watch):
    staged = Path(tempfile.gettempdir()) / "staged.csv"
    staged.write_text("s")
    time.sleep(0.012)
    watch.begin()
    staged.read_text()
    scratch = Path(tempfile.gettempdir()) / "scratch.csv"
    scratch.write_text("1")
    time.sleep(0.012)
    shutil.copy(scratch, scratch.with_suffix(".2"))
    assert set(watch.finish()) == {("read", "staged.csv")}


# -- hashing -------------------------------------------------------------------------------


def request(path: Path, **more: Any) -> dict[str, Any]:
    return {
        "path": str(path),
        "mode": "read",
        "run": RUN,
        "limit": 100,
        "run_limit": 150,
        "opened_ns": time.time_ns() + 10**9,
        "before": None,
        **more,
    }


def test_a_file_that_changes_while_it_is_hashed_has_no_hash(old_file, monkeypatch):
    path = old_file("a.bin", "abc")
    read = os.read

    def read_and_change(file: int, size: int) -> bytes:
        path.write_text("abd")
        return read(file, size)

    monkeypatch.setattr(hashing_program.os, "read", read_and_change)
    assert hashing_program.answer(request(path))["not_hashed"] == "it changed while it was hashed"


def test_a_run_hashes_a_limited_number_of_bytes(old_file, monkeypatch):
    monkeypatch.setattr(hashing_program, "_hashed_bytes", {})
    paths = [old_file(f"{i}.bin", str(i) * 80) for i in range(2)]
    answers = [hashing_program.answer(request(path)) for path in paths]
    assert "sha256" in answers[0]
    assert answers[1]["not_hashed"] == "the files of the run are too large together"


def test_the_process_is_not_a_child_and_ends_with_its_input(tmp_path):
    process = hashing.HashingProcess()
    (tmp_path / "a").write_text("a")
    process.send([{**request(tmp_path / "a"), "id": 7}])
    answers: list[dict[str, Any]] = []
    end = time.monotonic() + 10
    while not answers and time.monotonic() < end:
        answers += process.receive()
        time.sleep(0.01)
    assert answers == [{"id": 7, "size": 1, "sha256": sha256("a")}]
    program = str(Path(hashing_program.__file__))
    children = psutil.Process().children(recursive=True)
    assert not any(program in child.cmdline() for child in children)
    process.close()


# -- adapters ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def adapters() -> None:
    """Patch the packages that are imported, as the first watched run does."""
    file_adapters.install()


@pytest.mark.usefixtures("adapters")
def test_pyarrow_and_parquet_of_pandas_are_seen(watch, data):
    import pandas

    table = pyarrow.table({"a": [1, 2]})
    for name in ("p", "q", "d"):
        pyarrow.parquet.write_table(table, data / f"{name}.parquet")
    pyarrow.parquet.write_to_dataset(table, data / "parts", partition_cols=["a"])
    time.sleep(0.012)
    watch.begin()
    pandas.read_parquet(data / "p.parquet").to_parquet(data / "out.parquet")
    pyarrow.parquet.read_table(str(data / "q.parquet"))
    pyarrow.dataset.dataset(data / "d.parquet").to_table()
    pandas.read_parquet(data / "parts")
    with pyarrow.OSFile(str(data / "raw.bin"), "wb") as file:
        assert isinstance(file, pyarrow.OSFile)
        file.write(b"raw")
    files = watch.finish()
    read = {name for mode, name in files if mode == "read"}
    assert read >= {"p.parquet", "q.parquet", "d.parquet"}
    paths = {row["path"] for _, rows, _ in watch.events for row in rows if row["mode"] == "read"}
    assert sum("/parts/a=" in path for path in paths) == 2
    assert {n for mode, n in files if mode == "written"} == {"out.parquet", "raw.bin"}
    assert all(row["sha256"] for row in files.values())


@pytest.mark.usefixtures("adapters")
@pytest.mark.parametrize("package", ["h5py", "netCDF4", "safetensors", "zarr", "torch"])
def test_files_of_other_packages_are_seen(package, watch, data, old_file):
    pytest.importorskip(package)
    write, read = OTHER_PACKAGES[package]
    write(str(data / "old"))
    time.sleep(0.02)
    watch.begin()
    read(str(data / "old"))
    write(str(data / "new"))
    watch.finish()
    rows = [row for _, rows, _ in watch.events for row in rows if not row.get("removed")]
    assert {row["mode"] for row in rows if row["path"].startswith(str(data / "old"))} == {"read"}
    new = {row["mode"] for row in rows if row["path"].startswith(str(data / "new"))}
    assert new == {"written"}


def _module(name: str) -> Any:
    __import__(name)
    return sys.modules[name]


def _numbers() -> Any:
    return {"a": _module("numpy").ones(3)}


OTHER_PACKAGES: dict[str, tuple[Callable[[str], Any], Callable[[str], Any]]] = {
    "h5py": (
        lambda path: _module("h5py").File(path, "w").close(),
        lambda path: _module("h5py").File(path).close(),
    ),
    "netCDF4": (
        lambda path: _module("netCDF4").Dataset(path, "w").close(),
        lambda path: _module("netCDF4").Dataset(path).close(),
    ),
    "safetensors": (
        lambda path: _module("safetensors.numpy").save_file(_numbers(), path),
        lambda path: _module("safetensors.numpy").load_file(path),
    ),
    "zarr": (
        lambda path: _module("zarr").save(path, _numbers()["a"]),
        lambda path: _module("zarr").load(path),
    ),
    "torch": (
        lambda path: _module("torch").save({"a": 1}, path),
        lambda path: _module("torch").load(path),
    ),
}


@pytest.mark.usefixtures("adapters")
def test_remote_urls_are_recorded_without_content(watch):
    spec = pytest.importorskip("fsspec.spec")

    class Bucket(spec.AbstractFileSystem):
        protocol = "s3"

        def _open(self, path: str, *_: Any, **__: Any) -> Any:
            if "none" in path:
                raise FileNotFoundError(path)
            return object()

    watch.begin()
    Bucket().open("bucket/train.bin")
    with pytest.raises(FileNotFoundError):
        Bucket().open("bucket/none.bin")
    (row,) = watch.finish().values()
    assert row["path"] == "s3://bucket/train.bin"
    assert row["not_hashed"] == "it is not on this machine"


# -- a whole process -----------------------------------------------------------------------

SCRIPT = """
import json, os, sys
import yprov_mlflow as mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
with mlflow.start_run() as run:
    with open("train.csv") as file:
        file.read()
    with open("result.txt", "w") as file:
        file.write("result")
    mlflow.log_artifact("result.txt")
    mlflow.log_artifact("only-logged.txt")
path = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="provenance")
sys.stdout.write(open(path + "/prov.json").read())
"""


def test_a_script_gets_its_files_into_the_document(tmp_path):
    for name, text in (("train.csv", "1"), ("only-logged.txt", "2"), ("run.py", SCRIPT)):
        (tmp_path / name).write_text(text)
    variables = {
        **os.environ,
        "YPROV_MLFLOW_COLLECTORS": "files",
        "YPROV_MLFLOW_DIR": str(tmp_path / "state"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "run.py"]
    result = subprocess.run(
        command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=True
    )
    document = json.loads(result.stdout)
    files = {
        record["mlf:path"]: record["mlf:sha256"]
        for identifier, record in document["entity"].items()
        if identifier.startswith("run:file/")
    }
    root = os.path.realpath(tmp_path)
    assert files == {f"{root}/train.csv": sha256("1"), f"{root}/result.txt": sha256("result")}
    ends = [
        (record["prov:specificEntity"], record["prov:generalEntity"])
        for record in document["specializationOf"].values()
    ]
    result_content = f"sha256:{sha256('result')}"
    assert sum(general == result_content for _, general in ends) == 2  # the artifact, and the file
