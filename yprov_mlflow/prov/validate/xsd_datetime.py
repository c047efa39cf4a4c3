"""Times of ``xsd:dateTime``: read, compared, and told from what no clock shows."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

_SECOND = 10**9
_DAY = 86_400 * _SECOND
_ZONES = 14 * 3600 * _SECOND
"""No zone is further from UTC: a time without one is that uncertain against one with one."""

_MOST_DIGITS = 9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PATTERN = re.compile(
    r"\s*(?P<year>-?(?:[1-9][0-9]{4,}|[0-9]{4}))-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"T(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]+))?"
    r"(?P<zone>Z|[+-][0-9]{2}:[0-9]{2})?\s*",
    re.ASCII,
)


class Time(NamedTuple):
    """A time as nanoseconds since 1970; without a zone they are those of its own clock."""

    zoned: bool
    nanoseconds: int

    @property
    def earliest(self) -> int:
        """The instant before which it cannot be."""
        return self.nanoseconds if self.zoned else self.nanoseconds - _ZONES

    @property
    def latest(self) -> int:
        """The instant after which it cannot be."""
        return self.nanoseconds if self.zoned else self.nanoseconds + _ZONES

    def after(self, other: Time) -> bool:
        """Tell whether it is certainly later than another time."""
        if self.zoned == other.zoned:
            return self.nanoseconds > other.nanoseconds
        return self.earliest > other.latest


NOT_SET = Time(True, 31 * _DAY)
"""Before this a clock was not set, or seconds since 1970 were taken for milliseconds."""

DISTANT = Time(True, int((datetime(2100, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()) * _SECOND)


def tomorrow(now: datetime) -> Time:
    """Give the time from which on, seen from ``now``, no honest clock can have been read."""
    return Time(True, int((now - _EPOCH + timedelta(days=1)).total_seconds()) * _SECOND)


@lru_cache(maxsize=1 << 16)
def read(text: str) -> Time | None:
    """Read an ``xsd:dateTime``; None if the text is none, or beyond a billion years.

    Fractions are kept to the nanosecond.
    """
    found = _PATTERN.fullmatch(text)
    if found is None or len(found["year"]) > _MOST_DIGITS:
        return None
    year, month, day = int(found["year"]), int(found["month"]), int(found["day"])
    hour, minute, second = int(found["hour"]), int(found["minute"]), int(found["second"])
    fraction = int((found["fraction"] or "")[:9].ljust(9, "0"))
    midnight = hour == 24 and not (minute or second or fraction)
    if not (year and 1 <= month <= 12 and 1 <= day <= _days(year, month)):
        return None
    if not ((hour < 24 or midnight) and minute < 60 and second < 60):
        return None
    seconds = ((_since_epoch(year, month, day) * 24 + hour) * 60 + minute) * 60 + second
    zone = found["zone"]
    if zone is not None and zone != "Z":
        hours, minutes = int(zone[1:3]), int(zone[4:6])
        if minutes > 59 or hours * 60 + minutes > 14 * 60:
            return None
        offset = (hours * 60 + minutes) * 60
        seconds += offset if zone[0] == "-" else -offset
    return Time(zone is not None, seconds * _SECOND + fraction)


def same(first: str, second: str) -> bool:
    """Tell whether two texts may be one time; what is no time is compared as text."""
    if first == second:
        return True
    one, other = read(first), read(second)
    if one is None or other is None:
        return False
    return not (one.after(other) or other.after(one))


def _days(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def _since_epoch(year: int, month: int, day: int) -> int:
    """Count days in the proleptic Gregorian calendar, in which a year begins in March."""
    if month <= 2:
        year, month = year - 1, month + 12
    leaps = year // 4 - year // 100 + year // 400
    return 365 * year + leaps + (153 * (month - 3) + 2) // 5 + day - 1 - 719_468
