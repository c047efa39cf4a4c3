"""Data files that the runs of this process read and write, from the opening to the event.

The hook notes what is opened, in the thread that opens it. A thread of its own passes that on to a
process that hashes files (``hashing``), and writes the answers to the journals of the runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from yprov_mlflow.prov.events import FilesAccessed, Json
from yprov_mlflow.prov.journal.writer import now_ns
from yprov_mlflow.prov.sampling import open_hook
from yprov_mlflow.prov.sampling.file_clock import file_clock_ns
from yprov_mlflow.prov.sampling.file_filter import FileFilter
from yprov_mlflow.prov.sampling.hashing import HashingProcess, identity, is_regular, without_hash
from yprov_mlflow.prov.sampling.hashing_program import Signature, signature
from yprov_mlflow.prov.sampling.open_hook import READ, WRITTEN

NO_RUN = ""
"""The answer of ``owner`` while MLflow or capture itself is at work."""

FINISH_S = 10.0  # how long the end of a run waits for the hashes of its files
_HURRY_S = 0.5  # how long for a process with low priority
_TICK_S = 0.2
_BUSY_S = 0.005  # the same while a run waits for its end
_SHARE = 0.005  # of the time, how much the thread works while runs are open
_MOST_PAUSE_S = 5.0
_MOST_IN_TICK = 1000  # openings
_MOST_FILES = 200_000  # of a run
_RUN_LIMIT = 25  # as many times the limit of a file
_PIPE_BYTES = 1 << 20
_LINE_BYTES = 4096  # a pipe keeps shorter lines whole
_CREATES = os.O_CREAT | os.O_TRUNC | os.O_APPEND
_ACCESS = os.O_RDONLY | os.O_WRONLY | os.O_RDWR
_SET_PIPE_SIZE = getattr(fcntl, "F_SETPIPE_SZ", None)  # Linux only

Owner = Callable[[], str | None]
"""Returns the active run of the calling thread, None without one, or ``NO_RUN``."""

Append = Callable[..., None]
"""Appends an event to the journal of a run: run id, class, fields."""


@dataclass(eq=False, slots=True, kw_only=True)
class _WatchedRun(open_hook.Reads):
    """A run whose files are watched."""

    start_ns: int  # by the clock of the file system
    filter: FileFilter
    limit: int
    urls: set[tuple[str, str]] = field(default_factory=set)
    announced: set[str] = field(default_factory=set)  # written files that the journal has
    waiting: dict[int, dict[str, Json]] = field(default_factory=dict)  # unanswered requests
    excess: bool = False  # whether there are more files than are watched
    finishing_s: float | None = None  # since when its end waits, by a monotonic clock
    sent_last: bool = False
    in_hurry: bool = False  # whether the second process has its requests
    done: threading.Event = field(default_factory=threading.Event)


_Opening = tuple[_WatchedRun, str, str, int, int, bool]
"""Run, path or URL, mode, time in ns, the same by the clock of file systems, and whether it is on
this machine. Not a class, whose instances take longer to make."""


class FileWatch:
    """Watches the files of runs; ``begin`` and ``finish`` are called by the bridge.

    Args:
        append: Appends an event to the journal of a run.
        owner: Returns the run of the calling thread.
        debug: Receives errors.
    """

    def __init__(
        self, append: Append, owner: Owner, debug: Callable[[BaseException], None]
    ) -> None:
        self._append = append
        self._owner = owner
        self._debug = debug
        self._runs: dict[str, _WatchedRun] = {}
        self._only: _WatchedRun | None = None  # the watched run, if there is one
        self._openings: deque[_Opening] = deque()
        self._folder = ""  # the working folder; empty after it has changed
        self._hashing: HashingProcess | None = None
        self._second: HashingProcess | None = None  # with the priority of the program
        self._next_id = 0
        self._lock = threading.RLock()  # reentrant: a signal handler may end a run
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        # Forked children have no thread of ours: they send their openings through this pipe.
        self._from_children, self._to_parent = os.pipe()
        for descriptor in (self._from_children, self._to_parent):
            os.set_blocking(descriptor, False)
        if _SET_PIPE_SIZE is not None:
            with contextlib.suppress(OSError):
                fcntl.fcntl(self._to_parent, _SET_PIPE_SIZE, _PIPE_BYTES)
        self._pipe = identity(self._from_children)
        self._from_child_line = b""

    # -- called by the training's threads --------------------------------------------------

    def begin(self, run_id: str, limit: int, excluded: Iterable[str], own: Iterable[str]) -> None:
        """Watch the files of a run.

        Args:
            run_id: The run.
            limit: The largest file that is hashed, in bytes.
            excluded: Patterns of files that are not recorded.
            own: Folders and files of capture and of MLflow's stores.
        """
        with self._lock:
            if self._thread is None:
                # It cannot start with too many threads: then no run is watched.
                thread = threading.Thread(target=self._work, name="yprov-files", daemon=True)
                thread.start()
                self._thread = thread
            file_filter = FileFilter(tuple(excluded), own)
            self._runs[run_id] = _WatchedRun(
                run_id,
                self._owner,
                self._openings,
                _MOST_FILES,
                start_ns=time.time_ns(),
                filter=file_filter,
                limit=limit,
            )
            self._listen()
        self._wake.set()

    def finish(self, run_id: str, timeout_s: float = FINISH_S) -> None:
        """Write what is known of a run's files, after a wait for the last hashes."""
        run = self._runs.get(run_id)
        if run is None:
            return
        run.finishing_s = time.monotonic()
        self._wake.set()
        try:
            run.done.wait(timeout_s)
        finally:  # also on KeyboardInterrupt
            with self._lock:
                self._runs.pop(run_id, None)
                self._listen()
            self._write_rest(run)

    def _listen(self) -> None:
        """Have the hook report to this watch as long as there are runs."""
        runs = list(self._runs.values())
        self._only = runs[0] if len(runs) == 1 else None
        open_hook.listen(self if runs else None, self._only)

    # -- called by the hook ----------------------------------------------------------------

    def opened(self, path: Any, mode: str | None, flags: int) -> None:
        """Note that a file is opened."""
        if type(path) is not str:
            if isinstance(path, int):
                return
            path = os.fsdecode(path)
        if not path.startswith("/"):
            if mode is None:  # os.open: the path may be relative to another folder
                return
            path = f"{self._folder or self._get_folder()}/{path}"
        path = _normal(path)
        is_read, only = flags & _ACCESS == os.O_RDONLY, self._only
        if is_read and only is not None and path in only.seen:
            return  # another epoch
        run = self._run_of_caller()
        if run is None or flags & os.O_DIRECTORY:
            return
        if not is_read or path in run.written:
            self._opened_to_write(run, path, flags)
        elif path not in run.seen:
            self._note_read(run, path)

    def _note_read(self, run: _WatchedRun, path: str) -> None:
        if len(run.seen) >= _MOST_FILES:
            run.excess = True
            return
        run.seen.add(path)
        self._openings.append((run, path, READ, now_ns(), file_clock_ns(), True))

    def _opened_to_write(self, run: _WatchedRun, path: str, flags: int) -> None:
        """Note a file that is opened for writing, or for reading after that."""
        if not run.filter.is_data(path):
            return
        access, earlier = flags & _ACCESS, run.written.get(path)
        # What the run wrote itself is no input; but it may have written nothing.
        if earlier is not None and signature(path) != earlier[1]:
            return
        is_update = access == os.O_RDWR and not flags & _CREATES
        if (access == os.O_RDONLY or is_update) and path not in run.seen:
            self._note_read(run, path)
        if len(run.written) >= _MOST_FILES:
            run.excess = True
        elif access != os.O_RDONLY and not run.filter.is_temporary(path):
            run.written.setdefault(path, (now_ns(), signature(path)))

    def opened_url(self, url: str, mode: str) -> None:
        """Note that something is opened that is not on this machine."""
        run = self._run_of_caller()
        if run is not None and (mode, url) not in run.urls:
            run.urls.add((mode, url))
            self._openings.append((run, url, mode, now_ns(), file_clock_ns(), False))

    def _get_folder(self) -> str:
        self._folder = os.getcwd()
        return self._folder

    def moved(self) -> None:
        """Note that the working folder changes."""
        self._folder = ""

    def renamed(self, source: Any, target: Any) -> None:
        """Note that a file that a run has written gets its final name."""
        old, new = (os.path.abspath(os.fsdecode(path)) for path in (source, target))
        for run in list(self._runs.values()):
            if old in run.written and run.filter.is_data(new):
                time_ns, _ = run.written.pop(old)
                run.written.setdefault(new, (time_ns, signature(new)))

    def _run_of_caller(self) -> _WatchedRun | None:
        """Return the active run of this thread, else the only open run, if it is watched."""
        active = self._owner()
        return self._only if active is None else self._runs.get(active)

    # -- in forked children ----------------------------------------------------------------

    def forked(self) -> None:
        """Have a forked child send its openings to this process instead of hashing."""
        for process in filter(None, (self._hashing, self._second)):
            process.close()
        if open_hook.current() is self:
            self._openings = deque()
            open_hook.listen(_InChild(self, self._to_parent))

    def take(self, most: int = sys.maxsize) -> Iterable[_Opening]:
        """Yield openings that were not yielded before and are of data, at most so many."""
        openings = self._openings
        for _ in range(most):
            if not openings:
                return
            run, path, mode, time_ns, clock_ns, is_local = openings.popleft()
            plain = _normal(path) if is_local else path
            if plain is not path:
                earlier = run.written.get(plain, (time_ns, None))
                is_own = earlier[0] < time_ns and signature(plain) != earlier[1]
                if plain in run.seen or is_own:
                    continue
                run.seen.add(plain)
            if not is_local or run.filter.is_data(plain):
                yield run, plain, mode, time_ns, clock_ns, is_local

    def new_written(self) -> Iterable[tuple[str, str, str, int, int, bool, Signature | None]]:
        """Yield files opened for writing as the pipe has them, once each."""
        for run in self._runs.values():
            for path in run.written.keys() - run.announced:
                run.announced.add(path)
                time_ns, before = run.written[path]
                yield run.run_id, path, WRITTEN, time_ns, 0, True, before

    def has_pipe(self) -> bool:
        """Return whether the program has left the pipe open."""
        return identity(self._to_parent) == self._pipe

    def _receive_from_children(self) -> None:
        if not self.has_pipe():
            return
        try:
            while chunk := os.read(self._from_children, 1 << 16):
                self._from_child_line += chunk
        except BlockingIOError:
            pass
        *lines, self._from_child_line = self._from_child_line.split(b"\n")
        for line in lines:
            run_id, path, mode, time_ns, clock_ns, is_local, before = json.loads(line)
            run = self._runs.get(run_id)
            if run is None:
                continue
            if not is_local:
                if (mode, path) not in run.urls:
                    run.urls.add((mode, path))
                    self._openings.append((run, path, mode, time_ns, clock_ns, False))
            elif mode == WRITTEN:
                run.written.setdefault(path, (time_ns, before))
            elif path not in run.seen and path not in run.written:
                run.seen.add(path)
                self._openings.append((run, path, mode, time_ns, clock_ns, True))

    # -- in the thread ---------------------------------------------------------------------

    def _work(self) -> None:
        # A program may want to be killed by it: not for a process of ours that has ended.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
        pause_s = _TICK_S
        while True:
            finishing = any(run.finishing_s for run in list(self._runs.values()))
            self._wake.wait((_BUSY_S if finishing else pause_s) if self._runs else None)
            self._wake.clear()
            start_s = time.thread_time()
            try:
                with self._lock:
                    self._tick()
            except Exception as error:  # noqa: BLE001 - one error must not end the thread
                self._debug(error)
                time.sleep(_TICK_S)
            # The training waits while this thread works: what takes long is left for the end.
            pause_s = min(max(_TICK_S, (time.thread_time() - start_s) / _SHARE), _MOST_PAUSE_S)

    def _tick(self) -> None:
        self._receive_from_children()
        requests: list[dict[str, Json]] = []
        rows: dict[str, list[dict[str, Json]]] = {}
        for run, path, mode, time_ns, clock_ns, is_local in self.take(_MOST_IN_TICK):
            row: dict[str, Json] = {"path": path, "mode": mode, "time_ns": time_ns}
            if is_local:
                requests.append(self._request(run, {**row, "opened_ns": clock_ns}))
            else:
                row["not_hashed"] = "it is not on this machine"
                rows.setdefault(run.run_id, []).append(row)
        for run in self._runs.values():
            rows.setdefault(run.run_id, []).extend(self._announcements(run))
            if run.finishing_s and not run.sent_last and not self._openings:
                run.sent_last = True
                for path, (time_ns, before) in list(run.written.items()):
                    row = {"path": path, "mode": WRITTEN, "time_ns": time_ns}
                    requests.append(self._request(run, {**row, "before": before}))
        for run_id, answers in self._answers(requests).items():
            rows.setdefault(run_id, []).extend(answers)
        for run_id, new in rows.items():
            if new:
                self._append(run_id, FilesAccessed, new)
        for run in self._runs.values():
            if run.sent_last and not run.waiting:
                run.done.set()

    def _announcements(self, run: _WatchedRun) -> Iterable[dict[str, Json]]:
        """Yield files that were written, without a hash: they may change until the run ends."""
        for path, (time_ns, before) in list(run.written.items()):
            if path not in run.announced and run.finishing_s is None:
                after = signature(path)
                if after is not None and after != before and is_regular(path):
                    run.announced.add(path)
                    not_hashed = "the run has not ended"
                    yield {
                        "path": path,
                        "mode": WRITTEN,
                        "time_ns": time_ns,
                        "not_hashed": not_hashed,
                    }

    def _request(self, run: _WatchedRun, row: dict[str, Json]) -> dict[str, Json]:
        self._next_id += 1
        request = {
            "id": self._next_id,
            "run": run.run_id,
            "limit": run.limit,
            "run_limit": run.limit * _RUN_LIMIT,
            **row,
        }
        if run.filter.is_temporary(row["path"]):
            request["not_after"] = run.start_ns
        run.waiting[self._next_id] = request
        return request

    def _answers(self, requests: list[dict[str, Json]]) -> dict[str, list[dict[str, Json]]]:
        """Return the rows that are complete now, by run."""
        if self._hashing is None:
            if not requests:
                return {}
            self._hashing = HashingProcess()
        hashing = self._hashing
        hashing.send(requests)
        answers = list(hashing.receive())
        if hashing.failure:
            answers += [
                without_hash(request, hashing.failure)
                for run in self._runs.values()
                for request in run.waiting.values()
            ]
        self._hurry()
        if self._second is not None:
            answers += self._second.receive()
        rows: dict[str, list[dict[str, Json]]] = {}
        for answer in answers:
            number = answer.pop("id")
            for run in self._runs.values():
                if (request := run.waiting.pop(number, None)) is None:
                    continue  # of another run, or answered by the other process
                row = _row(request)
                before = run.written.get(row["path"], (0, row))[1]
                if row["mode"] == READ and answer.get("size") is None and before is None:
                    continue  # the run created it after it had tried to open it
                if "dropped" not in answer:
                    rows.setdefault(run.run_id, []).append({**row, **answer})
                elif row["path"] in run.announced:
                    rows.setdefault(run.run_id, []).append({**row, "removed": True})
        return rows

    def _hurry(self) -> None:
        """Send what the end of a run waits for to a second process.

        On a machine that is busy with other programs, one with low priority may never come to it.
        """
        for run in self._runs.values():
            if not run.sent_last or run.in_hurry or not run.waiting or run.finishing_s is None:
                continue
            if time.monotonic() - run.finishing_s > _HURRY_S:
                run.in_hurry = True
                if self._second is None or self._second.failure:
                    self._second = HashingProcess(niceness=0)
                self._second.send(list(run.waiting.values()))

    def _write_rest(self, run: _WatchedRun) -> None:
        """Write the rows of a run that ended before they were complete."""
        rows = []
        waiting = list(run.waiting.values())
        for opening in list(self._openings):
            opened_run, path, mode, time_ns, _, is_local = opening
            if opened_run is run and is_local and run.filter.is_data(_normal(path)):
                waiting.append({"path": _normal(path), "mode": mode, "time_ns": time_ns})
        for path, (time_ns, before) in run.written.items() if not run.sent_last else ():
            if signature(path) != before:
                waiting.append({"path": path, "mode": WRITTEN, "time_ns": time_ns})
        for request in waiting:
            answer = without_hash({"id": 0, **request}, "the run ended before")
            if "dropped" not in answer:
                del answer["id"]
                rows.append({**_row(request), **answer})
        for path in run.announced - run.written.keys():  # it has another name now
            rows.append({"path": path, "mode": WRITTEN, "time_ns": 0, "removed": True})
        if rows or run.excess:
            most = _MOST_FILES if run.excess else None
            self._append(run.run_id, FilesAccessed, rows, most)


