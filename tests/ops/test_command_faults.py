"""Whatever is wrong with what an operator gives: a line for each fault on stderr, exit code 2, no traceback."""

import json
import subprocess
from pathlib import Path

import aiohttp
import pytest
from support.command import Run, Start
from support.management import Vhost

HEAD = "busgate: "
HTTPS_ALONE = "by https:// alone, beyond this machine: whoever changes the answers can let callers in"


def faults(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert all(line.startswith(HEAD) for line in lines), done.stderr
    return [line.removeprefix(HEAD) for line in lines]


def test_a_missing_file_of_configuration(run: Run) -> None:
    done = run("edge", "--config", "nowhere.toml")

    assert faults(done) == ["nowhere.toml: cannot be read: No such file or directory"]


def test_all_faults_of_a_file_are_told_at_once(run: Run, folder: Path) -> None:
    (folder / "busgate.toml").write_text('[edge]\nport = "http"\nprot = 1\n')

    done = run("edge")

    assert sorted(faults(done)) == [
        'busgate.toml:2: edge.port: must be 0 to 65535 (is "http")',
        "busgate.toml:3: edge.prot: is unknown; did you mean edge.port?",
    ]


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(run: Run, folder: Path) -> None:
    (folder / "busgate.toml").write_text('[edge]\nport = "file"\n[log]\nlevel = "file"\n[bus]\nname = ""\n')

    done = run("edge", "--port", "flag", BUSGATE_EDGE__PORT="environment", BUSGATE_LOG__LEVEL="environment")

    assert sorted(faults(done)) == [
        "BUSGATE_LOG__LEVEL: log.level: must be 'debug', 'info', 'warning' or 'error' (is \"environment\")",
        "busgate.toml:6: bus.name: must be 1 to 64 letters, digits, '.', '_' or '-'",
        'command line: edge.port: must be 0 to 65535 (is "flag")',
    ]


@pytest.mark.parametrize("command", ["edge", "check", "openapi", "topology"])
def test_a_module_that_is_not_there(run: Run, command: str) -> None:
    done = run(command, "nowhere.contracts")

    assert faults(done) == [
        "cannot import nowhere.contracts: ModuleNotFoundError: No module named 'nowhere'",
    ]


def test_a_module_that_raises_is_told_with_its_file_and_line(run: Run, folder: Path) -> None:
    (folder / "hello" / "contracts.py").write_text("import os\n\nos.nothing()\n")

    done = run("edge", "hello.contracts")

    assert faults(done) == [
        "cannot import hello.contracts: AttributeError: module 'os' has no attribute 'nothing' (hello/contracts.py:3)"
    ]


def test_a_module_that_is_not_python_is_told_with_its_file_and_line(run: Run, folder: Path) -> None:
    (folder / "hello" / "services.py").write_text("x = 1\ndef\n")

    done = run("worker", "hello.services:greeter")

    (fault,) = faults(done)
    assert fault.startswith("hello.services:greeter: cannot import hello.services: SyntaxError: ")
    assert fault.endswith(" (hello/services.py:2)")


def test_an_error_of_many_lines_stays_on_one(run: Run, folder: Path) -> None:
    (folder / "hello" / "contracts.py").write_text("raise ValueError('one\\ntwo \\x1b[31m')\n")

    done = run("edge", "hello.contracts")

    assert faults(done) == [r"cannot import hello.contracts: ValueError: one two \x1b[31m (hello/contracts.py:1)"]


def test_contracts_that_clash(run: Run, folder: Path) -> None:
    (folder / "hello" / "more.py").write_text((folder / "hello" / "contracts.py").read_text())

    done = run("edge", "hello.contracts", "hello.more")

    assert faults(done) == ["two contracts have the topic hello.greet.v1 (hello/more.py:10)"]


def test_a_module_without_contracts(run: Run, folder: Path) -> None:
    (folder / "hello" / "bare.py").write_text("")

    done = run("edge", "hello.bare")

    assert faults(done) == ["module hello.bare holds no contract: assign a Call(...) at its top level"]


def test_a_service_that_is_not_in_its_module(run: Run) -> None:
    done = run("worker", "hello.services:orders")

    assert faults(done) == ["hello.services:orders: orders is not there; services in hello.services: empty, greeter"]


def test_nothing_to_serve(run: Run) -> None:
    assert faults(run("edge")) == ["edge.contracts: no contract to serve; name a module: busgate edge shop.contracts"]
    assert faults(run("worker")) == [
        "worker.services: no service to run; name one: busgate worker shop.services:orders"
    ]
    assert faults(run("openapi")) == [
        "edge.contracts: no contract to describe; name a module: busgate openapi shop.contracts"
    ]


def test_contracts_that_need_tokens_which_nobody_issues(run: Run, folder: Path) -> None:
    module = folder / "hello" / "contracts.py"
    module.write_text(module.read_text().replace("public=True", "public=False"))

    (fault,) = faults(run("edge", "hello.contracts"))

    assert fault.startswith("edge.jwt: no issuer of tokens, but 1 contracts need authentication")


@pytest.mark.parametrize("command", ["edge", "check"])
def test_a_contract_in_the_place_of_the_documentation(run: Run, folder: Path, command: str) -> None:
    module = folder / "hello" / "contracts.py"
    module.write_text(module.read_text().replace("/greetings/{name}", "/docs/{name}"))

    done = run(command, "hello.contracts")

    (fault,) = faults(done)
    assert fault == (
        "contract hello.greet.v1: /docs/{name} is where the documentation of the API is; "
        "choose another path, or set edge.docs.enabled = false"
    )
    assert run("check", "hello.contracts", BUSGATE_EDGE__DOCS__ENABLED="false").returncode == 0


@pytest.mark.parametrize("command", ["edge --port=0 --admin-port=0", "check"])
def test_a_model_that_no_schema_describes(run: Run, folder: Path, command: str) -> None:
    module = folder / "hello" / "contracts.py"
    more = "\n\nclass Held:\n    pass\n\n\nclass Holder(BaseModel, arbitrary_types_allowed=True):\n    held: Held\n"
    call = "hold = Call('hello.hold.v1', http.get('/held'), request=Greeting, reply=Holder, public=True)\n"
    module.write_text(module.read_text() + more + call)

    (fault,) = faults(run(*command.split(), "hello.contracts"))

    assert fault.startswith("a model has no JSON schema: ")
    assert fault.endswith("; give it another type, or set edge.docs.enabled = false")


def test_an_example_that_could_not_happen_is_told_with_its_file_and_line(run: Run, folder: Path) -> None:
    module = folder / "hello" / "contracts.py"
    text = module.read_text().replace("import Call, http", "import Call, Example, Nothing, http")
    module.write_text(text.replace("timeout=20", "examples=[Example('Hi', Greeting(name='x'), Nothing())]"))

    (fault,) = faults(run("check", "hello.contracts"))

    assert (
        "contract hello.greet.v1: example 'Hi': the answer is a Greeting or a declared problem, not a Nothing" in fault
    )
    assert "hello/contracts.py:" in fault


def test_the_embedded_bus_cannot_be_shared_by_processes(run: Run) -> None:
    (fault,) = faults(run("worker", "hello.services:greeter", "--bus", "memory://"))

    assert fault == "bus.url: memory:// lives inside one process; this command needs a RabbitMQ: amqp://..."


def test_check_tells_the_faults_of_contracts_and_of_services(run: Run) -> None:
    done = run("check", "nowhere.contracts", "hello.contracts", "--service", "hello.services:orders")

    assert faults(done) == [
        "cannot import nowhere.contracts: ModuleNotFoundError: No module named 'nowhere'",
        "hello.services:orders: orders is not there; services in hello.services: empty, greeter",
    ]


def test_check_finds_what_is_wrong_with_the_address_of_keys(run: Run, folder: Path) -> None:
    table = '[[edge.jwt]]\nissuer = "i"\naudience = "a"\n'
    (folder / "busgate.toml").write_text(
        f'{table}keys = [{{ jwks_url = "http://login.example/keys", refresh = 5 }}]\n'
        f'{table}keys = [{{ jwks_url = "https://login.example/keys", kid = "one" }}]\n'
        f'{table}keys = [{{ jwks_url = "https://login.example/keys", cafile = "ca.pem" }}]\n'
    )

    done = run("check", "hello.contracts")

    assert faults(done) == [
        f"busgate.toml:4: edge.jwt[0].keys[0].jwks_url: {HTTPS_ALONE}",
        "busgate.toml:4: edge.jwt[0].keys[0].refresh: must be 30 to 86400 (is 5)",
        "busgate.toml:8: edge.jwt[1].keys[0]: kid goes with secret or public_key, not with jwks_url",
        "busgate.toml:12: edge.jwt[2].keys[0].cafile: there is no file ca.pem",
    ]


async def test_an_edge_whose_issuer_is_gone_starts_and_tells_whoever_asks(
    start: Start, folder: Path, free_port: int, vhost: Vhost
) -> None:
    admin, dead = free_port, 1  # nobody listens on port 1
    (folder / "busgate.toml").write_text(
        f'[[edge.jwt]]\nissuer = "i"\naudience = "a"\nkeys = [{{ jwks_url = "http://127.0.0.1:{dead}/keys" }}]\n'
    )
    config = f"--config={folder / 'busgate.toml'}"

    edge = await start("edge", "hello.contracts", config, "--bus", vhost.url, "--port=0", f"--admin-port={admin}")
    alarm = await edge.until("cannot fetch the keys of an issuer")
    await edge.until("edge ready")
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{admin}/readyz") as response:
        document = await response.json(content_type=None)

    assert json.loads(alarm)["issuer"] == "i"
    assert (response.status, document["reasons"]) == (503, ["no keys of any issuer could be fetched"])


@pytest.mark.parametrize("option", ["--port", "--admin-port"])
@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_port_that_is_taken(run: Run, taken: int, vhost: Vhost, option: str, processes: str) -> None:
    ports = {"--port": "0", "--admin-port": "0"} | {option: str(taken)}

    done = run(
        *("edge", "hello.contracts", "--bus", vhost.url, "--processes", processes, "--log-level", "error"),
        *(f"{name}={port}" for name, port in ports.items()),
    )

    name = {"--port": "edge.port", "--admin-port": "edge.admin.port"}[option]
    assert faults(done) == [f"{name}: 127.0.0.1:{taken} is taken by another program"]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_admin_port_of_a_worker_that_is_taken(run: Run, taken: int, vhost: Vhost, processes: str) -> None:
    done = run(
        *("worker", "hello.services:greeter", "--bus", vhost.url, "--processes", processes, "--log-level", "error"),
        f"--admin-port={taken}",
    )

    assert faults(done) == [f"worker.admin.port: 127.0.0.1:{taken} is taken by another program"]


def test_an_admin_port_of_a_worker_that_is_none_is_told_with_what_is_allowed(run: Run) -> None:
    done = run("worker", "hello.services:greeter", "--bus", "amqp://localhost", "--admin-port=many")

    assert faults(done) == ['command line: worker.admin.port: must be 0 to 65535 (is "many")']


def test_admin_ports_that_do_not_exist_are_told(run: Run) -> None:
    done = run("worker", "hello.services:greeter", "--bus", "amqp://localhost", "--processes=3", "--admin-port=65534")

    assert faults(done) == ["command line: worker: worker.admin needs 3 ports from 65534; the last is 65535"]


@pytest.mark.parametrize("argument", ["edge hello.contracts --port=0 --admin-port=0", "worker hello.services:greeter"])
@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_broker_that_cannot_be_reached(run: Run, free_port: int, argument: str, processes: str) -> None:
    done = run(*argument.split(), "--bus", f"amqp://127.0.0.1:{free_port}", "--processes", processes)

    (fault,) = faults(done)
    assert fault.startswith(f"broker amqp://guest@127.0.0.1:{free_port}/: ")
    assert "refused" in fault


@pytest.mark.parametrize("argument", ["edge hello.contracts --port=0 --admin-port=0", "worker hello.services:greeter"])
@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_wrong_password_is_told_at_once_and_not_shown(run: Run, vhost: Vhost, argument: str, processes: str) -> None:
    scheme, _, rest = vhost.url.partition("://")
    user = rest.partition(":")[0]
    place = rest.rpartition("@")[2]

    done = run(*argument.split(), "--bus", f"{scheme}://{user}:hunter2@{place}", "--processes", processes)

    (fault,) = faults(done)
    assert fault.startswith(f"broker {scheme}://{user}@")
    assert "refused" in fault
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("edge --prot=1", "there is no option --prot, did you mean --port?; see busgate edge --help"),
        ("edge --zzz", "there is no option --zzz; see busgate edge --help"),
        ("chekc", "there is no command 'chekc', did you mean check?; see busgate --help"),
        ("zzz", "there is no command 'zzz'; see busgate --help"),
        ("demo shop", "'shop' is one argument too many; see busgate demo --help"),
        ("demo --port=http", "argument --port: invalid int value: 'http'; see busgate demo --help"),
        ("", "the following arguments are required: COMMAND; see busgate --help"),
    ],
)
def test_a_wrong_command_line_is_told_with_the_near_word_and_the_place_of_help(
    run: Run, argument: str, told: str
) -> None:
    assert faults(run(*argument.split())) == [told]
