"""Measure busgate: rates beside two bounds, the door, growth, memory, slow handlers, overload. All of one run.

Tables go to standard output as Markdown, progress to standard error. The machine should do nothing else; where
that cannot be had, trust the ratios within a run more than the figures.
"""

import argparse
import json
import os
import platform
import resource
import signal
import sys
import time
from pathlib import Path

from bench import door, growth, many, memory, overload, rates, records, slow, tapped, wrk
from bench.broker import broker
from bench.gateway import GatewayError
from bench.report import Table
from bench.room import Room, say

SECTIONS = {
    "rate": rates.rate,
    "door": door.door,
    "growth": growth.growth,
    "memory": memory.memory,
    "many": many.many,
    "slow": slow.slow,
    "tap": tapped.tap,
    "records": records.records,
    "overload": overload.overload,
}


def main() -> int:
    options = _options()
    if not wrk.is_there():
        print(f"bench: {wrk.MISSING}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _allow_many_files()
    try:
        with broker(options.bus) as url:
            tables = _run(_room(url, options), options.only)
    except GatewayError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if options.json:
        options.json.write_text(json.dumps({table.title: table.rows for table in tables}, indent=1) + "\n")
    return 0


def _run(room: Room, names: list[str]) -> list[Table]:
    started = time.monotonic()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    tables: list[Table] = []
    for name in names:
        for table in SECTIONS[name](room):
            tables.append(table)
            print("\n".join(table.lines()), flush=True)
    say(f"done in {time.monotonic() - started:.0f} s")
    return tables


def _room(url: str, options: argparse.Namespace) -> Room:
    quick = options.quick
    return Room(url, seconds=1 if quick else options.seconds, rounds=1 if quick else options.rounds, quick=quick)


def _allow_many_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("only", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--bus", metavar="URL", help="of a RabbitMQ; without it one is started")
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="of which medians are shown (default: 3)")
    parser.add_argument("--quick", action="store_true", help="1 s, 1 round: to see that it runs, not for figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows there too")
    options = parser.parse_args()
    unknown = set(options.only) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    options.only = options.only or list(SECTIONS)
    return options


if __name__ == "__main__":
    sys.exit(main())
