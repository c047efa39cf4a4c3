import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from yprov_mlflow.prov.collectors.counters import MonotonicTotal
from yprov_mlflow.prov.collectors.system import processes
from yprov_mlflow.prov.collectors.system.processes import ProcessTree

ROOT = Path("/")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
BURN = "import time\nwhile time.process_time() < {}: pass\n"
linux = pytest.mark.skipif(sys.platform != "linux", reason="files of Linux")


def run(code, **options):
    return subprocess.Popen([sys.executable, "-S", "-c", code], **options)


class TreeTotals:
    """A tree whose times and bytes are totals that begin at 0, as collectors give them."""

    def __init__(self, root):
        self.tree = ProcessTree(root)
        self.totals = {name: MonotonicTotal() for name in ("cpu_s", "read_bytes", "written_bytes")}
        self.read()

    def read(self):
        usage = self.tree.read()
        return usage._replace(
            **{name: total.update(getattr(usage, name)) for name, total in self.totals.items()}
        )


class Processes:
    """Fake process files; the first process is this one."""

    def __init__(self, root):
        self.root = root
        self.proc = root / "proc"
        self.proc.mkdir()
        (self.proc / "self").symlink_to("1")

    def set(self, pid, cpu_s=0.0, waited_s=0.0, children="", **more):
        folder = self.proc / str(pid)
        thread = folder / "task" / str(pid)
        thread.mkdir(parents=True, exist_ok=True)
        (thread / "children").write_text(children)
        ticks, waited = int(cpu_s * TICKS_PER_S), int(waited_s * TICKS_PER_S)
        state, started = more.get("state", "S"), more.get("started", 1000 + pid)
        (folder / "stat").write_text(
            f"{pid} (a ) b) {state} 0 0 0 0 0 0 0 0 0 0 {ticks} 0 {waited} 0 20 0 2 0 {started}"
            f" 99 5 1 1\n"
        )
        if "io" in more:
            read, written = more["io"]
            (folder / "io").write_text(
                f"rchar: 9\nwchar: 9\nsyscr: 9\nsyscw: 9\nread_bytes: {read}\n"
                f"write_bytes: {written}\ncancelled_write_bytes: 0\n"
            )

    def end(self, pid):
        for name in (f"task/{pid}/children", "stat"):
            (self.proc / str(pid) / name).unlink()

    def tree(self):
        return TreeTotals(self.root)


@pytest.fixture(autouse=True)
def no_old_readings(monkeypatch):
    monkeypatch.setattr(processes, "_REUSE_S", 0.0)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_SEARCH_SHARE", float("inf"))  # search each time
    return Processes(tmp_path)


def test_sums(fake):
    fake.set(1, 10.0, children="2 3", io=(100, 200))
    fake.set(2, 5.0, children="4", io=(10, 20))
    fake.set(3, 1.0, state="Z")
    fake.set(4, 0.5)
    tree = fake.tree()
    fake.set(1, 12.0, children="2 3", io=(150, 260))
    fake.set(4, 1.0)
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    usage = tree.read()
    assert usage == processes.Usage(2.5, 4 * 5 * page_bytes, 3, 6, 50.0, 60.0)


def test_reaped_child_moves_to_parent(fake):
    fake.set(1, 10.0, children="2")
    fake.set(2, 50.0)
    tree = fake.tree()
    fake.set(2, 60.0)
    assert tree.read().cpu_s == 10
    fake.end(2)
    fake.set(1, 11.0, waited_s=61.0)
    assert tree.read().cpu_s == 12


def test_reading_between_exit_and_wait(fake):
    fake.set(1, 10.0, children="2")
    fake.set(2, 50.0)
    tree = fake.tree()
    fake.end(2)
    assert tree.read().cpu_s == 0
    fake.set(1, 10.0, waited_s=51.0)
    assert tree.read().cpu_s == 1


def test_child_that_ends_during_a_reading(fake, monkeypatch):
    fake.set(1, 10.0, children="2")
    fake.set(2, 50.0)
    tree = fake.tree()
    read_one = processes._read_proc

    def end_after_the_first(proc, pid):
        result = read_one(proc, pid)
        if (fake.proc / "2/stat").exists():
            fake.end(2)
            fake.set(1, 10.0, waited_s=51.0)
        return result

    monkeypatch.setattr(processes, "_read_proc", end_after_the_first)
    assert [tree.read().cpu_s, tree.read().cpu_s] == [0, 1]


