"""Against a fake of NVML's library (tests/nvml.py) under the real pynvml."""

import builtins
import json

import nvml
import pynvml
import pytest

from yprov_mlflow.prov.collectors.base import CollectorContext, Unavailable
from yprov_mlflow.prov.collectors.gpu import device as gpus
from yprov_mlflow.prov.collectors.gpu.nvidia import Nvidia
from yprov_mlflow.prov.errors import CollectorError

ENERGY = "nvmlDeviceGetTotalEnergyConsumption"
MIG = ("MIG-11111111-1111-1111-1111-111111111111", "MIG-22222222-2222-2222-2222-222222222222")


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is moved."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(gpus, "monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture
def load():
    """Put a library in pynvml's way until the test ends; give it and a collector."""
    with nvml.contextlib.ExitStack() as stack:

        def enter(*devices, environ=None, root=None, **keywords):
            library = nvml.Library(*devices, **keywords)
            stack.enter_context(nvml.loaded(library))
            where = {} if root is None else {"root": root}
            return library, Nvidia(CollectorContext(environ=environ or {}, **where))

        yield enter


def several(number, **keywords):
    return [nvml.Gpu(nvml.uuid(one), **keywords) for one in range(number)]


def by_name(found, values, device="gpu0"):
    names = [(quantity.device, quantity.name) for quantity in found.quantities]
    assert len(names) == len(values)
    return {name: value for (one, name), value in zip(names, values, strict=True) if one == device}


def devices(found):
    return [device.id for device in found.devices]


# -- what is there ---------------------------------------------------------------------------


def test_one_gpu(load, clock):
    library, collector = load(nvml.Gpu(reasons=0x20))
    found = collector.probe()
    assert found.facts == {"driver": "570.86.15", "nvml": "12.570.86.15", "cuda": "12.8"}
    assert json.loads(json.dumps(dict(found.devices[0].facts))) == {
        "uuid": nvml.uuid(0),
        "pci_bus_id": "00000000:01:00.0",
        "memory_bytes": 80_000_000_000,
        "power_limit_w": 700.0,
        "compute_mode": "default",
        "mig_mode": False,
    }
    assert found.devices[0].label == "NVIDIA H100 80GB HBM3"
    assert (found.agent, found.missing) == ("nvidia-ml-py", [])
    assert found.version
    collector.start()
    library.gpus[0].energy_mj += 350_500
    clock.now += 1
    assert by_name(found, collector.sample()) == {
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


def test_quantities_say_what_they_are(load):
    _, collector = load(*several(2))
    found = collector.probe()
    energies = [one for one in found.quantities if one.component]
    assert [(one.name, one.unit, one.claim, one.device) for one in energies] == [
        ("energy", "J", nvml.uuid(0), "gpu0"),
        ("energy", "J", nvml.uuid(1), "gpu1"),
    ]
    assert all(one.cumulative == (one.name == "energy") for one in found.quantities)
    assert {one.scope for one in found.quantities} == {"device"}
    metrics = {one.system_metric: one for one in found.quantities}
    assert len(metrics) == len(found.quantities)
    assert metrics["gpu_1_memory_usage_megabytes"].scale == 1e-6


def test_names_are_those_of_mlflow_for_the_same_readings(load):
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    _, collector = load(nvml.Gpu())
    found = collector.probe()
    collector.start()
    ours = {
        quantity.system_metric: round(value * quantity.scale, 1)
        for quantity, value in zip(found.quantities, collector.sample(), strict=True)
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


def test_several_gpus_of_which_one_belongs_to_others(load):
    three = several(3)
    three[1].forbidden = True
    _, collector = load(*three)
    found = collector.probe()
    assert devices(found) == ["gpu0", "gpu2"]
    assert found.facts["gpus_of_others"] == 1
    collector.start()
    assert None not in collector.sample()


def test_no_gpu(load):
    _, collector = load(environ={"NVIDIA_VISIBLE_DEVICES": "none"})
    found = collector.probe()
    assert isinstance(found, Unavailable)
    assert found.reason == "there is no NVIDIA GPU here (NVIDIA_VISIBLE_DEVICES=none)"


def test_no_permission_for_any_gpu(load):
    _, collector = load(nvml.Gpu(forbidden=True))
    found = collector.probe()
    assert "may open none of the node's 1 GPUs" in found.reason
    assert found.cure


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "not loaded"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "may not use"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "different versions"),
    ],
)
def test_what_keeps_nvml_from_starting(load, code, reason):
    library, collector = load(nvml.Gpu(), init_error=code)
    found = collector.probe()
    assert isinstance(found, Unavailable)
    assert reason in found.reason
    assert found.cure
    assert library.users == 0


