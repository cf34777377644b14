"""`busgate dev` as an author lives with it: it answers, follows every change, waits out every fault, and ends at once."""

import asyncio
import http.client
import json
import re
import signal
from contextlib import closing
from pathlib import Path

import pytest
from support.command import Run, Start
from support.faults.processes import Process
from support.management import Vhost

SERVICES = """\
from busgate.workers import Context, Service

from .contracts import Greeting, greet
from .words import WORD

greeter = Service("greeter")


@greeter.handles(greet)
async def answer(request: Greeting, context: Context) -> Greeting:
    return Greeting(name=f"{WORD} {request.name}")
"""
SLOW = """\
import asyncio
from pathlib import Path

from busgate.workers import Context, Service

from .contracts import Greeting, greet

greeter = Service("greeter")


@greeter.handles(greet)
async def answer(request: Greeting, context: Context) -> Greeting:
    print("handler runs", flush=True)
    while not Path(__file__).with_name(request.name).exists():
        await asyncio.sleep(0.02)
    return request
"""
ARGUMENTS = "dev", "hello.contracts", "--service", "hello.services:greeter", "--port", "0", "--admin-port", "0"


@pytest.fixture(autouse=True)
def package(folder: Path) -> Path:
    """The package of an author: contracts for callers with a token, a service, and a module that it imports."""
    package = folder / "hello"
    contracts = (package / "contracts.py").read_text()
    (package / "contracts.py").write_text(contracts.replace("public=True", "scopes={'greet'}"))
    (package / "services.py").write_text(SERVICES)
    (package / "words.py").write_text("WORD = 'hello'\n")
    return package


class Client:
    """Calls a running dev with the token that it printed."""

    def __init__(self, dev: Process) -> None:
        self.port = int(re.search(r"^http://127\.0\.0\.1:(\d+) on", dev.output, re.MULTILINE)[1])  # type: ignore[index] # or it fails
        self.token = re.search(r"TOKEN=(\S+)", dev.output)[1]  # type: ignore[index] # or it fails

    async def greet(self, name: str = "you") -> str:
        return await asyncio.to_thread(self._greet, name)

    def _greet(self, name: str) -> str:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request("GET", f"/greetings/{name}", headers={"Authorization": f"Bearer {self.token}"})
            answer = connection.getresponse()
            document = json.loads(answer.read())
        assert answer.status == 200, document
        return str(document["name"])


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def ready(dev: Process) -> Client:
    await dev.until("curl -i")
    return Client(dev)


async def test_it_answers_with_the_token_that_it_prints(start: Start) -> None:
    dev = await start(*ARGUMENTS)
    client = await ready(dev)

    answer = await client.greet()

    assert answer == "hello you"
    assert "  GET  /greetings/{name}  hello.greet.v1  greet  20 s" in dev.lines
    assert "A token for development: good on this machine, for this run" in dev.output


async def test_a_change_is_followed_on_the_same_port_and_no_request_is_refused_meanwhile(
    start: Start, package: Path
) -> None:
    dev = await start(*ARGUMENTS)
    client = await ready(dev)
    answers: list[str] = []

    async def keep_asking() -> None:
        while "hello" in answers[-1:] or len(answers) < 200:
            answers.append((await client.greet()).partition(" ")[0])

    asking = [asyncio.create_task(keep_asking()) for _ in range(4)]
    for word in ("hallo", "salut", "ciao!"):
        (package / "words.py").write_text(f"WORD = '{word}'\n")
        await dev.until("busgate dev: ready after", number=dev.output.count("ready after") + 1)
    await asyncio.gather(*asking)
    last = await client.greet()
    dev.signal(signal.SIGINT)

    assert (last, await dev.ended()) == ("ciao! you", 0)
    assert set(answers) <= {"hello", "hallo", "salut", "ciao!"}
    assert "Traceback" not in dev.output


async def test_a_change_of_the_same_length_within_a_second_is_followed(start: Start, package: Path) -> None:
    """Python takes what it compiled for another version when time in whole seconds and size are the same."""
    dev = await start(*ARGUMENTS)
    client = await ready(dev)

    said = []
    for number, word in enumerate(("aaaaa", "bbbbb", "ccccc"), 1):
        (package / "words.py").write_text(f"WORD = '{word}'\n")
        await dev.until("busgate dev: ready after", number=number)
        said.append(await client.greet("x"))

    assert said == ["aaaaa x", "bbbbb x", "ccccc x"]