def test_child_that_is_never_reaped(fake):
    fake.set(1, 10.0, children="2")
    fake.set(2, 50.0)
    tree = fake.tree()
    fake.set(2, 55.0)
    seen = [tree.read().cpu_s]
    fake.end(2)
    for cpu_s in (11.0, 12.0, 13.0, 14.0):
        fake.set(1, cpu_s)
        seen.append(tree.read().cpu_s)
    assert seen == [5, 5, 5, 6, 7]


def test_orphaned_grandchild_stays_in_the_tree(fake):
    fake.set(1, 10.0, children="2")
    fake.set(2, 1.0, children="3")
    fake.set(3, 1.0)
    tree = fake.tree()
    fake.end(2)
    fake.set(1, 10.0, waited_s=1.0)
    fake.set(3, 4.0)
    assert tree.read().cpu_s == 3


def test_reused_process_id(fake):
    fake.set(1, 10.0, children="2")
    fake.set(2, 3.0)
    tree = fake.tree()
    fake.set(1, 10.0, waited_s=3.0)
    fake.set(2, 500.0, started=999999)
    usage = tree.read()
    assert (usage.cpu_s, usage.processes) == (0, 1)


def test_unreadable_own_process_is_unknown(fake):
    fake.set(1, 10.0, children="2")
    fake.set(2, 50.0)
    tree = fake.tree()
    stat = fake.proc / "1/stat"
    stat.rename(stat.with_name("aside"))
    assert [tree.read(), tree.read()] == [processes.Usage()] * 2
    stat.with_name("aside").rename(stat)
    fake.set(2, 51.0)
    usage = tree.read()
    assert (usage.cpu_s, usage.processes) == (1, 2)


def test_search_for_children_is_throttled(tmp_path, monkeypatch):
    fake = Processes(tmp_path)
    fake.set(1, 1.0)
    clock = [0.0]
    searches = []
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "thread_time", lambda: len(searches) * 0.01)
    children = processes._proc_children
    monkeypatch.setattr(
        processes, "_proc_children", lambda *pid: searches.append(pid) or children(*pid)
    )
    tree = fake.tree()
    for _ in range(100):
        clock[0] += 1
        tree.read()
    assert 20 <= len(searches) <= 22  # 10 ms each, 1/500 of the time


@linux
@pytest.mark.parametrize("listed", [True, False], ids=["by files", "by psutil"])
def test_real_children(listed, monkeypatch):
    if not listed:
        exists = os.path.exists
        monkeypatch.setattr(
            os.path, "exists", lambda path: not path.endswith("/children") and exists(path)
        )
    monkeypatch.setattr(processes, "_SEARCH_SHARE", float("inf"))
    tree = TreeTotals(ROOT)
    before = tree.read()
    child = run(BURN.format(0.3) + "input()", stdin=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while tree.read().cpu_s < 0.3 and time.monotonic() < deadline:
        time.sleep(0.02)
    usage = tree.read()
    assert usage.cpu_s >= 0.3
    assert usage.processes == before.processes + 1
    assert usage.memory_bytes > before.memory_bytes
    child.communicate(b"\n")
    ended = tree.read()
    assert ended.cpu_s >= usage.cpu_s
    assert ended.processes == before.processes


def test_system_without_proc(tmp_path):
    tree = TreeTotals(tmp_path)
    code = BURN.format(0.3)
    run(code).wait()
    usage = tree.read()
    assert usage.cpu_s >= 0.25  # the child that was waited for
    assert usage.processes >= 1
    assert usage.memory_bytes > 1e6


def test_reading_is_shared_by_collectors(fake, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(processes, "_REUSE_S", 0.02)
    fake.set(1, 10.0)
    tree = processes.shared_tree(fake.root)
    assert processes.shared_tree(fake.root) is tree
    seen = []
    for seconds in (0.0, 0.01, 0.01):
        clock[0] += seconds
        seen.append(tree.read().cpu_s)
        fake.set(1, 11.0)
    assert seen == [10, 10, 11]


def test_fork_has_its_own_tree(fake, monkeypatch):
    fake.set(1, 10.0)
    tree = processes.shared_tree(fake.root)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert processes.shared_tree(fake.root) is not tree
