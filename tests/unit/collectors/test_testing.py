"""The test kit finds each violation, and none in a good collector."""

import dataclasses
import math
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from yprov_mlflow.prov.collectors import catalog, testing
from yprov_mlflow.prov.collectors.base import (
    Available,
    Collector,
    CollectorContext,
    Device,
    Quantity,
    Unavailable,
)
from yprov_mlflow.prov.collectors.testing import check_collector
from yprov_mlflow.prov.model.vocabulary import UNITS

ENERGY = Quantity(
    *("energy", "J", "ElectricEnergy", "device", "measured", "gpu0"),
    cumulative=True,
    component="gpu",
    claim="GPU-1",
    system_metric="gpu_0_energy_joules",
)
POWER = Quantity("power", "W", "ElectricPower", "process", "estimated")
RESULT = Available(
    {"driver": "1"}, (ENERGY, POWER), (Device("gpu0", "a GPU"),), procedure="A counter."
)


class Good(Collector):
    """Satisfies the contract; tests derive from it and break one thing."""

    name = "good"
    result = RESULT

    def probe(self):
        return self.result

    def start(self):
        self.since = time.perf_counter()

    def sample(self):
        return [time.perf_counter() - self.since, None]


def problems(cls, **options):
    with pytest.raises(AssertionError) as caught:
        check_collector(cls, **{"samples": 2, "interval_s": 0.02, **options})
    return str(caught.value)


def changed(quantity=ENERGY, **changes):
    """Return a collector class with a changed quantity."""
    new = dataclasses.replace(quantity, **changes)
    result = dataclasses.replace(RESULT, quantities=(new, POWER if quantity is ENERGY else ENERGY))
    return type("Changed", (Good,), {"result": result})


def test_good_collector_passes():
    assert check_collector(Good) is RESULT


def test_collector_without_quantities_passes():
    class Facts(Good):
        result = Available({"commit": None, "dirty": False, "names": ["a"]})

        def sample(self):
            return ()

    assert check_collector(Facts).facts["names"] == ["a"]


def test_unavailable_collector_is_not_started():
    class Absent(Good):
        result = Unavailable("there is no driver", "Install the driver")

        def start(self):
            raise AssertionError("started")

    assert check_collector(Absent).reason == "there is no driver"


def test_context_is_passed_to_the_collector(tmp_path):
    class Looks(Good):
        def probe(self):
            return Unavailable(f"nothing in {self.context.root}")

    assert str(tmp_path) in check_collector(Looks, CollectorContext(root=tmp_path)).reason


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "Energy used"}, "words"),
        ({"unit": "joule"}, "'joule'"),
        ({"kind": "Temperature"}, "'Temperature'"),
        ({"scope": "gpu"}, "'gpu'"),
        ({"scope": "process"}, "claim"),
        ({"method": "guessed"}, "'guessed'"),
        ({"device": "gpu1"}, "probe does not list"),
        ({"device": ""}, "no device"),
        ({"claim": ""}, "no claim"),
        ({"scope": "job", "claim": ""}, "no claim"),
        ({"component": "disk"}, "'disk'"),
        ({"unit": "KiloW-HR"}, "component"),
        ({"cumulative": False}, "component"),
        ({"name": "heat"}, "component"),
        ({"scale": 0.0}, "scale"),
        ({"scale": math.nan}, "scale"),
    ],
    ids=str,
)
def test_quantity_problems(changes, expected):
    message = problems(changed(**changes))
    assert expected in message
    assert "quantity" in message


def test_duplicate_quantities():
    result = dataclasses.replace(RESULT, quantities=(ENERGY, ENERGY))
    message = problems(type("Twice", (Good,), {"result": result}))
    assert "name 'energy', device 'gpu0' and scope 'device' are those of two" in message
    assert "gpu_0_energy_joules" in message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"facts": {"path": Path("/")}}, "not JSON"),
        ({"facts": {"share": math.nan}}, "not JSON"),
        ({"facts": {1: "one"}}, "JSON"),
        ({"devices": (Device("gpu0", ""), Device("gpu0", ""))}, "'gpu0'"),
        ({"devices": (Device("gpu0", ""), Device("", ""))}, "''"),
        ({"devices": (Device("gpu0", "", {"id": b"1"}),)}, "not JSON"),
        ({"procedure": ""}, "procedure"),
        ({"missing": (Unavailable("root only"),)}, "missing"),
    ],
    ids=str,
)
def test_probe_problems(changes, expected):
    result = dataclasses.replace(RESULT, **changes)
    assert expected in problems(type("Says", (Good,), {"result": result}))