def test_an_error_that_pynvml_does_not_know(load):
    _, collector = load(nvml.Gpu(), init_error=77)
    assert collector.probe().reason == "NVML does not start: Error of a later driver"


@pytest.mark.parametrize("driver", [True, False])
def test_no_library(tmp_path, driver):
    if driver:
        (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
        (tmp_path / "proc/driver/nvidia/version").touch()
    with nvml.loaded(None):
        found = Nvidia(CollectorContext(root=tmp_path, environ={})).probe()
    assert found.reason.startswith("the driver is loaded" if driver else "there is no NVIDIA")
    assert "container" in found.cure


def test_no_pynvml(monkeypatch):
    def without(name, *rest):
        if name == "pynvml":
            raise ImportError(name)
        return real(name, *rest)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without)
    found = Nvidia(CollectorContext(environ={})).probe()
    assert (found.cure, "pynvml" in found.reason) == ("Run pip install nvidia-ml-py", True)


# -- which are visible -----------------------------------------------------------------------


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
        ({"CUDA_VISIBLE_DEVICES": "GPU-0000000"}, []),  # it could be any
        ({"CUDA_VISIBLE_DEVICES": "2", "SLURM_STEP_GPUS": "0"}, [2]),
        ({"SLURM_STEP_GPUS": "0,3", "SLURM_JOB_GPUS": "0,1,2,3"}, [0, 3]),
        ({"SLURM_JOB_GPUS": "1-2"}, [1, 2]),
        ({"SLURM_JOB_GPUS": "6,7"}, [0, 1, 2, 3]),  # numbers of a node that we see a part of
        ({"GPU_DEVICE_ORDINAL": "3"}, [3]),
        ({"NVIDIA_VISIBLE_DEVICES": "all"}, [0, 1, 2, 3]),
        ({"NVIDIA_VISIBLE_DEVICES": "void"}, [0, 1, 2, 3]),
        ({"NVIDIA_VISIBLE_DEVICES": nvml.uuid(2)}, [2]),
        ({"NVIDIA_VISIBLE_DEVICES": "1,2,3,4"}, [0, 1, 2, 3]),
    ],
)
def test_visible_devices(load, environ, expected):
    _, collector = load(*several(4), environ=environ)
    found = collector.probe()
    if expected:
        assert devices(found) == [f"gpu{one}" for one in expected]
        assert not found.missing
    else:
        assert found.reason == (
            f"no GPU is visible: CUDA_VISIBLE_DEVICES={environ['CUDA_VISIBLE_DEVICES']}"
        )


def test_numbers_count_the_gpus_that_can_be_opened(load):
    three = several(3)
    three[0].forbidden = True
    _, collector = load(*three, environ={"CUDA_VISIBLE_DEVICES": "0"})
    assert devices(collector.probe()) == ["gpu1"]
    _, collector = load(*three, environ={"SLURM_JOB_GPUS": "1"})  # the cgroup chose already
    assert devices(collector.probe()) == ["gpu1", "gpu2"]


