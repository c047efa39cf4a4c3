import importlib.util
import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
import types
from pathlib import Path

import pytest

from yprov_mlflow.prov.collectors import codecarbon
from yprov_mlflow.prov.collectors.base import CollectorContext, Unavailable
from yprov_mlflow.prov.collectors.codecarbon import Codecarbon

KWH_J = 3.6e6
DATA = Path(importlib.util.find_spec("codecarbon").origin).parent / "data/private_infra"


@pytest.fixture(autouse=True)
def logger():
    """Undo what codecarbon's own trackers do to its logger."""
    log = logging.getLogger("codecarbon")
    handlers, level = [*log.handlers], log.level
    yield
    log.handlers[:] = handlers
    log.setLevel(level)


def probed(**given):
    collector = Codecarbon(CollectorContext(**given))
    return collector, collector.probe()


def sums(available, values):
    """Sum the cumulative values of each name."""
    found = {}
    for quantity, value in zip(available.quantities, values, strict=True):
        if quantity.cumulative:
            found[quantity.name] = found.get(quantity.name, 0.0) + value
    return found


def reference(code, **arguments):
    """Start codecarbon's own tracker, as its users do but for its files and lines."""
    from codecarbon import OfflineEmissionsTracker

    tracker = OfflineEmissionsTracker(
        country_iso_code=code, output_methods=[], log_level="error", **arguments
    )
    tracker.start()
    return tracker


def test_a_country_gives_the_facts_before_any_sample():
    _, found = probed(country="FRA")
    facts = found.facts
    assert (
        facts["carbon_intensity_g_per_kwh"]
        == json.loads((DATA / "global_energy_mix.json").read_text())["FRA"]["carbon_intensity"]
    )
    assert facts["country"] == "FRA"
    assert "global_energy_mix.json: FRA" in facts["carbon_intensity_source"]
    assert facts["version"] == found.version
    assert found.agent == "codecarbon"
    assert json.loads(json.dumps(facts)) == facts
    assert not found.missing
    for said in (found.version, "constant", "estimated", "global_energy_mix.json: FRA"):
        assert said in found.procedure


def test_a_given_intensity_goes_before_the_country():
    _, found = probed(country="FRA", carbon_intensity=12.5)
    assert found.facts["carbon_intensity_g_per_kwh"] == 12.5
    assert found.facts["carbon_intensity_source"] == "given"
    assert found.quantities[-1].name == "emissions"


def test_a_given_intensity_of_zero_is_one():
    collector, found = probed(carbon_intensity=0.0)
    assert found.facts["carbon_intensity_g_per_kwh"] == 0
    collector.start()
    time.sleep(0.06)
    assert collector.sample()[-1] == 0
    collector.stop()


@pytest.mark.parametrize("country", [None, "XXX"])
def test_energy_without_emissions_says_what_would_cure_it(country):
    collector, found = probed(country=country)
    assert {quantity.name for quantity in found.quantities} == {"energy", "power"}
    assert "carbon_intensity_g_per_kwh" not in found.facts
    (missing,) = found.missing
    assert missing.what == "emissions"
    assert (country or "neither") in missing.reason
    assert "YPROV_MLFLOW_COUNTRY" in missing.cure
    collector.start()
    assert len(collector.sample()) == len(found.quantities)
    collector.stop()


def test_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    _, found = probed(country="ITA")
    assert isinstance(found, Unavailable)
    assert "yprov-mlflow[carbon]" in found.cure


@pytest.mark.parametrize("old", ["2.8.4", "3.2.9"])
def test_one_that_is_too_old(monkeypatch, old):
    monkeypatch.setattr(codecarbon, "version", lambda _: old)
    _, found = probed(country="ITA")
    assert isinstance(found, Unavailable)
    assert old in found.reason
    assert "--upgrade" in found.cure


