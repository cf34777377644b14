"""`busgate call`: one call from the shell, without HTTP. The reply goes to stdout, all about it to stderr.

Exit codes: 0 a reply, 1 a problem or no reply, 2 a call that was not sent: the command line, the request or the broker.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from busgate.bus import Bus
from busgate.ops.asking import Question, question, read_caller, read_request
from busgate.ops.catalog_settings import CatalogProcess
from busgate.ops.faults import one_line
from busgate.ops.hearing import Heard, hear
from busgate.ops.loading import new_bus, read_catalog, read_settings
from busgate.ops.table import lines


def run(options: argparse.Namespace) -> int:
    settings = read_settings(CatalogProcess, options)
    asked = question(
        options.topic,
        read_request(options.request, options.file),
        read_catalog(settings.edge.contracts),
        timeout=options.timeout,
        caller=read_caller(options.caller),
    )
    heard = asyncio.run(_ask(asked, settings))
    if options.json:
        print(json.dumps(heard.document(), ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))
    else:
        _show(heard)
    return 0 if heard.answered else 1


async def _ask(asked: Question, settings: CatalogProcess) -> Heard:
    bus: Bus = new_bus(settings.bus, makes=False)
    await bus.start(settings.bus.connect_wait)
    try:
        return await hear(bus, asked)
    finally:
        await bus.close()


def _show(heard: Heard) -> None:
    if heard.answered:
        print(_text(heard.body, sys.stdout))
    else:
        for line in _problem(heard.body):
            print(line, file=sys.stderr)
    print(f"busgate: {_timing(heard)}", file=sys.stderr)


def _text(body: Any, stream: TextIO) -> str:
    return json.dumps(body, ensure_ascii=False, indent=2 if stream.isatty() else None)


def _problem(document: dict[str, Any]) -> Iterator[str]:
    """A problem for people: what happened first, then every member that says more."""
    said = [document.get(name) for name in ("status", "title", "detail")]
    status, title, detail = (None if part is None else one_line(str(part)) for part in said)
    yield f"busgate: {status or '???'} {title or 'a problem without a title'}{': ' + detail if detail else ''}"
    rest = {name: value for name, value in document.items() if name not in ("status", "title", "detail")}
    yield from lines(
        (one_line(name), one_line(value if isinstance(value, str) else json.dumps(value)))
        for name, value in rest.items()
    )


def _timing(heard: Heard) -> str:
    if heard.queued_ms is None:
        return f"no reply, after {heard.took_ms:.0f} ms"
    return (
        f"{heard.service} answered in {heard.took_ms:.1f} ms "
        f"(queue and way {heard.queued_ms:.1f} ms, run {heard.ran_ms} ms)"
    )
