"""Descriptions (``meta.yaml`` and its like): read fast when plain, saved line by line if broken."""

from __future__ import annotations

import base64
import datetime
import math
import re
from collections.abc import Mapping
from typing import Any

import yaml

from yprov_mlflow.prov import ids
from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.sources.file_store.tree_files import LFS, Files, excerpt

META = "meta.yaml"
LONGEST_URI = 4_096

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# A line as MLflow writes it, whose value YAML 1.1 cannot take for anything else: a number
# without sign or leading zero, quoted text without quotes in it, text that starts with a letter
# or a path and has no ": " nor " #" in it, or 32 digits of a hexadecimal id.
_LINE = re.compile(
    r"([A-Za-z_]\w*):(?: (?:"
    r"(0|[1-9][0-9]{0,18})"
    r"|'([ -&(-~]*)'"
    r"|((?:[A-Za-z/]|\.\.?/)(?:[\w./+@=,\-%()]|:(?=[\w./])| (?=[\w./+@=,\-%()]))*)"
    r"|([0-9a-f]{32})"
    r"|(\[\])|(\{\})"
    r"))\n",
    re.ASCII,
)
_WORDS = frozenset("y n yes no on off true false null".split())
"""What YAML 1.1 takes for a truth value or nothing, in lower case."""

_SALVAGED = re.compile(r"([A-Za-z_][\w.\-]*):(?:[ \t]+(.*))?\Z", re.ASCII)
_OURS, _THEIRS = "<<<<<<<", ">>>>>>>"
_MAY_HAVE_PASSWORD = re.compile("[@?&;]")
_MOST_NODES = 200_000
_DEEPEST = 64
_FEW_OPENINGS = 1_000
"""So many signs that open something cannot be nested too deep."""
_ENDLESS = "more values, or more in one another, than any description has"


def read_meta(files: Files, path: str) -> dict[str, Json]:
    """Give what a YAML file says, as JSON values by key; what cannot be read is a problem."""
    data = files.read(path)
    if data is None:
        return {}
    found = parse_plain(data)
    if found is not None:
        return found
    return _read(files, path, data)


def parse_plain(data: bytes) -> dict[str, Json] | None:
    """Parse flat ``key: value`` lines as MLflow writes them; None for any other YAML.

    Equal to what PyYAML gives, and ten times as fast.
    """
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        return None
    values: dict[str, Json] = {}
    end = 0
    match = _LINE.match
    while found := match(text, end):
        key, whole, quoted, plain, hexadecimal, _, _ = found.groups()
        if key.lower() in _WORDS:
            return None
        if plain is not None:
            if plain.lower() not in _WORDS:
                values[key] = plain
            elif plain == "null":
                values[key] = None
            else:
                return None
        elif whole is not None:
            values[key] = int(whole)
        elif quoted is not None:
            values[key] = quoted
        elif hexadecimal is not None:
            if hexadecimal.isdigit() or hexadecimal.startswith("0b"):
                return None
            values[key] = hexadecimal
        else:
            values[key] = [] if found[6] else {}
        end = found.end()
    return values if end == len(text) and values else None


def _read(files: Files, path: str, data: bytes) -> dict[str, Json]:
    if not data.strip():
        files.report(path, "is empty", "all that it said")
        return {}
    if data.startswith(LFS):
        files.report(path, "a git-lfs pointer stands for the file", "all that it said")
        return {}
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = files.foreign(path, data).removeprefix("\ufeff")
    else:
        if data.startswith(b"\xef\xbb\xbf"):
            files.note(path, "starts with a byte order mark")
    if "\r\n" in text:
        files.note(path, "has lines that end in CR LF")
    try:
        found = _load(text)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        return _salvage(files, path, text, _cause(error))
    if not isinstance(found, dict):
        return _salvage(files, path, text, "has no keys")
    try:
        return _Plain().mapping(found)
    except ValueError as error:
        files.report(path, f"has {error}", "all that it said")
        return {}


