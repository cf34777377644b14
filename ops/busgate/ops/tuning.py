"""The garbage collector of a process that serves."""

import gc

THRESHOLDS = (50_000, 20, 50)


def settle() -> None:
    """Call once everything is loaded: what is there stays, and collections become rare.

    Calls leave few cycles behind; with the usual thresholds the collector walks all modules again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
