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

import psutil
import pytest

from yprov_mlflow.prov.collectors import codecarbon
from yprov_mlflow.prov.collectors.base import CollectorContext, Unavailable
from yprov_mlflow.prov.collectors.codecarbon import Codecarbon

KWH_J = 3.6e6
DATA = Path(importlib.util.find_spec("codecarbon").origin).parent / "data/private_infra"


@pytest.fixture(autouse=True)
def logger():
    """Restore codecarbon's logger, which its trackers configure."""
    log = logging.getLogger("codecarbon")
    handlers, level = [*log.handlers], log.level
    yield
    log.handlers[:] = handlers
    log.setLevel(level)


def probed(**options):
    collector = Codecarbon(CollectorContext(**options))
    return collector, collector.probe()


def sums(available, values):
    """Return the sum of the cumulative values of each name."""
    result = {}
    for quantity, value in zip(available.quantities, values, strict=True):
        if quantity.cumulative:
            result[quantity.name] = result.get(quantity.name, 0.0) + value
    return result


def reference(code, **arguments):
    """Start codecarbon's own tracker, without output files and log."""
    from codecarbon import OfflineEmissionsTracker

    tracker = OfflineEmissionsTracker(
        country_iso_code=code, output_methods=[], log_level="error", **arguments
    )
    tracker.start()
    return tracker


def test_probe_has_facts_of_the_country():
    _, result = probed(country="FRA")
    facts = result.facts
    assert (
        facts["carbon_intensity_g_per_kwh"]
        == json.loads((DATA / "global_energy_mix.json").read_text())["FRA"]["carbon_intensity"]
    )
    assert facts["country"] == "FRA"
    assert "global_energy_mix.json: FRA" in facts["carbon_intensity_source"]
    assert facts["version"] == result.version
    assert result.agent == "codecarbon"
    assert json.loads(json.dumps(facts)) == facts
    assert not result.missing
    for said in (result.version, "constant", "estimated", "global_energy_mix.json: FRA"):
        assert said in result.procedure


def test_configured_intensity_overrides_country():
    _, result = probed(country="FRA", carbon_intensity=12.5)
    assert result.facts["carbon_intensity_g_per_kwh"] == 12.5
    assert result.facts["carbon_intensity_source"] == "given"
    assert result.quantities[-1].name == "emissions"


def test_configured_intensity_of_zero():
    collector, result = probed(carbon_intensity=0.0)
    assert result.facts["carbon_intensity_g_per_kwh"] == 0
    collector.start()
    time.sleep(0.06)
    assert collector.sample()[-1] == 0
    collector.stop()


@pytest.mark.parametrize("country", [None, "XXX"])
def test_energy_without_emissions_has_a_cure(country):
    collector, result = probed(country=country)
    assert {quantity.name for quantity in result.quantities} == {"energy", "power"}
    assert "carbon_intensity_g_per_kwh" not in result.facts
    (missing,) = result.missing
    assert missing.what == "emissions"
    assert (country or "neither") in missing.reason
    assert "YPROV_MLFLOW_COUNTRY" in missing.cure
    collector.start()
    assert len(collector.sample()) == len(result.quantities)
    collector.stop()


def test_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    _, result = probed(country="ITA")
    assert isinstance(result, Unavailable)
    assert "pip install codecarbon" in result.cure


@pytest.mark.parametrize("old", ["2.8.4", "3.2.9"])
def test_old_codecarbon_is_unavailable(monkeypatch, old):
    monkeypatch.setattr(codecarbon, "version", lambda _: old)
    _, result = probed(country="ITA")
    assert isinstance(result, Unavailable)
    assert old in result.reason
    assert "pip install --upgrade 'codecarbon>=3.3,<4'" in result.cure