def _cause(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or error
    line = f" in line {mark.line + 1}" if mark is not None else ""
    return f"is not YAML: {problem}{line}"


def _load(text: str) -> Any:
    """Load YAML that is not nested without end: the loader's C code would overrun its stack."""
    if sum(map(text.count, "[{-?:")) > _FEW_OPENINGS:
        depth = 0
        for number, event in enumerate(yaml.parse(text, _LOADER)):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST or number > _MOST_NODES:
                raise ValueError(_ENDLESS)
    return yaml.load(text, _LOADER)


# -- values of YAML as JSON --------------------------------------------------------------


class _Plain:
    """Makes JSON of what YAML gives, within bounds: an alias may stand for a billion values."""

    def __init__(self) -> None:
        self._left = _MOST_NODES

    def mapping(self, found: Mapping[Any, Any], depth: int = 0) -> dict[str, Json]:
        """Give a mapping as JSON, ``depth`` levels below the top.

        Raises:
            ValueError: It has no end.
        """
        return {_key(key): self.value(item, depth + 1) for key, item in found.items()}

    def value(self, found: Any, depth: int) -> Json:
        """Give any value as JSON, ``depth`` levels below the top.

        Raises:
            ValueError: It has no end.
        """
        self._left -= 1
        if self._left < 0 or depth > _DEEPEST:
            raise ValueError(_ENDLESS)
        if found is None or isinstance(found, str | bool | int | float):
            return found
        if isinstance(found, dict):
            return self.mapping(found, depth)
        if isinstance(found, list | tuple | set):
            return [self.value(item, depth + 1) for item in found]
        if isinstance(found, bytes):
            return base64.b64encode(found).decode()
        return _key(found)


def _key(found: Any) -> str:
    if isinstance(found, datetime.date):
        return found.isoformat()
    return found if isinstance(found, str) else str(found)


# -- broken descriptions -----------------------------------------------------------------


def _salvage(files: Files, path: str, text: str, reason: str) -> dict[str, Json]:
    """Take the lines that say something by themselves; of a merge conflict, the first side."""
    values: dict[str, Json] = {}
    odd: list[str] = []
    side = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(_OURS):
            side = "ours"
        elif side == "ours" and line.startswith(("=======", "|||||||")):
            side = "theirs"
        elif line.startswith(_THEIRS):
            side = ""
        elif found := _SALVAGED.match(line):
            key, value = found[1], _scalar(found[2] or "")
            if key not in values:
                values[key] = value
            elif values[key] != value:
                odd.append(f"line {number} ({excerpt(line)})")
        elif line.strip() and not line.startswith(("#", "---")):
            odd.append(f"line {number} ({excerpt(line)})")
        if side == "ours" and reason.startswith("is not YAML"):
            reason = "has merge-conflict markers; the first side was taken"
    more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
    lost = ", ".join(odd[:3]) + more if values else "all that it said"
    files.report(path, reason, lost)
    return values


def _scalar(text: str) -> Json:
    try:
        found = _load(text)
        return _Plain().value(found, 0)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError):
        return text


# -- values by what they are for ---------------------------------------------------------


def text_of(meta: Mapping[str, Json], *keys: str) -> str | None:
    """Give the first of these keys that says something, as text; None if none does."""
    for key in keys:
        found = meta.get(key)
        if found is not None and found != "" and not isinstance(found, dict | list):
            return found if isinstance(found, str) else str(found)
    return None


def kept_of(meta: Mapping[str, Json], key: str) -> str | None:
    """Give what a key says as text, also if that is empty; None if it says nothing."""
    return "" if meta.get(key) == "" else text_of(meta, key)


def uri_of(meta: Mapping[str, Json], key: str) -> str | None:
    """Give a URI without the password that it may have."""
    found = text_of(meta, key)
    return None if found is None else without_password(found)


def without_password(uri: str) -> str:
    """Give a URI as it may be shown; of one longer than any is, only how long it is."""
    if not _MAY_HAVE_PASSWORD.search(uri):
        return uri
    if len(uri) > LONGEST_URI:
        return f"(a URI of {len(uri)} characters)"
    return ids.redact(uri)


def whole_of(meta: Mapping[str, Json], *keys: str) -> int | None:
    """Give the first of these keys that is a whole number; None if none is."""
    for key in keys:
        number = whole(meta.get(key))
        if number is not None:
            return number
    return None


def whole(found: Json) -> int | None:
    """Give a whole number, also one spelt as text or as a fraction of nothing; else None."""
    if isinstance(found, int) and not isinstance(found, bool):
        return found
    if isinstance(found, str):
        try:
            return int(found) if len(found) < 40 else None
        except ValueError:
            try:
                found = float(found)
            except ValueError:
                return None
    if isinstance(found, float) and math.isfinite(found) and found.is_integer():
        return int(found)
    return None
