"""What callers saw and what workers did, and the invariants over both.

The names I1 ... are those of docs/reliability.md.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from busgate.contracts.failure import WORKER_KINDS, FailureKind, failure_kinds  # noqa: F401

from .contracts import RERUN
from .services import SECRET

SKEW = 0.005
"""Seconds by which a handler may be noted to start after its deadline: the check and the note are two moments."""
