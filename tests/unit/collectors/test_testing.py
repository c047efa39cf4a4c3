"""The kit finds each fault, and none in a collector that keeps the contract."""

import dataclasses
import importlib.util
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
FOUND = Available(
    {"driver": "1"}, (ENERGY, POWER), (Device("gpu0", "a GPU"),), procedure="A counter."
)


class Good(Collector):
    """Keeps the contract; tests derive from it and break one thing."""

    name = "good"
    found = FOUND

    def probe(self):
        return self.found

    def start(self):
        self.since = time.perf_counter()

    def sample(self):
        return [time.perf_counter() - self.since, None]


def faults(cls, **given):
    with pytest.raises(AssertionError) as caught:
        check_collector(cls, **{"samples": 2, "interval_s": 0.02, **given})
    return str(caught.value)


def changed(quantity=ENERGY, **changes):
    """Give a collector with a quantity that was changed."""
    one = dataclasses.replace(quantity, **changes)
    found = dataclasses.replace(FOUND, quantities=(one, POWER if quantity is ENERGY else ENERGY))
    return type("Changed", (Good,), {"found": found})


def test_what_keeps_the_contract_passes():
    assert check_collector(Good) is FOUND


def test_a_collector_of_facts_alone_passes():
    class Facts(Good):
        found = Available({"commit": None, "dirty": False, "names": ["a"]})

        def sample(self):
            return ()

    assert check_collector(Facts).facts["names"] == ["a"]


def test_an_unavailable_one_passes_and_is_not_started():
    class Absent(Good):
        found = Unavailable("there is no driver", "Install the driver")

        def start(self):
            raise AssertionError("started")

    assert check_collector(Absent).reason == "there is no driver"


def test_surroundings_reach_it(tmp_path):
    class Looks(Good):
        def probe(self):
            return Unavailable(f"nothing in {self.surroundings.root}")

    assert str(tmp_path) in check_collector(Looks, CollectorContext(root=tmp_path)).reason


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "Energy used"}, "words"),
        ({"unit": "joule"}, "'joule'"),
        ({"kind": "Temperature"}, "'Temperature'"),
        ({"scope": "gpu"}, "'gpu'"),
        ({"scope": "process"}, "claim"),
        ({"method": "guessed"}, "'guessed'"),
        ({"device": "gpu1"}, "probe does not name"),
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
def test_a_quantity_is_described_rightly(changes, said):
    message = faults(changed(**changes))
    assert said in message
    assert "quantity" in message


def test_quantities_differ():
    found = dataclasses.replace(FOUND, quantities=(ENERGY, ENERGY))
    message = faults(type("Twice", (Good,), {"found": found}))
    assert "name 'energy', device 'gpu0' and scope 'device' are those of two" in message
    assert "gpu_0_energy_joules" in message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"facts": {"path": Path("/")}}, "no JSON"),
        ({"facts": {"share": math.nan}}, "no JSON"),
        ({"facts": {1: "one"}}, "JSON"),
        ({"devices": (Device("gpu0", ""), Device("gpu0", ""))}, "'gpu0'"),
        ({"devices": (Device("gpu0", ""), Device("", ""))}, "''"),
        ({"devices": (Device("gpu0", "", {"id": b"1"}),)}, "no JSON"),
        ({"procedure": ""}, "procedure"),
        ({"missing": (Unavailable("root only"),)}, "missing"),
    ],
    ids=str,
)
def test_a_probe_says_all(changes, said):
    found = dataclasses.replace(FOUND, **changes)
    assert said in faults(type("Says", (Good,), {"found": found}))


@pytest.mark.parametrize("found", [None, {"driver": "1"}, Unavailable("")], ids=str)
def test_a_probe_gives_a_finding(found):
    assert "avail" in faults(type("Gives", (Good,), {"found": found}))


def test_what_is_described_wrongly_is_not_started():
    def start(self):
        raise AssertionError("started")

    wrong = changed(unit="joule")
    assert "started" not in faults(type("Wrong", (wrong,), {"start": start}))


