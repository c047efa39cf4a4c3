"""Data files that a run read and wrote: an entity for each, or one for a folder of many."""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from yprov_mlflow.prov.events import STORE_SESSION, Event, FilesAccessed
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.identifiers import RUN, content, segment
from yprov_mlflow.prov.model.literals import integer, text
from yprov_mlflow.prov.translate.artifacts import media_type
from yprov_mlflow.prov.translate.translation import Translation

READ, WRITTEN = "read", "written"
ROLES = {READ: "mlf:readFile", WRITTEN: "mlf:writtenFile"}

_MOST_SEPARATE = 20  # files of a folder that get an entity each
_MOST_MEMBERS = 100  # files of a folder whose contents are named
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclasses.dataclass(slots=True)
class DataFile:
    """A file, or all files of a folder, that one session read or wrote."""

    path: str
    mode: str
    session: str
    time_ns: int
    size: int | None = None
    sha256: str | None = None
    not_hashed: str | None = None
    count: int | None = None  # of a folder
    members: Sequence[str] = ()


_Item = list[DataFile]
"""One file, or all files of a folder of many."""


def add_files(translation: Translation, log: Iterable[Event]) -> None:
    """Add the files of all events of a run."""
    accessed = [event for event in log if isinstance(event, FilesAccessed)]
    files = _files(accessed)
    for mode in ROLES:
        of_mode = [file for file in files if file.mode == mode]
        numbers: dict[str, int] = {}
        for file in sorted(_with_folders(of_mode), key=_order):
            numbers[file.path] = numbers.get(file.path, 0) + 1
            _add(translation, file, numbers[file.path])
    most = max((event.most for event in accessed if event.most is not None), default=None)
    if most is not None:
        translation.builder.activity(f"{RUN}:run", attributes={"mlf:mostFiles": integer(most)})


def _order(file: DataFile) -> tuple[str, bool, int, str]:
    return file.path, not file.time_ns, file.time_ns, file.sha256 or ""


# -- events to files -----------------------------------------------------------------------


def _files(accessed: Iterable[FilesAccessed]) -> list[DataFile]:
    """Return the files of events, each content of a path once."""
    by_session: dict[tuple[str, str, str], DataFile] = {}
    for event in accessed:
        for row in event.files:
            if (file := _file(row, event.session)) is None:
                continue
            key = file.mode, file.path, event.session
            if row.get("removed"):
                by_session.pop(key, None)
                continue
            earlier = by_session.get(key)
            if earlier is None or earlier.sha256 is None:
                by_session[key] = file
    # Ranks that read one file have one entity for it; one without hash says nothing of its own.
    files: dict[tuple[str, str], dict[str | None, DataFile]] = defaultdict(dict)
    for file in sorted(by_session.values(), key=lambda f: (f.sha256 is None, *_order(f))):
        contents = files[file.mode, file.path]
        if file.sha256 is not None or not contents:
            contents.setdefault(file.sha256, file)
    return [file for contents in files.values() for file in contents.values()]