def test_what_codecarbon_swallows_is_the_reason(monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()  # its configuration is looked for in the working directory
    collector = Codecarbon(CollectorContext(cwd=tmp_path))
    found = collector.probe()
    assert isinstance(found, Unavailable)
    assert "FileNotFoundError" in found.reason


def test_an_error_of_its_measuring_is_raised(monkeypatch):
    from codecarbon.external.ram import RAM

    collector, _ = probed()
    collector.start()

    def broken(*_, **__):
        raise ValueError("no such reading")

    monkeypatch.setattr(RAM, "measure_power_and_energy", broken)
    time.sleep(0.06)
    with pytest.raises(ValueError, match="no such reading"):
        collector.sample()
    monkeypatch.undo()
    assert None not in collector.sample()[::2]
    collector.stop()


def test_what_gives_nothing_is_none_and_not_zero(monkeypatch):
    from codecarbon.core.units import Power
    from codecarbon.external.ram import RAM

    collector, found = probed(country="ITA")
    monkeypatch.setattr(RAM, "total_power", lambda _: Power.from_watts(0.0))
    collector.start()
    time.sleep(0.06)
    values = collector.sample()
    collector.stop()
    for quantity, value in zip(found.quantities, values, strict=True):
        of_all = quantity.name == "emissions"
        assert (value is None) == (quantity.device == "ram" or of_all), quantity


def test_the_memory_is_a_constant_and_its_energy_follows():
    collector, found = probed()
    names = [(quantity.name, quantity.device) for quantity in found.quantities]
    energy, power = names.index(("energy", "ram")), names.index(("power", "ram"))
    collector.start()
    since = time.perf_counter()
    time.sleep(0.5)
    values = collector.sample()
    seconds = time.perf_counter() - since
    time.sleep(0.04)
    collector.sample()  # so soon that nothing is measured
    time.sleep(0.03)
    again = collector.sample()
    collector.stop()
    watts = float(found.facts["methods"]["ram"].split()[2])
    assert values[energy] == pytest.approx(watts * seconds, rel=0.1)
    # codecarbon takes the time after it measured: its power lasts a moment longer.
    assert values[power] == pytest.approx(watts, rel=0.1)
    assert again[power] == pytest.approx(watts, rel=0.2)


def test_a_given_thermal_design_power_counts_where_it_must_estimate():
    collector, found = probed(cpu_tdp_w=1000.0)
    method = next(q.method for q in found.quantities if q.device == "cpu")
    if method == "measured":
        pytest.skip("this machine's processors are measured")
    assert "1000 W" in found.procedure
    names = [(quantity.name, quantity.device) for quantity in found.quantities]
    collector.start()
    time.sleep(0.2)
    watts = collector.sample()[names.index(("power", "cpu"))]
    collector.stop()
    assert 90 <= watts <= 1100  # idle is a tenth


def test_totals_begin_at_zero_each_time():
    collector, found = probed(country="ITA")
    for _ in range(2):
        collector.start()
        begun = sums(found, collector.sample())
        time.sleep(0.3)
        grown = sums(found, collector.sample())
        collector.stop()
        for name in ("energy", "emissions"):
            assert begun[name] < grown[name] / 2


class Nvml:
    """NVML as codecarbon calls it: two GPUs that draw 100 W and 200 W."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    class NVMLError_NotSupported(NVMLError):
        pass

    def __init__(self):
        self.lost = False

    def nvmlInit(self):
        pass

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetName(self, handle):
        return "NVIDIA H100"

    def nvmlDeviceGetUUID(self, handle):
        return f"GPU-{handle}"

    def nvmlDeviceGetEnforcedPowerLimit(self, handle):
        return 700_000

    def nvmlDeviceGetMemoryInfo(self, handle):
        return types.SimpleNamespace(total=80, free=80, used=0)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        if self.lost:
            raise self.NVMLError("the GPU is lost")
        return int(time.perf_counter() * 100_000 * (handle + 1))

    def nvmlDeviceGetPowerUsage(self, handle):
        return self.nvmlDeviceGetTotalEnergyConsumption(handle) and 100_000 * (handle + 1)


@pytest.fixture
def gpus(monkeypatch):
    from codecarbon.core import gpu, gpu_nvidia, hardware_cache

    nvml = Nvml()
    monkeypatch.setattr(gpu, "is_nvidia_system", lambda: True)
    monkeypatch.setattr(gpu, "PYNVML_AVAILABLE", True)
    monkeypatch.setattr(gpu_nvidia, "pynvml", nvml)
    hardware_cache.clear_cache()
    yield nvml
    hardware_cache.clear_cache()


def of_gpu(found, values):
    pairs = zip(found.quantities, values, strict=True)
    return {quantity.name: value for quantity, value in pairs if quantity.device == "gpu"}


def test_energy_of_gpus_is_measured(gpus, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    collector, found = probed(country="ITA")
    assert found.facts["gpu_model"] == "2 x NVIDIA H100"
    assert {q.method for q in found.quantities if q.device == "gpu"} == {"measured"}
    assert not found.missing
    collector.start()
    since = time.perf_counter()
    time.sleep(0.3)
    values = of_gpu(found, collector.sample())
    seconds = time.perf_counter() - since
    assert values["energy"] == pytest.approx(300 * seconds, rel=0.1)
    assert values["power"] == pytest.approx(300, rel=0.1)
    gpus.lost = True
    time.sleep(0.06)
    again = collector.sample()
    assert of_gpu(found, again)["power"] is None
    assert of_gpu(found, again)["energy"] == values["energy"]
    collector.stop()


def test_gpus_that_cannot_be_seen_are_named(gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    collector, found = probed(country="ITA")
    (missing,) = found.missing
    assert missing.what == "other GPUs"
    assert missing.reason.endswith(": 1")
    collector.start()
    time.sleep(0.3)
    assert of_gpu(found, collector.sample())["power"] == pytest.approx(200, rel=0.1)
    collector.stop()


@pytest.fixture
def rapl(monkeypatch, tmp_path):
    """Give a tree of counters to codecarbon, and a function that adds joules to them."""
    from codecarbon.core import cpu, hardware_cache
    from codecarbon.external import hardware

    package = tmp_path / "intel-rapl:0"
    package.mkdir()
    (package / "name").write_text("package-0\n")
    (package / "max_energy_range_uj").write_text("262143328850\n")
    counter = package / "energy_uj"
    counter.write_text("5000000\n")

    def add(joules):
        counter.write_text(f"{int(counter.read_text()) + int(joules * 1e6)}\n")

    def counters(rapl_dir, **given):
        return cpu.IntelRAPL(rapl_dir=str(tmp_path), **given)

    monkeypatch.setattr(cpu, "is_rapl_available", lambda: True)
    monkeypatch.setattr(hardware, "IntelRAPL", counters)
    hardware_cache.clear_cache()
    yield add
    hardware_cache.clear_cache()


def test_counters_of_processors_are_measured_and_no_design_power_is_assumed(rapl):
    collector, found = probed(cpu_tdp_w=500.0)
    assert {q.method for q in found.quantities if q.device == "cpu"} == {"measured"}
    assert "RAPL" in found.procedure
    assert "500" not in found.procedure
    index = [(q.name, q.device) for q in found.quantities].index(("energy", "cpu"))
    collector.start()
    for total in (30.0, 60.0):
        rapl(30.0)
        time.sleep(0.06)
        # codecarbon's factor from joules to kWh is rounded to six digits
        assert collector.sample()[index] == pytest.approx(total, rel=1e-5)
    collector.stop()


def test_its_configuration_counts_for_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CODECARBON_FORCE_RAM_POWER", "1234")
    monkeypatch.setenv("CODECARBON_CO2_SIGNAL_API_TOKEN", "secret")
    (tmp_path / ".codecarbon.config").write_text(
        "[codecarbon]\npue = 9\nallow_multiple_runs = false\nemissions_endpoint = http://x\n"
        "save_to_file = true\nsave_to_api = true\ntracking_mode = process\n"
    )
    monkeypatch.chdir(tmp_path)
    collector, found = probed(country="ITA")
    assert "1234" not in str(found)
    collector.start()
    time.sleep(0.1)
    values = collector.sample()
    collector.stop()
    power = values[[(q.name, q.device) for q in found.quantities].index(("power", "ram"))]
    assert power == pytest.approx(float(found.facts["methods"]["ram"].split()[2]), rel=0.1)
    assert os.listdir(tmp_path) == [".codecarbon.config"]


def test_the_logger_of_a_user_of_codecarbon_stays_his(capfd):
    import codecarbon

    log = logging.getLogger("codecarbon")
    theirs = codecarbon.OfflineEmissionsTracker(
        country_iso_code="ITA", output_methods=[], log_level="warning", logger_preamble="mine"
    )
    handlers, level, filters = [*log.handlers], log.level, [*log.filters]
    capfd.readouterr()
    collector, _ = probed(country="ITA")
    collector.start()
    collector.sample()
    collector.stop()
    assert capfd.readouterr() == ("", "")
    assert (log.handlers, log.level, log.filters) == (handlers, level, filters)
    theirs.stop()  # it never started, and says so
    assert "mine" in capfd.readouterr().err


def test_lines_of_the_users_tracker_pass_while_ours_measures(monkeypatch):
    from codecarbon.external.ram import RAM

    log = logging.getLogger("codecarbon")
    monkeypatch.setattr(log, "level", logging.DEBUG)
    lines = []

    class Lines(logging.Handler):
        def emit(self, record):
            lines.append((record.threadName, record.getMessage()))

    monkeypatch.setattr(log, "handlers", [Lines()])
    log.manager._clear_cache()
    collector, _ = probed()
    collector.start()
    measuring, said = threading.Event(), threading.Event()
    original = RAM.measure_power_and_energy

    def slow(self, last_duration):
        measuring.set()
        assert said.wait(10)
        return original(self, last_duration)

    monkeypatch.setattr(RAM, "measure_power_and_energy", slow)
    lines.clear()
    time.sleep(0.06)

    def sample():
        collector.sample()

    sampler = threading.Thread(target=sample, name="sampler")
    sampler.start()
    assert measuring.wait(10)
    log.warning("from the user")
    said.set()
    sampler.join()
    collector.stop()
    assert lines == [("MainThread", "from the user")]


def test_nothing_is_left_behind_in_a_process(tmp_path):
    program = """
        import json, os, signal, sys, tempfile, threading
        from yprov_mlflow.collectors.base import Surroundings
        from yprov_mlflow.collectors.codecarbon import Codecarbon

        def state():
            handlers = [str(signal.getsignal(number)) for number in signal.valid_signals()]
            return handlers, threading.active_count(), sorted(os.listdir(tempfile.gettempdir()))

        before = state()
        collector = Codecarbon(Surroundings(country="ITA"))
        collector.probe()
        collector.start()
        during = threading.active_count()
        collector.sample()
        collector.stop()
        assert state() == before, (before, state())
        assert during == before[1]
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not os.listdir(tmp_path)


def test_start_and_samples_are_quick():
    collector, _ = probed(country="ITA")
    starts, samples = [], []
    for _ in range(3):
        since = time.perf_counter()
        collector.start()
        starts.append(time.perf_counter() - since)
        for _ in range(5):
            time.sleep(0.06)
            since = time.perf_counter()
            collector.sample()
            samples.append(time.perf_counter() - since)
        collector.stop()
    assert min(starts) < 0.02
    assert sorted(samples)[len(samples) // 2] < 0.02


@pytest.fixture
def busy():
    """Keep all processors busy with what nobody waits for: their power is then steady."""
    program = "import os; os.nice(19)\nwhile True: pass"
    burners = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(os.cpu_count())]
    time.sleep(0.3)
    yield
    for burner in burners:
        burner.kill()
        burner.wait()


def watched(collector, meanwhile):
    """Sample for a while; give the last values and the seconds since the start.

    The while does not end on a full second: if codecarbon is stopped just when its timer
    measures, the two count the last second twice.
    """
    collector.start()
    since = time.perf_counter()
    for seconds in (1.0, 1.0, 1.0, 0.5):
        time.sleep(seconds)
        collector.sample()
    meanwhile()
    time.sleep(0.06)
    values = collector.sample()
    seconds = time.perf_counter() - since
    collector.stop()
    return values, seconds


def compare(found, values, seconds, theirs):
    """Hold our sums against codecarbon's own; the two intervals need not be equally long."""
    ours = sums(found, values)
    energy_j, emissions_g = theirs.energy_consumed * KWH_J, theirs.emissions * 1e3
    ratio = ours["emissions"] / ours["energy"]
    assert ratio == pytest.approx(emissions_g / energy_j, rel=1e-9)
    # Its duration goes on after its last measurement, until it has written; ours does not.
    assert ours["energy"] / seconds == pytest.approx(energy_j / theirs.duration, rel=0.1)
    # The memory's power is constant, so that its energy is the time that was measured. That of
    # the processors grows with the cube of the load between two looks, not at the same moments.
    of = {q.device: v for q, v in zip(found.quantities, values, strict=True) if q.name == "energy"}
    assert of["cpu"] / of["ram"] == pytest.approx(theirs.cpu_energy / theirs.ram_energy, rel=0.05)


def test_the_same_energy_and_emissions_as_codecarbon_itself(busy):
    collector, found = probed(country="ITA")
    tracker = reference("ITA", measure_power_secs=1)
    compare(found, *watched(collector, tracker.stop), tracker.final_emissions_data)


def test_the_same_as_codecarbon_in_another_process(busy):
    program = """
        import json, sys
        from codecarbon import OfflineEmissionsTracker
        from codecarbon.input import DataSource

        DataSource().get_global_energy_mix_data()  # takes a while, which it would count
        tracker = OfflineEmissionsTracker(
            country_iso_code="ITA", output_methods=[], log_level="error", measure_power_secs=1
        )
        tracker.get_detected_hardware()
        print("ready", flush=True)
        sys.stdin.readline()
        tracker.start()
        sys.stdin.readline()
        tracker.stop()
        print(json.dumps(vars(tracker.final_emissions_data), default=str))
    """
    collector, found = probed(country="ITA")
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as other:

        def go_on():
            other.stdin.write("\n")
            other.stdin.flush()

        assert other.stdout.readline() == "ready\n"
        go_on()
        values, seconds = watched(collector, go_on)
        said = json.loads(other.stdout.readline())
    compare(found, values, seconds, types.SimpleNamespace(**said))
