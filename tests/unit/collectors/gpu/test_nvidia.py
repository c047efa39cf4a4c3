"""The NVIDIA collector against a fake of NVML's library (tests/nvml.py), with the real pynvml."""

import builtins
import json
import os
from types import SimpleNamespace

import pynvml
import pytest
from support.fakes import nvml

from yprov_mlflow.prov.collectors.base import CollectorContext, Unavailable
from yprov_mlflow.prov.collectors.gpu import device as gpus
from yprov_mlflow.prov.collectors.gpu.nvidia import Nvidia
from yprov_mlflow.prov.collectors.system import processes
from yprov_mlflow.prov.errors import CollectorError

ENERGY = "nvmlDeviceGetTotalEnergyConsumption"
MIG = ("MIG-11111111-1111-1111-1111-111111111111", "MIG-22222222-2222-2222-2222-222222222222")


@pytest.fixture
def clock(monkeypatch):
    """A clock that only tests advance."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(gpus, "monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture
def load():
    """Return a function that replaces NVML's library; it returns the library and a collector."""
    with nvml.contextlib.ExitStack() as stack:

        def enter(*devices, environ=None, root=None, **keywords):
            library = nvml.Library(*devices, **keywords)
            stack.enter_context(nvml.loaded(library))
            where = {} if root is None else {"root": root}
            return library, Nvidia(CollectorContext(environ=environ or {}, **where))

        yield enter


def several(number, **keywords):
    return [nvml.Gpu(nvml.uuid(index), **keywords) for index in range(number)]


def by_name(result, values, device="gpu0"):
    names = [(quantity.device, quantity.name) for quantity in result.quantities]
    assert len(names) == len(values)
    return {name: v for (owner, name), v in zip(names, values, strict=True) if owner == device}


def devices(result):
    return [device.id for device in result.devices]


# -- probe ----------------------------------------------------------------------------------


def test_one_gpu(load, clock):
    library, collector = load(nvml.Gpu(reasons=0x20))
    result = collector.probe()
    assert result.facts == {"driver": "570.86.15", "nvml": "12.570.86.15", "cuda": "12.8"}
    assert json.loads(json.dumps(dict(result.devices[0].facts))) == {
        "uuid": nvml.uuid(0),
        "pci_bus_id": "00000000:01:00.0",
        "memory_bytes": 80_000_000_000,
        "power_limit_w": 700.0,
        "compute_mode": "default",
        "mig_mode": False,
        "use_by_process": "unknown: Not Supported",
    }
    assert result.devices[0].label == "NVIDIA H100 80GB HBM3"
    assert (result.agent, result.missing) == ("nvidia-ml-py", [])
    assert result.version
    collector.start()
    library.gpus[0].energy_mj += 350_500
    clock.now += 1
    assert by_name(result, collector.sample()) == {
        "energy": pytest.approx(350.5),
        "power": 350.0,
        "utilization": 97.0,
        "memory_utilization": 41.0,
        "memory_used": 30e9,
        "temperature": 61.0,
        "sm_clock": 1980.0,
        "memory_clock": 2619.0,
        "throttled": 100.0,
        "throttled_thermal": 100.0,
        "power_limit": 700.0,
    }
    collector.stop()
    assert collector.sample() == []
    assert library.users == 0


def test_quantity_fields(load):
    _, collector = load(*several(2))
    result = collector.probe()
    energies = [quantity for quantity in result.quantities if quantity.component]
    assert [(q.name, q.unit, q.claim, q.device) for q in energies] == [
        ("energy", "J", nvml.uuid(0), "gpu0"),
        ("energy", "J", nvml.uuid(1), "gpu1"),
    ]
    assert all(quantity.cumulative == (quantity.name == "energy") for quantity in result.quantities)
    assert {quantity.scope for quantity in result.quantities} == {"device"}
    metrics = {quantity.system_metric: quantity for quantity in result.quantities}
    assert len(metrics) == len(result.quantities)
    assert metrics["gpu_1_memory_usage_megabytes"].scale == 1e-6


def test_system_metrics_have_mlflow_names(load):
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    _, collector = load(nvml.Gpu())
    result = collector.probe()
    collector.start()
    ours = {
        quantity.system_metric: round(value * quantity.scale, 1)
        for quantity, value in zip(result.quantities, collector.sample(), strict=True)
    }
    monitor = GPUMonitor()
    monitor.collect_metrics()
    theirs = monitor.aggregate_metrics()
    shared = {name: ours[name] for name in theirs if name in ours}
    assert shared == {name: theirs[name] for name in shared}
    assert set(theirs) - set(shared) == {
        "gpu_0_memory_usage_percentage",
        "gpu_0_power_usage_percentage",
    }


