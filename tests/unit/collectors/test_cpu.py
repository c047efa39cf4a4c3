import os
import time
from pathlib import Path

import psutil
import pytest

from yprov_mlflow.prov.collectors import cpu
from yprov_mlflow.prov.collectors.base import Available, CollectorContext, Unavailable
from yprov_mlflow.prov.collectors.system import node as node_reader
from yprov_mlflow.prov.collectors.system import powercap

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
RANGE_J = 262143.32885


class Node:
    """A fake node with 4 logical processors and a clock."""

    def __init__(self, root):
        self.root = root
        self.now_s = 100.0
        (root / "proc/self").mkdir(parents=True)
        self.times(0, 0)

    def times(self, busy_s, own_s, idle_s=10):
        ticks, idle = int(busy_s * TICKS_PER_S), int(idle_s * TICKS_PER_S)
        lines = [f"cpu  {ticks} 0 0 {idle} 0 0 0 0 0 0", *(f"cpu{n} 1 0" for n in range(4))]
        (self.root / "proc/stat").write_text("\n".join(lines))
        pid = os.getpid()
        (self.root / f"proc/{pid}/task/{pid}").mkdir(parents=True, exist_ok=True)
        (self.root / f"proc/{pid}/task/{pid}/children").write_text("")
        ticks = int(own_s * TICKS_PER_S)
        (self.root / f"proc/{pid}/stat").write_text(
            f"{pid} (a) S 0 0 0 0 0 0 0 0 0 0 {ticks} 0 0 0 20 0 2 0 7 99 5 1"
        )

    def zone(self, name, title, energy_j, range_j=RANGE_J, flat=True):
        """Write a zone as sysfs shows it: nested folders, and a link to each in the class."""
        parts = name.split(":")
        names = [":".join(parts[: end + 1]) for end in range(1, len(parts))]
        folder = self.root.joinpath("sys/devices/virtual/powercap", parts[0], *names)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "name").write_text(title + "\n")
        (folder / "max_energy_range_uj").write_text(f"{round(range_j * 1e6)}\n")
        link = self.root / "sys/class/powercap" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(folder)
        self.energy(name, energy_j)

    def energy(self, name, energy_j):
        path = self.root / "sys/class/powercap" / name / "energy_uj"
        path.write_text(f"{round(energy_j * 1e6)}\n")

    def collector(self, **options):
        return cpu.Cpu(CollectorContext(self.root, {}, **options))


@pytest.fixture
def node(tmp_path, monkeypatch):
    node = Node(tmp_path)
    monkeypatch.setattr(time, "monotonic", lambda: node.now_s)
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path / "proc"))
    monkeypatch.setattr(psutil, "cpu_count", lambda: 4)
    return node


@pytest.fixture
def two_packages(node):
    node.zone("intel-rapl:0", "package-0", 1000)
    node.zone("intel-rapl:0:0", "core", 600)
    node.zone("intel-rapl:0:1", "dram", 200, range_j=65712.999613)
    node.zone("intel-rapl:1", "package-1", 2000)
    node.zone("intel-rapl:1:0", "dram", 300, range_j=65712.999613)
    return node


def started(collector):
    available = collector.probe()
    assert isinstance(available, Available)
    collector.start()

    def sample():
        values = collector.sample()
        assert len(values) == len(available.quantities)
        return {
            (quantity.device or quantity.scope, quantity.name): value
            for quantity, value in zip(available.quantities, values, strict=True)
        }

    return available, sample


def bill(available):
    return {
        quantity.device or quantity.scope: quantity.component
        for quantity in available.quantities
        if quantity.component
    }