class _InChild:
    """The listener of a forked child, which lacks the thread and the process that hashes.

    It uses the methods of the parent's watch in this process, and sends what they note.
    """

    def __init__(self, watch: FileWatch, descriptor: int) -> None:
        self._watch = watch
        self._descriptor = descriptor
        self._unsent: deque[bytes] = deque(maxlen=10_000)

    def opened(self, path: Any, mode: str | None, flags: int) -> None:
        self._watch.opened(path, mode, flags)
        self._send()

    def opened_url(self, url: str, mode: str) -> None:
        self._watch.opened_url(url, mode)
        self._send()

    def renamed(self, source: Any, target: Any) -> None:
        self._watch.renamed(source, target)
        self._send()

    def moved(self) -> None:
        self._watch.moved()

    def _send(self) -> None:
        watch = self._watch
        rows = [(run.run_id, *opening, None) for run, *opening in watch.take()]
        for row in (*rows, *watch.new_written()):
            line = json.dumps(row).encode() + b"\n"
            if len(line) <= _LINE_BYTES:
                self._unsent.append(line)
        with contextlib.suppress(BlockingIOError):  # sent with the next one
            while self._unsent and watch.has_pipe():
                os.write(self._descriptor, self._unsent[0])
                self._unsent.popleft()


def _row(request: dict[str, Json]) -> dict[str, Json]:
    return {key: request[key] for key in ("path", "mode", "time_ns")}


def _normal(path: str) -> str:
    """Return an absolute path without ``.``, ``..`` and doubled slashes."""
    return os.path.normpath(path) if "/." in path or "//" in path else path
