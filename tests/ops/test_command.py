"""What the sub-commands print, and what a running edge and worker do when they are told to stop."""

import asyncio
import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from support.command import Run, Start
from support.management import Vhost

HEAVY = {"aio_pika", "aiohttp", "jwt", "opentelemetry", "pydantic", "structlog", "uvloop"}


def modules_after(code: str, folder: Path) -> set[str]:
    """Which heavy modules are there after some code ran."""
    script = f"import sys\n{code}\nprint(*sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stderr.split())


def test_help_is_quick_because_it_imports_nothing_heavy(folder: Path) -> None:
    found = modules_after(
        "import contextlib\nfrom busgate.ops.main import main\nwith contextlib.suppress(SystemExit): main(['--help'])",
        folder,
    )

    assert found == set()


def test_a_worker_needs_no_http_server(folder: Path) -> None:
    found = modules_after("import busgate.ops.commands.worker, busgate.ops.faults", folder)

    assert found == {"aio_pika", "pydantic", "structlog", "uvloop"}


@pytest.mark.parametrize("arguments", [["--help"], ["edge", "--help"], ["demo", "--help"]])
def test_help_is_there_for_the_command_and_its_sub_commands(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)

    assert done.returncode == 0
    assert done.stdout.startswith("usage: busgate")
    assert "--child" not in done.stdout


def test_check_shows_contracts_and_services(run: Run) -> None:
    done = run("check", "hello.contracts", "--service", "hello.services:greeter")

    assert done.stdout.splitlines() == [
        "contracts: 1",
        "  GET  /greetings/{name}  hello.greet.v1  public  20 s",
        "services: 1",
        "  greeter  hello.greet.v1  prefetch 32  async",
    ]
    assert (done.returncode, done.stderr) == (0, "")


def test_check_names_contracts_that_no_service_handles(run: Run, folder: Path) -> None:
    module = folder / "hello" / "contracts.py"
    more = "again = Call('hello.again.v1', http.get('/again'), request=Greeting, reply=Greeting, public=True)\n"
    module.write_text(module.read_text() + more)

    done = run("check", "hello.contracts", "--service", "hello.services:greeter")

    assert done.stdout.splitlines()[-1] == "no service here handles: hello.again.v1"
    assert done.returncode == 0


def test_check_reads_what_to_check_from_the_file(run: Run, folder: Path) -> None:
    (folder / "busgate.toml").write_text(
        '[edge]\ncontracts = ["hello.contracts"]\n[worker]\nservices = ["hello.services:greeter"]\n'
    )

    done = run("check")

    assert done.stdout.startswith("contracts: 1\n")


def test_a_file_of_the_current_folder_does_not_stand_in_for_a_library(run: Run, folder: Path) -> None:
    (folder / "json.py").write_text("raise SystemExit('this is not json')\n")
    (folder / "pydantic.py").write_text("raise SystemExit('this is not pydantic')\n")

    done = run("check", "hello.contracts")

    assert (done.returncode, done.stderr) == (0, "")


def test_openapi_prints_the_document(run: Run) -> None:
    done = run("openapi", "hello.contracts", "--title", "Hello", "--api-version", "2.1")

    document = json.loads(done.stdout)
    assert document["info"] == {"title": "Hello", "version": "2.1"}
    assert list(document["paths"]) == ["/greetings/{name}"]


def test_openapi_prints_the_same_document_as_yaml(run: Run) -> None:
    as_json, as_yaml = run("openapi", "hello.contracts"), run("openapi", "hello.contracts", "--yaml")

    assert as_yaml.stdout.startswith("openapi: ")
    assert yaml.safe_load(as_yaml.stdout) == json.loads(as_json.stdout)


def test_openapi_has_the_head_that_the_edge_shows(run: Run, folder: Path) -> None:
    (folder / "busgate.toml").write_text(
        '[edge.docs]\nenabled = false\ntitle = "Hello"\nversion = "3"\ndescription = "Says *it*."\n'
    )

    done = run("openapi", "hello.contracts", "--api-version", "4")

    assert json.loads(done.stdout)["info"] == {"title": "Hello", "version": "4", "description": "Says *it*."}


