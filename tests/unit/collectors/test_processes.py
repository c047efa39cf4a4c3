import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from yprov_mlflow.prov.collectors.sums import Total
from yprov_mlflow.prov.collectors.system import processes
from yprov_mlflow.prov.collectors.system.processes import Tree

ROOT = Path("/")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
BURN = "import time\nwhile time.process_time() < {}: pass\n"
linux = pytest.mark.skipif(sys.platform != "linux", reason="files of Linux")


def run(code, **options):
    return subprocess.Popen([sys.executable, "-S", "-c", code], **options)


class Since:
    """A tree whose times and bytes are totals that begin at 0, as collectors give them."""

    def __init__(self, root):
        self.tree = Tree(root)
        self.totals = {name: Total() for name in ("cpu_s", "read_bytes", "written_bytes")}
        self.read()

    def read(self):
        usage = self.tree.read()
        return usage._replace(
            **{name: total.of(getattr(usage, name)) for name, total in self.totals.items()}
        )


class Processes:
    """Files of pretended processes, the first of which is this one."""

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
        return Since(self.root)


@pytest.fixture(autouse=True)
def no_old_readings(monkeypatch):
    monkeypatch.setattr(processes, "_FRESH_S", 0.0)


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_SEARCH_SHARE", float("inf"))  # search each time
    return Processes(tmp_path)


def test_sums(pretended):
    pretended.set(1, 10.0, children="2 3", io=(100, 200))
    pretended.set(2, 5.0, children="4", io=(10, 20))
    pretended.set(3, 1.0, state="Z")
    pretended.set(4, 0.5)
    tree = pretended.tree()
    pretended.set(1, 12.0, children="2 3", io=(150, 260))
    pretended.set(4, 1.0)
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    usage = tree.read()
    assert usage == processes.Usage(2.5, 4 * 5 * page_bytes, 3, 6, 50.0, 60.0)


def test_a_child_that_is_waited_for_moves_to_its_parent(pretended):
    pretended.set(1, 10.0, children="2")
    pretended.set(2, 50.0)
    tree = pretended.tree()
    pretended.set(2, 60.0)
    assert tree.read().cpu_s == 10
    pretended.end(2)
    pretended.set(1, 11.0, waited_s=61.0)
    assert tree.read().cpu_s == 12


def test_a_reading_between_the_end_of_a_child_and_the_wait_for_it(pretended):
    pretended.set(1, 10.0, children="2")
    pretended.set(2, 50.0)
    tree = pretended.tree()
    pretended.end(2)
    assert tree.read().cpu_s == 0
    pretended.set(1, 10.0, waited_s=51.0)
    assert tree.read().cpu_s == 1


def test_a_child_that_ends_while_the_processes_are_read(pretended, monkeypatch):
    pretended.set(1, 10.0, children="2")
    pretended.set(2, 50.0)
    tree = pretended.tree()
    read_one = processes._proc_one

    def end_after_the_first(proc, pid):
        found = read_one(proc, pid)
        if (pretended.proc / "2/stat").exists():
            pretended.end(2)
            pretended.set(1, 10.0, waited_s=51.0)
        return found

    monkeypatch.setattr(processes, "_proc_one", end_after_the_first)
    assert [tree.read().cpu_s, tree.read().cpu_s] == [0, 1]


def test_a_child_whose_times_nobody_takes(pretended):
    pretended.set(1, 10.0, children="2")
    pretended.set(2, 50.0)
    tree = pretended.tree()
    pretended.set(2, 55.0)
    seen = [tree.read().cpu_s]
    pretended.end(2)
    for cpu_s in (11.0, 12.0, 13.0, 14.0):
        pretended.set(1, cpu_s)
        seen.append(tree.read().cpu_s)
    assert seen == [5, 5, 5, 6, 7]


def test_a_grandchild_stays_when_its_parent_ends(pretended):
    pretended.set(1, 10.0, children="2")
    pretended.set(2, 1.0, children="3")
    pretended.set(3, 1.0)
    tree = pretended.tree()
    pretended.end(2)
    pretended.set(1, 10.0, waited_s=1.0)
    pretended.set(3, 4.0)
    assert tree.read().cpu_s == 3


def test_a_new_process_with_the_number_of_one_that_ended(pretended):
    pretended.set(1, 10.0, children="2")
    pretended.set(2, 3.0)
    tree = pretended.tree()
    pretended.set(1, 10.0, waited_s=3.0)
    pretended.set(2, 500.0, started=999999)
    usage = tree.read()
    assert (usage.cpu_s, usage.processes) == (0, 1)


def test_a_process_that_cannot_read_its_own_files_knows_nothing_for_a_while(pretended):
    pretended.set(1, 10.0, children="2")
    pretended.set(2, 50.0)
    tree = pretended.tree()
    stat = pretended.proc / "1/stat"
    stat.rename(stat.with_name("aside"))
    assert [tree.read(), tree.read()] == [processes.Usage()] * 2
    stat.with_name("aside").rename(stat)
    pretended.set(2, 51.0)
    usage = tree.read()
    assert (usage.cpu_s, usage.processes) == (1, 2)


def test_searching_many_threads_takes_a_small_part_of_the_time(tmp_path, monkeypatch):
    pretended = Processes(tmp_path)
    pretended.set(1, 1.0)
    clock = [0.0]
    searches = []
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "thread_time", lambda: len(searches) * 0.01)
    children = processes._children
    monkeypatch.setattr(processes, "_children", lambda *pid: searches.append(pid) or children(*pid))
    tree = pretended.tree()
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
    tree = Since(ROOT)
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


def test_a_system_without_such_files(tmp_path):
    tree = Since(tmp_path)
    code = BURN.format(0.3)
    run(code).wait()
    usage = tree.read()
    assert usage.cpu_s >= 0.25  # the child that was waited for
    assert usage.processes >= 1
    assert usage.memory_bytes > 1e6


def test_collectors_that_are_sampled_together_share_a_reading(pretended, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(processes, "_FRESH_S", 0.02)
    pretended.set(1, 10.0)
    tree = processes.shared(pretended.root)
    assert processes.shared(pretended.root) is tree
    seen = []
    for seconds in (0.0, 0.01, 0.01):
        clock[0] += seconds
        seen.append(tree.read().cpu_s)
        pretended.set(1, 11.0)
    assert seen == [10, 10, 11]


def test_a_fork_has_a_tree_of_its_own(pretended, monkeypatch):
    pretended.set(1, 10.0)
    tree = processes.shared(pretended.root)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert processes.shared(pretended.root) is not tree