def test_gpu_of_another_job(load):
    three = several(3)
    three[1].forbidden = True
    _, collector = load(*three)
    result = collector.probe()
    assert devices(result) == ["gpu0", "gpu2"]
    assert result.facts["gpus_of_others"] == 1
    collector.start()
    assert None not in collector.sample()


def test_no_gpu(load):
    _, collector = load(environ={"NVIDIA_VISIBLE_DEVICES": "none"})
    result = collector.probe()
    assert isinstance(result, Unavailable)
    assert result.reason == "no NVIDIA GPU (NVIDIA_VISIBLE_DEVICES=none)"


def test_no_permission_for_any_gpu(load):
    _, collector = load(nvml.Gpu(forbidden=True))
    result = collector.probe()
    assert "may open none of the node's 1 GPUs" in result.reason
    assert result.cure


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "not loaded"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "may not use"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "different versions"),
    ],
)
def test_nvml_init_failures(load, code, reason):
    library, collector = load(nvml.Gpu(), init_error=code)
    result = collector.probe()
    assert isinstance(result, Unavailable)
    assert reason in result.reason
    assert result.cure
    assert library.users == 0


def test_unknown_nvml_error(load):
    _, collector = load(nvml.Gpu(), init_error=77)
    assert collector.probe().reason == "NVML does not start: Error of a later driver"


@pytest.mark.parametrize("driver", [True, False])
def test_no_library(tmp_path, driver):
    if driver:
        (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
        (tmp_path / "proc/driver/nvidia/version").touch()
    with nvml.loaded(None):
        result = Nvidia(CollectorContext(root=tmp_path, environ={})).probe()
    assert result.reason.startswith("the NVIDIA driver is loaded" if driver else "no NVIDIA driver")
    assert "container" in result.cure


def test_no_pynvml(monkeypatch):
    def without(name, *rest):
        if name == "pynvml":
            raise ImportError(name)
        return real(name, *rest)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without)
    result = Nvidia(CollectorContext(environ={})).probe()
    assert (result.cure, "pynvml" in result.reason) == ("Run pip install nvidia-ml-py", True)


# -- visible devices ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, [0, 1, 2, 3]),
        ({"CUDA_VISIBLE_DEVICES": "2,0"}, [0, 2]),
        ({"CUDA_VISIBLE_DEVICES": "0,2,-1,1"}, [0, 2]),
        ({"CUDA_VISIBLE_DEVICES": "1,9,2"}, [1]),
        ({"CUDA_VISIBLE_DEVICES": " 3 "}, [3]),
        ({"CUDA_VISIBLE_DEVICES": "1,1"}, []),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, []),
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
        ({"CUDA_VISIBLE_DEVICES": "none"}, []),
        ({"CUDA_VISIBLE_DEVICES": nvml.uuid(1)}, [1]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-00000003,GPU-00000001"}, [1, 3]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-0000000"}, []),  # ambiguous
        ({"CUDA_VISIBLE_DEVICES": "2", "SLURM_STEP_GPUS": "0"}, [2]),
        ({"SLURM_STEP_GPUS": "0,3", "SLURM_JOB_GPUS": "0,1,2,3"}, [0, 3]),
        ({"SLURM_JOB_GPUS": "1-2"}, [1, 2]),
        ({"SLURM_JOB_GPUS": "6,7"}, [0, 1, 2, 3]),  # numbers of the whole node
        ({"GPU_DEVICE_ORDINAL": "3"}, [3]),
        ({"NVIDIA_VISIBLE_DEVICES": "all"}, [0, 1, 2, 3]),
        ({"NVIDIA_VISIBLE_DEVICES": "void"}, [0, 1, 2, 3]),
        ({"NVIDIA_VISIBLE_DEVICES": nvml.uuid(2)}, [2]),
        ({"NVIDIA_VISIBLE_DEVICES": "1,2,3,4"}, [0, 1, 2, 3]),
    ],
)
def test_visible_devices(load, environ, expected):
    _, collector = load(*several(4), environ=environ)
    result = collector.probe()
    if expected:
        assert devices(result) == [f"gpu{number}" for number in expected]
        assert not result.missing
    else:
        assert result.reason == (
            f"no GPU is visible: CUDA_VISIBLE_DEVICES={environ['CUDA_VISIBLE_DEVICES']}"
        )


