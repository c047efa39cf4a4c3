"""Events are read back from a journal as they were written, even from a damaged file."""

from __future__ import annotations

import contextlib
import math
import os
import signal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yprov_mlflow.prov import events
from yprov_mlflow.prov.errors import JournalError
from yprov_mlflow.prov.ids import quote_key, unquote_key
from yprov_mlflow.prov.journal import JournalDirectory, JournalReader, JournalWriter, merge, writer
from yprov_mlflow.prov.journal.reader import open_regular

texts = st.text(st.characters(), max_size=30)
keys = st.text(st.characters(), min_size=1, max_size=30)
int64 = st.integers(events.INT64_MIN, events.INT64_MAX)
mappings = st.dictionaries(keys, texts, max_size=4)


@st.composite
def metrics(draw):
    n = draw(st.integers(0, 5))
    columns = [
        draw(st.lists(strategy, min_size=n, max_size=n))
        for strategy in (keys, st.floats(), int64, int64)
    ]
    return events.MetricsLogged, tuple(columns)


records = st.one_of(
    metrics(),
    st.tuples(st.just(events.ParamsLogged), st.tuples(mappings)),
    st.tuples(st.just(events.TagsSet), st.tuples(mappings)),
    st.tuples(st.just(events.TagDeleted), st.tuples(keys)),
    st.tuples(st.just(events.RunUpdated), st.tuples(st.just("FINISHED"), int64)),
    st.tuples(
        st.just(events.StoreCalled),
        st.tuples(texts, mappings, st.dictionaries(keys, st.integers() | texts, max_size=3)),
    ),
)


def write(directory: str, run_id: str, session: str, entries) -> Path:
    writer = JournalWriter(JournalDirectory(Path(directory), run_id), session)
    for cls, fields in entries:
        writer.append(cls, *fields)
    writer.close()
    return writer.folder.file(session)


def same(left, right) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


@pytest.fixture
def deadline():
    """Fail where a pipe without a writer is waited for."""

    def expire(number, frame):
        raise AssertionError("it waits for a pipe")

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


run_ids = st.text(st.characters(), min_size=1, max_size=20) | st.sampled_from([".", "..", "a/b"])


@given(run_ids, st.lists(records, max_size=8))
def test_events_are_read_back_equal(run_id, entries):
    with TemporaryDirectory() as directory:
        path = write(directory, run_id, "s1", entries)
        assert path.parent.parent == Path(directory) / "journal"
        if not entries:
            assert not path.exists()
            return
        journal = JournalReader(path)
        read = list(journal)
    assert (journal.problems, journal.missing) == ([], [])
    assert [e.seq for e in read] == list(range(len(entries)))
    assert all(e.run_id == run_id and e.session == "s1" for e in read)
    times = [e.time_ns for e in read]
    assert times == sorted(times)
    for event, (cls, fields) in zip(read, entries, strict=True):
        assert type(event) is cls
        names = events.FIELDS[cls.kind][4:]
        for name, value in zip(names, fields, strict=False):
            assert same(getattr(event, name), value), (name, value)


@pytest.mark.parametrize("value", ["\ud800", 2**64, -(2**63) - 1, 10**30], ids=ascii)
def test_values_that_orjson_rejects_are_read_back_equal(tmp_path, value):
    path = write(str(tmp_path), "r", "s", [(events.StoreCalled, ("method", {}, {"key": value}))])
    journal = JournalReader(path)
    (event,) = journal
    assert event.arguments == {"key": value} and journal.problems == []
    assert type(event.arguments["key"]) is type(value)


@given(st.lists(records, min_size=1, max_size=6), st.integers(0, 10_000))
def test_truncated_file_yields_every_complete_line(entries, cut):
    with TemporaryDirectory() as directory:
        path = write(directory, "r", "s", entries)
        content = path.read_bytes()
        cut %= len(content) + 1
        path.write_bytes(content[:cut])
        journal = JournalReader(path)
        read = list(journal)
        # Of a line that lacks only its newline, nothing is lost.
        whole = content[:cut].count(b"\n") - 1 + (content[cut : cut + 1] == b"\n")
    assert len(read) == max(0, whole)
    assert len(journal.problems) == (1 if not cut or content[cut - 1 : cut] != b"\n" else 0)


