import json
import os
import platform
import socket

import pytest

from yprov_mlflow.collectors import host


def test_what_is_collected_is_json_and_true():
    facts = host.collect()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["hostname"] == socket.gethostname()
    assert facts["os"] == platform.system()
    assert facts["cpu_count"] == os.cpu_count()
    assert facts["memory_bytes"] == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert facts["memory_limit_bytes"] is None or facts["memory_limit_bytes"] > 0


@pytest.fixture
def groups(tmp_path):
    """Write files of a control group tree; ``own`` is what /proc/self/cgroup says."""

    def write(own, files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "cgroup", tmp_path / "own"

    return write


def test_no_limit(groups, tmp_path):
    tree = groups("0::/\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"})
    assert host.cpu_limit(*tree) is None
    assert host.memory_limit_bytes(*tree) is None
    assert host.cpu_limit(tmp_path / "none", tmp_path / "none") is None


def test_the_tightest_group_counts(groups):
    tree = groups(
        "0::/slice/job/task\n",
        {
            "slice/cpu.max": "150000 100000\n",
            "slice/job/cpu.max": "400000 100000\n",
            "slice/job/task/cpu.max": "max 100000\n",
            "slice/memory.max": "8000\n",
            "slice/job/memory.max": "9000\n",
        },
    )
    assert host.cpu_limit(*tree) == 1.5
    assert host.memory_limit_bytes(*tree) == 8000


def test_a_group_that_the_container_cannot_see(groups):
    seen, unseen = "200000 100000\n", "100000 100000\n"
    tree = groups("0::/../other\n", {"cpu.max": seen, "../other/cpu.max": unseen})
    assert host.cpu_limit(*tree) == 2.0


def test_version_1(groups):
    tree = groups(
        "12:memory:/job\n4:cpu,cpuacct:/job\n",
        {
            "cpu/job/cpu.cfs_quota_us": "50000\n",
            "cpu/job/cpu.cfs_period_us": "100000\n",
            "cpu/cpu.cfs_quota_us": "-1\n",
            "cpu/cpu.cfs_period_us": "100000\n",
            "memory/job/memory.limit_in_bytes": "1000000\n",
        },
    )
    assert host.cpu_limit(*tree) == 0.5
    assert host.memory_limit_bytes(*tree) == 1_000_000