def test_suppressed_exception_is_the_reason(monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()  # its configuration is looked for in the working directory
    collector = Codecarbon(CollectorContext(cwd=tmp_path))
    result = collector.probe()
    assert isinstance(result, Unavailable)
    assert "FileNotFoundError" in result.reason


def test_measuring_error_is_raised(monkeypatch):
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


def test_part_without_energy_is_none_not_zero(monkeypatch):
    from codecarbon.core.units import Power
    from codecarbon.external.ram import RAM

    collector, result = probed(country="ITA")
    monkeypatch.setattr(RAM, "total_power", lambda _: Power.from_watts(0.0))
    collector.start()
    time.sleep(0.06)
    values = collector.sample()
    collector.stop()
    for quantity, value in zip(result.quantities, values, strict=True):
        of_all = quantity.name == "emissions"
        assert (value is None) == (quantity.device == "ram" or of_all), quantity


def test_memory_has_constant_power():
    collector, result = probed()
    names = [(quantity.name, quantity.device) for quantity in result.quantities]
    energy, power = names.index(("energy", "ram")), names.index(("power", "ram"))
    collector.start()
    since = time.perf_counter()
    time.sleep(0.5)
    values = collector.sample()
    seconds = time.perf_counter() - since
    time.sleep(0.04)
    collector.sample()  # too soon to measure
    time.sleep(0.03)
    again = collector.sample()
    collector.stop()
    watts = float(result.facts["methods"]["ram"].split()[2])
    # The bounds are wide: on a busy machine the sample comes late.
    assert values[energy] == pytest.approx(watts * seconds, rel=0.3)
    # codecarbon reads the clock after it measured, so its interval is a moment longer.
    assert values[power] == pytest.approx(watts, rel=0.3)
    assert again[power] == pytest.approx(watts, rel=0.3)


def test_thermal_design_power_is_used_for_estimates():
    collector, result = probed(cpu_tdp_w=1000.0)
    method = next(q.method for q in result.quantities if q.device == "cpu")
    if method == "measured":
        pytest.skip("this machine's processors are measured")
    assert "1000 W" in result.procedure
    names = [(quantity.name, quantity.device) for quantity in result.quantities]
    collector.start()
    time.sleep(0.2)
    watts = collector.sample()[names.index(("power", "cpu"))]
    collector.stop()
    assert 90 <= watts <= 1100  # idle is a tenth


def test_totals_restart_at_zero():
    collector, result = probed(country="ITA")
    for _ in range(2):
        collector.start()
        first = sums(result, collector.sample())
        time.sleep(0.3)
        grown = sums(result, collector.sample())
        collector.stop()
        for name in ("energy", "emissions"):
            assert first[name] < grown[name] / 2


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


def gpu_values(result, values):
    pairs = zip(result.quantities, values, strict=True)
    return {quantity.name: value for quantity, value in pairs if quantity.device == "gpu"}


def test_gpu_energy_is_measured(gpus, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    collector, result = probed(country="ITA")
    assert result.facts["gpu_model"] == "2 x NVIDIA H100"
    assert {q.method for q in result.quantities if q.device == "gpu"} == {"measured"}
    assert not result.missing
    collector.start()
    since = time.perf_counter()
    time.sleep(0.3)
    values = gpu_values(result, collector.sample())
    seconds = time.perf_counter() - since
    assert values["energy"] == pytest.approx(300 * seconds, rel=0.1)
    assert values["power"] == pytest.approx(300, rel=0.1)
    gpus.lost = True
    time.sleep(0.06)
    again = collector.sample()
    assert gpu_values(result, again)["power"] is None
    assert gpu_values(result, again)["energy"] == values["energy"]
    collector.stop()


def test_invisible_gpus_are_listed_as_missing(gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    collector, result = probed(country="ITA")
    (missing,) = result.missing
    assert missing.what == "other GPUs"
    assert missing.reason.endswith(": 1")
    collector.start()
    time.sleep(0.3)
    assert gpu_values(result, collector.sample())["power"] == pytest.approx(200, rel=0.1)
    collector.stop()


@pytest.fixture
def rapl(monkeypatch, tmp_path):
    """Replace the counters that codecarbon reads; return a function that adds joules to them."""
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

    def counters(rapl_dir, **options):
        return cpu.IntelRAPL(rapl_dir=str(tmp_path), **options)

    monkeypatch.setattr(cpu, "is_rapl_available", lambda: True)
    monkeypatch.setattr(hardware, "IntelRAPL", counters)
    hardware_cache.clear_cache()
    yield add
    hardware_cache.clear_cache()


def test_rapl_is_measured_without_design_power(rapl):
    collector, result = probed(cpu_tdp_w=500.0)
    assert {q.method for q in result.quantities if q.device == "cpu"} == {"measured"}
    assert "RAPL" in result.procedure
    assert "500" not in result.procedure
    index = [(q.name, q.device) for q in result.quantities].index(("energy", "cpu"))
    collector.start()
    for total in (30.0, 60.0):
        rapl(30.0)
        time.sleep(0.06)
        # codecarbon's factor from joules to kWh is rounded to six digits
        assert collector.sample()[index] == pytest.approx(total, rel=1e-5)
    collector.stop()


def test_codecarbon_configuration_is_ignored(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CODECARBON_FORCE_RAM_POWER", "1234")
    monkeypatch.setenv("CODECARBON_CO2_SIGNAL_API_TOKEN", "secret")
    (tmp_path / ".codecarbon.config").write_text(
        "[codecarbon]\npue = 9\nallow_multiple_runs = false\nemissions_endpoint = http://x\n"
        "save_to_file = true\nsave_to_api = true\ntracking_mode = process\n"
    )
    monkeypatch.chdir(tmp_path)
    collector, result = probed(country="ITA")
    assert "1234" not in str(result)
    collector.start()
    time.sleep(0.1)
    values = collector.sample()
    collector.stop()
    power = values[[(q.name, q.device) for q in result.quantities].index(("power", "ram"))]
    assert power == pytest.approx(float(result.facts["methods"]["ram"].split()[2]), rel=0.1)
    assert os.listdir(tmp_path) == [".codecarbon.config"]


def test_user_logger_of_codecarbon_is_unchanged(capfd):
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
    theirs.stop()  # it never started, and logs that
    assert "mine" in capfd.readouterr().err


def test_log_of_user_tracker_is_not_suppressed(monkeypatch):
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


def test_process_has_no_leftovers(tmp_path):
    program = """
        import json, os, signal, sys, tempfile, threading
        from yprov_mlflow.prov.collectors.base import CollectorContext
        from yprov_mlflow.prov.collectors.codecarbon import Codecarbon

        def state():
            handlers = [str(signal.getsignal(number)) for number in signal.valid_signals()]
            return handlers, threading.active_count(), sorted(os.listdir(tempfile.gettempdir()))

        before = state()
        collector = Codecarbon(CollectorContext(country="ITA"))
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


def test_start_and_sample_are_fast():
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
    """Keep all processors busy at low priority, so that their power is constant."""
    program = "import os; os.nice(19)\nwhile True: pass"
    burners = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(os.cpu_count())]
    deadline_s = time.monotonic() + 10
    while psutil.cpu_percent(0.2) < 98 and time.monotonic() < deadline_s:
        pass  # the burners are still starting
    yield
    for burner in burners:
        burner.kill()
        burner.wait()


def watched(collector, meanwhile):
    """Sample for some seconds; return the last values and bounds of the measured seconds.

    It does not end on a full second: if codecarbon is stopped just when its timer measures, it
    counts the last second twice.
    """
    before_start_s = time.perf_counter()
    collector.start()
    after_start_s = time.perf_counter()
    for seconds in (1.0, 1.0, 1.0, 0.5):
        time.sleep(seconds)
        collector.sample()
    meanwhile()
    time.sleep(0.06)
    before_sample_s = time.perf_counter()
    values = collector.sample()
    longest_s = time.perf_counter() - before_start_s
    collector.stop()
    return values, (before_sample_s - after_start_s, longest_s)


def compare(result, measure):
    """Compare our totals with codecarbon's.

    The memory's power is constant, so its energy divided by that power is the time that each
    measured: exact even if the machine delays one of the two, unlike their clocks.

    Args:
        result: The result of our probe.
        measure: Measures some seconds with both; returns our values, bounds of the seconds, and
            codecarbon's totals.
    """
    ratios = []
    # The processors' power grows with the cube of the load, which the two sample at different
    # times: while the burners wait, only one of them may notice. A second and a third attempt make
    # that harmless; a wrong model, unit or number of measurements differs in all of them.
    for _ in range(3):
        values, (shortest_s, longest_s), theirs = measure()
        ours = sums(result, values)
        energies = {
            q.device: v
            for q, v in zip(result.quantities, values, strict=True)
            if q.name == "energy"
        }
        assert ours["emissions"] / ours["energy"] == pytest.approx(
            theirs.emissions * 1e3 / (theirs.energy_consumed * KWH_J), rel=1e-9
        )
        # codecarbon does not measure again within 50 ms of the last measurement.
        assert shortest_s - 0.05 <= energies["ram"] / theirs.ram_power <= longest_s
        ours_w = energies["cpu"] / energies["ram"] * theirs.ram_power
        theirs_w = theirs.cpu_energy / theirs.ram_energy * theirs.ram_power
        ratios.append(ours_w / theirs_w)
        if ratios[-1] == pytest.approx(1, rel=0.05):
            return
    pytest.fail(f"the processors' power differs from codecarbon's by the factors {ratios}")


def test_energy_and_emissions_equal_codecarbon(busy):
    collector, result = probed(country="ITA")

    def measure():
        tracker = reference("ITA", measure_power_secs=1)
        values, bounds = watched(collector, tracker.stop)
        return values, bounds, tracker.final_emissions_data

    compare(result, measure)


def test_energy_equals_codecarbon_in_another_process(busy):
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
    collector, result = probed(country="ITA")

    def measure():
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as other:

            def next_step():
                other.stdin.write("\n")
                other.stdin.flush()

            assert other.stdout.readline() == "ready\n"
            next_step()
            values, bounds = watched(collector, next_step)
            return values, bounds, types.SimpleNamespace(**json.loads(other.stdout.readline()))

    compare(result, measure)
