"""What to do about a failure, as notes on its exception: pytest shows them below the traceback."""

from busgate.contracts import CallFailed, Problem
from busgate.contracts.failure import CALLER_UNVERIFIED, NESTED_FAILURE, NO_ROUTE, NO_WORKERS

_NOBODY = {NO_ROUTE.name, NO_WORKERS.name}


def explain(failure: CallFailed, topic: str) -> None:
    """Add the cure to what ended a call of a topic, where a beginner would look for it."""
    name = failure.kind.name
    if failure.kind is NESTED_FAILURE and failure.detail:
        topic, _, name = failure.detail.rpartition(": ")  # as the worker wrote it
    if name in _NOBODY:
        failure.add_note(
            f"Nobody serves {topic} in this test. Give its service to busgate.serving(...), "
            f"or play it: busgate.stand_in(contract, reply)."
        )
    elif name == CALLER_UNVERIFIED.name:
        failure.add_note(
            f"The service of {topic} verifies who calls. Where another service calls it, its contract must allow that: "
            f'Call(..., delegates={{"audience"}}); the log says which audience it was.'
        )


def explain_crash(error: BaseException) -> None:
    """Add the cure to what a handler raised, and begin its traceback where the author's code begins."""
    trace = error.__traceback__
    while trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("busgate."):
        trace = trace.tb_next
    error.__traceback__ = trace
    if isinstance(error, AttributeError) and "'coroutine' object" in str(error):
        error.add_note("A call in the handler was not awaited: `reply = await context.call(...)`.")
    elif isinstance(error, Problem):
        name = type(error).__name__
        error.add_note(f"The contract does not declare {name}. Add it to its errors: Call(..., errors=[{name}]).")