@pytest.mark.parametrize(
    ("order", "value", "unsure"),
    [
        (None, "1", True),
        (None, " 1", True),
        (None, f"{nvml.uuid(1)},9", True),
        ("PCI_BUS_ID", "1", False),
        (None, nvml.uuid(1), False),
    ],
)
def test_order_of_different_gpus(load, order, value, unsure):
    two = several(2)
    two[1].name = "NVIDIA L4"
    environ = {"CUDA_VISIBLE_DEVICES": value} | ({"CUDA_DEVICE_ORDER": order} if order else {})
    _, collector = load(*two, environ=environ)
    found = collector.probe()
    assert devices(found) == ["gpu1"]
    assert [one.what for one in found.missing] == ["order of GPUs"] * unsure


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


def test_energy_is_of_the_whole_gpu_and_memory_of_the_instance(load):
    _, collector = load(*partitioned(), environ={"CUDA_VISIBLE_DEVICES": MIG[1]})
    found = collector.probe()
    (energy,) = [one for one in found.quantities if one.component]
    assert (energy.device, energy.claim) == ("gpu0", nvml.uuid(0))
    (memory,) = [one for one in found.quantities if one.device == "gpu0-mig1"]
    assert (memory.name, memory.claim) == ("memory_used", MIG[1])
    assert memory.system_metric == "gpu_0_mig_1_memory_usage_megabytes"
    assert {one.what: one.reason for one in found.missing} == {
        "gpu0 utilization, memory_utilization": "Not Supported",
        "gpu0-mig1 energy, power": "they are known of the whole gpu0 only, "
        "not of an instance in it",
    }
    assert found.devices[0].facts["mig_mode"] is True
    assert found.devices[1].facts["gpu"] == "gpu0"
    collector.start()
    assert by_name(found, collector.sample(), "gpu0-mig1") == {"memory_used": 2e9}


def test_an_instance_that_does_not_know_its_memory(load):
    gpus = partitioned()
    gpus[0].migs[1].errors["nvmlDeviceGetMemoryInfo"] = pynvml.NVML_ERROR_NO_PERMISSION
    _, collector = load(*gpus, environ={"CUDA_VISIBLE_DEVICES": MIG[1]})
    found = collector.probe()
    assert "gpu0-mig1 memory_used" in [one.what for one in found.missing]
    assert "gpu0-mig1" not in {one.device for one in found.quantities}


# -- what a GPU lacks ------------------------------------------------------------------------


def test_power_is_integrated_where_there_is_no_counter(load, clock):
    library, collector = load(nvml.Gpu(energy_mj=nvml.MISSING))
    found = collector.probe()
    (missing,) = found.missing
    assert missing.what == f"gpu0 {gpus.COUNTER}"
    assert "power integrated" in missing.reason
    collector.start()
    for watts in (350, 450, 450):
        library.gpus[0].power_mw = watts * 1000
        clock.now += 2
        values = by_name(found, collector.sample())
    assert values["energy"] == 700 + 800 + 900
    library.gpus[0].errors["nvmlDeviceGetPowerUsage"] = pynvml.NVML_ERROR_TIMEOUT
    values = by_name(found, collector.sample())
    assert (values["energy"], values["power"], values["temperature"]) == (None, None, 61)


@pytest.mark.parametrize("count", [2**64 - 1, 0])
def test_a_counter_that_never_counted(load, count):
    _, collector = load(nvml.Gpu(energy_mj=count))
    found = collector.probe()
    assert found.missing[0].reason.startswith("what is read makes no sense; energy is power")
    collector.start()
    assert None not in collector.sample()


def test_a_gpu_that_knows_its_memory_only(load):
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
    found = collector.probe()
    assert [one.name for one in found.quantities] == ["memory_used"]
    assert len(found.missing) == 8
    assert "mig_mode" not in found.devices[0].facts
    collector.start()
    assert collector.sample() == [30e9]


