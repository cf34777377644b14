"""What is agreed between both sides of the bus: contracts, problems, failures. Nothing here does I/O."""

from . import http
from .call import Call, ContractError
from .caller import Caller
from .catalog import Catalog, Nothing
from .example import Example
from .failure import CallFailed, FailureKind, Outcome
from .pre_call import PreCallQuestion, PreCallVerdict, pre_call
from .problem import Problem
from .secret import Secret

__all__ = [
    "Call",
    "CallFailed",
    "Caller",
    "Catalog",
    "ContractError",
    "Example",
    "FailureKind",
    "Nothing",
    "Outcome",
    "PreCallQuestion",
    "PreCallVerdict",
    "Problem",
    "Secret",
    "http",
    "pre_call",
]
