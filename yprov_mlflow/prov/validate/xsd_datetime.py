"""Parsing and comparing ``xsd:dateTime``, of any year and to the nanosecond."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

_SECOND = 10**9
_DAY = 86_400 * _SECOND
# Largest offset of a time zone; a time without a zone is uncertain by as much.
_MAX_OFFSET = 14 * 3600 * _SECOND

_MOST_YEAR_DIGITS = 9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PATTERN = re.compile(
    r"\s*(?P<year>-?(?:[1-9][0-9]{4,}|[0-9]{4}))-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"T(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]+))?"
    r"(?P<zone>Z|[+-][0-9]{2}:[0-9]{2})?\s*",
    re.ASCII,
)


class Time(NamedTuple):
    """Nanoseconds since 1970, in UTC, or in an unknown zone if not ``zoned``."""

    zoned: bool
    nanoseconds: int

    @property
    def earliest(self) -> int:
        """The earliest possible instant in UTC."""
        return self.nanoseconds if self.zoned else self.nanoseconds - _MAX_OFFSET

    @property
    def latest(self) -> int:
        """The latest possible instant in UTC."""
        return self.nanoseconds if self.zoned else self.nanoseconds + _MAX_OFFSET

    def after(self, other: Time) -> bool:
        """Return whether the time is certainly later than another one."""
        if self.zoned == other.zoned:
            return self.nanoseconds > other.nanoseconds
        return self.earliest > other.latest


NOT_SET = Time(True, 31 * _DAY)
"""Earlier times come from an unset clock, or from seconds taken for milliseconds."""

DISTANT = Time(True, int((datetime(2100, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()) * _SECOND)


def day_after(now: datetime) -> Time:
    """Return the time a day after ``now``; clocks of different machines differ by less."""
    return Time(True, int((now - _EPOCH + timedelta(days=1)).total_seconds()) * _SECOND)


@lru_cache(maxsize=1 << 16)
def parse(text: str) -> Time | None:
    """Parse an ``xsd:dateTime``; return None for other text, or beyond a billion years."""
    # datetime knows neither years beyond 9999 nor nanoseconds, hour 24 or times before 0001.
    match = _PATTERN.fullmatch(text)
    if match is None or len(match["year"]) > _MOST_YEAR_DIGITS:
        return None
    year, month, day = int(match["year"]), int(match["month"]), int(match["day"])
    hour, minute, second = int(match["hour"]), int(match["minute"]), int(match["second"])
    fraction = int((match["fraction"] or "")[:9].ljust(9, "0"))
    midnight = hour == 24 and not (minute or second or fraction)
    if not (year and 1 <= month <= 12 and 1 <= day <= _days(year, month)):
        return None
    # XML Schema allows 24:00:00 as the end of a day, but no leap seconds.
    if not ((hour < 24 or midnight) and minute < 60 and second < 60):
        return None
    seconds = ((_since_epoch(year, month, day) * 24 + hour) * 60 + minute) * 60 + second
    zone = match["zone"]
    # An offset says how far local time is ahead of UTC, so it is subtracted.
    if zone is not None and zone != "Z":
        hours, minutes = int(zone[1:3]), int(zone[4:6])
        if minutes > 59 or hours * 60 + minutes > 14 * 60:
            return None
        offset = (hours * 60 + minutes) * 60
        seconds += offset if zone[0] == "-" else -offset
    return Time(zone is not None, seconds * _SECOND + fraction)


def may_be_same(first: str, second: str) -> bool:
    """Return whether two texts may be the same time; other text is compared as such."""
    if first == second:
        return True
    # One time in two zones has two texts; without a zone, it may be the other one.
    first_time, second_time = parse(first), parse(second)
    if first_time is None or second_time is None:
        return False
    return not (first_time.after(second_time) or second_time.after(first_time))


def _days(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def _since_epoch(year: int, month: int, day: int) -> int:
    """Return the days since 1970 in the proleptic Gregorian calendar."""
    # Count years from March, so that the leap day is the last day of a year.
    if month <= 2:
        year, month = year - 1, month + 12
    leap_days = year // 4 - year // 100 + year // 400
    return 365 * year + leap_days + (153 * (month - 3) + 2) // 5 + day - 1 - 719_468