def test_ordinals_count_accessible_gpus(load):
    three = several(3)
    three[0].forbidden = True
    _, collector = load(*three, environ={"CUDA_VISIBLE_DEVICES": "0"})
    assert devices(collector.probe()) == ["gpu1"]
    _, collector = load(
        *three, environ={"SLURM_JOB_GPUS": "1"}
    )  # the control group already selects
    assert devices(collector.probe()) == ["gpu1", "gpu2"]


@pytest.mark.parametrize(
    ("order", "value", "ambiguous"),
    [
        (None, "1", True),
        (None, " 1", True),
        (None, f"{nvml.uuid(1)},9", True),
        ("PCI_BUS_ID", "1", False),
        (None, nvml.uuid(1), False),
    ],
)
def test_order_of_different_gpus(load, order, value, ambiguous):
    two = several(2)
    two[1].name = "NVIDIA L4"
    environ = {"CUDA_VISIBLE_DEVICES": value} | ({"CUDA_DEVICE_ORDER": order} if order else {})
    _, collector = load(*two, environ=environ)
    result = collector.probe()
    assert devices(result) == ["gpu1"]
    assert [part.what for part in result.missing] == ["order of GPUs"] * ambiguous


# -- MIG -------------------------------------------------------------------------------------


def partitioned():
    migs = [nvml.Mig(MIG[0], gpu_instance=1), nvml.Mig(MIG[1], gpu_instance=10, used=2 * 10**9)]
    return [nvml.Gpu(nvml.uuid(0), mig_mode=1, migs=migs), nvml.Gpu(nvml.uuid(1))]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (MIG[1], ["gpu0", "gpu0-mig1"]),
        ("MIG-2222", ["gpu0", "gpu0-mig1"]),
        (f"MIG-{nvml.uuid(0)}/1/0", ["gpu0", "gpu0-mig0"]),
        ("0", ["gpu0", "gpu0-mig0", "gpu0-mig1"]),
        ("1", ["gpu1"]),
    ],
)
def test_mig_instances(load, value, expected):
    _, collector = load(*partitioned(), environ={"CUDA_VISIBLE_DEVICES": value})
    assert devices(collector.probe()) == expected


def test_mig_energy_of_gpu_and_memory_of_instance(load):
    _, collector = load(*partitioned(), environ={"CUDA_VISIBLE_DEVICES": MIG[1]})
    result = collector.probe()
    (energy,) = [quantity for quantity in result.quantities if quantity.component]
    assert (energy.device, energy.claim) == ("gpu0", nvml.uuid(0))
    (memory,) = [quantity for quantity in result.quantities if quantity.device == "gpu0-mig1"]
    assert (memory.name, memory.claim) == ("memory_used", MIG[1])
    assert memory.system_metric == "gpu_0_mig_1_memory_usage_megabytes"
    assert {part.what: part.reason for part in result.missing} == {
        "gpu0 utilization, memory_utilization": "Not Supported",
        "gpu0-mig1 energy, power": "only measured for the whole gpu0, not for an instance of it",
    }
    assert result.devices[0].facts["mig_mode"] is True
    assert result.devices[1].facts["gpu"] == "gpu0"
    collector.start()
    assert by_name(result, collector.sample(), "gpu0-mig1") == {"memory_used": 2e9}


def test_mig_instance_without_memory(load):
    gpus = partitioned()
    gpus[0].migs[1].errors["nvmlDeviceGetMemoryInfo"] = pynvml.NVML_ERROR_NO_PERMISSION
    _, collector = load(*gpus, environ={"CUDA_VISIBLE_DEVICES": MIG[1]})
    result = collector.probe()
    assert "gpu0-mig1 memory_used" in [part.what for part in result.missing]
    assert "gpu0-mig1" not in {quantity.device for quantity in result.quantities}


# -- missing readings ------------------------------------------------------------------------


def test_power_is_integrated_without_energy_counter(load, clock):
    library, collector = load(nvml.Gpu(energy_mj=nvml.MISSING))
    result = collector.probe()
    (missing,) = result.missing
    assert missing.what == f"gpu0 {gpus.COUNTER}"
    assert "integrated from power" in missing.reason
    collector.start()
    for watts in (350, 450, 450):
        library.gpus[0].power_mw = watts * 1000
        clock.now += 2
        values = by_name(result, collector.sample())
    assert values["energy"] == 700 + 800 + 900
    library.gpus[0].errors["nvmlDeviceGetPowerUsage"] = pynvml.NVML_ERROR_TIMEOUT
    values = by_name(result, collector.sample())
    assert (values["energy"], values["power"], values["temperature"]) == (None, None, 61)