@given(st.lists(records, min_size=2, max_size=6), st.data())
def test_torn_line_loses_only_its_own_event(entries, data):
    with TemporaryDirectory() as directory:
        path = write(directory, "r", "s", entries)
        lines = path.read_bytes().splitlines(keepends=True)
        victim = data.draw(st.integers(1, len(entries)))
        share = data.draw(st.floats(0, 1, exclude_min=True, exclude_max=True))
        end = 1 + int(share * (len(lines[victim]) - 2))
        lines[victim] = lines[victim][:end] + b"\n"
        path.write_bytes(b"".join(lines))
        journal = JournalReader(path)
        read = [e.seq for e in journal]
    assert read == [n for n in range(len(entries)) if n != victim - 1]
    # A gap is reported as such, at the line that follows it.
    assert [p.line for p in journal.problems] == [victim + 1, victim + 2][
        : 1 + len(journal.missing)
    ]
    missing = [] if victim == len(entries) else [range(victim - 1, victim)]
    assert journal.missing == missing


@given(st.lists(st.none() | st.integers(0, 200), max_size=12))
def test_full_disk_loses_nothing_that_the_process_still_holds(limits):
    """Simulate a disk that accepts only so many bytes of each line; None accepts all."""
    write = os.write
    remaining = iter(limits)

    def limited(fd, line):
        n = next(remaining, None)
        return write(fd, line if n is None else line[:n])

    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        journal = JournalWriter(JournalDirectory(Path(directory), "r"), "s")
        patch.setattr(os, "write", limited)
        for _ in limits:
            with contextlib.suppress(JournalError):
                journal.append(events.TagDeleted, "key")
        if not limits:
            return
        # What the disk rejected is with the process, and in the file once there is space again.
        reader = JournalReader(journal.folder.file("s"), unsaved=journal.unsaved())
        assert [event.seq for event in reader] == list(range(len(limits)))
        assert reader.problems == []
        remaining = iter(())
        journal.append(events.TagDeleted, "key")
        journal.close()
        reader = JournalReader(journal.folder.file("s"))
        assert [event.seq for event in reader] == list(range(len(limits) + 1))
        assert reader.problems == []


def test_head_rejected_by_a_full_disk_is_written_with_the_next_line(tmp_path, monkeypatch):
    journal = JournalWriter(
        JournalDirectory(tmp_path, "\ud800"), "s"
    )  # a head that orjson cannot read
    with monkeypatch.context() as patch, pytest.raises(JournalError):
        patch.setattr(os, "write", lambda fd, line: 0)
        journal.append(events.TagDeleted, "key")
    journal.append(events.TagDeleted, "key")
    journal.close()
    reader = JournalReader(journal.folder.file("s"))
    assert [(event.run_id, event.seq) for event in reader] == [("\ud800", 0), ("\ud800", 1)]
    assert reader.problems == []


def test_file_closed_on_a_full_disk_gets_one_head(tmp_path, monkeypatch):
    journal = JournalWriter(JournalDirectory(tmp_path, "r"), "s")
    with monkeypatch.context() as patch, pytest.raises(JournalError):
        patch.setattr(os, "write", lambda fd, line: 0)
        journal.append(events.TagDeleted, "key")
    journal.close()
    journal.append(events.TagDeleted, "key")
    journal.close()
    reader = JournalReader(journal.folder.file("s"))
    assert [event.seq for event in reader] == [0, 1]
    assert reader.problems == []


def test_memory_for_what_the_disk_rejects_is_limited(tmp_path, monkeypatch):
    journal = JournalWriter(JournalDirectory(tmp_path, "r"), "s")
    monkeypatch.setattr(writer, "_held_bytes", writer._Count())
    monkeypatch.setattr(writer, "_MAX_HELD", 1000)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, line: 0)
        for _ in range(50):
            with pytest.raises(JournalError):
                journal.append(events.TagDeleted, "k" * 100)
        assert 500 < len(journal.unsaved()) <= 1000
    journal.append(events.TagDeleted, "key")
    assert writer._held_bytes.value == 0
    journal.close()
    reader = JournalReader(journal.folder.file("s"))
    read = [event.seq for event in reader]
    assert reader.missing == [range(read[-2] + 1, 50)]


@pytest.mark.usefixtures("deadline")
@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_journal_that_was_replaced_while_open_is_read_from_its_process(tmp_path, kind):
    journal = JournalWriter(JournalDirectory(tmp_path, "r"), "0" * 16)
    journal.append(events.TagDeleted, "a")
    path = journal.folder.file(journal.session)
    path.unlink()
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to("nowhere")
    journal._check_ns = 0
    descriptors = len(os.listdir("/proc/self/fd"))
    for key in "bc":
        with pytest.raises(JournalError):
            journal.append(events.TagDeleted, key)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    folder = JournalDirectory(tmp_path, "r", {journal.session: journal.unsaved()})
    (reader,), (problem,) = folder.readers()
    assert "".join(event.key for event in reader) == "abc"
    assert not problem.lost
    journal.close_in_child()


