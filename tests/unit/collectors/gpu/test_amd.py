"""The AMD collector against a fake of the module amdsmi, never against a real AMD GPU.

The fake follows AMD SMI's documentation, including answers that differ between versions.
"""

import importlib
import sys
import types

import pytest

from yprov_mlflow.prov.collectors.base import CollectorContext
from yprov_mlflow.prov.collectors.gpu import device as gpus
from yprov_mlflow.prov.collectors.gpu.amd import Amd
from yprov_mlflow.prov.collectors.gpu.device import COUNTER
from yprov_mlflow.prov.errors import CollectorError

INVALID, NOT_SUPPORTED, NOT_FOUND, NOT_INIT = 1, 2, 31, 32
RESOLUTION_UJ = 15.259


class AmdSmiException(Exception):
    def __init__(self, code):
        super().__init__(f"Error code:\n\t{code}")
        self.err_code = code
        self.err_info = {NOT_SUPPORTED: "AMDSMI_STATUS_NOT_SUPPORTED"}.get(code, "")


class Card:
    def __init__(self, number):
        self.uuid = f"{number:02x}ff74a1-0000-1000-80{number:02x}-5aa5a55a5aa5"
        self.serial = f"0xABCDEF00000000{number:02X}"
        self.address = f"0000:{number:02x}:00.0"
        self.energy = {"energy_accumulator": 10**9, "counter_resolution": RESOLUTION_UJ}
        self.power = {"socket_power": 400, "average_socket_power": "N/A", "power_limit": 7}
        self.activity = {"gfx_activity": 88, "umc_activity": 21, "mm_activity": "N/A"}
        self.vram = {"vram_total": 196592, "vram_used": 1024}
        self.temperatures = {"hotspot": 71}
        self.clocks = {"gfx": {"clk": 2100}, "mem": {"clk": 1300}}
        self.cap = {"power_cap": 750_000_000}
        self.lost = False