def test_openapi_and_topology_need_no_secrets_of_the_edge(run: Run, folder: Path) -> None:
    (folder / "busgate.toml").write_text(
        '[edge]\ncontracts = ["hello.contracts"]\n'
        '[[edge.jwt]]\nissuer = "i"\naudience = "a"\nkeys = [{ secret = { env = "NOT_HERE" } }]\n'
    )

    done = run("openapi")

    assert (done.returncode, done.stderr) == (0, "")


def test_topology_shows_what_is_missing_makes_it_and_shows_what_differs(run: Run, vhost: Vhost) -> None:
    arguments = "topology", "hello.contracts", "--bus", vhost.url

    missing = run(*arguments)
    made = run(*arguments, "--apply")
    present = run(*arguments, "--json")
    differs = run(*arguments, BUSGATE_BUS__EXCHANGE_KIND="topic")

    assert missing.stdout.splitlines() == [
        "  exchange  busgate.calls    direct   missing",
        "  exchange  busgate.replies  direct   missing",
        "  exchange  busgate.control  topic    missing",
        "  queue     hello.greet.v1   classic  missing",
    ]
    assert made.stdout == missing.stdout.replace("missing", "made")
    assert {part["state"] for part in json.loads(present.stdout)} == {"present"}
    assert differs.stdout.splitlines()[0] == "  exchange  busgate.calls    topic    differs"
    (why,) = differs.stderr.splitlines()
    assert why.startswith("busgate: busgate.calls: PRECONDITION_FAILED - inequivalent arg 'type'")
    assert why.endswith("; delete it, or use another vhost")
    assert [each.returncode for each in (missing, made, present, differs)] == [1, 0, 0, 1]


async def test_topology_names_the_argument_in_which_a_queue_differs(run: Run, vhost: Vhost) -> None:
    await vhost.management.put(f"queues/{vhost.name}/hello.greet.v1", durable=True, arguments={"x-expires": 5000})

    done = await asyncio.to_thread(
        run, "topology", "--service", "hello.services:greeter", "--bus", vhost.url, "--apply"
    )

    assert "inequivalent arg 'x-" in done.stderr
    assert done.returncode == 1
    assert await vhost.exchanges() == {
        name: exchange for name, exchange in (await vhost.exchanges()).items() if "busgate" not in name
    }


async def greet(port: int, name: str = "you") -> str:
    def ask() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/greetings/{name}", timeout=20) as answer:
            return str(json.load(answer)["name"])

    return await asyncio.to_thread(ask)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_edge_and_worker_serve_and_drain_on_a_signal(
    start: Start, vhost: Vhost, free_port: int, number: signal.Signals
) -> None:
    worker = await start("worker", "hello.services:greeter", "--bus", vhost.url)
    await worker.until("worker ready")
    edge = await start(*("edge", "hello.contracts", "--bus", vhost.url, "--port", str(free_port), "--admin-port=0"))
    await edge.until("edge ready")

    answer = await greet(free_port)
    for process in (edge, worker):
        process.signal(number)
    codes = [await edge.ended(), await worker.ended()]

    assert answer == f"you from {worker.pid}"
    assert codes == [0, 0]
    record = json.loads(next(line for line in edge.lines if "/greetings/you" in line))
    assert (record["topic"], record["service"], record["status"]) == ("hello.greet.v1", "greeter", 200)
    assert "Traceback" not in edge.output + worker.output
    await vhost.until_nobody()


SLOW = """\
import asyncio

from busgate.workers import Context, Service

from .contracts import Greeting, greet

greeter = Service("greeter")


@greeter.handles(greet)
async def answer(request: Greeting, context: Context) -> Greeting:
    print("handler runs", flush=True)
    await asyncio.sleep(float(request.name))
    return request
"""