def test_a_gpu_of_which_nothing_is_known_is_named_and_no_loss(load):
    nothing = nvml.Gpu(
        nvml.uuid(1),
        **dict.fromkeys(["energy_mj", "power_mw", "limit_mw", "utilization", "used"]),
        temperature=None,
        clocks={},
        reasons=None,
    )
    _, collector = load(nvml.Gpu(), nothing)
    found = collector.probe()
    assert devices(found) == ["gpu0", "gpu1"]
    assert len(found.missing) == 9
    collector.start()
    assert len(collector.sample()) == len(found.quantities) == 11


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (pynvml.NVML_COMPUTEMODE_EXCLUSIVE_THREAD, "exclusive thread"),
        (pynvml.NVML_COMPUTEMODE_PROHIBITED, "prohibited"),
        (pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS, "exclusive process"),
        (9, 9),
    ],
)
def test_the_compute_mode_in_words(load, mode, said):
    _, collector = load(nvml.Gpu(compute_mode=mode))
    assert collector.probe().devices[0].facts["compute_mode"] == said


def test_a_sensor_that_needs_permission(load):
    denied = {"nvmlDeviceGetPowerUsage": pynvml.NVML_ERROR_NO_PERMISSION}
    _, collector = load(nvml.Gpu(errors=denied))
    (missing,) = collector.probe().missing
    assert (missing.what, missing.reason) == ("gpu0 power", "Insufficient Permissions")


def test_an_older_driver_lacks_newer_functions(load):
    newer = ["nvmlDeviceGetTemperatureV", "nvmlDeviceGetCurrentClocksEventReasons"]
    _, collector = load(nvml.Gpu(reasons=0x4), without=newer)
    found = collector.probe()
    assert not found.missing
    collector.start()
    values = by_name(found, collector.sample())
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
def test_what_throttles(load, reason, expected):
    _, collector = load(nvml.Gpu(reasons=getattr(pynvml, f"nvmlClocksThrottleReason{reason}")))
    found = collector.probe()
    collector.start()
    values = by_name(found, collector.sample())
    assert (values["throttled"], values["throttled_thermal"]) == expected


# -- counters --------------------------------------------------------------------------------


def energies(load, clock, counts):
    library, collector = load(nvml.Gpu(energy_mj=counts[0]))
    found = collector.probe()
    collector.start()
    values = []
    for count in counts[1:]:
        library.gpus[0].energy_mj = count
        clock.now += 1
        values.append(by_name(found, collector.sample())["energy"])
    return values


@pytest.mark.parametrize("span", [2**32, 2**64])
def test_a_counter_that_wraps(load, clock, span):
    counts = [span - 400_000, span - 100_000, 200_000, 500_000]
    assert energies(load, clock, counts) == pytest.approx([300, 600, 900])


def test_a_driver_that_is_loaded_anew(load, clock):
    counts = [9_000_000, 9_300_000, 50_000, 350_000]
    assert energies(load, clock, counts) == pytest.approx([300, None, 600])


def test_a_counter_of_nonsense_does_not_count(load, clock):
    counts = [9_000_000, 2**64 - 1, 9_600_000, 2**32 - 1, 8 * 10**9, 10_500_000]
    assert energies(load, clock, counts) == pytest.approx([None, 600, None, None, 1500])


def test_a_counter_that_jumps_for_good_counts_on(load, clock):
    counts = [9_000_000, 8 * 10**9, 8 * 10**9 + 300_000, 8 * 10**9 + 600_000]
    assert energies(load, clock, counts) == pytest.approx([None, 300, 600])


def test_a_counter_that_stands_still_is_no_energy_of_0(load, clock):
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
def test_values_of_nonsense_are_none(load, attribute, value, names):
    library, collector = load(nvml.Gpu())
    found = collector.probe()
    collector.start()
    setattr(library.gpus[0], attribute, value)
    values = by_name(found, collector.sample())
    assert [name for name, one in values.items() if one is None] == names