def test_packages_and_memory(two_packages):
    node = two_packages
    available, sample = started(node.collector())
    assert available.missing == []
    assert [device.id for device in available.devices] == [
        "cpu0",
        "cpu0-core",
        "cpu0-dram",
        "cpu1",
        "cpu1-dram",
    ]
    assert bill(available) == {
        "cpu0": "cpu",
        "cpu0-dram": "memory",
        "cpu1": "cpu",
        "cpu1-dram": "memory",
    }
    measured = {q.method for q in available.quantities if q.scope == "device"}
    assert measured == {"measured"}
    assert {q.claim for q in available.quantities if q.scope == "device"} == {"node"}
    metrics = [quantity.system_metric for quantity in available.quantities]
    assert metrics[:2] == ["cpu_package_0_energy_joules", "cpu_package_0_power_watts"]
    assert "cpu_package_1_dram_energy_joules" in metrics
    assert len(set(metrics)) == len(metrics)
    node.now_s += 2
    node.energy("intel-rapl:0", 1100)
    node.energy("intel-rapl:0:1", 210)
    node.energy("intel-rapl:1", 2300)
    values = sample()
    assert values["cpu0", "energy"] == pytest.approx(100)
    assert values["cpu0", "power"] == pytest.approx(50)
    assert values["cpu0-core", "energy"] == 0
    assert values["cpu0-dram", "energy"] == pytest.approx(10)
    assert values["cpu1", "energy"] == pytest.approx(300)
    assert values["cpu1", "power"] == pytest.approx(150)
    assert values["cpu1-dram", "energy"] == 0


def test_duplicate_zone_counts_once(node):
    node.zone("intel-rapl:0", "package-0", 1000)
    node.zone("intel-rapl-mmio:0", "package-0", 1000)
    node.zone("intel-rapl-mmio:0:0", "dram", 1000)
    available, _ = started(node.collector())
    zones = {device.id: device.facts["zone"] for device in available.devices}
    assert zones == {"cpu0": "intel-rapl:0", "cpu0-dram": "intel-rapl-mmio:0:0"}


def test_psys_has_no_component(node):
    node.zone("intel-rapl:0", "package-0-die-0", 1000)
    node.zone("intel-rapl:1", "package-0-die-1", 1000)
    node.zone("intel-rapl:2", "psys", 5000)
    node.zone("intel-rapl:a", "package-1-die-0", 1000)  # numbers are hexadecimal
    available, sample = started(node.collector())
    assert bill(available) == {"cpu0-die0": "cpu", "cpu0-die1": "cpu", "cpu1-die0": "cpu"}
    node.now_s += 1
    node.energy("intel-rapl:2", 5070)
    assert sample()["psys", "energy"] == pytest.approx(70)
    assert [part.what for part in available.missing] == ["memory"]


def test_amd_package_with_several_dies_counts_once(node):
    (node.root / "proc/cpuinfo").write_text("vendor_id\t: AuthenticAMD\n")
    for number in range(12):
        node.zone(f"intel-rapl:{number:x}", f"package-0-die-{number}", 1000)
        node.zone(f"intel-rapl:{number:x}:0", "core", 100)
    available, _ = started(node.collector())
    assert bill(available) == {"cpu0": "cpu"}
    assert [device.label for device in available.devices] == ["processor package 0"]


def test_zones_in_nested_folders(node):
    folder = node.root / "sys/class/powercap/intel-rapl:0/intel-rapl:0:0"
    folder.mkdir(parents=True)
    for path, title in ((folder.parent, "package-0"), (folder, "dram")):
        (path / "name").write_text(title)
        (path / "energy_uj").write_text("5")
        (path / "max_energy_range_uj").write_text("9000000")
    assert [zone.id for zone in powercap.zones(node.root)] == ["cpu0", "cpu0-dram"]


def test_counter_overflow(two_packages):
    node = two_packages
    node.energy("intel-rapl:0", RANGE_J - 10)
    _, sample = started(node.collector())
    node.now_s += 1
    node.energy("intel-rapl:0", 20)
    values = sample()
    assert values["cpu0", "energy"] == pytest.approx(30)
    assert values["cpu0", "power"] == pytest.approx(30)
    node.now_s += 1
    node.energy("intel-rapl:0", 25)
    assert sample()["cpu0", "energy"] == pytest.approx(35)


