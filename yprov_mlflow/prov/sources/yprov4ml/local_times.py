"""Times as yProv4ML writes them: local, without a zone, which is an attribute of the run."""

from __future__ import annotations

import datetime
import re

UTC = datetime.UTC
"""Zone of runs that name none; versions before 3 write times in seconds since the epoch."""

_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})\Z")


def zone(text: str | None) -> datetime.timezone | None:
    """Return the time zone of text such as ``CET+0100``, None without an offset."""
    match = _OFFSET.search(text or "")
    if match is None:
        return None
    minutes = int(match[2]) * 60 + int(match[3])
    if minutes >= 24 * 60:
        return None
    return datetime.timezone(datetime.timedelta(minutes=minutes if match[1] == "+" else -minutes))


def nanoseconds(text: str | None, local: datetime.tzinfo) -> int:
    """Return a time as ns since the epoch, 0 if it is not a time.

    Args:
        text: ISO 8601, or seconds since the epoch.
        local: Zone of times without one.
    """
    if not text:
        return 0
    try:
        seconds = float(text)
        return int(seconds * 1e9) if 0 < seconds < 1e11 else 0
    except ValueError:
        pass
    try:
        moment = datetime.datetime.fromisoformat(text.partition("^^")[0])
    except ValueError:
        return 0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=local)
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (moment - epoch) // datetime.timedelta(microseconds=1) * 1000