async def test_a_change_at_the_moment_of_the_first_start_is_followed_too(start: Start, package: Path) -> None:
    (package / "services.py").write_text(f"print('loads', flush=True)\n{SERVICES}")
    dev = await start(*ARGUMENTS)
    await dev.until("loads")
    while "curl -i" not in dev.output:  # it waits until its files are quiet, while the fork of it starts to serve
        (package / "words.py").touch()
        await asyncio.sleep(0)
    client = Client(dev)
    (package / "words.py").write_text("WORD = 'salut'\n")
    await dev.until("busgate dev: ready after", number=1)

    assert await client.greet() == "salut you"
    assert dev.output.count("curl -i") == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("WORD =\n", r"cannot import hello.services: SyntaxError: .*hello/words\.py:1\)$"),
        ("WORD = 'a' + 1\n", r"cannot import hello.services: TypeError: .*hello/words\.py:1\)$"),
        ("", r"cannot import hello.services: ImportError: cannot import name 'WORD' .*hello/services\.py:4\)$"),
    ],
)
async def test_a_fault_is_shown_with_file_and_line_and_waited_out(
    start: Start, package: Path, text: str, told: str
) -> None:
    dev = await start(*ARGUMENTS)
    client = await ready(dev)

    (package / "words.py").write_text(text)
    await dev.until("waits for a change")
    asked = asyncio.create_task(client.greet())
    (package / "words.py").write_text("WORD = 'again'\n")

    assert await asked == "again you"
    (line,) = [line for line in dev.lines if line.startswith("busgate: ")]
    assert re.search(told, line), line
    assert "site-packages" not in dev.output
    assert "busgate/workers" not in dev.output


async def test_a_fault_at_the_first_start_is_waited_out_too(start: Start, package: Path) -> None:
    (package / "contracts.py").rename(package / "away.txt")
    dev = await start(*ARGUMENTS)
    await dev.until("waits for a change")

    (package / "away.txt").rename(package / "contracts.py")
    client = await ready(dev)

    assert await client.greet() == "hello you"


async def test_what_is_imported_from_elsewhere_is_watched_too(start: Start, package: Path) -> None:
    common = package.parent / "common"
    common.mkdir()
    (common / "greetings.py").write_text("WORD = 'one'\n")
    (package / "words.py").write_text("from common.greetings import WORD\n")
    dev = await start(*ARGUMENTS)
    client = await ready(dev)

    (common / "greetings.py").write_text("WORD = 'two'\n")
    await dev.until("busgate dev: ready after")

    assert await client.greet() == "two you"


async def test_the_configuration_is_watched_and_its_faults_are_waited_out(start: Start, folder: Path) -> None:
    file = folder / "busgate.toml"
    text = '[edge]\ncontracts = ["hello.contracts"]\nport = 0\nadmin = { enabled = false }\n'
    service = '[worker]\nservices = ["hello.services:greeter"]\n'
    file.write_text("[edge]\nprot = 1\n")
    dev = await start("dev", "--config", str(file))
    await dev.until("waits for a change")

    file.write_text(text + service)
    client = await ready(dev)

    assert f"busgate: {file}:2: edge.prot: is unknown; did you mean edge.port?" in dev.lines
    assert await client.greet() == "hello you"


async def test_a_call_in_flight_is_finished_by_the_old_process(start: Start, package: Path) -> None:
    (package / "services.py").write_text(SLOW)
    dev = await start(*ARGUMENTS)
    client = await ready(dev)

    asked = asyncio.create_task(client.greet("end"))
    await dev.until("handler runs")
    (package / "services.py").write_text(SERVICES)
    await dev.until("busgate dev: ready after")
    at_once = await client.greet()
    before_the_end = asked.done()
    (package / "end").touch()

    assert not before_the_end
    assert (at_once, await asked) == ("hello you", "end")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_it_ends_at_once_although_a_handler_runs(start: Start, package: Path, number: signal.Signals) -> None:
    (package / "services.py").write_text(SLOW)
    dev = await start(*ARGUMENTS)
    client = await ready(dev)
    asked = asyncio.create_task(client.greet("never"))
    await dev.until("handler runs")
    (child,) = dev.children()

    dev.signal(number)
    code = await dev.ended(limit=5)  # its output ends when the child's does too

    assert code == 0
    assert not exists(child)
    with pytest.raises((OSError, http.client.HTTPException)):
        await asked


async def test_the_process_that_serves_ends_with_one_that_is_killed(start: Start) -> None:
    dev = await start(*ARGUMENTS)
    await ready(dev)

    await dev.kill()  # waits for the end of the output, which the child holds too

    assert not dev.alive


