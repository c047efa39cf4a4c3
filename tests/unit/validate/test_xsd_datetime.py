from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yprov_mlflow.prov.validate import xsd_datetime

zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(timezones=zones, min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)))
def test_times_equal_those_of_datetime(time: datetime) -> None:
    since = (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert xsd_datetime.parse(time.isoformat()) == (True, since * 1000)


@given(st.text(alphabet="0123456789-+:.TZ ", max_size=30) | st.text(max_size=30))
def test_only_times_are_parsed(text: str) -> None:
    time = xsd_datetime.parse(text)
    if time is not None:
        assert re.match(r"\s*-?\d{4,}-\d\d-\d\dT", text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01",
        "2026-01-01 00:00:00",
        "2026-13-01T00:00:00",
        "2026-02-29T00:00:00",
        "2026-01-01T24:00:01",
        "2026-01-01T00:00:60",
        "2026-01-01T00:00:00+14:01",
        "2026-01-01T00:00:00+01",
        "0000-01-01T00:00:00",
        "02026-01-01T00:00:00",
        "2026-W01-1T00:00:00",
        "٢٠٢٦-01-01T00:00:00",
        "9" * 5000 + "-01-01T00:00:00",
        "",
    ],
)
def test_invalid_times(text: str) -> None:
    assert xsd_datetime.parse(text) is None


def test_spellings_of_the_same_time() -> None:
    assert xsd_datetime.parse("2026-01-01T24:00:00Z") == xsd_datetime.parse(
        "2026-01-02T00:00:00+00:00"
    )
    assert xsd_datetime.may_be_same("2026-01-01T00:00:00.5Z", "2026-01-01T01:00:00.500+01:00")
    assert xsd_datetime.may_be_same("2026-01-01T00:00:00", "2026-01-01T13:59:59Z")
    assert not xsd_datetime.may_be_same("2026-01-01T00:00:00", "2026-01-01T14:00:01Z")
    assert xsd_datetime.may_be_same("not a time", "not a time")
    assert not xsd_datetime.may_be_same("not a time", "2026-01-01T00:00:00Z")


def test_distant_years_and_long_fractions() -> None:
    later, earlier = (
        xsd_datetime.parse("57999-01-01T00:00:00Z"),
        xsd_datetime.parse("-0500-01-01T00:00:00Z"),
    )
    assert later is not None and earlier is not None
    assert later.after(xsd_datetime.DISTANT) and xsd_datetime.NOT_SET.after(earlier)
    assert xsd_datetime.parse("9" * 5000 + "-01-01T00:00:00Z") is None
    long = xsd_datetime.parse(f"2026-01-01T00:00:00.{'9' * 100_000}Z")
    assert long is not None and long.nanoseconds % 10**9 == 999_999_999
