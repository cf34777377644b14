"""Whatever is wrong with what an operator gives: a line for each fault on stderr, exit code 2, no traceback."""

import subprocess
from pathlib import Path

import pytest
from support.command import Run
from support.management import Vhost

HEAD = "busgate: "


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
        "busgate.toml:6: bus.name: String should match pattern '^[A-Za-z0-9._-]{1,64}$'",
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

    assert faults(done) == ["two contracts have the topic hello.greet.v1"]


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


def test_the_embedded_bus_cannot_be_shared_by_processes(run: Run) -> None:
    (fault,) = faults(run("worker", "hello.services:greeter", "--bus", "memory://"))

    assert fault == "bus.url: memory:// lives inside one process; this command needs a RabbitMQ: amqp://..."


def test_check_tells_the_faults_of_contracts_and_of_services(run: Run) -> None:
    done = run("check", "nowhere.contracts", "hello.contracts", "--service", "hello.services:orders")

    assert faults(done) == [
        "cannot import nowhere.contracts: ModuleNotFoundError: No module named 'nowhere'",
        "hello.services:orders: orders is not there; services in hello.services: empty, greeter",
    ]


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


def test_a_wrong_option_is_told_with_the_usage(run: Run) -> None:
    done = run("edge", "--prot=1")

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "busgate: error: unrecognized arguments: --prot=1"