@pytest.mark.parametrize("result", [None, {"driver": "1"}, Unavailable("")], ids=str)
def test_probe_result_type(result):
    assert "avail" in problems(type("Gives", (Good,), {"result": result}))


def test_collector_with_probe_problems_is_not_started():
    def start(self):
        raise AssertionError("started")

    wrong = changed(unit="joule")
    assert "started" not in problems(type("Wrong", (wrong,), {"start": start}))


@pytest.mark.parametrize("step", ["probe", "sample"])
def test_hanging_step(step, monkeypatch):
    def hangs(self):
        time.sleep(1.0)
        return RESULT if step == "probe" else [0.0, None]

    monkeypatch.setattr(testing, "_TIMEOUT_S", 0.2)
    message = problems(type("Hangs", (Good,), {step: hangs}), samples=1)
    assert f"{step} raised TimeoutError('still running after 0.2 s')" in message


@pytest.mark.parametrize("step", ["probe", "start", "sample", "stop"])
def test_exception_names_the_step(step):
    def broken(self):
        raise OSError("the driver has gone")

    message = problems(type("Raises", (Good,), {step: broken}))
    assert f"{step} raised OSError('the driver has gone')" in message


def test_constructor_problems():
    def raises(self, context):
        raise OSError("the driver has gone")

    def connects(self, context):
        opens_a_socket(self)

    assert "constructor raised OSError" in problems(type("Raises", (Good,), {"__init__": raises}))
    assert "sockets" in problems(type("Connects", (Good,), {"__init__": connects}))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0], "1 values for 2"),
        ([1.0, None, None], "3 values for 2"),
        (1.0, "not a sequence"),
        ([1.0, "2"], "'2'"),
        ([1.0, True], "True"),
        ([math.nan, 1.0], "nan"),
        ([1.0, math.inf], "inf"),
    ],
    ids=str,
)
def test_sample_values(values, expected):
    assert expected in problems(type("Samples", (Good,), {"sample": lambda self: values}))


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (lambda since: since - time.perf_counter(), "decreases"),
        (lambda since: -1.0, "negative"),
        (lambda since: 1e6 + time.perf_counter(), "begin at 0"),
        (lambda since: 100.0 + time.perf_counter() - since, "begin at 0"),
    ],
)
def test_total_problems(total, expected):
    class Totals(Good):
        def sample(self):
            return [total(self.since), None]

    assert expected in problems(Totals)


def test_total_that_continues_after_stop():
    class GoesOn(Good):
        def start(self):
            self.since = getattr(self, "since", time.perf_counter())

    assert "does not begin at 0" in problems(GoesOn, samples=3)


def test_none_values_pass():
    assert check_collector(type("Blind", (Good,), {"sample": lambda self: [None, None]})) is RESULT


@pytest.mark.parametrize("step", ["start", "sample"])
def test_slow_steps(step):
    class Slow(Good):
        def start(self):
            super().start()
            time.sleep(0.03 if step == "start" else 0)

        def sample(self):
            time.sleep(0.03 if step == "sample" else 0)
            return super().sample()

    assert f"{step} takes" in problems(Slow).replace("a sample", "sample")
    check_collector(Slow, limit_s=1.0)


@pytest.mark.parametrize("step", ["start", "sample"])
def test_single_delay_passes(step):
    hiccups = [0.03]

    def hiccup(self):
        time.sleep(hiccups.pop() if hiccups else 0)
        return getattr(Good, step)(self)

    check_collector(type("Hiccups", (Good,), {step: hiccup}))


def prints(self):
    print("hello")


def prints_in_a_child(self):
    subprocess.run(["echo", "hello"], check=True)


