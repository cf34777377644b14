"""How many places each holder has of a key, as a text that every store keeps: `holder=count,holder=count`."""

from collections.abc import Callable

from .jobs import Hold


def changed(text: str, job: Hold, alive: Callable[[str], bool]) -> str | None:
    """The text after a job; None where there are not so many places.

    Args:
        text: as it was kept; empty where nothing was.
        job: whose holder is alive, for it asks.
        alive: of any other holder.
    """
    pairs = (each.split("=") for each in text.split(",") if each)
    counts = {holder: int(count) for holder, count in pairs if holder == job.holder or alive(holder)}
    own = max(0, counts.pop(job.holder, 0) + job.change)
    if job.change > 0 and sum(counts.values()) + own > job.most:
        return None
    if own:
        counts[job.holder] = own
    return ",".join(f"{holder}={count}" for holder, count in counts.items())
