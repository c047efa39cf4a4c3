"""Values of settings: each function parses a text, or a value of a project file.

All of them raise ValueError for a value that is not allowed.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

DIRECT, FAILOVER, DEFERRED = DELIVERIES = ("direct", "failover", "deferred")
"""Values of ``Settings.delivery``: when a logging call reaches the store."""

ONE_RUN = "one-run"
"""Value of ``Settings.ranks`` if all ranks of a job log to one run."""
OWN = "own"

OFF = "off"
"""Value of ``Settings.index`` if runs leave no documents for it."""

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}
_COLLECTOR = re.compile(r"-?[a-z0-9][a-z0-9-]*\Z")
_IRI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s#<>\"{}|\\^`]+\Z")


def flag(value: Any) -> bool:
    """Return whether a value means yes."""
    text = str(value).strip().lower()
    if text in _TRUE | _FALSE:
        return text in _TRUE
    raise ValueError(value)


def count(value: Any) -> int:
    """Return a whole number that is not negative."""
    # int() accepts true and 1.5 from a project file.
    if isinstance(value, (bool, float)) or int(value) < 0:
        raise ValueError(value)
    return int(value)


def folder(value: Any) -> Path:
    """Return an absolute folder, which need not exist."""
    # Without the check of NUL, the error would come only when the first run is logged.
    if not isinstance(value, (str, os.PathLike)) or "\0" in os.fspath(value):
        raise ValueError(value)
    try:
        path = Path(value).expanduser()
    except RuntimeError as error:  # ~name of an unknown user
        raise ValueError(value) from error
    if path.exists() and not path.is_dir():
        raise ValueError(value)
    return path.absolute()  # the script may change its working directory later


def index(value: Any) -> Path | str:
    """Return the folder or server of the index, or ``OFF``."""
    if value is False or str(value).strip().lower() in _FALSE:
        return OFF
    if isinstance(value, str) and re.match("https?://", value):
        return value
    return folder(value)


def ranks(value: Any) -> str:
    """Return how the processes of a job share runs."""
    if value not in (OWN, ONE_RUN):
        raise ValueError(value)
    return str(value)


def iri(value: Any) -> str:
    """Return an absolute IRI."""
    if not isinstance(value, str) or not _IRI.match(value):
        raise ValueError(value)
    return value


def fsync(value: Any) -> float | None:
    """Return the seconds between two syncs, 0 for each call; None for never."""
    text = str(value).strip().lower()
    return None if text in _FALSE else 0.0 if text == "each" else amount(value, 0.05, 3600)


def names(value: Any) -> tuple[str, ...]:
    """Return names separated by commas."""
    names = value.split(",") if isinstance(value, str) else list(value)
    if not all(isinstance(name, str) and _COLLECTOR.match(name.strip()) for name in names):
        raise ValueError(value)
    return tuple(name.strip() for name in names)


def sinks(value: Any) -> tuple[str, ...]:
    """Return names of sinks."""
    chosen = names(value)
    return () if chosen == ("none",) else chosen


def patterns(value: Any) -> tuple[str, ...]:
    """Return patterns separated by commas."""
    patterns = value.split(",") if isinstance(value, str) else list(value)
    if not all(isinstance(pattern, str) and pattern.strip() for pattern in patterns):
        raise ValueError(value)
    return tuple(pattern.strip() for pattern in patterns)


def amount(value: Any, least: float = 0.0, most: float = sys.float_info.max) -> float:
    """Return a number within bounds."""
    if isinstance(value, bool) or not least <= float(value) <= most:
        raise ValueError(value)
    return float(value)


class Price(NamedTuple):
    """A price of electricity: an amount of money for a kWh."""

    amount: float
    currency: str


def price(value: Any) -> Price:
    """Return a price such as ``0.30 EUR``."""
    number, _, currency = str(value).strip().partition(" ")
    if not re.fullmatch("[A-Z]{3}", currency.strip().upper()):
        raise ValueError(value)
    return Price(amount(number), currency.strip().upper())


def delivery(value: Any) -> str:
    """Return when a logging call reaches the store."""
    text = str(value).strip().lower()
    if text not in DELIVERIES:
        raise ValueError(value)
    return text


def country(value: Any) -> str:
    """Return a code of three letters."""
    code = str(value).strip().upper()
    if not re.fullmatch("[A-Z]{3}", code):
        raise ValueError(value)
    return code