def test_counter_that_disappears_and_overflows(two_packages):
    node = two_packages
    node.energy("intel-rapl:0", RANGE_J - 100)
    _, sample = started(node.collector())
    node.now_s += 1
    node.energy("intel-rapl:0", RANGE_J - 50)
    assert sample()["cpu0", "energy"] == pytest.approx(50)
    path = node.root / "sys/class/powercap/intel-rapl:0/energy_uj"
    path.unlink()
    for _ in range(3):
        node.now_s += 1
        values = sample()
        assert (values["cpu0", "energy"], values["cpu0", "power"]) == (None, None)
        assert values["cpu1", "energy"] == 0
        assert values["process", "energy"] is not None
    node.now_s += 1
    node.energy("intel-rapl:0", 150)
    values = sample()
    assert values["cpu0", "energy"] == pytest.approx(250)
    assert values["cpu0", "power"] == pytest.approx(50)  # 200 J in 4 s


def test_counter_reset_is_not_an_overflow(two_packages):
    node = two_packages
    _, sample = started(node.collector())
    node.now_s += 1
    node.energy("intel-rapl:0", 1100)
    assert sample()["cpu0", "energy"] == pytest.approx(100)
    node.now_s += 1
    node.energy("intel-rapl:0", 3)  # a wrap-around would be 261046 W
    values = sample()
    assert (values["cpu0", "energy"], values["cpu0", "power"]) == (None, None)
    node.now_s += 1
    node.energy("intel-rapl:0", 13)
    values = sample()
    assert values["cpu0", "energy"] == pytest.approx(110)
    assert values["cpu0", "power"] == pytest.approx(10)


def test_implausible_growth_is_none(two_packages):
    node = two_packages
    _, sample = started(node.collector())
    for second in range(1, 4):
        node.now_s += 1
        node.energy("intel-rapl:0", 1000 + second * 5000)
        assert sample()["cpu0", "energy"] is None


@pytest.mark.parametrize("grown_j", [0.0, 0.2])
def test_power_needs_time_between_samples(two_packages, grown_j):
    """Counters move once a millisecond or less: 0 W and 2000 W are both untrue of 200 W."""
    node = two_packages
    _, sample = started(node.collector())
    node.now_s += 0.0001
    node.energy("intel-rapl:0", 1000 + grown_j)
    values = sample()
    assert (values["cpu0", "energy"], values["cpu0", "power"]) == (pytest.approx(grown_j), None)
    node.now_s += 0.9999
    node.energy("intel-rapl:0", 1200)
    assert sample()["cpu0", "power"] == pytest.approx(200)


@pytest.mark.parametrize("busy_s", [0.0, 0.02])
def test_estimated_power_needs_time_between_samples(node, busy_s):
    _, sample = started(node.collector())
    node.now_s += 0.0001
    node.times(busy_s, 0)
    assert sample()["node", "power"] is None
    node.now_s += 0.9999
    node.times(2, 0)
    assert sample()["node", "power"] == pytest.approx(8)


def test_energy_restarts_at_zero(two_packages):
    node = two_packages
    collector = node.collector()
    _, sample = started(collector)
    node.now_s += 1
    node.times(2, 1)
    node.energy("intel-rapl:0", 1100)
    values = sample()
    assert values["cpu0", "energy"] == pytest.approx(100)
    assert values["process", "energy"] == pytest.approx(50)
    collector.stop()
    node.now_s += 0.03
    node.times(4, 2)
    node.energy("intel-rapl:0", 1200)  # nobody's
    collector.start()
    values = sample()
    assert (values["cpu0", "energy"], values["process", "energy"]) == (0, 0)
    node.now_s += 1
    node.times(8, 3)
    node.energy("intel-rapl:0", 1240)
    values = sample()
    assert values["cpu0", "power"] == pytest.approx(40)
    assert values["process", "energy"] == pytest.approx(10)


