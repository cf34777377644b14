"""What is agreed between both sides of the bus: contracts, problems, failures. Nothing here does I/O."""

from . import http
from .call import Call, ContractError
from .caller import Caller
from .catalog import Catalog, Nothing
from .failure import CallFailed, FailureKind, Outcome
from .problem import Problem

__all__ = [
    "Call",
    "CallFailed",
    "Caller",
    "Catalog",
    "ContractError",
    "FailureKind",
    "Nothing",
    "Outcome",
    "Problem",
    "http",
]
