"""Dates of NXQL: the literals of `DATE` and `TIMESTAMP`, and the periods of `NOW` (spec/nxql.md 2.6, 9.8)."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta

from vidarium.errors import QueryError

_LITERAL = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)(?:T(?P<hour>\d\d)(?::(?P<minute>\d\d)(?::(?P<second>\d\d)"
    r"(?:\.(?P<fraction>\d{1,9}))?)?)?)?)?)?"
    r"(?P<zone>Z|(?P<sign>[+-])(?P<hours>\d\d):(?P<minutes>\d\d)(?:\[[A-Za-z0-9_/+-]+\])?)?",
    re.ASCII,
)

_NUMBER = r"([+-]?\d{1,18})"
_PERIOD = re.compile(
    rf"([+-]?)P(?=.)(?:{_NUMBER}Y)?(?:{_NUMBER}M)?(?:{_NUMBER}D)?"
    rf"(?:T(?=.)(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}(?:\.(\d{{0,9}}))?S)?)?",
    re.ASCII | re.IGNORECASE,
)


def instant(text: str) -> datetime:
    """The UTC instant of a date literal; missing fields are the first ones, no zone means UTC.

    Raises QueryError in the reference's words, where a space in the place of the `T` has become one.
    """
    if text[10:11] == " ":
        text = f"{text[:10]}T{text[11:]}"
    found = _LITERAL.fullmatch(text) or _LITERAL.fullmatch(text.upper())
    if found is None or not _is_spelled_right(found, text):
        raise _unreadable(text)
    try:
        return _moment(found)
    except (ValueError, OverflowError):
        raise _unreadable(text) from None


def _is_spelled_right(found: re.Match[str], text: str) -> bool:
    """Without a zone: exactly three digits of fraction, and capital letters."""
    if found["zone"] is not None:
        return True
    return len(found["fraction"] or "000") == 3 and text == text.upper()


def _moment(found: re.Match[str]) -> datetime:
    year, month, day, hour, minute, second = (
        int(found[name] or first)
        for name, first in (("year", 1), ("month", 1), ("day", 1), ("hour", 0), ("minute", 0), ("second", 0))
    )
    millisecond = int((found["fraction"] or "")[:3].ljust(3, "0"))
    is_midnight = hour == 24 and minute == second == millisecond == 0
    if day > 31 or (hour > 23 and not is_midnight):
        raise ValueError("no such day or hour")
    start = datetime(year, month, min(day, _days(year, month)), tzinfo=UTC)
    clock = timedelta(hours=hour, minutes=minute, seconds=second, milliseconds=millisecond)
    if minute > 59 or second > 59:
        raise ValueError("no such minute or second")
    return start + clock - _offset(found)


def _offset(found: re.Match[str]) -> timedelta:
    if found["sign"] is None:
        return timedelta()
    hours, minutes = int(found["hours"]), int(found["minutes"])
    if hours * 60 + minutes > 18 * 60 or minutes > 59:
        raise ValueError("no such offset")
    return timedelta(hours=hours, minutes=minutes) * (-1 if found["sign"] == "-" else 1)


def _days(year: int, month: int) -> int:
    """30 February becomes the last of February."""
    return calendar.monthrange(year, month)[1] if 1 <= month <= 12 else 31


def _unreadable(text: str) -> QueryError:
    return QueryError(f"java.time.DateTimeException: Could not parse '{text}'")


def shifted(now: datetime, period: str) -> datetime:
    """`now` moved by a period such as `-P1DT2H`: the calendar's fields first, then the clock's, in UTC.

    Raises QueryError if the period cannot be read or leaves the years 1 to 9999.
    """
    found = _PERIOD.fullmatch(period)
    if found is None:
        raise _invalid(period)
    direction = -1 if found[1] == "-" else 1
    years, months, days, hours, minutes, seconds = (direction * int(found[index] or 0) for index in range(2, 8))
    fraction = int((found[8] or "").ljust(6, "0")[:6])
    fraction *= -1 if direction * (-1 if (found[7] or "").startswith("-") else 1) < 0 else 1
    try:
        calendar_part = _add_months(now.astimezone(UTC), years * 12 + months) + timedelta(days=days)
        return calendar_part + timedelta(hours=hours, minutes=minutes, seconds=seconds, microseconds=fraction)
    except (ValueError, OverflowError):
        raise _invalid(period) from None


def _add_months(moment: datetime, months: int) -> datetime:
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise ValueError("no such year")
    return moment.replace(year=year, month=month + 1, day=min(moment.day, _days(year, month + 1)))


def _invalid(period: str) -> QueryError:
    return QueryError(f"java.lang.IllegalArgumentException: Invalid period: {period}")


def stored_form(moment: datetime) -> str:
    """An instant in the form in which documents keep dates: fixed width, UTC, milliseconds."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def start_of_day(moment: datetime) -> datetime:
    """Midnight, UTC, of the day of an instant."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