def test_estimate_restarts_at_zero(node):
    collector = node.collector()
    _, sample = started(collector)
    node.now_s += 1
    node.times(2, 1)
    assert sample()["node", "energy"] == pytest.approx(8)
    collector.stop()
    collector.start()
    assert sample()["node", "energy"] == 0


def test_interval_too_long_for_the_counter(node):
    node.zone("intel-rapl:0", "package-0", 1000, range_j=65532.6)
    node.zone("intel-rapl:0:0", "dram", 1000)
    available = node.collector(interval_s=120.0).probe()
    (missing,) = available.missing
    assert missing.what == "cpu0"
    assert missing.cure == "Set YPROV_MLFLOW_INTERVAL to 65 s or less."
    assert node.collector(interval_s=60.0).probe().missing == []


@pytest.fixture
def root_only(monkeypatch):
    """Make all counters unreadable, even when root runs the tests."""
    read_bytes = Path.read_bytes

    def refuse(path):
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)


def test_root_only_counters_have_a_cure(two_packages, root_only):
    available, _ = started(two_packages.collector())
    missing = {part.what: part for part in available.missing}
    assert {"cpu0", "cpu0-dram", "cpu1"} <= set(missing)
    assert "sudo chmod a+r /sys/class/powercap/" in missing["cpu0"].cure
    assert 'SUBSYSTEM=="powercap"' in missing["cpu0"].cure
    assert available.facts["source"] == "estimate"
    assert available.devices == []
    assert bill(available) == {"node": "cpu"}


def test_estimate(node):
    available, sample = started(node.collector())
    energy = available.quantities[0]
    assert (energy.scope, energy.method, energy.claim) == ("node", "estimated", "node")
    assert "4 W for each of its 4 logical processors" in available.procedure
    assert "codecarbon" in available.procedure
    assert {part.what for part in available.missing} == {"energy counters", "memory"}
    assert "memory" not in bill(available).values()
    node.now_s += 10
    node.times(20, 5)
    values = sample()
    assert values["node", "energy"] == pytest.approx(80)
    assert values["node", "power"] == pytest.approx(8)
    assert values["process", "energy"] == pytest.approx(20)


def test_estimate_from_thermal_design_power(node):
    available, sample = started(node.collector(cpu_tdp_w=120.0))
    assert "120 W of thermal design power divided by 4" in available.procedure
    assert available.facts["watts_per_processor"] == 30
    node.now_s += 10
    node.times(20, 5)
    assert sample()["node", "energy"] == pytest.approx(600)


def test_process_share_of_measured_energy(two_packages):
    node = two_packages
    available, sample = started(node.collector())
    share = available.quantities[-1]
    assert (share.scope, share.method, share.component) == ("process", "estimated", "")
    node.now_s += 1
    node.times(8, 2)
    node.energy("intel-rapl:0", 1100)
    node.energy("intel-rapl:1", 2100)
    node.energy("intel-rapl:0:1", 250)  # memory is not shared out
    assert sample()["process", "energy"] == pytest.approx(200 * 2 / 8)


def test_idle_power_is_not_in_the_share_of_a_process(two_packages):
    node = two_packages
    available, sample = started(node.collector())
    assert available.quantities[-1].share_of == "cpu"
    node.now_s += 100
    node.times(busy_s=1, own_s=1, idle_s=10 + 399)  # 4 processors
    node.energy("intel-rapl:0", 3000)
    assert sample()["process", "energy"] == pytest.approx(2000 / 400)


def test_work_of_children_with_runs_of_their_own_is_not_in_the_share(node):
    children_s = 0.0
    _, sample = started(node.collector(children_cpu_s=lambda: children_s))
    node.now_s += 10
    node.times(20, 5)
    children_s = 4.0
    assert sample()["process", "energy"] == pytest.approx(4)