@pytest.mark.parametrize("step", ["probe", "sample"])
def test_what_hangs_is_named(step, monkeypatch):
    def hangs(self):
        time.sleep(1.0)
        return FOUND if step == "probe" else [0.0, None]

    monkeypatch.setattr(testing, "_PATIENCE_S", 0.2)
    message = faults(type("Hangs", (Good,), {step: hangs}), samples=1)
    assert f"{step} raised TimeoutError('still running after 0.2 s')" in message


@pytest.mark.parametrize("step", ["probe", "start", "sample", "stop"])
def test_an_exception_is_named_with_its_step(step):
    def broken(self):
        raise OSError("the driver has gone")

    message = faults(type("Raises", (Good,), {step: broken}))
    assert f"{step} raised OSError('the driver has gone')" in message


def test_the_constructor_is_watched_too():
    def raises(self, surroundings):
        raise OSError("the driver has gone")

    def connects(self, surroundings):
        asks_the_network(self)

    assert "constructor raised OSError" in faults(type("Raises", (Good,), {"__init__": raises}))
    assert "sockets" in faults(type("Connects", (Good,), {"__init__": connects}))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1.0], "1 values for 2"),
        ([1.0, None, None], "3 values for 2"),
        (1.0, "no sequence"),
        ([1.0, "2"], "'2'"),
        ([1.0, True], "True"),
        ([math.nan, 1.0], "nan"),
        ([1.0, math.inf], "inf"),
    ],
    ids=str,
)
def test_a_sample_is_a_number_or_none_for_each(values, said):
    assert said in faults(type("Samples", (Good,), {"sample": lambda self: values}))


@pytest.mark.parametrize(
    ("total", "said"),
    [
        (lambda since: since - time.perf_counter(), "decreases"),
        (lambda since: -1.0, "negative"),
        (lambda since: 1e6 + time.perf_counter(), "begin at 0"),
        (lambda since: 100.0 + time.perf_counter() - since, "begin at 0"),
    ],
)
def test_a_total_grows_from_zero(total, said):
    class Totals(Good):
        def sample(self):
            return [total(self.since), None]

    assert said in faults(Totals)


def test_a_total_that_goes_on_after_a_stop():
    class GoesOn(Good):
        def start(self):
            self.since = getattr(self, "since", time.perf_counter())

    assert "does not begin at 0" in faults(GoesOn, samples=3)


def test_what_cannot_be_read_is_no_fault():
    assert check_collector(type("Blind", (Good,), {"sample": lambda self: [None, None]})) is FOUND


@pytest.mark.parametrize("step", ["start", "sample"])
def test_slowness(step):
    class Slow(Good):
        def start(self):
            super().start()
            time.sleep(0.03 if step == "start" else 0)

        def sample(self):
            time.sleep(0.03 if step == "sample" else 0)
            return super().sample()

    assert f"{step} takes" in faults(Slow).replace("a sample", "sample")
    check_collector(Slow, limit_s=1.0)


@pytest.mark.parametrize("step", ["start", "sample"])
def test_one_hiccup_is_no_slowness(step):
    hiccups = [0.03]

    def hiccup(self):
        time.sleep(hiccups.pop() if hiccups else 0)
        return getattr(Good, step)(self)

    check_collector(type("Hiccups", (Good,), {step: hiccup}))


def talks(self):
    print("hello")


def talks_through_a_child(self):
    subprocess.run(["echo", "hello"], check=True)


def asks_the_network(self):
    socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()


def looks_up_a_name(self):
    socket.getaddrinfo("localhost", 80)


def leaves_a_thread(self):
    threading.Thread(target=time.sleep, args=(3.0,), name="left", daemon=True).start()


def opens_a_socket_in_a_thread(self):
    thread = threading.Thread(target=asks_the_network, args=(None,))
    thread.start()
    thread.join()