@pytest.mark.parametrize("count", [2**64 - 1, 0])
def test_unsupported_energy_counter(load, count):
    _, collector = load(nvml.Gpu(energy_mj=count))
    result = collector.probe()
    assert result.missing[0].reason.startswith("the reading is invalid; energy is integrated")
    collector.start()
    assert None not in collector.sample()


def test_gpu_with_memory_only(load):
    _, collector = load(
        nvml.Gpu(
            energy_mj=None,
            power_mw=None,
            limit_mw=None,
            utilization=None,
            temperature=None,
            clocks={},
            reasons=None,
            mig_mode=None,
        )
    )
    result = collector.probe()
    assert [quantity.name for quantity in result.quantities] == ["memory_used"]
    assert len(result.missing) == 8
    assert "mig_mode" not in result.devices[0].facts
    collector.start()
    assert collector.sample() == [30e9]


def test_gpu_without_readings_is_listed_but_not_lost(load):
    nothing = nvml.Gpu(
        nvml.uuid(1),
        **dict.fromkeys(["energy_mj", "power_mw", "limit_mw", "utilization", "used"]),
        temperature=None,
        clocks={},
        reasons=None,
    )
    _, collector = load(nvml.Gpu(), nothing)
    result = collector.probe()
    assert devices(result) == ["gpu0", "gpu1"]
    assert len(result.missing) == 9
    collector.start()
    assert len(collector.sample()) == len(result.quantities) == 11


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (pynvml.NVML_COMPUTEMODE_EXCLUSIVE_THREAD, "exclusive thread"),
        (pynvml.NVML_COMPUTEMODE_PROHIBITED, "prohibited"),
        (pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS, "exclusive process"),
        (9, 9),
    ],
)
def test_compute_mode(load, mode, said):
    _, collector = load(nvml.Gpu(compute_mode=mode))
    assert collector.probe().devices[0].facts["compute_mode"] == said


def test_sensor_without_permission(load):
    denied = {"nvmlDeviceGetPowerUsage": pynvml.NVML_ERROR_NO_PERMISSION}
    _, collector = load(nvml.Gpu(errors=denied))
    (missing,) = collector.probe().missing
    assert (missing.what, missing.reason) == ("gpu0 power", "Insufficient Permissions")


def test_older_driver(load):
    newer = ["nvmlDeviceGetTemperatureV", "nvmlDeviceGetCurrentClocksEventReasons"]
    _, collector = load(nvml.Gpu(reasons=0x4), without=newer)
    result = collector.probe()
    assert not result.missing
    collector.start()
    values = by_name(result, collector.sample())
    assert (values["temperature"], values["throttled"]) == (61, 100)
    assert values["throttled_thermal"] == 0
    _, collector = load(nvml.Gpu(), without=[ENERGY])
    (missing,) = collector.probe().missing
    assert missing.reason.startswith("the driver is too old for it")


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("GpuIdle", (0, 0)),
        ("ApplicationsClocksSetting", (0, 0)),
        ("SwPowerCap", (100, 0)),
        ("HwSlowdown", (100, 0)),
        ("SyncBoost", (0, 0)),
        ("SwThermalSlowdown", (100, 100)),
        ("HwThermalSlowdown", (100, 100)),
        ("HwPowerBrakeSlowdown", (100, 0)),
        ("DisplayClockSetting", (0, 0)),
        ("BoardLimit", (100, 0)),
        ("Reliability", (100, 0)),
    ],
)
def test_throttle_reasons(load, reason, expected):
    _, collector = load(nvml.Gpu(reasons=getattr(pynvml, f"nvmlClocksThrottleReason{reason}")))
    result = collector.probe()
    collector.start()
    values = by_name(result, collector.sample())
    assert (values["throttled"], values["throttled_thermal"]) == expected


# -- counters --------------------------------------------------------------------------------


def energies(load, clock, counts):
    library, collector = load(nvml.Gpu(energy_mj=counts[0]))
    result = collector.probe()
    collector.start()
    values = []
    for count in counts[1:]:
        library.gpus[0].energy_mj = count
        clock.now += 1
        values.append(by_name(result, collector.sample())["energy"])
    return values