@pytest.mark.parametrize(
    ("model", "watts"),
    [
        ("AMD EPYC 7763 64-Core Processor", 2 * 280),
        ("Intel(R) Xeon(R) Platinum 8358 CPU @ 2.60GHz", 2 * 250),
        ("Intel(R) Xeon(R) Platinum 8358Q CPU @ 2.60GHz", None),  # similar is not equal
        ("AMD EPYC 7763 Custom 64-Core Processor", None),
        ("AMD EPYC", None),
    ],
)
def test_design_power_from_the_name_of_the_processor(node, model, watts):
    lines = [f"physical id\t: {number}\nmodel name\t: {model}\n" for number in (0, 0, 1, 1)]
    (node.root / "proc/cpuinfo").write_text("\n".join(lines))
    available = node.collector().probe()
    per_processor = 4 if watts is None else watts / 4
    assert available.facts["watts_per_processor"] == per_processor
    source = "codecarbon's value for unknown processors" if watts is None else "cpu_power.csv"
    assert source in available.facts["design_power_source"]
    assert source in available.procedure


def test_design_power_is_that_of_the_processor_and_not_of_a_virtual_machine(node):
    text = "model name\t: AMD EPYC 7763 64-Core Processor\nflags\t: fpu hypervisor\n"
    (node.root / "proc/cpuinfo").write_text(text)
    available = node.collector().probe()
    assert available.facts["watts_per_processor"] == 4
    assert "unknown part of the 280 W" in available.procedure


@pytest.mark.parametrize(
    ("file", "text", "cpus"),
    [("cpu.max", "150000 100000", "1.5"), ("cpuset.cpus.effective", "0-1,3", "3")],
)
def test_procedure_mentions_cpu_limit(node, file, text, cpus):
    (node.root / "proc/self/cgroup").write_text("0::/\n")
    (node.root / "sys/fs/cgroup").mkdir(parents=True)
    (node.root / "sys/fs/cgroup" / file).write_text(text)
    procedure = node.collector().probe().procedure
    assert f"The control group allows {cpus} of the node's 4 processors" in procedure


@pytest.mark.parametrize(
    ("environ", "files", "reason", "cure"),
    [
        ({}, {"proc/cpuinfo": "flags : fpu hypervisor\n"}, "virtual machine", "CPU_TDP"),
        ({}, {"proc/cpuinfo": "flags : fpu\n", "sys/class/x/y": ""}, "no RAPL counters", "CPU_TDP"),
        ({"CH_RUNNING": "1"}, {}, "/sys is missing in the container", "the host's /sys"),
    ],
)
def test_reasons_for_missing_counters(node, environ, files, reason, cure):
    for name, text in files.items():
        (node.root / name).parent.mkdir(parents=True, exist_ok=True)
        (node.root / name).write_text(text)
    available = cpu.Cpu(CollectorContext(node.root, environ)).probe()
    absent = next(part for part in available.missing if part.what == "energy counters")
    assert reason in absent.reason
    assert cure in absent.cure


def test_counters_hidden_by_container(two_packages):
    node = two_packages
    devices = node.root / "sys/devices/virtual/powercap"
    devices.rename(node.root / "elsewhere")  # what Docker lays an empty folder over
    devices.mkdir()
    available, _ = started(node.collector())
    absent = next(part for part in available.missing if part.what == "energy counters")
    assert "systempaths=unconfined" in absent.cure
    assert available.facts["source"] == "estimate"


def test_unavailable_without_counters_and_times(node, monkeypatch):
    monkeypatch.setattr(node_reader, "cpu_times", lambda: None)
    assert isinstance(node.collector().probe(), Unavailable)


def test_counters_without_cpu_times(two_packages, monkeypatch):
    monkeypatch.setattr(node_reader, "cpu_times", lambda: None)
    available, sample = started(two_packages.collector())
    assert [part.what for part in available.missing] == ["share of the process"]
    assert sample()["cpu0", "energy"] == 0


def test_unreadable_cpu_times_are_none(node, monkeypatch):
    _, sample = started(node.collector())
    monkeypatch.setattr(node_reader, "cpu_times", lambda: None)
    assert set(sample().values()) == {None}