class Smi(types.ModuleType):
    """The functions of the module that the collector uses."""

    AmdSmiException = AmdSmiException
    AmdSmiTemperatureType = types.SimpleNamespace(EDGE="edge", HOTSPOT="hotspot")
    AmdSmiTemperatureMetric = types.SimpleNamespace(CURRENT="current")
    AmdSmiClkType = types.SimpleNamespace(GFX="gfx", MEM="mem")
    __version__ = "26.0.0"

    def __init__(self, *cards, refuse=0):
        super().__init__("amdsmi")
        self.cards, self.refuse, self.handles = list(cards), refuse, None

    def amdsmi_init(self):
        if self.refuse:
            raise AmdSmiException(self.refuse)
        if self.handles is None:
            self.handles = {object(): card for card in self.cards}

    def amdsmi_shut_down(self):
        """Shut down for all users: most versions do not count them."""
        self.handles = None

    def _answer(self, handle, find):
        if self.handles is None or handle is None:
            raise AmdSmiException(NOT_INIT if handle else INVALID)
        if handle not in self.handles or self.handles[handle].lost:
            raise AmdSmiException(NOT_FOUND)
        answer = find(self.handles[handle])
        if answer is None:
            raise AmdSmiException(NOT_SUPPORTED)
        return answer

    def amdsmi_get_processor_handles(self):
        if self.handles is None:
            raise AmdSmiException(NOT_INIT)
        return list(self.handles)

    def amdsmi_get_gpu_device_uuid(self, handle):
        return self._answer(handle, lambda card: card.uuid)

    def amdsmi_get_gpu_asic_info(self, handle):
        return self._answer(
            handle,
            lambda card: {"market_name": "AMD Instinct MI300X", "asic_serial": card.serial},
        )

    def amdsmi_get_gpu_device_bdf(self, handle):
        return self._answer(handle, lambda card: card.address)

    def amdsmi_get_gpu_driver_info(self, handle):
        driver = {"driver_name": "amdgpu", "driver_version": "6.12.12"}
        return self._answer(handle, lambda card: driver)

    def amdsmi_get_energy_count(self, handle):
        return self._answer(handle, lambda card: card.energy)

    def amdsmi_get_power_info(self, handle):
        return self._answer(handle, lambda card: card.power)

    def amdsmi_get_gpu_activity(self, handle):
        return self._answer(handle, lambda card: card.activity)

    def amdsmi_get_gpu_vram_usage(self, handle):
        return self._answer(handle, lambda card: card.vram)

    def amdsmi_get_temp_metric(self, handle, sensor, metric):
        return self._answer(handle, lambda card: card.temperatures.get(sensor))

    def amdsmi_get_clock_info(self, handle, kind):
        return self._answer(handle, lambda card: card.clocks.get(kind))

    def amdsmi_get_power_cap_info(self, handle):
        return self._answer(handle, lambda card: card.cap)


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr(gpus, "monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture
def driver(tmp_path):
    (tmp_path / "sys/module/amdgpu").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def load(monkeypatch, driver):
    def enter(*cards, environ=None, **keywords):
        smi = Smi(*cards, **keywords)
        monkeypatch.setitem(sys.modules, "amdsmi", smi)
        return smi, Amd(CollectorContext(root=driver, environ=environ or {}))

    return enter


def by_name(result, values, device="gpu0"):
    pairs = zip(result.quantities, values, strict=True)
    return {q.name: value for q, value in pairs if q.device == device}


def test_one_gpu(load, clock):
    smi, collector = load(Card(1))
    result = collector.probe()
    assert (result.agent, result.version, result.missing) == ("amdsmi", "26.0.0", [])
    assert result.facts == {"driver": "6.12.12"}
    assert result.devices[0].label == "AMD Instinct MI300X"
    assert result.devices[0].facts == {
        "uuid": smi.cards[0].uuid,
        "pci_bus_id": "0000:01:00.0",
        "memory_bytes": 196592 * 2**20,
    }
    collector.start()
    smi.cards[0].energy["energy_accumulator"] += 10**7
    clock.now += 1
    assert by_name(result, collector.sample()) == {
        "energy": pytest.approx(10 * RESOLUTION_UJ),
        "power": 400,
        "utilization": 88,
        "memory_utilization": 21,
        "memory_used": 2**30,
        "temperature": 71,
        "sm_clock": 2100,
        "memory_clock": 1300,
        "power_limit": 750,
    }
    (energy,) = [quantity for quantity in result.quantities if quantity.component]
    assert (energy.unit, energy.claim) == ("J", smi.cards[0].uuid)


def test_older_amdsmi_answers(load, clock, monkeypatch):
    monkeypatch.delattr(Smi, "amdsmi_get_gpu_driver_info")
    card = Card(1)
    card.energy = {"power": 10**9, "counter_resolution": RESOLUTION_UJ}
    card.power = {"current_socket_power": 0xFFFF, "average_socket_power": 390}
    card.temperatures = {"edge": 65_000}
    card.clocks = {"gfx": {"cur_clk": 1700}, "mem": {"cur_clk": 1600}}
    card.cap = {"power_cap": 500}
    _, collector = load(card)
    result = collector.probe()
    assert not result.missing
    collector.start()
    card.energy["power"] += 10**6
    clock.now += 1
    values = by_name(result, collector.sample())
    assert values["energy"] == pytest.approx(RESOLUTION_UJ)
    names = ("power", "temperature", "sm_clock", "memory_clock", "power_limit")
    assert [values[name] for name in names] == [390, 65, 1700, 1600, 500]


def test_second_die_of_a_board_has_no_energy(load):
    first, second = Card(1), Card(2)
    second.energy = {"energy_accumulator": 0, "counter_resolution": RESOLUTION_UJ}
    second.power = {"socket_power": 0}
    _, collector = load(first, second)
    result = collector.probe()
    assert [quantity.device for quantity in result.quantities if quantity.component] == ["gpu0"]
    assert [part.what for part in result.missing] == [f"gpu1 {COUNTER}", "gpu1 power"]
    assert "the first counts for all" in result.procedure


def test_partitions_of_a_chip_count_its_energy_once(load):
    """Each of them may report the power of the whole chip."""
    cards = [Card(number) for number in range(3)]
    cards[1].address, cards[1].energy = "0000:00:00.1", None
    _, collector = load(*cards)
    result = collector.probe()
    assert [quantity.device for quantity in result.quantities if quantity.component] == [
        "gpu0",
        "gpu2",
    ]
    assert [quantity.device for quantity in result.quantities if quantity.name == "power"] == [
        "gpu0",
        "gpu2",
    ]
    assert [(part.what, "gpu0" in part.reason) for part in result.missing] == [
        ("gpu1 energy, power", True)
    ]


def test_partitions_that_share_an_id(load):
    first, second = Card(1), Card(1)
    second.energy, second.power = None, {"socket_power": "N/A"}
    _, collector = load(first, second)
    result = collector.probe()
    assert [device.id for device in result.devices] == ["gpu0"]
    assert [quantity.device for quantity in result.quantities if quantity.component] == ["gpu0"]
    assert not result.missing


@pytest.mark.parametrize("resolution", [0.0, "N/A"])
def test_energy_count_without_resolution_is_ignored(load, resolution, clock):
    card = Card(1)
    card.energy["counter_resolution"] = resolution
    _, collector = load(card)
    result = collector.probe()
    assert [part.what for part in result.missing] == [f"gpu0 {COUNTER}"]
    collector.start()
    clock.now += 2
    assert by_name(result, collector.sample())["energy"] == 800


def test_power_is_integrated_without_energy_counter(load, clock):
    card = Card(1)
    card.energy = None
    _, collector = load(card)
    result = collector.probe()
    assert result.missing[0].reason.startswith("AMDSMI_STATUS_NOT_SUPPORTED")
    collector.start()
    clock.now += 2
    assert by_name(result, collector.sample())["energy"] == 800


def test_unavailable_readings_are_missing_and_invalid_values_none(load):
    card = Card(1)
    card.activity = {"gfx_activity": "N/A", "umc_activity": "N/A", "mm_activity": "N/A"}
    _, collector = load(card)
    result = collector.probe()
    assert [part.what for part in result.missing] == ["gpu0 utilization, memory_utilization"]
    collector.start()
    card.power = {"socket_power": 0xFFFFFFFF}
    card.vram = {"vram_total": 10, "vram_used": 11}
    card.cap = {"power_cap": 0xFFFFFFFF}
    values = by_name(result, collector.sample())
    absent = ["power", "memory_used", "power_limit"]
    assert [name for name, value in values.items() if value is None] == absent


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, [0, 1, 2]),
        ({"ROCR_VISIBLE_DEVICES": "2,0"}, [0, 2]),
        ({"ROCR_VISIBLE_DEVICES": "GPU-abcdef0000000001"}, [1]),
        ({"ROCR_VISIBLE_DEVICES": "1,2", "HIP_VISIBLE_DEVICES": "1"}, [2]),
        ({"HIP_VISIBLE_DEVICES": "0", "CUDA_VISIBLE_DEVICES": "1,2"}, [0]),
        ({"CUDA_VISIBLE_DEVICES": "1,2"}, [1, 2]),
        ({"GPU_DEVICE_ORDINAL": "1"}, [1]),
        ({"SLURM_JOB_GPUS": "0,2"}, [0, 2]),
        ({"HIP_VISIBLE_DEVICES": "-1"}, []),
    ],
)
def test_visible_devices(load, environ, expected):
    _, collector = load(*(Card(number) for number in range(3)), environ=environ)
    result = collector.probe()
    if expected:
        assert [device.id for device in result.devices] == [f"gpu{number}" for number in expected]
    else:
        assert result.reason == "no GPU is visible: HIP_VISIBLE_DEVICES=-1"


