"""Only the owner can read the state folder, with any umask and any earlier modes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from yprov_mlflow.prov.events import TagsSet
from yprov_mlflow.prov.journal import JournalDirectory, JournalWriter
from yprov_mlflow.prov.layout import private_folder
from yprov_mlflow.prov.sampling.claims import Claims


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def loose(*folders: Path) -> list[Path]:
    """Return the paths in and below folders that group or others have a right to."""
    paths = [path for folder in folders for path in (folder, *folder.rglob("*"))]
    return [path for path in paths if stat.S_IMODE(path.stat().st_mode) & 0o077]


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("side", ["", "server"])
def test_everything_in_a_new_state_folder_is_private(tmp_path: Path, side: str) -> None:
    state = tmp_path / "above" / "state"
    folder = JournalDirectory(state / side, "r", root=state)
    writer = JournalWriter(folder, "s")
    writer.append(TagsSet, {"a": "b"})
    folder.mark_delivered(folder.sizes())
    claims = Claims(folder.path, "m")
    claims.take(["node"])
    assert len([*state.rglob("*")]) > 4
    assert loose(state) == []
    claims.close()
    writer.close()


def test_state_folder_from_before_becomes_private(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "journal" / "old").mkdir(parents=True)
    (state / "journal" / "old" / "s.journal").write_text("x")
    (state / "stores").mkdir()
    for path in (*state.rglob("*"), state):
        path.chmod(0o755 if path.is_dir() else 0o644)
    private_folder(state / "journal" / "new", state)
    assert loose(state) == []


def test_folder_with_other_content_keeps_its_modes(tmp_path: Path) -> None:
    state = tmp_path / "project"
    (state / "journal").mkdir(parents=True)
    (state / "server" / "journal").mkdir(parents=True)
    files = (state / "train.py", state / "server" / "app.py", state / "journal" / "diary.txt")
    for path in files:
        path.write_text("")
        path.chmod(0o644)
    folders = (state / "journal", state / "server" / "journal", state / "server", state)
    for path in folders:
        path.chmod(0o755)
    private_folder(state / "journal" / "r", state)
    private_folder(state / "server" / "journal" / "r", state)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (*folders, *files)]
    assert modes == [0o700, 0o700, 0o755, 0o755, 0o644, 0o644, 0o644]


def test_folder_for_files_of_all_users_keeps_its_modes(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    private_folder(tmp_path / "journal" / "r", tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777
    assert loose(tmp_path / "journal") == []


def test_folder_above_a_state_folder_named_server_keeps_its_modes(tmp_path: Path) -> None:
    team = tmp_path / "team"
    team.mkdir()
    team.chmod(0o755)
    writer = JournalWriter(JournalDirectory(team / "server", "r"), "s")
    writer.append(TagsSet, {"a": "b"})
    writer.close()
    assert stat.S_IMODE(team.stat().st_mode) == 0o755
    assert loose(team / "server") == []


def test_links_out_of_the_state_folder_keep_their_modes(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("x")
    state = tmp_path / "state"
    (state / "journal").mkdir(parents=True)
    (state / "journal" / "link").symlink_to(outside)
    (state / "journal" / "file").symlink_to(outside / "file")
    for path in (outside, state / "journal", state):
        path.chmod(0o755)
    (outside / "file").chmod(0o644)
    (state / "stores").symlink_to(outside)
    private_folder(state / "journal" / "r", state)
    private_folder(state / "stores" / "s", state)
    assert stat.S_IMODE(outside.stat().st_mode) == 0o755
    assert stat.S_IMODE((outside / "file").stat().st_mode) == 0o644
    assert loose(state / "journal" / "r") == []


def test_folder_of_another_user_keeps_its_modes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o755)
    monkeypatch.setattr("os.geteuid", lambda: state.stat().st_uid + 1)
    private_folder(state / "journal", state)
    assert stat.S_IMODE(state.stat().st_mode) == 0o755
