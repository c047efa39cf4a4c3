"""Packed journals read as before, whatever happens to the process that packs them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from yprov_mlflow.prov import events
from yprov_mlflow.prov.journal import JournalDirectory, JournalWriter, merge, packing
from yprov_mlflow.prov.journal.packs import Packs

RUNS = ("0" * 32, "1" * 32, "a/b..")
CHANGES_ON_DISK = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_NOTICED_S", 0.0)


def write(state: Path, run_id: str, session: str, keys: str) -> JournalWriter:
    writer = JournalWriter(JournalDirectory(state, run_id), session)
    for key in keys:
        writer.append(events.TagDeleted, key)
    return writer


def finished(state: Path, runs: Sequence[str] = RUNS) -> list[JournalDirectory]:
    """Write the journals of some runs, with the marks of their delivery."""
    folders = []
    for run_id in runs:
        for session in ("s1", "s2"):
            write(state, run_id, session, "abc").close()
        folder = JournalDirectory(state, run_id)
        folder.mark_delivered(folder.sizes(), "file:store")
        folder.mark_sent("sink", folder.sizes())
        folders.append(folder)
    return folders


def read(state: Path, run_id: str) -> tuple[str, list[str]]:
    """Return the keys of all events of a run, by session, and all problems."""
    readers, problems = JournalDirectory(state, run_id).readers()
    keys = "".join(
        event.key
        for event in sorted(merge(readers), key=lambda event: (event.session, event.seq))
        if isinstance(event, events.TagDeleted)
    )
    return keys, [*map(str, problems), *(str(p) for reader in readers for p in reader.problems)]


def pack(state: Path) -> int:
    return packing.pack(state, list(JournalDirectory.all(state)), state)


def test_packed_journals_read_as_before(tmp_path: Path) -> None:
    folders = finished(tmp_path)
    before = [(folder.sizes(), folder.delivered(), folder.sent()) for folder in folders]
    assert pack(tmp_path) == len(RUNS)
    assert not any((tmp_path / "journal").iterdir())
    assert len([*(tmp_path / "packs").glob("*.zip")]) == 1
    assert [folder.run_id for folder in JournalDirectory.all(tmp_path)] == sorted(RUNS)
    for folder, (sizes, delivered, sent) in zip(folders, before, strict=True):
        assert (folder.sizes(), folder.delivered(), folder.sent()) == (sizes, delivered, sent)
        assert folder.is_current() and folder.delivered_store() == "file:store"
        assert read(tmp_path, folder.run_id) == ("abcabc", [])
    assert pack(tmp_path) == 0


def test_run_goes_on_after_packing(tmp_path: Path) -> None:
    writer = write(tmp_path, RUNS[0], "s1", "ab")
    writer.close()
    for parts in (1, 2, 3):
        pack(tmp_path)
        assert not writer.folder.path.exists()
        writer.append(events.TagDeleted, "cde"[parts - 1])  # the same process
        write(tmp_path, RUNS[0], f"t{parts}", "x").close()  # a process that resumes the run
        writer.close()
        assert read(tmp_path, RUNS[0]) == ("abcde"[: 2 + parts] + "x" * parts, [])
    folder = JournalDirectory(tmp_path, RUNS[0])
    size = folder.sizes()["s1.journal"]
    folder.mark_delivered(folder.sizes())
    pack(tmp_path)
    assert folder.sizes()["s1.journal"] == size
    assert read(tmp_path, RUNS[0]) == ("abcdexxx", [])


def test_events_that_are_written_while_a_run_is_packed_are_kept(tmp_path: Path) -> None:
    writer = write(tmp_path, RUNS[0], "s1", "ab")
    original = packing.time.sleep

    def write_meanwhile(seconds: float) -> None:
        writer.append(events.TagDeleted, "c")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing.time, "sleep", write_meanwhile)
        pack(tmp_path)
    assert packing.time.sleep is original
    assert read(tmp_path, RUNS[0]) == ("abc", [])
    writer.append(events.TagDeleted, "d")
    writer.close()
    assert read(tmp_path, RUNS[0]) == ("abcd", [])
    pack(tmp_path)
    assert read(tmp_path, RUNS[0]) == ("abcd", [])
    assert not writer.folder.path.exists()


def test_kill_at_any_moment_loses_and_doubles_nothing(tmp_path: Path) -> None:
    moment, killed = 0, 0
    while True:
        state = tmp_path / str(moment)
        finished(state, RUNS[:1])
        pack(state)
        write(state, RUNS[0], "s3", "d").close()
        write(state, "2" * 32, "s1", "z").close()
        child = os.fork()
        if not child:
            _kill_at(moment)
            pack(state)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        expected = {RUNS[0]: "abcabcd", "2" * 32: "z"}
        for _ in range(2):
            for run_id, keys in expected.items():
                assert read(state, run_id) == (keys, []), moment
            pack(state)
        assert not [*(state / "journal").glob("*/*")], moment
        assert not [*(state / "packs").glob("*.incomplete")]
        if not os.WIFSIGNALED(status):
            break
        killed += 1
        moment += 1
    assert killed > 10


def _kill_at(moment: int) -> None:
    """Kill this process before its n-th change on the disk."""
    count = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        is_written = event == "open" and int(str(arguments[2])) & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES_ON_DISK or is_written:
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

    sys.addaudithook(hook)


def test_removed_runs_leave_the_pack_and_the_others_stay(tmp_path: Path) -> None:
    folders = finished(tmp_path)
    pack(tmp_path)
    packing.unpack(tmp_path, [folders[1].path.name], tmp_path)
    assert not folders[1].exists()
    assert [read(tmp_path, folders[n].run_id) for n in (0, 2)] == [("abcabc", [])] * 2
    packing.unpack(tmp_path, [folder.path.name for folder in folders], tmp_path)
    assert Packs(tmp_path).files() == []


def test_folder_with_a_link_is_not_packed(tmp_path: Path) -> None:
    writer = write(tmp_path, RUNS[0], "s1", "ab")
    writer.close()
    (writer.folder.path / "link").symlink_to("/dev/zero")
    assert pack(tmp_path) == 0
    assert read(tmp_path, RUNS[0]) == ("ab", [])


@pytest.mark.parametrize("end", ["cut", "zeros", "flip"])
def test_damaged_pack_is_reported(tmp_path: Path, end: str) -> None:
    finished(tmp_path)
    pack(tmp_path)
    (path,) = Packs(tmp_path).files()
    content = bytearray(path.read_bytes())
    match end:
        case "cut":
            del content[-30:]
        case "zeros":
            content[:] = bytes(len(content))
        case "flip":
            content[len(f"{RUNS[0]}/1/delivered.json") + 35] ^= 1
    path.write_bytes(content)
    problems = [problem for run_id in RUNS for problem in read(tmp_path, run_id)[1]]
    delivered = [bool(JournalDirectory(tmp_path, run_id).delivered()) for run_id in RUNS]
    assert problems or not all(delivered)
