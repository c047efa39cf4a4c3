import pytest

from yprov_mlflow.prov.collectors.system import cgroups

MEMORY = 2**40


@pytest.fixture
def groups(tmp_path):
    """Write files of a control group tree; ``own`` is what /proc/self/cgroup says."""

    def write(own, files):
        path = tmp_path / "proc/self/cgroup"
        path.parent.mkdir(parents=True)
        path.write_text(own)
        for name, text in files.items():
            path = tmp_path / "sys/fs/cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def test_no_limit(groups, tmp_path):
    root = groups("0::/\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"})
    assert cgroups.cpu_limit(root) is None
    assert cgroups.memory_limit(root, MEMORY) is None
    assert cgroups.cpu_limit(tmp_path / "none") is None


def test_tightest_limit_wins(groups):
    root = groups(
        "0::/slice/job/task\n",
        {
            "slice/cpu.max": "150000 100000\n",
            "slice/job/cpu.max": "400000 100000\n",
            "slice/job/task/cpu.max": "max 100000\n",
            "slice/memory.max": "8000\n",
            "slice/job/memory.max": "9000\n",
        },
    )
    assert cgroups.cpu_limit(root).amount == 1.5
    assert cgroups.memory_limit(root, MEMORY).amount == 8000


def test_group_outside_the_container(groups):
    seen, unseen = "200000 100000\n", "100000 100000\n"
    root = groups("0::/../other\n", {"cpu.max": seen, "../other/cpu.max": unseen})
    assert cgroups.cpu_limit(root).amount == 2.0


def test_version_1(groups):
    root = groups(
        "12:memory:/job\n4:cpu,cpuacct:/job\n",
        {
            "cpu/job/cpu.cfs_quota_us": "50000\n",
            "cpu/job/cpu.cfs_period_us": "100000\n",
            "cpu/cpu.cfs_quota_us": "-1\n",
            "cpu/cpu.cfs_period_us": "100000\n",
            "memory/job/memory.limit_in_bytes": "1000000\n",
        },
    )
    assert cgroups.cpu_limit(root).amount == 0.5
    assert cgroups.memory_limit(root, MEMORY).amount == 1_000_000
    assert cgroups.memory_limit(root, 999_999) is None  # what version 1 says for "none"


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"job/cpuset.cpus.effective": "0-3,8\n", "cpuset.cpus.effective": "0-15\n"}, 5),
        ({"cpuset.cpus.effective": "2\n", "job/cpu.max": "150000 100000\n"}, 1),
        ({"cpuset.cpus.effective": "0-7\n", "job/cpu.max": "150000 100000\n"}, 1.5),
        ({"cpuset.cpus.effective": "0-15\n", "cpuset.cpus": "\n"}, None),
        ({}, None),
    ],
)
def test_cpu_sets(groups, files, cpus):
    assert cgroups.cpu_allowance(groups("0::/job\n", files), 16) == cpus


def test_cpu_sets_in_version_1(groups):
    root = groups("3:cpuset:/job\n", {"cpuset/job/cpuset.cpus": "0,2-3\n"})
    assert cgroups.cpu_allowance(root, 16) == 3


@pytest.mark.parametrize(
    "files",
    [
        {
            "memory.current": "9000",
            "memory.stat": "anon 1\ninactive_file 2000\n",
            "cpu.stat": "usage_usec 7\nthrottled_usec 2500000\n",
        },
        {
            "memory.usage_in_bytes": "9000",
            "memory.stat": "inactive_file 1\ntotal_inactive_file 2000\n",
            "cpu.stat": "nr_periods 7\nthrottled_time 2500000000\n",
        },
    ],
    ids=["version 2", "version 1"],
)
def test_group_usage(groups, files):
    folder = groups("", files) / "sys/fs/cgroup"
    assert cgroups.memory_used_bytes(folder) == 7000
    assert cgroups.throttled_s(folder) == 2.5


def test_unknown_group_usage(groups):
    folder = groups("", {"cpu.stat": "usage_usec 7\n"}) / "sys/fs/cgroup"
    assert cgroups.memory_used_bytes(folder) is None
    assert cgroups.throttled_s(folder) is None