async def test_a_worker_finishes_what_runs_before_it_ends(
    start: Start, vhost: Vhost, free_port: int, folder: Path
) -> None:
    (folder / "hello" / "services.py").write_text(SLOW)
    edge = await start(*("edge", "hello.contracts", "--bus", vhost.url, "--port", str(free_port), "--admin-port=0"))
    worker = await start("worker", "hello.services:greeter", "--bus", vhost.url)
    await edge.until("edge ready")
    await worker.until("worker ready")

    asked = asyncio.create_task(greet(free_port, "1"))
    await worker.until("handler runs")
    code = await worker.stop()

    assert (await asked, code) == ("1", 0)


async def test_a_worker_whose_grace_is_over_cuts_what_runs_and_says_so(
    start: Start, vhost: Vhost, free_port: int, folder: Path
) -> None:
    (folder / "hello" / "services.py").write_text(SLOW)
    edge = await start(*("edge", "hello.contracts", "--bus", vhost.url, "--port", str(free_port), "--admin-port=0"))
    worker = await start("worker", "hello.services:greeter", "--bus", vhost.url, BUSGATE_WORKER__GRACE="0.1")
    await edge.until("edge ready")
    await worker.until("worker ready")

    asked = asyncio.create_task(greet(free_port, "15"))
    await worker.until("handler runs")
    code = await worker.stop()
    asked.cancel()

    assert code == 1
    assert '"cut": true' in worker.output


async def test_a_second_signal_ends_a_process_at_once(start: Start, vhost: Vhost, free_port: int, folder: Path) -> None:
    (folder / "hello" / "services.py").write_text(SLOW)
    edge = await start(*("edge", "hello.contracts", "--bus", vhost.url, "--port", str(free_port), "--admin-port=0"))
    worker = await start("worker", "hello.services:greeter", "--bus", vhost.url)
    await edge.until("edge ready")
    await worker.until("worker ready")

    asked = asyncio.create_task(greet(free_port, "15"))
    await worker.until("handler runs")
    worker.signal(signal.SIGINT)
    await worker.until("worker drains")
    worker.signal(signal.SIGINT)
    code = await worker.ended(limit=5)
    asked.cancel()

    assert code == 1


def look(port: int, path: str) -> str:
    """What the admin listener of a process says."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        return str(answer.read().decode())


async def test_each_process_of_a_worker_shows_itself_to_the_operator(
    start: Start, vhost: Vhost, free_ports: list[int]
) -> None:
    first, second = free_ports
    worker = await start(
        *("worker", "hello.services:greeter", "--bus", vhost.url, "--processes=2", f"--admin-port={first}")
    )
    await worker.until("worker ready", number=2)

    for port in (first, second):
        assert json.loads(await asyncio.to_thread(look, port, "/readyz")) == {"status": "ok"}
        metrics = await asyncio.to_thread(look, port, "/metrics")
        assert 'busgate_worker_prefetch{topic="hello.greet.v1"} 32\n' in metrics
        assert "busgate_bus_ready{} 1\n" in metrics


def test_the_configuration_of_the_example_is_right(run: Run) -> None:
    examples = Path(__file__).parents[2] / "examples"

    done = run(*("check", "--config", str(examples / "busgate.toml")), PYTHONPATH=str(examples), SHOP_SECRET="x" * 32)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("contracts: 3\n")


@pytest.mark.parametrize(
    "command", [["call", "hello.greet.v1", "{}"], ["ps"], ["tap"], ["topology"]], ids=lambda c: c[0]
)
def test_a_command_says_itself_what_is_wrong_and_prints_no_logs(run: Run, command: list[str]) -> None:
    done = run(*command, "--bus", "amqp://127.0.0.1:9", BUSGATE_LOG__LEVEL="debug")

    (line,) = (done.stdout + done.stderr).splitlines()
    assert line.startswith("busgate: ")
