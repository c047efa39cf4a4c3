"""Against a fake of the module amdsmi: no AMD GPU was ever near these tests.

What the fake answers follows AMD SMI's documentation and the answers that differ by version.
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
    """The module, with as much of it as the collector uses."""

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
        """End it for all its users: most versions do not count them."""
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


def by_name(found, values, device="gpu0"):
    pairs = zip(found.quantities, values, strict=True)
    return {one.name: value for one, value in pairs if one.device == device}


def test_one_gpu(load, clock):
    smi, collector = load(Card(1))
    found = collector.probe()
    assert (found.agent, found.version, found.missing) == ("amdsmi", "26.0.0", [])
    assert found.facts == {"driver": "6.12.12"}
    assert found.devices[0].label == "AMD Instinct MI300X"
    assert found.devices[0].facts == {
        "uuid": smi.cards[0].uuid,
        "pci_bus_id": "0000:01:00.0",
        "memory_bytes": 196592 * 2**20,
    }
    collector.start()
    smi.cards[0].energy["energy_accumulator"] += 10**7
    clock.now += 1
    assert by_name(found, collector.sample()) == {
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
    (energy,) = [one for one in found.quantities if one.component]
    assert (energy.unit, energy.claim) == ("J", smi.cards[0].uuid)


def test_answers_of_an_older_version(load, clock, monkeypatch):
    monkeypatch.delattr(Smi, "amdsmi_get_gpu_driver_info")
    card = Card(1)
    card.energy = {"power": 10**9, "counter_resolution": RESOLUTION_UJ}
    card.power = {"current_socket_power": 0xFFFF, "average_socket_power": 390}
    card.temperatures = {"edge": 65_000}
    card.clocks = {"gfx": {"cur_clk": 1700}, "mem": {"cur_clk": 1600}}
    card.cap = {"power_cap": 500}
    _, collector = load(card)
    found = collector.probe()
    assert not found.missing
    collector.start()
    card.energy["power"] += 10**6
    clock.now += 1
    values = by_name(found, collector.sample())
    assert values["energy"] == pytest.approx(RESOLUTION_UJ)
    names = ("power", "temperature", "sm_clock", "memory_clock", "power_limit")
    assert [values[name] for name in names] == [390, 65, 1700, 1600, 500]


def test_second_die_of_a_board_has_no_energy(load):
    first, second = Card(1), Card(2)
    second.energy = {"energy_accumulator": 0, "counter_resolution": RESOLUTION_UJ}
    second.power = {"socket_power": 0}
    _, collector = load(first, second)
    found = collector.probe()
    assert [one.device for one in found.quantities if one.component] == ["gpu0"]
    assert [one.what for one in found.missing] == [f"gpu1 {COUNTER}", "gpu1 power"]
    assert "the first counts for all" in found.procedure


def test_partitions_of_a_chip_count_its_energy_once(load):
    """Each of them may say what the chip in its socket takes."""
    cards = [Card(number) for number in range(3)]
    cards[1].address, cards[1].energy = "0000:00:00.1", None
    _, collector = load(*cards)
    found = collector.probe()
    assert [one.device for one in found.quantities if one.component] == ["gpu0", "gpu2"]
    assert [one.device for one in found.quantities if one.name == "power"] == ["gpu0", "gpu2"]
    assert [(one.what, "gpu0" in one.reason) for one in found.missing] == [
        ("gpu1 energy, power", True)
    ]


def test_partitions_that_share_an_id(load):
    first, second = Card(1), Card(1)
    second.energy, second.power = None, {"socket_power": "N/A"}
    _, collector = load(first, second)
    found = collector.probe()
    assert [device.id for device in found.devices] == ["gpu0"]
    assert [one.device for one in found.quantities if one.component] == ["gpu0"]
    assert not found.missing


@pytest.mark.parametrize("resolution", [0.0, "N/A"])
def test_counts_of_no_known_worth_are_not_energy(load, resolution, clock):
    card = Card(1)
    card.energy["counter_resolution"] = resolution
    _, collector = load(card)
    found = collector.probe()
    assert [one.what for one in found.missing] == [f"gpu0 {COUNTER}"]
    collector.start()
    clock.now += 2
    assert by_name(found, collector.sample())["energy"] == 800


def test_power_is_integrated_where_there_is_no_counter(load, clock):
    card = Card(1)
    card.energy = None
    _, collector = load(card)
    found = collector.probe()
    assert found.missing[0].reason.startswith("AMDSMI_STATUS_NOT_SUPPORTED")
    collector.start()
    clock.now += 2
    assert by_name(found, collector.sample())["energy"] == 800


def test_what_is_not_available_is_missing_and_nonsense_is_none(load):
    card = Card(1)
    card.activity = {"gfx_activity": "N/A", "umc_activity": "N/A", "mm_activity": "N/A"}
    _, collector = load(card)
    found = collector.probe()
    assert [one.what for one in found.missing] == ["gpu0 utilization, memory_utilization"]
    collector.start()
    card.power = {"socket_power": 0xFFFFFFFF}
    card.vram = {"vram_total": 10, "vram_used": 11}
    card.cap = {"power_cap": 0xFFFFFFFF}
    values = by_name(found, collector.sample())
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
    found = collector.probe()
    if expected:
        assert [device.id for device in found.devices] == [f"gpu{one}" for one in expected]
    else:
        assert found.reason == "no GPU is visible: HIP_VISIBLE_DEVICES=-1"


def test_loss_of_one_and_of_all(load):
    smi, collector = load(Card(1), Card(2))
    collector.probe()
    collector.start()
    for card, gpu in zip(smi.cards, ("gpu0", "gpu1"), strict=True):
        card.lost = True
        with pytest.raises(CollectorError, match=rf"can read nothing of {gpu} \(.*{NOT_FOUND}"):
            collector.sample()
    assert set(collector.sample()) == {None}


def test_one_is_lost_before_the_probe_and_one_before_the_start(load):
    smi, collector = load(Card(1), Card(2), Card(3))
    smi.cards[0].lost = True
    found = collector.probe()
    assert [device.facts["uuid"] for device in found.devices] == [
        card.uuid for card in smi.cards[1:]
    ]
    assert [one.what for one in found.missing] == ["a GPU"]
    smi.cards[1].lost = True
    collector.start()
    with pytest.raises(CollectorError, match="nothing of gpu0 "):
        collector.sample()
    values = collector.sample()
    assert [by_name(found, values, one.id)["power"] for one in found.devices] == [None, 400]


@pytest.mark.parametrize("anew", [False, True])
def test_someone_shuts_it_down_under_us(load, anew):
    smi, collector = load(Card(1), Card(2))
    found = collector.probe()
    collector.start()
    smi.amdsmi_shut_down()
    if anew:
        smi.amdsmi_init()
    values = collector.sample()
    for gpu in ("gpu0", "gpu1"):
        assert by_name(found, values, gpu)["power"] == 400


def test_it_is_not_shut_down_under_others(load):
    smi, collector = load(Card(1))
    smi.amdsmi_init()
    (handle,) = smi.amdsmi_get_processor_handles()
    collector.probe()
    collector.start()
    collector.stop()
    assert smi.amdsmi_get_power_info(handle)["socket_power"] == 400


def test_it_does_not_start(load):
    _, collector = load(Card(1), refuse=34)
    found = collector.probe()
    assert found.reason.startswith("AMD SMI does not start")
    assert "/dev/kfd" in found.cure
    _, collector = load()
    assert collector.probe().reason == "there is no AMD GPU here"


# -- where ROCm is not -----------------------------------------------------------------------


@pytest.fixture
def package(monkeypatch, tmp_path):
    """A package amdsmi that does on import what the real one does without its library."""
    folder = tmp_path / "site"
    (folder / "amdsmi").mkdir(parents=True)
    (folder / "amdsmi/__init__.py").write_text(
        "print('Unable to find libamd_smi.so')\nraise KeyError('libamd_smi.so')\n"
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "amdsmi", raising=False)
    importlib.invalidate_caches()


def test_no_driver(tmp_path, package, capfd):
    found = Amd(CollectorContext(root=tmp_path, environ={})).probe()
    assert found.reason == "there is no AMD GPU driver here (amdgpu)"
    assert capfd.readouterr() == ("", "")


def test_no_module(driver, monkeypatch):
    monkeypatch.delitem(sys.modules, "amdsmi", raising=False)
    found = Amd(CollectorContext(root=driver, environ={})).probe()
    assert found.reason == "the Python module amdsmi is not installed"
    assert "ROCm" in found.cure


def test_no_library_and_nothing_is_imported(driver, package, capfd):
    environ = {"ROCM_PATH": str(driver / "none"), "LD_LIBRARY_PATH": ":/nowhere"}
    found = Amd(CollectorContext(root=driver, environ=environ)).probe()
    assert "libamd_smi.so" in found.reason
    assert "amdsmi" not in sys.modules
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("folder", ["opt/rocm-6.4.1/lib", "site/amdsmi", "rocm/lib", "linker"])
def test_a_library_that_the_module_cannot_use(driver, package, folder):
    (driver / folder).mkdir(parents=True, exist_ok=True)
    (driver / folder / "libamd_smi.so.25").touch()
    environ = {"ROCM_PATH": str(driver / "rocm"), "LD_LIBRARY_PATH": str(driver / "linker")}
    found = Amd(CollectorContext(root=driver, environ=environ)).probe()
    assert found.reason == "amdsmi cannot be imported: KeyError('libamd_smi.so')"


def test_a_module_that_would_end_the_process(driver, package):
    (driver / "site/amdsmi/libamd_smi.so").touch()
    (driver / "site/amdsmi/__init__.py").write_text("raise SystemExit(1)\n")
    found = Amd(CollectorContext(root=driver, environ={})).probe()
    assert found.reason == "amdsmi cannot be imported: SystemExit(1)"