def test_lost_gpus_raise_once_each(load):
    smi, collector = load(Card(1), Card(2))
    collector.probe()
    collector.start()
    for card, gpu in zip(smi.cards, ("gpu0", "gpu1"), strict=True):
        card.lost = True
        with pytest.raises(CollectorError, match=rf"can read nothing from {gpu} \(.*{NOT_FOUND}"):
            collector.sample()
    assert set(collector.sample()) == {None}


def test_gpus_lost_before_probe_and_before_start(load):
    smi, collector = load(Card(1), Card(2), Card(3))
    smi.cards[0].lost = True
    result = collector.probe()
    assert [device.facts["uuid"] for device in result.devices] == [
        card.uuid for card in smi.cards[1:]
    ]
    assert [part.what for part in result.missing] == ["a GPU"]
    smi.cards[1].lost = True
    collector.start()
    with pytest.raises(CollectorError, match="nothing from gpu0 "):
        collector.sample()
    values = collector.sample()
    assert [by_name(result, values, device.id)["power"] for device in result.devices] == [None, 400]


@pytest.mark.parametrize("initialized_again", [False, True])
def test_shutdown_by_other_code_is_recovered(load, initialized_again):
    smi, collector = load(Card(1), Card(2))
    result = collector.probe()
    collector.start()
    smi.amdsmi_shut_down()
    if initialized_again:
        smi.amdsmi_init()
    values = collector.sample()
    for gpu in ("gpu0", "gpu1"):
        assert by_name(result, values, gpu)["power"] == 400


