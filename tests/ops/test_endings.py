"""However a command is ended, and wherever its output goes: a line at most, the right exit code, nothing left."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import pytest
from support.command import COMMAND, Start

from busgate.ops.arguments import new_parser
from busgate.ops.endings import guarded

SLOW = """\
import time
try:
    print("imports", flush=True)
    time.sleep(60)
finally:
    print("put away", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("command", ["check", "openapi", "topology", "edge"])
async def test_a_signal_ends_every_command_and_it_puts_away_what_it_holds(
    start: Start, folder: Path, number: signal.Signals, command: str
) -> None:
    (folder / "hello" / "contracts.py").write_text(SLOW)
    process = await start(command, "hello.contracts")
    await process.until("imports")

    process.signal(number)
    code = await process.ended()

    assert process.lines == ["imports", "put away"]
    assert code == 128 + number


def shell(folder: Path, redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f'"$@" {redirection}', "bash", *COMMAND, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def unread(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command into a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=folder,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)


def test_output_that_nobody_reads_is_no_traceback(folder: Path) -> None:
    done = unread(folder, "openapi", "hello.contracts")

    assert (done.returncode, done.stderr) == (141, "")


def test_a_full_disk_is_told_in_a_line(folder: Path) -> None:
    done = shell(folder, ">/dev/full", "openapi", "hello.contracts")

    assert (done.returncode, done.stderr) == (1, "busgate: the output cannot be written: No space left on device\n")


@pytest.mark.parametrize("command", ["", *new_parser().commands])
def test_help_that_nobody_reads_is_no_traceback(folder: Path, command: str) -> None:
    done = unread(folder, *command.split(), "--help")

    assert (done.returncode, done.stderr) == (141, "")


def test_a_dev_that_nobody_reads_ends(folder: Path) -> None:
    arguments = "dev", "hello.contracts", "--service", "hello.services:greeter", "--port=0", "--admin-port=0"

    done = unread(folder, *arguments)

    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("redirection", [">&-", "<&- >&- 2>&-"])
def test_closed_streams_do_no_harm(folder: Path, redirection: str) -> None:
    done = shell(folder, redirection, "openapi", "hello.contracts")

    assert (done.returncode, done.stderr) == (0, "")


async def test_a_terminal_that_is_closed_drains_a_running_demo_and_leaves_no_database(
    start: Start, folder: Path
) -> None:
    demo = await start("demo")
    await demo.until("Ctrl-C ends the demo")

    demo.signal(signal.SIGHUP)
    code = await demo.ended()

    left = await asyncio.to_thread(lambda: [path.name for path in folder.iterdir() if "demo" in path.name])
    assert (code, left) == (0, [])


async def test_a_command_under_nohup_outlives_its_terminal(folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *("nohup", *COMMAND, "demo"), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        while b"Ctrl-C" not in await process.stdout.readline():
            pass

        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        await process.stdout.read()

    assert await process.wait() == 0


def test_the_handlers_of_signals_are_as_before() -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]

    def interrupted() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    assert guarded(interrupted) == 143
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