@pytest.mark.parametrize("span", [2**32, 2**64])
def test_counter_overflow(load, clock, span):
    counts = [span - 400_000, span - 100_000, 200_000, 500_000]
    assert energies(load, clock, counts) == pytest.approx([300, 600, 900])


def test_driver_reload(load, clock):
    counts = [9_000_000, 9_300_000, 50_000, 350_000]
    assert energies(load, clock, counts) == pytest.approx([300, None, 600])


def test_implausible_counts_are_ignored(load, clock):
    counts = [9_000_000, 2**64 - 1, 9_600_000, 2**32 - 1, 8 * 10**9, 10_500_000]
    assert energies(load, clock, counts) == pytest.approx([None, 600, None, None, 1500])


def test_counter_jump(load, clock):
    counts = [9_000_000, 8 * 10**9, 8 * 10**9 + 300_000, 8 * 10**9 + 600_000]
    assert energies(load, clock, counts) == pytest.approx([None, 300, 600])


def test_unchanged_counter_is_none_not_zero(load, clock):
    counts = [9_000_000, 9_000_000, 9_000_000, 9_000_000, 9_300_000, 9_300_000]
    assert energies(load, clock, counts) == [0, None, None, 300, None]


@pytest.mark.parametrize(
    ("attribute", "value", "names"),
    [
        ("power_mw", 0xFFFFFFFF, ["power"]),
        ("power_mw", 0, ["power"]),
        ("utilization", (0xFFFFFFFF, 101), ["utilization", "memory_utilization"]),
        ("used", 80_000_000_001, ["memory_used"]),
        ("temperature", -274, ["temperature"]),
        ("temperature", 255, ["temperature"]),
        ("clocks", {1: 0xFFFFFFFF, 2: 0xFFFFFFFF}, ["sm_clock", "memory_clock"]),
        ("limit_mw", 0xFFFFFFFF, ["power_limit"]),
    ],
)
def test_invalid_values_are_none(load, attribute, value, names):
    library, collector = load(nvml.Gpu())
    result = collector.probe()
    collector.start()
    setattr(library.gpus[0], attribute, value)
    values = by_name(result, collector.sample())
    assert [name for name, reading in values.items() if reading is None] == names


# -- lost GPUs and other users of NVML --------------------------------------------------------


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_UNKNOWN])
def test_lost_gpus(load, code):
    library, collector = load(*several(3))
    result = collector.probe()
    collector.start()
    library.gpus[0].lost = library.gpus[2].lost = code
    with pytest.raises(CollectorError, match=r"can read nothing from gpu0, gpu2 \((GPU|Unknown)"):
        collector.sample()
    values = collector.sample()
    assert set(by_name(result, values, "gpu0").values()) == {None}
    assert by_name(result, values, "gpu1")["power"] == 350
    library.gpus[1].lost = code
    with pytest.raises(CollectorError, match="nothing from gpu1 "):
        collector.sample()
    assert collector.sample() == [None] * len(result.quantities)
    collector.stop()
    assert library.users == 0


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_UNKNOWN])
def test_failing_sensor_is_not_a_lost_gpu(load, clock, code):
    library, collector = load(nvml.Gpu())
    result = collector.probe()
    collector.start()
    library.gpus[0].errors["nvmlDeviceGetPowerUsage"] = code
    clock.now += 1
    library.gpus[0].energy_mj += 300_000
    values = by_name(result, collector.sample())
    assert (values["energy"], values["power"]) == (pytest.approx(300), None)
    library.gpus[0].errors.clear()
    assert by_name(result, collector.sample())["power"] == 350


def test_gpu_lost_before_probe(load):
    two = several(2)
    two[0].lost = pynvml.NVML_ERROR_GPU_IS_LOST
    _, collector = load(*two)
    result = collector.probe()
    assert devices(result) == ["gpu1"]
    assert [(part.what, part.reason) for part in result.missing] == [("gpu0", "GPU is lost")]
    _, collector = load(two[0])
    assert collector.probe().reason == "gpu0: GPU is lost"


def test_gpu_lost_between_probe_and_start(load):
    library, collector = load(*several(2))
    result = collector.probe()
    library.gpus[1].lost = pynvml.NVML_ERROR_GPU_IS_LOST
    collector.start()
    with pytest.raises(CollectorError, match="nothing from gpu1 "):
        collector.sample()
    values = collector.sample()
    assert set(by_name(result, values, "gpu1").values()) == {None}
    assert by_name(result, values, "gpu0")["power"] == 350


