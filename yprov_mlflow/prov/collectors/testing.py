"""Test kit that checks a collector against the contract.

Use it in a test; it needs nothing but pytest and the collector::

    from yprov_mlflow.prov.collectors.base import Available, CollectorContext
    from yprov_mlflow.prov.collectors.testing import check_collector

    from my_package import MyCollector

    def test_contract():
        result = check_collector(MyCollector)
        assert isinstance(result, Available)

    def test_without_driver(tmp_path):
        result = check_collector(MyCollector, CollectorContext(root=tmp_path))
        assert "driver" in result.reason

``check_collector`` probes, starts, samples, stops and starts again, in threads like the sampler,
and raises an ``AssertionError`` that lists all violations.
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

from yprov_mlflow.prov.collectors import base
from yprov_mlflow.prov.collectors.base import Available, Collector, Quantity, Unavailable
from yprov_mlflow.prov.model.vocabulary import UNITS
from yprov_mlflow.prov.translate.measurements import COMPONENTS

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*\Z")
_WORDS = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*\Z")
_SOCKET_EVENTS = re.compile(r"socket\.(connect|bind|getaddrinfo|gethostby\w+|getnameinfo|sendto)\Z")
_TIMEOUT_S = 60.0

_T = TypeVar("_T")


def check_collector(
    cls: type[Collector],
    context: base.CollectorContext | None = None,
    *,
    samples: int = 4,
    interval_s: float = 0.1,
    limit_s: float = 0.02,
) -> Available | Unavailable:
    """Check a collector against the contract, as far as it works on this machine.

    Args:
        cls: The collector class.
        context: Its environment, by default this machine.
        samples: Number of samples after each of the two starts, the first one immediately.
        interval_s: Seconds between samples.
        limit_s: Seconds that a start (the fastest) and a sample (the median) may take.

    Returns:
        The result of the probe, for further assertions.

    Raises:
        AssertionError: The collector violates the contract; the message has a line for each
            violation.
    """
    _fail_if([*_class_problems(cls)], repr(cls))
    monitor = _ProcessMonitor()
    with monitor:
        collector, error = _run_in_thread(lambda: cls(context or base.CollectorContext()))
        _fail_if([f"its constructor raised {error!r}"] if error else [], f"collector {cls.name!r}")
        result, error = _run_in_thread(collector.probe)
        problems = [f"probe raised {error!r}"] if error else [*_probe_problems(result)]
        if isinstance(result, Available) and not problems:
            rounds = _Rounds(collector, samples, interval_s)
            _, error = _run_in_thread(rounds.run)
            problems += [f"{rounds.step} raised {error!r}"] if error else []
            problems += _value_problems(result.quantities, rounds.values)
            problems += rounds.slow_steps(limit_s)
    _fail_if([*problems, *monitor.problems()], f"collector {cls.name!r}")
    checked: Available | Unavailable = result
    return checked


def _fail_if(problems: Sequence[str], subject: str) -> None:
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in dict.fromkeys(problems))
        raise AssertionError(f"{subject} violates the contract:\n{lines}")


def _run_in_thread(function: Callable[[], _T]) -> tuple[Any, BaseException | None]:
    """Run a function in a new thread; return its result and its exception."""
    outcome: list[Any] = [None, TimeoutError(f"still running after {_TIMEOUT_S:g} s")]

    def run() -> None:
        try:
            outcome[:] = [function(), None]
        except BaseException as error:  # noqa: BLE001 - reported as a violation
            outcome[1] = error

    thread = threading.Thread(target=run, name="yprov-mlflow-testing", daemon=True)
    thread.start()
    thread.join(_TIMEOUT_S)
    return outcome[0], outcome[1]


def _class_problems(cls: Any) -> Iterator[str]:
    if not (isinstance(cls, type) and issubclass(cls, Collector)):
        yield "it is not a subclass of yprov_mlflow.prov.collectors.base.Collector"
    elif not _NAME.match(cls.name):
        yield f"its name {cls.name!r} must consist of lower-case letters, digits and hyphens"


def _probe_problems(result: object) -> Iterator[str]:
    if isinstance(result, Unavailable):
        if not result.reason.strip():
            yield "it is unavailable without a reason"
    elif isinstance(result, Available):
        yield from _json_problems("facts", result.facts)
        yield from _device_problems(result)
        for quantity in result.quantities:
            label = f"quantity {quantity.name!r} (device {quantity.device!r})"
            for problem in _quantity_problems(quantity, {device.id for device in result.devices}):
                yield f"{label} {problem}"
        yield from _duplicates(result.quantities)
        if result.quantities and not result.procedure.strip():
            yield "it has quantities but no procedure that describes how they are obtained"
        for part in result.missing:
            if not (part.what.strip() and part.reason.strip()):
                yield f"a missing part needs both `what` and `reason`: {part!r}"
    else:
        yield f"probe returned {result!r}, neither Available nor Unavailable"


def _json_problems(label: str, facts: Mapping[str, Any]) -> Iterator[str]:
    try:
        same = json.loads(json.dumps(dict(facts), allow_nan=False)) == dict(facts)
    except (TypeError, ValueError) as error:
        yield f"{label} are not JSON: {error}"
    else:
        if not same:
            yield f"{label} change in a JSON round trip: use lists, and strings as keys"


def _device_problems(result: Available) -> Iterator[str]:
    ids = [device.id for device in result.devices]
    for device in result.devices:
        if not device.id or ids.count(device.id) > 1:
            yield f"the device id {device.id!r} is empty or not unique"
        yield from _json_problems(f"facts of device {device.id!r}", device.facts)


def _quantity_problems(quantity: Quantity, devices: set[str]) -> Iterator[str]:
    if not _WORDS.match(quantity.name):
        yield "has a name that is not lower-case words joined by underscores"
    choices = {
        "unit": UNITS,
        "kind": UNITS.get(quantity.unit),
        "scope": get_args(base.Scope),
        "method": get_args(base.Method),
        "component": ("", *COMPONENTS),
        "share_of": ("", *COMPONENTS),
    }
    for field, allowed in choices.items():
        value = getattr(quantity, field)
        if allowed is not None and value not in allowed:
            yield f"has the {field} {value!r}; allowed: {', '.join(sorted(filter(None, allowed)))}"
    if quantity.device and quantity.device not in devices:
        yield "has a device that the probe does not list"
    if quantity.scope == "device" and not quantity.device:
        yield "has the scope 'device' and no device"
    if quantity.scope != "process" and not quantity.claim:
        yield f"has the scope {quantity.scope!r} and no claim: each process would measure it"
    if quantity.scope == "process" and quantity.claim:
        yield "has the scope 'process' and a claim: only one process would measure its own"
    is_energy = (quantity.name, quantity.unit, quantity.cumulative) == ("energy", "J", True)
    if quantity.component and not is_energy:
        yield "has a component but is not cumulative energy in J"
    if quantity.share_of and (quantity.scope != "process" or not is_energy):
        yield "is a share but not cumulative energy in J with the scope 'process'"
    if not (math.isfinite(quantity.scale) and quantity.scale > 0):
        yield f"has the scale {quantity.scale!r}, which is not a number above 0"


def _duplicates(quantities: Sequence[Quantity]) -> Iterator[str]:
    keys = [(q.name, q.device, q.scope) for q in quantities]
    metrics = [q.system_metric for q in quantities if q.system_metric]
    for key in {key for key in keys if keys.count(key) > 1}:
        yield "name {!r}, device {!r} and scope {!r} are those of two quantities".format(*key)
    for metric in {metric for metric in metrics if metrics.count(metric) > 1}:
        yield f"the system metric {metric!r} is that of two quantities"


class _Rounds:
    """Two rounds of start, samples and stop: their values and durations."""

    def __init__(self, collector: Collector, samples: int, interval_s: float) -> None:
        self._collector = collector
        self._samples = samples
        self._interval_s = interval_s
        self._durations_s: dict[str, list[float]] = {"start": [], "sample": [], "stop": []}
        self.step = ""
        self.values: list[list[Any]] = []

    def run(self) -> None:
        for _ in range(2):
            self._call("start")
            self.values.append([])
            for number in range(self._samples):
                if number:
                    time.sleep(self._interval_s)
                self.values[-1].append(self._call("sample"))
            self._call("stop")

    def _call(self, step: str) -> Any:
        self.step = step
        start_s = time.perf_counter()
        result = getattr(self._collector, step)()
        self._durations_s[step].append(time.perf_counter() - start_s)
        return result

    def slow_steps(self, limit_s: float) -> Iterator[str]:
        """Yield the steps that exceed the limit; a single delay of the machine does not count."""
        starts_s, samples_s = self._durations_s["start"], self._durations_s["sample"]
        if starts_s and (time_s := min(starts_s)) > limit_s:
            yield f"start takes {time_s:.3g} s, more than {limit_s:g} s"
        if samples_s and (time_s := statistics.median(samples_s)) > limit_s:
            yield f"a sample takes {time_s:.3g} s, more than {limit_s:g} s"


def _value_problems(quantities: Sequence[Quantity], rounds: list[list[Any]]) -> list[str]:
    samples = itertools.chain.from_iterable(rounds)
    problems = [problem for sample in samples for problem in _sample_problems(quantities, sample)]
    if problems:
        return problems
    for index, quantity in enumerate(quantities):
        if quantity.cumulative:
            columns = [[values[index] for values in samples] for samples in rounds]
            totals = [[value for value in column if value is not None] for column in columns]
            problems += [f"{quantity.name!r} {problem}" for problem in _total_problems(totals)]
    return problems


def _sample_problems(quantities: Sequence[Quantity], values: Any) -> Iterator[str]:
    if not isinstance(values, Sequence):
        yield f"sample returned {values!r}, which is not a sequence"
    elif len(values) != len(quantities):
        yield f"sample returned {len(values)} values for {len(quantities)} quantities"
    else:
        for quantity, value in zip(quantities, values, strict=True):
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if value is not None and not (number and math.isfinite(value)):
                yield f"sample returned {value!r} for {quantity.name!r}: a number or None"


def _total_problems(rounds: Sequence[Sequence[float]]) -> Iterator[str]:
    for values in rounds:
        if any(later < earlier for earlier, later in itertools.pairwise(values)):
            yield f"is cumulative and decreases: {values}"
        if any(value < 0 for value in values):
            yield f"is cumulative and negative: {values}"
    if len(rounds) < 2 or not all(rounds):
        return
    first, second = rounds
    # A real event may fall between a start and the sample right after it, but not twice.
    since_boot = all(values[0] > values[-1] - values[0] for values in rounds)
    continues = second[0] >= first[-1] > first[0]
    if since_boot or continues:
        yield f"is cumulative and does not begin at 0 on each start: {[*map(list, rounds)]}"


class _ProcessMonitor:
    """Context manager that monitors side effects of the threads that start in it."""

    def __enter__(self) -> None:
        self._socket_calls: list[str] = []
        self._written_paths: list[str] = []
        self._threads = set(threading.enumerate())
        self._other_threads = {thread.ident for thread in self._threads}
        self._signals = _signal_handlers()
        # Its import opens a local socket; in production MLflow has imported it long before.
        importlib.import_module("urllib3")
        _install_audit_hook()
        _monitors.append(self)
        self._stack = contextlib.ExitStack()
        self._stack.callback(_monitors.remove, self)
        self._file = self._stack.enter_context(_captured_stdout())

    def __exit__(self, *exc_info: object) -> None:
        sys.stdout.flush()
        self._file.seek(0)
        self._output = self._file.read().decode(errors="replace")
        self._stack.close()
        new_threads = set(threading.enumerate()) - self._threads
        for thread in new_threads:
            thread.join(1.0)
        self._remaining_threads = [thread.name for thread in new_threads if thread.is_alive()]

    def on_audit_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Record an audit event of Python if a thread of the collector caused it."""
        if threading.get_ident() in self._other_threads:
            return
        ip = event == "socket.__new__" and arguments[1] in (socket.AF_INET, socket.AF_INET6)
        if ip or _SOCKET_EVENTS.match(event):
            self._socket_calls.append(event)
        elif event == "open" and isinstance(arguments[0], (str, bytes)):
            writes = (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            self._written_paths += [os.path.abspath(os.fsdecode(arguments[0]))] if writes else []

    def problems(self) -> Iterator[str]:
        """Yield the forbidden side effects."""
        if self._socket_calls:
            yield f"it opens sockets: {', '.join(dict.fromkeys(self._socket_calls))}"
        if self._output:
            yield f"it writes to standard output: {self._output[:200]!r}"
        if self._remaining_threads:
            yield f"it leaves threads: {', '.join(self._remaining_threads)}"
        for number, handler in _signal_handlers().items():
            if handler != self._signals[number]:
                yield f"it changes the handler of signal {number}"
        for path in dict.fromkeys(self._written_paths):
            if "__pycache__" not in path and Path(path).is_file():
                yield f"it leaves a file: {path}"


def _signal_handlers() -> dict[int, Any]:
    return {int(number): signal.getsignal(number) for number in signal.valid_signals()}


@contextlib.contextmanager
def _captured_stdout() -> Iterator[Any]:
    """Redirect the standard output of Python, C and child processes to a file."""
    sys.stdout.flush()
    stdout = os.dup(1)
    with tempfile.TemporaryFile() as file, os.fdopen(os.dup(file.fileno()), "w") as text:
        try:
            os.dup2(file.fileno(), 1)
            with contextlib.redirect_stdout(text):
                yield file
        finally:
            os.dup2(stdout, 1)
            os.close(stdout)


_monitors: list[_ProcessMonitor] = []


@functools.cache
def _install_audit_hook() -> None:
    # Once per process: Python cannot remove an audit hook.
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        for monitor in _monitors:
            monitor.on_audit_event(event, arguments)

    sys.addaudithook(hook)