# -- loss, and others in this process --------------------------------------------------------


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_UNKNOWN])
def test_gpus_that_fall_off_the_bus(load, code):
    library, collector = load(*several(3))
    found = collector.probe()
    collector.start()
    library.gpus[0].lost = library.gpus[2].lost = code
    with pytest.raises(CollectorError, match=r"can read nothing of gpu0, gpu2 \((GPU|Unknown)"):
        collector.sample()
    values = collector.sample()
    assert set(by_name(found, values, "gpu0").values()) == {None}
    assert by_name(found, values, "gpu1")["power"] == 350
    library.gpus[1].lost = code
    with pytest.raises(CollectorError, match="nothing of gpu1 "):
        collector.sample()
    assert collector.sample() == [None] * len(found.quantities)
    collector.stop()
    assert library.users == 0


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_UNKNOWN])
def test_one_sensor_that_fails_once_is_no_loss(load, clock, code):
    library, collector = load(nvml.Gpu())
    found = collector.probe()
    collector.start()
    library.gpus[0].errors["nvmlDeviceGetPowerUsage"] = code
    clock.now += 1
    library.gpus[0].energy_mj += 300_000
    values = by_name(found, collector.sample())
    assert (values["energy"], values["power"]) == (pytest.approx(300), None)
    library.gpus[0].errors.clear()
    assert by_name(found, collector.sample())["power"] == 350


def test_lost_before_the_probe(load):
    two = several(2)
    two[0].lost = pynvml.NVML_ERROR_GPU_IS_LOST
    _, collector = load(*two)
    found = collector.probe()
    assert devices(found) == ["gpu1"]
    assert [(one.what, one.reason) for one in found.missing] == [("gpu0", "GPU is lost")]
    _, collector = load(two[0])
    assert collector.probe().reason == "gpu0: GPU is lost"


def test_lost_between_probe_and_start(load):
    library, collector = load(*several(2))
    found = collector.probe()
    library.gpus[1].lost = pynvml.NVML_ERROR_GPU_IS_LOST
    collector.start()
    with pytest.raises(CollectorError, match="nothing of gpu1 "):
        collector.sample()
    values = collector.sample()
    assert set(by_name(found, values, "gpu1").values()) == {None}
    assert by_name(found, values, "gpu0")["power"] == 350


def test_totals_begin_again_after_stop(load, clock):
    library, collector = load(nvml.Gpu())
    found = collector.probe()
    for _ in range(2):
        collector.start()
        clock.now += 1
        library.gpus[0].energy_mj += 300_000
        assert by_name(found, collector.sample())["energy"] == pytest.approx(300)
        collector.stop()
        library.gpus[0].energy_mj += 10_000_000
    assert library.users == 0


def test_gpus_stay_awake_from_the_probe_to_the_stop(load):
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
def test_a_probe_that_finds_nothing_leaves_nvml(load, devices):
    library, collector = load(*devices)
    assert isinstance(collector.probe(), Unavailable)
    assert (library.users, library.ends) == (0, 1)


def test_other_users_of_nvml_keep_theirs(load):
    library, collector = load(nvml.Gpu())
    pynvml.nvmlInit()
    collector.probe()
    collector.start()
    collector.stop()
    assert library.users == 1
    assert pynvml.nvmlDeviceGetCount() == 1


@pytest.mark.parametrize("started", [True, False])
def test_someone_shuts_nvml_down_under_us(load, clock, started):
    library, collector = load(*several(2))
    found = collector.probe()
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
    assert by_name(found, values, "gpu1")["energy"] == pytest.approx(300)
    collector.stop()
    assert library.users == 0


def test_a_sample_is_one_call_for_each_gauge(load):
    library, collector = load(*several(8))
    collector.probe()
    collector.start()
    library.reads = 0
    collector.sample()
    assert library.reads == 8 * 9