def _file(row: Mapping[str, Any], session: str) -> DataFile | None:
    """Return what a mapping of an event says; None for a damaged one."""
    path, mode, time_ns = row.get("path"), row.get("mode"), row.get("time_ns")
    if not isinstance(path, str) or not path or mode not in ROLES:
        return None
    sha256, not_hashed = row.get("sha256"), row.get("not_hashed")
    members = row.get("members")
    return DataFile(
        path,
        str(mode),
        session,
        time_ns if isinstance(time_ns, int) else 0,
        _whole(row.get("size")),
        sha256 if isinstance(sha256, str) and _SHA256.fullmatch(sha256) else None,
        str(not_hashed) if not_hashed else None,
        _whole(row.get("count")),
        [str(member) for member in members] if isinstance(members, list) else (),
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


# -- folders of many files -----------------------------------------------------------------


def _with_folders(files: Sequence[DataFile]) -> Iterator[DataFile]:
    """Yield files, and one for each folder of many, with those of the folders inside of it."""
    # From the deepest folder up: a folder with many files, or with many folders of files.
    by_folder: dict[str, list[_Item]] = defaultdict(list)
    for file in files:
        if file.path.startswith("/") and file.count is None:
            by_folder[posixpath.dirname(file.path)].append([file])
        else:  # a URL
            yield file
    by_depth: dict[int, set[str]] = defaultdict(set)
    for folder in by_folder:
        by_depth[_depth(folder)].add(folder)
    for depth in range(max(by_depth, default=0), 0, -1):
        for folder in sorted(by_depth[depth]):
            items = by_folder.pop(folder)
            if len(items) > _MOST_SEPARATE:
                items = [[file for item in items for file in item]]
            by_folder[posixpath.dirname(folder)] += items
            by_depth[depth - 1].add(posixpath.dirname(folder))
    for item in by_folder["/"]:
        yield item[0] if len(item) == 1 else _folder(item)


def _depth(folder: str) -> int:
    return folder.rstrip("/").count("/")


def _folder(files: list[DataFile]) -> DataFile:
    """Return the files of a folder as one."""
    root = posixpath.commonpath([posixpath.dirname(file.path) for file in files])
    files = sorted(files, key=_order)
    sizes = [file.size for file in files if file.size is not None]
    missing = sum(file.sha256 is None for file in files)
    rows = [[posixpath.relpath(f.path, root), f.size, f.sha256] for f in files]
    hashes = dict.fromkeys(str(file.sha256) for file in files)
    return DataFile(
        root,
        files[0].mode,
        min(files, key=lambda file: (not file.time_ns, file.time_ns)).session,
        min((file.time_ns for file in files if file.time_ns), default=0),
        sum(sizes) if len(sizes) == len(files) else None,
        None if missing else content({"files": rows}).partition(":")[2],
        f"{missing} of its files have no hash" if missing else None,
        len(files),
        list(hashes) if not missing and len(hashes) <= _MOST_MEMBERS else (),
    )


# -- files to records ----------------------------------------------------------------------


def _add(translation: Translation, file: DataFile, number: int) -> None:
    builder = translation.builder
    kind = "file" if file.count is None else "files"
    suffix = f"/{number}" if number > 1 else ""
    identifier = f"{RUN}:{kind}/{file.mode}/{segment(file.path)}{suffix}"
    types = ["mlf:File"] if file.count is None else ["mlf:FileCollection", "prov:Collection"]
    attributes = {
        "mlf:path": text(file.path),
        "mlf:size": literals.plain(file.size),
        "mlf:sha256": file.sha256,
        "mlf:notHashed": text(file.not_hashed) if file.not_hashed and not file.sha256 else None,
        "mlf:fileCount": literals.plain(file.count),
        "schema:encodingFormat": media_type(file.path) if file.count is None else None,
        "schema:contentUrl": text(file.path) if "://" in file.path else None,
    }
    label = posixpath.basename(file.path) or file.path
    builder.entity(identifier, types, text(label), attributes)
    if file.sha256 is not None:
        _add_content(translation, file, identifier)
    time = literals.instant(file.time_ns)
    if file.mode == READ:
        builder.used(f"{RUN}:run", identifier, time, ROLES[READ])
    else:
        activity = f"{RUN}:run"
        if file.session != STORE_SESSION and file.time_ns:
            activity = translation.timeline.activity_at(file.session, file.time_ns, ())
        # It was opened at the time that is known; when it was complete is not.
        builder.was_generated_by(identifier, activity, None, ROLES[WRITTEN])


def _add_content(translation: Translation, file: DataFile, identifier: str) -> None:
    """Add the content, which is one node over paths and runs."""
    builder = translation.builder
    label = f"sha256 {str(file.sha256)[:12]}"
    types = ["mlf:Content"] if file.count is None else ["mlf:Content", "prov:Collection"]
    whole = builder.entity(f"sha256:{file.sha256}", types, label)
    builder.specialization_of(identifier, whole)
    for member in file.members:
        if _SHA256.fullmatch(member):
            part = builder.entity(f"sha256:{member}", ["mlf:Content"], f"sha256 {member[:12]}")
            builder.had_member(whole, part)
