"""Which of the files that a process opens are data: no libraries, caches, or work of our own."""

from __future__ import annotations

import fnmatch
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

_LIBRARY_FOLDERS = ("bin", "etc", "include", "lib", "lib64", "libexec", "share")
_SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/run/", "/var/lib/", "/var/cache/")
_ENDINGS = (".py", ".pyc", ".pyi", ".so", ".dylib", ".dll", ".pyd", ".lock", ".pid")
_SHARED_LIBRARY = re.compile(r"\.so\.[\d.]+\Z")
# Folders of tools, at any depth. ``mlruns`` and ``mlartifacts`` are MLflow's own.
_TOOLS = re.compile(
    r"/(?:site-packages|dist-packages|__pycache__|\.git|\.hg|\.svn|\.ipynb_checkpoints"
    r"|\.pytest_cache|\.mypy_cache|\.ruff_cache|mlruns|mlartifacts)/"
)
# Below the home folder and below that of caches, these have data and not settings of programs.
_DATA_IN_HOME = (".keras/", ".fastai/")
_DATA_IN_CACHE = ("huggingface/hub/", "huggingface/datasets/", "torch/hub/checkpoints/")


class FileFilter:
    """Recognizes data files by their absolute paths, without a look at the files.

    Args:
        excluded: Patterns of the user, in which ``*`` matches any text, also ``/``.
        own: Folders and files of capture and of MLflow's stores.
    """

    def __init__(self, excluded: Sequence[str] = (), own: Iterable[str] = ()) -> None:
        self._folders: dict[str, bool] = {}  # whether each can have data
        self._own = tuple(own)
        starts = {*_SYSTEM}
        for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix}:
            starts |= {f"{prefix.rstrip('/')}/{folder}/" for folder in _LIBRARY_FOLDERS}
        self._starts = tuple(starts)
        patterns = [fnmatch.translate(_absolute(pattern)) for pattern in excluded]
        self._excluded = re.compile("|".join(patterns)) if patterns else None
        home = _home()
        self._hidden = f"{home}/." if home else ""
        self._in_home = tuple(f"{home}/{folder}" for folder in _DATA_IN_HOME) if home else ()
        self._caches = tuple(f"{cache}/" for cache in _caches(home))
        self._in_caches = tuple(c + folder for c in self._caches for folder in _DATA_IN_CACHE)
        if hub := os.environ.get("HF_HOME"):
            self._in_caches += (f"{hub.rstrip('/')}/hub/", f"{hub.rstrip('/')}/datasets/")
        temporary = os.path.realpath(tempfile.gettempdir()).rstrip("/")
        # A program that works in the folder of temporary files has its data there.
        works_there = _working_folder().startswith(f"{temporary}/")
        self._temporary = () if works_there else (f"{temporary}/", f"{tempfile.gettempdir()}/")

    def is_data(self, path: str) -> bool:
        """Return whether a path can be that of a data file."""
        folder, _, name = path.rpartition("/")
        is_of_data = self._folders.get(folder)
        if is_of_data is None:
            is_of_data = self._folders[folder] = self._can_have_data(f"{folder}/")
        if not is_of_data or name.endswith(_ENDINGS) or path.startswith(self._own):
            return False
        if ".so." in name and _SHARED_LIBRARY.search(name):
            return False
        return self._excluded is None or not self._excluded.match(path)

    def _can_have_data(self, folder: str) -> bool:
        if folder.startswith(self._starts) or _TOOLS.search(folder):
            return False
        if folder.startswith(self._caches):
            return folder.startswith(self._in_caches)
        return not self._is_hidden(folder)

    def _is_hidden(self, path: str) -> bool:
        """Return whether a path is that of a program's settings in the home folder."""
        if not (self._hidden and path.startswith(self._hidden)):
            return False
        return not path.startswith((*self._in_home, *self._in_caches))

    def is_temporary(self, path: str) -> bool:
        """Return whether a path is in the folder for temporary files."""
        return bool(self._temporary) and path.startswith(self._temporary)


def _absolute(pattern: str) -> str:
    """Return a pattern for absolute paths: ``*.log`` is a name in any folder."""
    pattern = os.path.expanduser(pattern)
    if pattern.startswith(("/", "*")):
        return pattern
    return f"*/{pattern}"


def _home() -> str:
    try:
        return str(Path.home()).rstrip("/")
    except RuntimeError:  # the user of a container may lack a home
        return ""


def _caches(home: str) -> list[str]:
    cache = os.environ.get("XDG_CACHE_HOME") or (f"{home}/.cache" if home else "")
    return [cache.rstrip("/")] if cache else []


def _working_folder() -> str:
    try:
        return os.path.realpath(Path.cwd())
    except OSError:  # it was deleted
        return ""
