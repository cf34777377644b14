"""How long something is to last, as it is said on a command line."""

import re
from datetime import UTC, date, datetime, timedelta

from .faults import CommandError

_SPAN = re.compile(r"([1-9][0-9]{0,4})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def end_of(text: str | None, option: str) -> datetime | None:
    """When it ends: `90d` from now, or a day in UTC like `2027-01-31`; None has no end.

    Raises:
        CommandError: it is neither, or over already.
    """
    if text is None:
        return None
    now = datetime.now(UTC).replace(microsecond=0)
    if span := _SPAN.fullmatch(text):
        return now + timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        end = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
    except ValueError:
        raise CommandError(
            [f"{option} {text!r}: a length of time is needed, like 12h or 90d, or a day like 2027-01-31"]
        ) from None
    if end <= now:
        raise CommandError([f"{option} {text}: that is over"])
    return end
