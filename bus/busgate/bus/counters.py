"""What the bus counts: everything that is dropped, refused or strange. The admin listener shows it."""

from dataclasses import dataclass, field
from typing import Any


def _total(of: str) -> Any:
    """A count that starts at 0; the text is what its metric says of it, and docs/operating.md."""
    return field(default=0, metadata={"help": of})


@dataclass(slots=True)
class Counters:
    """Totals since the start of the process."""

    generations: int = _total("Connections to the broker; each after the first is a reconnect.")
    replies: int = _total("Replies that somebody waited for.")
    late_replies: int = _total("Replies that nobody waited for: late, duplicate, foreign, or of an older connection.")
    bad_replies: int = _total("Replies that are not of the wire format.")
    skewed: int = _total("Replies whose times show that a clock is wrong.")
    abandoned: int = _total("Calls whose client hung up.")
    returned: int = _total("Calls without a queue.")
    refused: int = _total("Calls that a full queue refused.")
    timeouts: int = _total("Calls without a reply in time.")
    received: int = _total("Calls delivered to this process.")
    foreign: int = _total("Deliveries that are no calls of this wire format; they are dropped.")
    unanswerable: int = _total("Replies whose caller is gone.")
    refused_late: int = _total("Calls that came after their deadline and were not run.")
    redelivered: int = _total("Deliveries marked as redelivered.")
    duplicates: int = _total("Redelivered calls that were recognised as running or answered here.")
    refused_redelivered: int = _total("Redelivered calls that may not run again.")
    ignored_control: int = _total("Messages on the control bus that make no sense, or come from too many.")
    answered: int = _total("Replies sent.")
    lost_answers: int = _total("Replies that could not be sent while somebody waited: there was no connection.")