def test_totals_restart_after_stop(load, clock):
    library, collector = load(nvml.Gpu())
    result = collector.probe()
    for _ in range(2):
        collector.start()
        clock.now += 1
        library.gpus[0].energy_mj += 300_000
        assert by_name(result, collector.sample())["energy"] == pytest.approx(300)
        collector.stop()
        library.gpus[0].energy_mj += 10_000_000
    assert library.users == 0


def test_nvml_stays_open_from_probe_to_stop(load):
    library, collector = load(nvml.Gpu())
    collector.probe()
    for _ in range(2):
        collector.start()
        assert (library.users, library.ends) == (1, 0)
        collector.sample()
        collector.stop()
        assert (library.users, library.ends) == (0, 1)
        library.ends = 0


@pytest.mark.parametrize("devices", [[], [nvml.Gpu(forbidden=True)]], ids=len)
def test_unavailable_probe_closes_nvml(load, devices):
    library, collector = load(*devices)
    assert isinstance(collector.probe(), Unavailable)
    assert (library.users, library.ends) == (0, 1)


def test_other_nvml_users_are_unaffected(load):
    library, collector = load(nvml.Gpu())
    pynvml.nvmlInit()
    collector.probe()
    collector.start()
    collector.stop()
    assert library.users == 1
    assert pynvml.nvmlDeviceGetCount() == 1


@pytest.mark.parametrize("started", [True, False])
def test_shutdown_by_other_code_is_recovered(load, clock, started):
    library, collector = load(*several(2))
    result = collector.probe()
    if started:
        collector.start()
        pynvml.nvmlShutdown()
    else:
        pynvml.nvmlShutdown()
        collector.start()
    clock.now += 1
    for gpu in library.gpus:
        gpu.energy_mj += 300_000
    values = collector.sample()
    assert None not in values
    assert by_name(result, values, "gpu1")["energy"] == pytest.approx(300)
    collector.stop()
    assert library.users == 0


def test_sample_calls_each_gauge_once(load):
    library, collector = load(*several(8))
    collector.probe()
    collector.start()
    library.reads = 0
    collector.sample()
    assert library.reads == 8 * 9


# -- share of the run -----------------------------------------------------------------------


def test_share_of_a_gpu_that_others_use_too(load, clock, monkeypatch):
    child, other = 7, 99_999_999
    library, collector = load(nvml.Gpu(uses=[(other, 1, 90)]))
    context = CollectorContext(environ={}, children_pids=lambda: {child})
    collector.context = context
    monkeypatch.setattr(processes, "in_first_namespace", lambda root: True)
    own = os.getpid()
    tree = SimpleNamespace(read=lambda: None, pids=lambda: {own, child})
    monkeypatch.setattr(processes, "shared_tree", lambda root: tree)
    result = collector.probe()
    assert [(q.scope, q.method, q.share_of) for q in result.quantities][-1] == (
        *("process", "estimated", "gpu"),
    )
    collector.start()
    (gpu,) = library.gpus

    def share(joules, *uses, seconds=1.0):
        gpu.energy_mj += joules * 1000
        gpu.uses = [*gpu.uses, *uses]
        clock.now += seconds
        return collector.sample()[-1]

    assert share(100, seconds=3) == 0, "idle power belongs to no run"
    assert share(100, (own, 2, 30)) == pytest.approx(30)
    assert share(100, (own, 3, 20), (own, 4, 40), (other, 4, 50)) == pytest.approx(60)
    assert share(100, (own, 5, 90), (other, 5, 90)) == pytest.approx(110)
    assert share(100, (child, 6, 90)) == pytest.approx(110), "it has a run of its own"
    assert share(50, seconds=0.1) == pytest.approx(110), "NVML has no new sample yet"
    assert share(50, (own, 7, 40)) == pytest.approx(150)
    assert share(100, seconds=3) == pytest.approx(150)
    assert share(10, (own, 8, 50)) == pytest.approx(155), "the GPU was idle before"


def test_share_of_a_gpu_is_unknown_in_a_container(load, tmp_path):
    _, collector = load(nvml.Gpu(uses=[]), root=tmp_path)
    result = collector.probe()
    assert "numbers processes as the host" in result.devices[0].facts["use_by_process"]
    assert not any(quantity.share_of for quantity in result.quantities)