def opens_a_socket(self):
    socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()


def resolves_a_name(self):
    socket.getaddrinfo("localhost", 80)


def leaves_a_thread(self):
    threading.Thread(target=time.sleep, args=(3.0,), name="left", daemon=True).start()


def opens_a_socket_in_thread(self):
    thread = threading.Thread(target=opens_a_socket, args=(None,))
    thread.start()
    thread.join()


SIDE_EFFECTS = {
    prints: "'hello",
    prints_in_a_child: "'hello",
    opens_a_socket: "sockets",
    resolves_a_name: "socket.getaddrinfo",
    opens_a_socket_in_thread: "sockets",
    leaves_a_thread: "left",
}


@pytest.mark.parametrize("step", ["probe", "stop"])
@pytest.mark.parametrize("act", SIDE_EFFECTS, ids=lambda act: act.__name__)
def test_side_effects(act, step, capfd):
    def misbehaves(self):
        act(self)
        return RESULT

    assert SIDE_EFFECTS[act] in problems(type("Misbehaving", (Good,), {step: misbehaves}))
    assert capfd.readouterr().out == ""
    os.write(1, b"ours again")
    assert capfd.readouterr().out == "ours again"
    assert not testing._monitors


def test_changed_signal_handler(monkeypatch):
    """Only the main thread can set one in Python; a collector's C library can anywhere."""
    handlers = iter([signal.SIG_DFL, signal.SIG_IGN])
    seen = {}

    def getsignal(number):
        if number != signal.SIGUSR1:
            return signal.SIG_DFL
        return next(handlers, seen.get("last"))

    monkeypatch.setattr(signal, "getsignal", getsignal)
    assert f"signal {int(signal.SIGUSR1)}" in problems(Good)


def test_remaining_file(tmp_path):
    class Writes(Good):
        def stop(self):
            (tmp_path / "gone").write_text("")
            (tmp_path / "gone").unlink()
            (tmp_path / "stays").write_text("")
            (tmp_path / "__pycache__").mkdir(exist_ok=True)
            (tmp_path / "__pycache__/compiled.pyc").write_text("")

    message = problems(Writes)
    assert str(tmp_path / "stays") in message
    assert "gone" not in message
    assert "compiled" not in message


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="Linux has it")
def test_remaining_file_in_shared_memory(tmp_path_factory):
    file = Path("/dev/shm") / tmp_path_factory.mktemp("shared").name / "stays"
    file.parent.mkdir()

    def leaves(self):
        file.write_text("")

    try:
        assert str(file) in problems(type("Leaves", (Good,), {"stop": leaves}))
    finally:
        file.unlink()
        file.parent.rmdir()


def test_other_threads_are_not_monitored():
    ended = threading.Event()

    def other():
        while not ended.wait(0.005):
            opens_a_socket(None)

    thread = threading.Thread(target=other)
    thread.start()
    try:
        check_collector(Good)
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize(
    ("members", "expected"), [({"name": "Good one"}, "name"), ({"name": ""}, "name")], ids=str
)
def test_class_name(members, expected):
    assert expected in problems(type("Named", (Good,), members))


def test_class_is_a_collector():
    assert "not a subclass" in problems(object)


def test_all_problems_are_listed():
    message = problems(changed(unit="joule", method="guessed"))
    assert "'joule'" in message
    assert "'guessed'" in message


def test_units_are_qudt_names():
    assert all(kinds and unit == unit.strip() for unit, kinds in UNITS.items())
    assert "CO2Equivalent" in UNITS["GM"]


@pytest.mark.parametrize("carbon", [True, False], ids=["carbon", "plain"])
@pytest.mark.parametrize("name", catalog.BUILT_IN)
def test_built_in_collectors_pass(name, carbon):
    context = CollectorContext(country="ITA" if carbon else None)
    result = check_collector(catalog.load(name), context)
    if name in ("workflow", "about"):  # outside workflows and projects, nothing is to be said
        assert not isinstance(result, Unavailable)
        return
    assert result.reason if isinstance(result, Unavailable) else result.facts