def test_stop_keeps_amdsmi_initialized(load):
    smi, collector = load(Card(1))
    smi.amdsmi_init()
    (handle,) = smi.amdsmi_get_processor_handles()
    collector.probe()
    collector.start()
    collector.stop()
    assert smi.amdsmi_get_power_info(handle)["socket_power"] == 400


def test_amdsmi_init_failure(load):
    _, collector = load(Card(1), refuse=34)
    result = collector.probe()
    assert result.reason.startswith("AMD SMI does not start")
    assert "/dev/kfd" in result.cure
    _, collector = load()
    assert collector.probe().reason == "no AMD GPU"


# -- without ROCm -----------------------------------------------------------------------------


@pytest.fixture
def package(monkeypatch, tmp_path):
    """A package amdsmi that prints and raises on import, as the real one without its library."""
    folder = tmp_path / "site"
    (folder / "amdsmi").mkdir(parents=True)
    (folder / "amdsmi/__init__.py").write_text(
        "print('Unable to find libamd_smi.so')\nraise KeyError('libamd_smi.so')\n"
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "amdsmi", raising=False)
    importlib.invalidate_caches()


def test_no_driver(tmp_path, package, capfd):
    result = Amd(CollectorContext(root=tmp_path, environ={})).probe()
    assert result.reason == "no AMD GPU driver (amdgpu)"
    assert capfd.readouterr() == ("", "")


def test_no_module(driver, monkeypatch):
    monkeypatch.delitem(sys.modules, "amdsmi", raising=False)
    result = Amd(CollectorContext(root=driver, environ={})).probe()
    assert result.reason == "the Python module amdsmi is not installed"
    assert "ROCm" in result.cure


def test_missing_library_prevents_import(driver, package, capfd):
    environ = {"ROCM_PATH": str(driver / "none"), "LD_LIBRARY_PATH": ":/nowhere"}
    result = Amd(CollectorContext(root=driver, environ=environ)).probe()
    assert "libamd_smi.so" in result.reason
    assert "amdsmi" not in sys.modules
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("folder", ["opt/rocm-6.4.1/lib", "site/amdsmi", "rocm/lib", "linker"])
def test_amdsmi_import_error(driver, package, folder):
    (driver / folder).mkdir(parents=True, exist_ok=True)
    (driver / folder / "libamd_smi.so.25").touch()
    environ = {"ROCM_PATH": str(driver / "rocm"), "LD_LIBRARY_PATH": str(driver / "linker")}
    result = Amd(CollectorContext(root=driver, environ=environ)).probe()
    assert result.reason == "amdsmi cannot be imported: KeyError('libamd_smi.so')"


def test_amdsmi_that_exits_on_import(driver, package):
    (driver / "site/amdsmi/libamd_smi.so").touch()
    (driver / "site/amdsmi/__init__.py").write_text("raise SystemExit(1)\n")
    result = Amd(CollectorContext(root=driver, environ={})).probe()
    assert result.reason == "amdsmi cannot be imported: SystemExit(1)"