async def test_a_process_that_ends_by_itself_is_started_at_the_next_change(start: Start, package: Path) -> None:
    dev = await start(*ARGUMENTS)
    client = await ready(dev)

    (package / "words.py").write_text("import os\nos._exit(7)\n")
    await dev.until("the process ended by itself, exit code 7")
    (package / "words.py").write_text("WORD = 'back'\n")

    assert await client.greet() == "back you"


async def test_code_that_writes_code_makes_no_storm_of_restarts(start: Start, package: Path) -> None:
    (package / "words.py").write_text(
        "import pathlib, time\nWORD = ''\npathlib.Path(__file__).with_name('made.py').write_text(f'{time.time_ns()}')\n"
    )
    dev = await start(*ARGUMENTS)

    await dev.until("restarts in a few seconds: rests for 2 s", number=2)

    assert dev.output.count("made.py changed") <= 12


@pytest.mark.slow
async def test_it_runs_on_a_rabbitmq_and_leaves_nothing_there(start: Start, vhost: Vhost, package: Path) -> None:
    dev = await start(*ARGUMENTS, "--bus", vhost.url)
    client = await ready(dev)

    first = await client.greet()
    (package / "words.py").write_text("WORD = 'changed'\n")
    await dev.until("busgate dev: ready after")
    second = await client.greet()
    dev.signal(signal.SIGINT)
    code = await dev.ended()

    assert (first, second, code) == ("hello you", "changed you", 0)
    await vhost.until_nobody()
    assert set(await vhost.queues()) == {"hello.greet.v1"}


ISSUER = """\
[edge]
port = 0
admin.port = 0
contracts = ["hello.contracts"]
[worker]
services = ["hello.services:greeter"]
[[edge.jwt]]
issuer = "someone"
audience = "us"
keys = [{ algorithm = "RS256", public_key = { file = "login.pem" } }]
"""


async def test_an_issuer_whose_key_is_not_here_is_no_obstacle_on_this_machine(start: Start, folder: Path) -> None:
    file = folder / "busgate.toml"
    file.write_text(ISSUER)
    dev = await start("dev", "--config", str(file))

    client = await ready(dev)

    assert f"takes its own tokens only: {file}:10: edge.jwt[0].keys[0].public_key: there is no file" in dev.output
    assert await client.greet() == "hello you"


async def test_services_that_verify_who_calls_believe_a_key_of_this_run(
    start: Start, folder: Path, package: Path
) -> None:
    """That of the configuration is on another machine."""
    services = (package / "services.py").read_text()
    (package / "services.py").write_text(services.replace('"greeter")', '"greeter", trust="verified")'))
    file = folder / "busgate.toml"
    text = ISSUER.partition("[[edge.jwt]]")[0]
    file.write_text(f'{text}[edge.signing]\nfolder = "keys"\n[worker.trust]\njwks_file = "jwks.json"\n')
    dev = await start("dev", "--config", str(file))

    client = await ready(dev)

    assert await client.greet() == "hello you"


async def test_an_issuer_whose_key_is_not_here_is_a_fault_beyond_this_machine(start: Start, folder: Path) -> None:
    file = folder / "busgate.toml"
    file.write_text(ISSUER)
    dev = await start("dev", "--config", str(file), "--host", "0.0.0.0")

    await dev.until("waits for a change")

    assert dev.lines[0].startswith(f"busgate: {file}:10: edge.jwt[0].keys[0].public_key: there is no file")
    assert "TOKEN" not in dev.output


async def told(run: Run, *arguments: str, **environ: str) -> str:
    done = await asyncio.to_thread(run, *arguments, **environ)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line


async def test_what_no_change_can_mend_ends_it(run: Run, taken: int, free_port: int) -> None:
    again = [*ARGUMENTS, "--port", str(taken)]
    no_broker = [*ARGUMENTS, "--bus", f"amqp://127.0.0.1:{free_port}"]

    assert await told(run, *again) == f"busgate: edge.port: 127.0.0.1:{taken} is taken by another program"
    assert (await told(run, *no_broker)).startswith(f"busgate: broker amqp://guest@127.0.0.1:{free_port}/: ")
    assert "must be 0 to 65535" in await told(run, *ARGUMENTS, "--port", "http")
    assert "no contract to serve" in await told(run, "dev")
    assert "nowhere.toml: cannot be read" in await told(run, "dev", "--config", "nowhere.toml")


async def test_beyond_this_machine_it_hands_out_no_token(start: Start) -> None:
    dev = await start(*ARGUMENTS, "--host", "0.0.0.0")

    await dev.until("waits for a change")

    assert "edge.jwt: no issuer of tokens" in dev.output
    assert "edge.host: is more than this machine, so dev hands out no token" in dev.output
    assert "TOKEN" not in dev.output
