import json
import os
import platform
import shutil
import socket
import time

import psutil
import pytest

from yprov_mlflow.prov.collectors import host
from yprov_mlflow.prov.collectors.base import CollectorContext

MB = 1_000_000
MEMINFO = """\
MemTotal: {} kB
MemFree: 10 kB
MemAvailable: {} kB
Buffers: 0 kB
Cached: 0 kB
SReclaimable: 0 kB
Active: 0 kB
Inactive: 0 kB
Shmem: 0 kB
Slab: 0 kB
"""
DISKS = """\
   7  0 loop0 5 0 999 0 0 0 0 0 0 0 0
 259  0 nvme0n1 10 0 {} 0 20 0 {} 0 0 0 0
 259  1 nvme0n1p1 10 0 {} 0 20 0 {} 0 0 0 0
 253  0 dm-0 10 0 {} 0 20 0 {} 0 0 0 0
"""
NETWORK = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs
    lo: {} 1 0 0 0 0 0 0 {} 1 0 0 0 0 0 0
  eth0:{} 1 0 0 0 0 0 0 {} 1 0 0 0 0 0 0
"""


def test_facts_are_json_and_correct():
    facts = host.collect()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["hostname"] == socket.gethostname()
    assert facts["os"] == platform.system()
    assert facts["cpu_count"] == os.cpu_count()
    assert facts["memory_bytes"] == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert facts["memory_limit_bytes"] is None or facts["memory_limit_bytes"] > 0


class Machine:
    """A root folder with fake kernel files, which psutil reads too."""

    def __init__(self, root, monkeypatch):
        self.root = root
        monkeypatch.setattr(psutil, "PROCFS_PATH", str(root / "proc"))
        self.write("sys/block/nvme0n1/device/model", "disk")
        self.write("sys/block/dm-0/size", "1")
        self.write("proc/self/cgroup", "0::/job\n")
        self.now()

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def now(self, busy=100, idle=900, free_kb=600, read=10, written=20, received=3000, sent=4000):
        self.write("proc/stat", f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 0 0 1\nintr 1\n")
        self.write("proc/meminfo", MEMINFO.format(1000, free_kb))
        self.write("proc/diskstats", DISKS.format(*3 * (read, written)))
        self.write("proc/net/dev", NETWORK.format(5, 5, received, sent))

    def collector(self):
        return host.Host(CollectorContext(self.root, {}))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def named(available, values):
    assert len(available.quantities) == len(values)
    return {
        quantity.system_metric: value
        for quantity, value in zip(available.quantities, values, strict=True)
    }


def test_node_quantities(machine):
    collector = machine.collector()
    available = collector.probe()
    collector.start()
    machine.now(busy=175, idle=925, free_kb=250, read=12, written=25, received=3500, sent=4700)
    values = named(available, collector.sample())
    assert values["cpu_utilization_percentage"] == 75.0
    assert values["system_memory_usage_megabytes"] == 750 * 1024
    assert values["system_memory_usage_percentage"] == 75.0
    assert values["disk_read_megabytes"] == 2 * 512
    assert values["disk_write_megabytes"] == 5 * 512
    assert values["network_receive_megabytes"] == 500
    assert values["network_transmit_megabytes"] == 700
    space = shutil.disk_usage(machine.root)
    assert values["disk_usage_megabytes"] == pytest.approx(space.used, rel=0.1)
    assert values["disk_available_megabytes"] == pytest.approx(space.free, rel=0.1)
    assert values["load_average_1m"] >= 0
    node = [quantity for quantity in available.quantities if quantity.scope == "node"]
    assert {quantity.claim for quantity in node} == {"node"}
    assert {quantity.component for quantity in available.quantities} == {""}


def test_utilization_needs_time_between_samples(machine):
    collector = machine.collector()
    available = collector.probe()
    collector.start()
    seen = []
    for busy, idle in ((101, 900), (101, 901), (103, 903)):
        machine.now(busy=busy, idle=idle)
        seen.append(named(available, collector.sample())["cpu_utilization_percentage"])
    assert seen == [None, None, pytest.approx(50)]


def test_totals_pause_when_an_interface_disappears(machine):
    collector = machine.collector()
    available = collector.probe()
    collector.start()
    totals = []
    for received in (5000, 1000, 1100, 1300):
        machine.now(received=received)
        totals.append(named(available, collector.sample())["network_receive_megabytes"])
    assert totals == [2000, 2000, 2000, 2200]


def test_unknown_values_are_missing(machine, monkeypatch):
    (machine.root / "proc/diskstats").write_text("")

    def fail(*_):
        raise PermissionError

    monkeypatch.setattr(os, "getloadavg", fail)
    collector = machine.collector()
    available = collector.probe()
    assert {"disk_read of the node", "load_average of the node"} <= {
        part.what for part in available.missing
    }
    collector.start()
    values = named(available, collector.sample())
    assert "disk_read_megabytes" not in values
    assert "load_average_1m" not in values


def test_unreadable_value_is_none_not_zero(machine):
    collector = machine.collector()
    available = collector.probe()
    collector.start()
    (machine.root / "proc/net/dev").unlink()
    values = named(available, collector.sample())
    assert values["network_receive_megabytes"] is None
    assert values["disk_read_megabytes"] == 0
    machine.now(received=3001)
    assert named(available, collector.sample())["network_receive_megabytes"] == 1


def test_job_quantities_from_limits(machine):
    group = "sys/fs/cgroup/job"
    machine.write(f"{group}/memory.max", "512000")
    machine.write(f"{group}/memory.current", "300000")
    machine.write(f"{group}/memory.stat", "inactive_file 172000\n")
    machine.write(f"{group}/cpu.max", "150000 100000")
    machine.write(f"{group}/cpu.stat", "throttled_usec 5000000\n")
    collector = machine.collector()
    available = collector.probe()
    assert available.facts["cpu_limit"] == 1.5
    assert available.facts["memory_limit_bytes"] == 512000
    collector.start()
    machine.write(f"{group}/cpu.stat", "throttled_usec 5500000\n")
    values = named(available, collector.sample())
    assert values["job_memory_usage_megabytes"] == 128000
    assert values["job_memory_usage_percentage"] == 25.0
    assert values["job_cpu_throttled_seconds"] == 0.5
    claims = {quantity.claim for quantity in available.quantities if quantity.scope == "job"}
    assert claims == {f"cgroup-{(machine.root / group).stat().st_ino}"}


def test_no_job_quantities_without_limits(machine):
    scopes = {quantity.scope for quantity in machine.collector().probe().quantities}
    assert "node" in scopes and "job" not in scopes


def test_values_of_this_machine():
    collector = host.Host(CollectorContext())
    available = collector.probe()
    assert not available.missing
    collector.start()
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    values = named(available, collector.sample())
    memory = psutil.virtual_memory()
    used = memory.total - memory.available
    assert values["system_memory_usage_megabytes"] == pytest.approx(used, rel=0.2)
    assert 0 < values["cpu_utilization_percentage"] <= 100
    assert values["process_cpu_seconds"] >= 0.25
    assert values["process_memory_megabytes"] > 10 * MB
    assert values["process_count"] >= 1


def test_process_usage_without_proc(tmp_path):
    collector = host.Host(CollectorContext(tmp_path, {}))
    available = collector.probe()
    collector.start()
    values = named(available, collector.sample())
    assert values["system_memory_usage_megabytes"] > 10 * MB
    assert values["process_memory_megabytes"] > 10 * MB
    assert values["process_threads"] >= 1


def test_unknown_cpu_model_is_none(machine, monkeypatch):
    monkeypatch.setattr(platform, "processor", lambda: "aarch64")
    machine.write("proc/cpuinfo", "processor\t: 0\nCPU implementer\t: 0x41\n")
    assert machine.collector().probe().facts["cpu_model"] is None