def test_foreign_array_among_the_lines_is_one_problem(tmp_path):
    path = write(str(tmp_path), "r", "s", [(events.TagDeleted, ("key",))])
    with path.open("ab") as file:
        file.write(b'["tag_delete","x","y","key"]\n')
    journal = JournalReader(path)
    assert [event.seq for event in journal] == [0] and len(journal.problems) == 1


@given(st.lists(st.integers(0, 2), max_size=20))
def test_sessions_are_merged_in_order_of_time(sessions):
    with TemporaryDirectory() as directory:
        folder = JournalDirectory(Path(directory), "r")
        writers = [JournalWriter(folder, f"s{n}") for n in range(3)]
        for position, n in enumerate(sessions):
            writers[n].append(events.TagDeleted, str(position))
        for writer in writers:
            writer.close()
        keys = [e.key for e in merge([JournalReader(path) for path in folder.files()])]
    assert keys == [str(position) for position in range(len(sessions))]


@given(keys, keys)
def test_quoting_is_injective_and_reversible(left, right):
    assert unquote_key(quote_key(left)) == left
    assert (quote_key(left) == quote_key(right)) == (left == right)
    assert "/" not in quote_key(left) and quote_key(left).isascii()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff\n",
        b"not a journal\n",
        b"{}\n" * 3,
        b"[]\n",
        b'["journal",2]\n',
        b'["journal",1,"r","s"]\n',
    ],
)
def test_foreign_file_yields_no_events_and_one_problem(tmp_path, content):
    path = tmp_path / "x.journal"
    path.write_bytes(content)
    journal = JournalReader(path)
    assert list(journal) == []
    assert len(journal.problems) == 1


def three_lines(tmp_path) -> tuple[Path, list[bytes]]:
    path = write(str(tmp_path), "r", "s", [(events.TagDeleted, (key,)) for key in "abc"])
    return path, path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("order", "keys", "reason"),
    [
        ((0, 1, 2, 2, 3), "abc", "repeats event 1"),
        ((0, 2, 1, 3), "abc", "event 0 is not in its place"),
        ((0, 1, 3), "ac", "event 1 is missing"),
        ((1, 2, 3), "abc", "the head of the file, with its run and session, is missing"),
    ],
)
def test_moved_repeated_and_lost_lines_are_reported(tmp_path, order, keys, reason):
    path, lines = three_lines(tmp_path)
    path.write_bytes(b"".join(lines[number] for number in order))
    journal = JournalReader(path)
    assert "".join(event.key for event in journal) == keys
    (problem,) = journal.problems
    assert reason in problem.reason
    assert problem.lost == (keys != "abc")


@pytest.mark.parametrize("order", [(3, 1, 2), (2, 3, 1, 2, 3), (3, 2, 1, 1)])
def test_moved_line_beyond_what_is_held_is_read_once(tmp_path, order, monkeypatch):
    path, lines = three_lines(tmp_path)
    monkeypatch.setattr("yprov_mlflow.prov.journal.reader._MAX_HELD", 1)
    path.write_bytes(b"".join([lines[0], *(lines[number] for number in order)]))
    journal = JournalReader(path)
    assert sorted(event.key for event in journal) == ["a", "b", "c"]
    assert journal.missing == []
    assert journal.problems


def test_lines_of_other_runs_and_processes_are_not_believed(tmp_path):
    path, lines = three_lines(tmp_path)
    for run_id, session in (("other", "s"), ("r", "other")):
        foreign = write(str(tmp_path), run_id, session, [(events.TagDeleted, ("foreign",))])
        lines[2:2] = foreign.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines))
    journal = JournalReader(path)
    assert "".join(event.key for event in journal) == "abc"
    assert [(problem.line, problem.last) for problem in journal.problems] == [(3, 6)]


def test_newline_that_was_changed_loses_no_line(tmp_path):
    path, lines = three_lines(tmp_path)
    path.write_bytes(b"".join(lines).replace(b"\n", b"\v", 3))
    journal = JournalReader(path)
    assert "".join(event.key for event in journal) == "abc"
    assert [problem.line for problem in journal.problems] == [1]


def test_text_like_the_end_of_a_line_is_not_one(tmp_path):
    path = write(str(tmp_path), "r", "s", [(events.TagDeleted, (key,)) for key in ("a]2b", "c")])
    content = path.read_bytes()
    for damaged in (content.replace(b"\n", b" ", 2), content.replace(b"\n", b"\r\n")):
        path.write_bytes(damaged)
        assert [event.key for event in JournalReader(path)] == ["a]2b", "c"]
    path.write_bytes(content[: content.index(b"]2b") + 3] + b"\n")
    journal = JournalReader(path)
    assert list(journal) == []
    assert [problem.reason[:19] for problem in journal.problems] == ["the line is damaged"]