MANNERS = {
    talks: "'hello",
    talks_through_a_child: "'hello",
    asks_the_network: "sockets",
    looks_up_a_name: "socket.getaddrinfo",
    opens_a_socket_in_a_thread: "sockets",
    leaves_a_thread: "left",
}


@pytest.mark.parametrize("step", ["probe", "stop"])
@pytest.mark.parametrize("act", MANNERS, ids=lambda act: act.__name__)
def test_manners(act, step, capfd):
    def misbehaves(self):
        act(self)
        return FOUND

    assert MANNERS[act] in faults(type("Rude", (Good,), {step: misbehaves}))
    assert capfd.readouterr().out == ""
    os.write(1, b"ours again")
    assert capfd.readouterr().out == "ours again"
    assert not testing._watches


def test_a_signal_handler_is_noticed(monkeypatch):
    """Only the main thread can set one: a collector would do it from a library's C code."""
    handlers = iter([signal.SIG_DFL, signal.SIG_IGN])
    seen = {}

    def getsignal(number):
        if number != signal.SIGUSR1:
            return signal.SIG_DFL
        return next(handlers, seen.get("last"))

    monkeypatch.setattr(signal, "getsignal", getsignal)
    assert f"signal {int(signal.SIGUSR1)}" in faults(Good)


def test_a_file_that_stays_is_noticed_and_one_that_goes_is_not(tmp_path):
    class Writes(Good):
        def stop(self):
            (tmp_path / "gone").write_text("")
            (tmp_path / "gone").unlink()
            (tmp_path / "stays").write_text("")
            (tmp_path / "__pycache__").mkdir(exist_ok=True)
            (tmp_path / "__pycache__/compiled.pyc").write_text("")

    message = faults(Writes)
    assert str(tmp_path / "stays") in message
    assert "gone" not in message
    assert "compiled" not in message


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="Linux has it")
def test_a_file_in_shared_memory_stays_too(tmp_path_factory):
    file = Path("/dev/shm") / tmp_path_factory.mktemp("shared").name / "stays"
    file.parent.mkdir()

    def leaves(self):
        file.write_text("")

    try:
        assert str(file) in faults(type("Leaves", (Good,), {"stop": leaves}))
    finally:
        file.unlink()
        file.parent.rmdir()


def test_others_may_do_what_they_like_meanwhile():
    ended = threading.Event()

    def other():
        while not ended.wait(0.005):
            asks_the_network(None)

    thread = threading.Thread(target=other)
    thread.start()
    try:
        check_collector(Good)
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize(
    ("members", "said"), [({"name": "Good one"}, "name"), ({"name": ""}, "name")], ids=str
)
def test_a_class_has_a_name(members, said):
    assert said in faults(type("Named", (Good,), members))


def test_a_class_is_a_collector():
    assert "no subclass" in faults(object)


def test_all_faults_are_named_at_once():
    message = faults(changed(unit="joule", method="guessed"))
    assert "'joule'" in message
    assert "'guessed'" in message


def test_units_are_names_of_qudt():
    assert all(kinds and unit == unit.strip() for unit, kinds in UNITS.items())
    assert "CO2Equivalent" in UNITS["GM"]


def is_there(name):
    built_in = catalog.BUILT_IN[name]
    module = f"yprov_mlflow.prov.collectors.{built_in.module}"
    spec = importlib.util.find_spec(module)
    return spec is not None and hasattr(importlib.import_module(module), built_in.cls)


@pytest.mark.parametrize("carbon", [True, False], ids=["carbon", "plain"])
@pytest.mark.parametrize("name", catalog.BUILT_IN)
def test_each_of_ours_keeps_the_contract(name, carbon):
    if not is_there(name):
        pytest.skip(f"the collector {name} is not there yet")
    given = CollectorContext(country="ITA" if carbon else None)
    found = check_collector(catalog.load(name), given)
    assert found.reason if isinstance(found, Unavailable) else found.facts
