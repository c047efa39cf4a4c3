"""The kit with which a collector is checked against the contract, ours and others'.

Use in a test, which needs nothing but pytest and the collector::

    from yprov_mlflow.collectors.base import Available, Surroundings
    from yprov_mlflow.testing import check_collector

    from my_package import MyCollector

    def test_my_collector_keeps_the_contract():
        found = check_collector(MyCollector)
        assert isinstance(found, Available)

    def test_without_the_driver(tmp_path):
        found = check_collector(MyCollector, Surroundings(root=tmp_path))
        assert "driver" in found.reason

``check_collector`` probes, starts, samples, stops and starts again, in threads as the recorder
does, and raises an ``AssertionError`` that names all that is wrong.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import json
import math
import os
import re
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from yprov_mlflow.prov.collectors.base import (
    Available,
    Collector,
    CollectorContext,
    Method,
    Quantity,
    Scope,
    Unavailable,
)
from yprov_mlflow.prov.model.vocabulary import UNITS
from yprov_mlflow.prov.translate.measurements import COMPONENTS

_COMPONENTS = {"", *COMPONENTS}
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*\Z")
_WORD = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*\Z")
_ADDRESSES = re.compile(r"socket\.(connect|bind|getaddrinfo|gethostby\w+|getnameinfo|sendto)\Z")
_PATIENCE_S = 60.0

_T = TypeVar("_T")


def check_collector(
    cls: type[Collector],
    surroundings: CollectorContext | None = None,
    *,
    samples: int = 4,
    interval_s: float = 0.1,
    limit_s: float = 0.02,
) -> Available | Unavailable:
    """Check a collector against the contract, as far as it can work here.

    Args:
        cls: Its class.
        surroundings: What it may look at, by default this machine.
        samples: How many to take after each of the two starts, the first one at once.
        interval_s: Seconds between samples.
        limit_s: Seconds that a start and a sample may take, the fastest and the median.

    Returns:
        What the probe gave, for tests of one's own.

    Raises:
        AssertionError: It does not keep the contract; the message has a line for each fault.
    """
    _none([*_of_the_class(cls)], repr(cls))
    watch = _Watch()
    with watch:
        collector, error = _in_thread(lambda: cls(surroundings or CollectorContext()))
        _none([f"its constructor raised {error!r}"] if error else [], f"collector {cls.name!r}")
        found, error = _in_thread(collector.probe)
        faults = [f"probe raised {error!r}"] if error else [*_of_the_probe(found)]
        if isinstance(found, Available) and not faults:
            rounds = _Rounds(collector, found.quantities, samples, interval_s)
            _, error = _in_thread(rounds.run)
            faults += [f"{rounds.step} raised {error!r}"] if error else []
            faults += [*rounds.faults(), *rounds.slow(limit_s)]
    _none([*faults, *watch.faults()], f"collector {cls.name!r}")
    result: Available | Unavailable = found
    return result


def _none(faults: Sequence[str], what: str) -> None:
    if faults:
        lines = "\n".join(f"  - {fault}" for fault in dict.fromkeys(faults))
        raise AssertionError(f"{what} does not keep the contract:\n{lines}")


def _in_thread(function: Callable[[], _T]) -> tuple[Any, BaseException | None]:
    """Run a function in a thread of its own; give what it gave, and what it raised."""
    outcome: list[Any] = [None, TimeoutError(f"still running after {_PATIENCE_S:g} s")]

    def run() -> None:
        try:
            outcome[:] = [function(), None]
        except BaseException as error:  # noqa: BLE001 - all that a collector raises is a finding
            outcome[1] = error

    thread = threading.Thread(target=run, name="yprov-mlflow-testing", daemon=True)
    thread.start()
    thread.join(_PATIENCE_S)
    return outcome[0], outcome[1]


def _of_the_class(cls: Any) -> Iterator[str]:
    if not (isinstance(cls, type) and issubclass(cls, Collector)):
        yield "it is no subclass of yprov_mlflow.prov.collectors.base.Collector"
    elif not _NAME.match(cls.name):
        yield f"its name {cls.name!r} is not of lower-case letters, digits and hyphens"


def _of_the_probe(found: object) -> Iterator[str]:
    if isinstance(found, Unavailable):
        if not found.reason.strip():
            yield "it is unavailable without a reason"
    elif isinstance(found, Available):
        yield from _of_facts("facts", found.facts)
        yield from _of_devices(found)
        for quantity in found.quantities:
            label = f"quantity {quantity.name!r} (device {quantity.device!r})"
            for fault in _of_a_quantity(quantity, {device.id for device in found.devices}):
                yield f"{label} {fault}"
        yield from _doubles(found.quantities)
        if found.quantities and not found.procedure.strip():
            yield "it has quantities and no procedure, which says how they come about"
        for part in found.missing:
            if not (part.what.strip() and part.reason.strip()):
                yield f"a missing part does not say what is missing and why: {part!r}"
    else:
        yield f"probe gave {found!r}, neither Available nor Unavailable"


def _of_facts(label: str, facts: Mapping[str, Any]) -> Iterator[str]:
    try:
        same = json.loads(json.dumps(dict(facts), allow_nan=False)) == dict(facts)
    except (TypeError, ValueError) as error:
        yield f"{label} are no JSON: {error}"
    else:
        if not same:
            yield f"{label} change on the way through JSON: lists, and keys that are texts"


def _of_devices(found: Available) -> Iterator[str]:
    ids = [device.id for device in found.devices]
    for device in found.devices:
        if not device.id or ids.count(device.id) > 1:
            yield f"the device id {device.id!r} is empty or not the only one"
        yield from _of_facts(f"facts of device {device.id!r}", device.facts)


def _of_a_quantity(quantity: Quantity, devices: set[str]) -> Iterator[str]:
    if not _WORD.match(quantity.name):
        yield "has a name that is not words with underscores"
    if quantity.unit not in UNITS:
        yield f"has the unit {quantity.unit!r}, which is none of {', '.join(UNITS)}"
    elif quantity.kind not in UNITS[quantity.unit]:
        allowed = ", ".join(sorted(UNITS[quantity.unit]))
        yield f"has the kind {quantity.kind!r}; of unit {quantity.unit} there are {allowed}"
    if quantity.scope not in get_args(Scope):
        yield f"has the scope {quantity.scope!r}, which is none of {', '.join(get_args(Scope))}"
    if quantity.method not in get_args(Method):
        yield f"has the method {quantity.method!r}, which is none of {', '.join(get_args(Method))}"
    if quantity.device and quantity.device not in devices:
        yield "has a device that the probe does not name"
    if quantity.scope == "device" and not quantity.device:
        yield "has the scope 'device' and no device"
    if quantity.scope != "process" and not quantity.claim:
        yield f"has the scope {quantity.scope!r} and no claim: each process would measure it"
    if quantity.scope == "process" and quantity.claim:
        yield "has the scope 'process' and a claim, which would take it from other processes"
    if quantity.component not in _COMPONENTS:
        yield f"has the component {quantity.component!r}, which is none of gpu, cpu, memory"
    bill = (quantity.name, quantity.unit, quantity.cumulative) == ("energy", "J", True)
    if quantity.component and not bill:
        yield "has a component and is no cumulative energy in J"
    if not (math.isfinite(quantity.scale) and quantity.scale > 0):
        yield f"has the scale {quantity.scale!r}, which is no number above 0"


def _doubles(quantities: Sequence[Quantity]) -> Iterator[str]:
    identities = [(one.name, one.device, one.scope) for one in quantities]
    metrics = [one.system_metric for one in quantities if one.system_metric]
    for double in {one for one in identities if identities.count(one) > 1}:
        yield "name {!r}, device {!r} and scope {!r} are those of two quantities".format(*double)
    for metric in {one for one in metrics if metrics.count(one) > 1}:
        yield f"the system metric {metric!r} is that of two quantities"


class _Rounds:
    """Two rounds of start, samples and stop, and what was wrong with them."""

    def __init__(
        self, collector: Collector, quantities: Sequence[Quantity], samples: int, interval_s: float
    ) -> None:
        self._collector = collector
        self._quantities = quantities
        self._samples = samples
        self._interval_s = interval_s
        self.step = ""
        self._starts_s: list[float] = []
        self._samples_s: list[float] = []
        self._rounds: list[list[Any]] = []

    def run(self) -> None:
        """Start, sample and stop, twice."""
        for _ in range(2):
            self._starts_s.append(self._timed("start", self._collector.start)[0])
            values: list[Any] = []
            self._rounds.append(values)
            for number in range(self._samples):
                if number:
                    time.sleep(self._interval_s)
                seconds, given = self._timed("sample", self._collector.sample)
                self._samples_s.append(seconds)
                values.append(given)
            self._timed("stop", self._collector.stop)

    def _timed(self, step: str, function: Callable[[], Any]) -> tuple[float, Any]:
        self.step = step
        since = time.perf_counter()
        given = function()
        return time.perf_counter() - since, given

    def slow(self, limit_s: float) -> Iterator[str]:
        """Say what took longer than the limit, which one hiccup of the machine does not."""
        if self._starts_s and (took_s := min(self._starts_s)) > limit_s:
            yield f"start takes {took_s:.3g} s, more than {limit_s:g} s"
        if self._samples_s and (took_s := statistics.median(self._samples_s)) > limit_s:
            yield f"a sample takes {took_s:.3g} s, more than {limit_s:g} s"

    def faults(self) -> Iterator[str]:
        """Say what is wrong with the values."""
        wrong = [
            *itertools.chain.from_iterable(map(self._of_values, itertools.chain(*self._rounds)))
        ]
        yield from wrong
        if wrong:
            return
        for index, quantity in enumerate(self._quantities):
            if quantity.cumulative:
                series = [[values[index] for values in one] for one in self._rounds]
                read = [[value for value in one if value is not None] for one in series]
                yield from (f"{quantity.name!r} {fault}" for fault in _of_totals(read))

    def _of_values(self, values: Any) -> Iterator[str]:
        if not isinstance(values, Sequence):
            yield f"sample gave {values!r}, which is no sequence"
        elif len(values) != len(self._quantities):
            yield f"sample gave {len(values)} values for {len(self._quantities)} quantities"
        else:
            for quantity, value in zip(self._quantities, values, strict=True):
                number = isinstance(value, (int, float)) and not isinstance(value, bool)
                if value is not None and not (number and math.isfinite(value)):
                    yield f"sample gave {value!r} for {quantity.name!r}: a number or None"


def _of_totals(rounds: Sequence[Sequence[float]]) -> Iterator[str]:
    """Say what is wrong with a total that was read over some rounds."""
    for values in rounds:
        if any(later < earlier for earlier, later in itertools.pairwise(values)):
            yield f"is cumulative and decreases: {values}"
        if any(value < 0 for value in values):
            yield f"is cumulative and negative: {values}"
    if len(rounds) < 2 or not all(rounds):
        return
    first, second = rounds
    # Something may really happen between a start and the sample right after it, but not twice.
    since_ever = all(values[0] > values[-1] - values[0] for values in rounds)
    goes_on = second[0] >= first[-1] > first[0]
    if since_ever or goes_on:
        yield f"is cumulative and does not begin at 0 on each start: {[*map(list, rounds)]}"


class _Watch:
    """Watches the manners of the threads that begin while it is entered."""

    def __init__(self) -> None:
        self._others: set[int | None] = set()
        self._sockets: list[str] = []
        self._written: list[str] = []
        self._signals: Mapping[int, Any] = {}
        self._threads: set[threading.Thread] = set()
        self._stack = contextlib.ExitStack()
        self._output = ""
        self._left: list[str] = []

    def __enter__(self) -> None:
        self._threads = set(threading.enumerate())
        self._others = {thread.ident for thread in self._threads}
        self._signals = _signals()
        # Its import tries a local socket; MLflow has imported it before any collector runs.
        importlib.import_module("urllib3")
        _hook()
        _watches.append(self)
        self._stack.callback(_watches.remove, self)
        self._file = self._stack.enter_context(_standard_output())

    def __exit__(self, *raised: object) -> None:
        sys.stdout.flush()
        self._file.seek(0)
        self._output = self._file.read().decode(errors="replace")
        self._stack.close()
        for thread in set(threading.enumerate()) - self._threads:
            thread.join(1.0)
            if thread.is_alive():
                self._left.append(thread.name)

    def event(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note what a thread of the collector does, as Python's audit events have it."""
        if threading.get_ident() in self._others:
            return
        ip = event == "socket.__new__" and arguments[1] in (socket.AF_INET, socket.AF_INET6)
        if ip or _ADDRESSES.match(event):
            self._sockets.append(event)
        elif event == "open" and isinstance(arguments[0], (str, bytes)):
            writes = (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            self._written += [os.path.abspath(os.fsdecode(arguments[0]))] if writes else []

    def faults(self) -> Iterator[str]:
        """Say what a guest in someone's process does not do."""
        if self._sockets:
            yield f"it opens sockets: {', '.join(dict.fromkeys(self._sockets))}"
        if self._output:
            yield f"it writes to standard output: {self._output[:200]!r}"
        if self._left:
            yield f"it leaves threads: {', '.join(self._left)}"
        for number, handler in _signals().items():
            if handler != self._signals[number]:
                yield f"it changes the handler of signal {number}"
        for path in dict.fromkeys(self._written):
            if "__pycache__" not in path and Path(path).is_file():
                yield f"it leaves a file: {path}"


def _signals() -> dict[int, Any]:
    return {int(number): signal.getsignal(number) for number in signal.valid_signals()}


@contextlib.contextmanager
def _standard_output() -> Iterator[Any]:
    """Lead standard output, of Python, C and child processes, into a file."""
    sys.stdout.flush()
    kept = os.dup(1)
    with tempfile.TemporaryFile() as file, os.fdopen(os.dup(file.fileno()), "w") as text:
        try:
            os.dup2(file.fileno(), 1)
            with contextlib.redirect_stdout(text):
                yield file
        finally:
            os.dup2(kept, 1)
            os.close(kept)


_watches: list[_Watch] = []


@functools.cache
def _hook() -> None:
    """Have Python tell of audit events; once, since it cannot take such a hook away."""

    def tell(event: str, arguments: tuple[Any, ...]) -> None:
        for watch in _watches:
            watch.event(event, arguments)

    sys.addaudithook(tell)
