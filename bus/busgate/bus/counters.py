"""What the bus counts: everything that is dropped, refused or strange. The admin listener shows it."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Totals since the start of the process."""

    generations: int = 0
    """Links opened; each after the first is a reconnect."""
    replies: int = 0
    """Replies that somebody waited for."""
    late_replies: int = 0
    """Replies nobody waited for: late, duplicate, foreign, or of an older generation."""
    bad_replies: int = 0
    """Replies that are not of this wire format."""
    skewed: int = 0
    """Replies whose `received` shows that the clocks of edge and worker differ."""
    abandoned: int = 0
    """Calls whose client hung up."""
    returned: int = 0
    """Calls without a queue."""
    refused: int = 0
    """Calls that a full queue refused."""
    timeouts: int = 0
    """Calls without a reply in time."""
    received: int = 0
    """Calls that were delivered to this process."""
    foreign: int = 0
    """Deliveries that are not calls of this wire format; they are dropped."""
    unanswerable: int = 0
    """Calls whose reply found no reply queue: the caller's process is gone."""
    refused_late: int = 0
    """Calls that arrived after their deadline and were not run."""
    redelivered: int = 0
    """Deliveries with the redelivered flag."""
    duplicates: int = 0
    """Redelivered calls that were recognised as running or answered here."""
    refused_redelivered: int = 0
    """Redelivered calls that the contract forbids to run again."""
    answered: int = 0
    """Replies sent."""
