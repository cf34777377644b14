"""The plugin as pytest loads it in somebody's project: with the option and without, beside others, and unused."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.management import Vhost

HELLO = """\
from busgate.edge.testing import HttpHarness
from busgate.workers.testing import Harness
from hello.contracts import Greeting, greet
from hello.services import greeter


async def test_over_the_bus(busgate: Harness) -> None:
    async with busgate.serving(greeter):
        answer = await busgate.call(greet, Greeting(name="Ada"))
    assert answer.name.startswith("Ada from ")


async def test_over_http(busgate: Harness, busgate_http: HttpHarness) -> None:
    async with busgate.serving(greeter), busgate_http.serving("hello.contracts") as client:
        answer = await client.get("/greetings/Ada")
    assert answer.status == 200, answer


def test_that_is_not_async(busgate: Harness) -> None:
    print("address:", busgate.stage.address)
"""

Pytest = Callable[..., subprocess.CompletedProcess[str]]

ALONE = ["-p", "no:asyncio"]
STRICT = ["-o", "asyncio_default_fixture_loop_scope=function"]
AUTO = [*STRICT, "-o", "asyncio_mode=auto"]


@pytest.fixture
def run_pytest(folder: Path) -> Pytest:
    """Run pytest in a project whose tests are these; `hello` is importable. `others` chooses other plugins."""

    def run(tests: str, *arguments: str, others: list[str] = ALONE, **environ: str) -> subprocess.CompletedProcess[str]:
        (folder / "test_it.py").write_text(tests)
        command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *others, *arguments]
        return subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.mark.parametrize("others", [ALONE, STRICT, AUTO], ids=["alone", "asyncio-strict", "asyncio-auto"])
def test_async_tests_run_with_and_without_another_plugin_for_them(run_pytest: Pytest, others: list[str]) -> None:
    done = run_pytest(HELLO, others=others)

    assert (done.returncode, done.stderr) == (0, "")
    assert "3 passed" in done.stdout


async def test_the_same_tests_run_on_a_rabbitmq(run_pytest: Pytest, vhost: Vhost) -> None:
    done = run_pytest(HELLO, "-s", "--busgate-bus", vhost.url)

    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
    assert "address: amqp://" in done.stdout
    assert "busgate.calls" in await vhost.exchanges()
    await vhost.until_nobody()
    assert await vhost.queues() == {}


async def test_ctrl_c_in_the_middle_of_a_test_leaves_nothing_in_the_broker(folder: Path, vhost: Vhost) -> None:
    (folder / "test_it.py").write_text(
        "import asyncio\nfrom hello.services import greeter\n"
        "async def test_long(busgate):\n"
        "    async with busgate.serving(greeter):\n"
        "        print('it serves', flush=True)\n"
        "        await asyncio.sleep(60)\n"
    )
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", *ALONE, "--busgate-bus", vhost.url]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while b"it serves" not in await process.stdout.readline():
            assert not process.stdout.at_eof()
        during = await vhost.queues()
        process.send_signal(signal.SIGINT)
        output, _ = await process.communicate()

    assert any(name.startswith("test-") for name in during)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    await vhost.until_nobody()
    assert await vhost.queues() == {}


def test_the_password_of_the_broker_may_stand_in_the_environment(run_pytest: Pytest, vhost: Vhost) -> None:
    head, _, authority = vhost.url.partition("@")
    user, password = head.removeprefix("amqp://").split(":")

    done = run_pytest(HELLO, "--busgate-bus", f"amqp://{user}@{authority}", BUSGATE_BUS__PASSWORD=password)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("amqp://127.0.0.1:{port}", "broker amqp://guest@127.0.0.1:{port}/: "),
        ("amqp://broker.example", "bus: amqp to broker.example shows the password to all: use amqps://, or set "),
        ("redis://secret@127.0.0.1", "bus: a url must start with amqp://, amqps:// or be memory://"),
    ],
)
def test_a_broker_that_cannot_be_used_is_told_once(run_pytest: Pytest, free_port: int, url: str, words: str) -> None:
    done = run_pytest(HELLO, "--busgate-bus", url.format(port=free_port))

    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("ERROR: --busgate-bus: ")
    assert words.format(port=free_port) in line
    assert "secret" not in done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.USAGE_ERROR


def test_a_broker_that_a_parallel_worker_cannot_use_fails_each_test_in_a_line(run_pytest: Pytest, folder: Path) -> None:
    """pytest-xdist marks its workers so, and does not survive an error before the first test."""
    (folder / "conftest.py").write_text("def pytest_configure(config): config.workerinput = {}\n")

    done = run_pytest(HELLO, "--busgate-bus", "amqp://broker.example")

    assert "3 errors" in done.stdout
    assert done.stdout.count("\ncommand line: bus: amqp to broker.example shows the password to all") == 3
    assert "Traceback" not in done.stdout


def test_no_broker_is_asked_for_where_no_test_needs_one(run_pytest: Pytest, free_port: int) -> None:
    done = run_pytest("def test_alone() -> None: ...", "--busgate-bus", f"amqp://127.0.0.1:{free_port}")

    assert done.returncode == 0, done.stdout


def test_a_project_that_does_not_use_it_pays_nothing(run_pytest: Pytest) -> None:
    heavy = {"aio_pika", "aiohttp", "jwt", "pydantic", "structlog", "uvloop", "busgate.bus", "busgate.workers"}
    tests = f"import sys\ndef test_alone() -> None:\n    assert {heavy!r} & set(sys.modules) == set()\n"

    done = run_pytest(tests, "--strict-markers", "--strict-config")

    assert done.returncode == 0, done.stdout


def test_a_fixture_of_that_name_in_the_project_wins(run_pytest: Pytest) -> None:
    tests = "import pytest\n@pytest.fixture\ndef busgate(): return 5\ndef test_own(busgate): assert busgate == 5\n"

    done = run_pytest(tests)

    assert done.returncode == 0, done.stdout


def test_async_tests_that_are_not_ours_are_left_to_others(run_pytest: Pytest) -> None:
    done = run_pytest("async def test_other() -> None: ...")

    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "async def functions are not natively supported" in done.stdout


def test_without_an_http_server_only_the_http_half_is_missing(run_pytest: Pytest) -> None:
    tests = HELLO.replace("from busgate.edge.testing import HttpHarness\n", "").replace(": HttpHarness", "")
    missing = "import sys\nsys.modules['aiohttp'] = None\n"

    done = run_pytest(missing + tests)

    assert "2 passed, 1 error" in done.stdout
    assert "is not installed; the edge needs it: pip install 'busgate[edge]'" in done.stdout
    assert "Traceback" not in done.stdout


def test_the_log_of_a_failed_test_is_shown_and_that_of_the_project_left_alone(run_pytest: Pytest) -> None:
    tests = """\
import structlog
from busgate.contracts import Call, Nothing, http
from busgate.workers import Service
service = Service("s")
crash = Call("test.crash.v1", http.get("/"), request=Nothing, reply=Nothing, public=True)
@service.handles(crash)
async def handler(request, context): raise KeyError("boom")

async def test_crash(busgate):
    async with busgate.serving(service):
        await busgate.call(crash, Nothing())

def test_after():
    assert not structlog.is_configured()
"""

    done = run_pytest(tests)

    assert "1 failed, 1 passed" in done.stdout
    assert "Captured log call" in done.stdout
    assert "a handler crashed" in done.stdout
    assert "The above exception was the direct cause" in done.stdout
