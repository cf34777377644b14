"""Finds the handlers that run past their deadline: ends those that can be ended, counts those that cannot."""

import asyncio

import structlog

from .context import Context

log = structlog.stdlib.get_logger("busgate.workers")

PERIOD = 0.25
"""Seconds between two looks. One timer for all calls: one for each would cost as much as reading it."""


class Watch:
    """The running calls of one handler. Looks at them only while there are any.

    Args:
        topic: for the log.
        grace: seconds past the deadline that a handler is given; time to notice itself and to clean up.
    """

    def __init__(self, topic: str, *, grace: float) -> None:
        self.stuck_total = 0
        self._topic = topic
        self._grace = grace
        self._running: dict[Context, asyncio.Task[object] | None] = {}
        self._ended: set[Context] = set()
        self._stuck: set[Context] = set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def running(self) -> int:
        """Handlers that run, those that wait for a thread among them."""
        return len(self._running)

    @property
    def stuck(self) -> int:
        """Handlers that run long past their deadline now, and that nothing can end."""
        return len(self._stuck)

    def enter(self, context: Context, task: "asyncio.Task[object] | None") -> None:
        """A call begins. `task` is what to cancel; None: nothing can be."""
        self._running[context] = task
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PERIOD, self._look)

    def leave(self, context: Context) -> None:
        """A call is over."""
        task = self._running.pop(context)
        if self._stuck:
            self._stuck.discard(context)
        if self._ended and context in self._ended:
            self._ended.discard(context)
            if task is not None:
                task.uncancel()

    def ended(self, context: Context) -> bool:
        """Whether this call was cancelled from here."""
        return context in self._ended

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        if not self._running:
            return
        self._timer = asyncio.get_running_loop().call_later(PERIOD, self._look)
        for context, task in self._running.items():
            late = -context.remaining()
            if late > self._grace:
                self._overdue(context, task, late)

    def _overdue(self, context: Context, task: "asyncio.Task[object] | None", late: float) -> None:
        if task is not None and context not in self._ended:
            self._ended.add(context)
            task.cancel()
        elif (task is None or late > 2 * self._grace) and context not in self._stuck:
            self._stuck.add(context)
            self.stuck_total += 1
            log.error(
                "a handler is stuck",
                topic=self._topic,
                call=context.call_id,
                trace=context.trace_id,
                late=round(late, 1),
                stuck=self.stuck,
                why="a thread cannot be cancelled" if task is None else "it ignores its cancellation",
            )