def test_other_line_ends_lose_no_line_and_are_reported(tmp_path):
    path, lines = three_lines(tmp_path)
    path.write_bytes(b"".join(lines).replace(b"\n", b"\r\n"))
    journal = JournalReader(path)
    assert "".join(event.key for event in journal) == "abc"
    assert [(problem.line, problem.lost) for problem in journal.problems] == [(1, False)]


@pytest.mark.usefixtures("deadline")
@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "other owner"])
def test_file_is_opened_only_if_regular_and_of_the_owner(tmp_path, kind, monkeypatch):
    path = tmp_path / "file"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "link":
            (tmp_path / "other").write_bytes(b"")
            path.symlink_to(tmp_path / "other")
        case "folder":
            path.mkdir()
        case "other owner":
            path.write_bytes(b"")
            fstat = os.fstat
            other = os.geteuid() + 1
            monkeypatch.setattr(
                os, "fstat", lambda fd: os.stat_result([*fstat(fd)[:4], other, *fstat(fd)[5:]])
            )
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError):
        open_regular(path)
    assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.mark.usefixtures("deadline")
@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "other owner", "copy", "other run"])
def test_only_journals_of_the_run_and_its_owner_are_read(tmp_path, kind, monkeypatch):
    path, _ = three_lines(tmp_path)
    folder = JournalDirectory(tmp_path, "r")
    other = folder.file("other")
    match kind:
        case "pipe":
            os.mkfifo(other)
        case "link":
            other.symlink_to(path)
        case "folder":
            other.mkdir()
        case "other owner":
            other.write_bytes(path.read_bytes())
            lstat = Path.lstat

            def owned(self):
                status = list(lstat(self))
                status[4] += self == other
                return os.stat_result(status)

            monkeypatch.setattr(Path, "lstat", owned)
        case "copy":
            other.write_bytes(path.read_bytes())
        case "other run":
            other.write_bytes(
                write(str(tmp_path), "x", "y", [(events.TagDeleted, ("k",))]).read_bytes()
            )
    readers, (problem,) = folder.readers()
    assert [reader.path for reader in readers] == [path]
    assert problem.path == other


def test_delivered_journal_behind_a_link_is_reported(tmp_path):
    path, _ = three_lines(tmp_path)
    folder = JournalDirectory(tmp_path, "r")
    folder.mark_delivered(folder.sizes())
    path.unlink()
    path.symlink_to("nowhere")
    readers, problems = folder.readers()
    assert not readers
    assert {problem.path for problem in problems} == {path}


def test_journal_that_shrank_or_disappeared_is_reported_each_time(tmp_path):
    path, lines = three_lines(tmp_path)
    folder = JournalDirectory(tmp_path, "r")
    folder.mark_delivered({**folder.sizes(), "gone.journal": 7}, "sqlite:///m.db")
    assert folder.delivered_store() == "sqlite:///m.db"
    path.write_bytes(b"".join(lines[:-1]))
    assert folder.is_current()  # a document from now would have less
    folder.mark_delivered(folder.sizes())
    assert {problem.path.name for problem in folder.readers()[1]} == {"s.journal", "gone.journal"}


def test_signal_handler_can_log_while_a_line_is_written(tmp_path, monkeypatch):
    journal = JournalWriter(JournalDirectory(tmp_path, "r"), "s")
    write = os.write

    def interrupted(fd, line):
        if b"outer" in line:
            signal.raise_signal(signal.SIGUSR1)
        return write(fd, line)

    def handler(number, frame):
        assert journal._lock.acquire(timeout=5), "the handler waits for its own thread"
        journal._lock.release()
        journal.append(events.TagDeleted, "inner")

    monkeypatch.setattr(os, "write", interrupted)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        journal.append(events.TagDeleted, "outer")
        journal.append(events.TagDeleted, "outer again")
    finally:
        signal.signal(signal.SIGUSR1, before)
    journal.close()
    (path,) = JournalDirectory(tmp_path, "r").files()
    reader = JournalReader(path)
    assert sorted(e.key for e in reader) == ["inner", "inner", "outer", "outer again"]
    assert (reader.problems, reader.missing) == ([], [])


def test_child_forked_while_another_thread_opens_a_journal_can_write(tmp_path):
    with writer._open_files._lock:  # held by no thread of the child
        pid = os.fork()
        if not pid:
            signal.alarm(10)
            try:
                JournalWriter(JournalDirectory(tmp_path, "r"), "child").append(
                    events.TagDeleted, "key"
                )
            finally:
                os._exit(0 if JournalDirectory(tmp_path, "r").file("child").exists() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
