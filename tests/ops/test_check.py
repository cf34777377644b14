"""`busgate check`: every fault of everything in one run, and warnings of what is allowed but not safe."""

import json
import subprocess
from pathlib import Path

import pytest
from support.api_keys import add_key
from support.command import Run
from support.management import Vhost

JWT = '[[edge.jwt]]\nissuer = "i"\naudience = "a"\nkeys = [{ secret = { env = "KEY" } }]\n'
KEY = {"KEY": "k" * 32}


@pytest.fixture
def file(folder: Path) -> Path:
    file = folder / "busgate.toml"
    file.write_text('[edge]\ncontracts = ["hello.contracts"]\n[worker]\nservices = ["hello.services:greeter"]\n')
    file.chmod(0o640)
    return file


def told(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.removeprefix("busgate: ") for line in done.stderr.splitlines()]


def test_faults_of_configuration_contracts_and_services_are_told_in_one_run(run: Run, folder: Path) -> None:
    (folder / "busgate.toml").write_text(
        "[bus]\nheartbeat = 0\n"
        '[edge]\ncontracts = ["hello.contracts", "hello.twice", "no module"]\nport = "http"\n'
        '[worker]\nservices = ["hello.services:nobody", "hello.broken:one"]\n'
    )
    (folder / "hello" / "twice.py").write_text(
        "from hello.contracts import Call, Greeting, http\n\n"
        "same_topic = Call('hello.greet.v1', http.get('/other'), request=Greeting, reply=Greeting, public=True)\n"
        "same_path = Call('hello.x.v1', http.get('/greetings/{name}'), request=Greeting, reply=Greeting, public=True)\n"
    )
    (folder / "hello" / "broken.py").write_text("import hello\nx = (\n")

    done = run("check", BUSGATE_LOG__LEVEL="loud")

    assert done.returncode == 2
    assert told(done)[:4] == [
        "busgate.toml:2: bus.heartbeat: must be 1 to 60 (is 0)",
        "busgate.toml:4: edge.contracts: 'no module' is not the name of a module, like shop.contracts",
        'busgate.toml:5: edge.port: must be 0 to 65535 (is "http")',
        "BUSGATE_LOG__LEVEL: log.level: must be 'debug', 'info', 'warning' or 'error' (is \"loud\")",
    ]
    rest = "\n".join(told(done)[4:])
    assert "two contracts have the topic hello.greet.v1 (hello/twice.py:3)" in rest
    assert "both answer GET /greetings/{name} (hello/twice.py:4)" in rest
    assert "hello.services:nobody: nobody is not there" in rest
    assert "cannot import hello.broken: SyntaxError: '(' was never closed" in rest
    assert "(hello/broken.py:2)" in rest
    assert len(told(done)) == 8


def test_two_handlers_for_one_topic_and_a_service_without_any_are_faults(run: Run, folder: Path) -> None:
    (folder / "hello" / "more.py").write_text(
        "from hello.services import Greeting, Service, greet\n\nsecond = Service('second')\n\n\n"
        "@second.handles(greet)\ndef again(request: Greeting, context: object) -> Greeting:\n    return request\n"
    )

    twice = run("check", "hello.contracts", "--service", "hello.services:greeter", "--service", "hello.more:second")
    empty = run("check", "hello.contracts", "--service", "hello.services:empty")

    assert told(twice) == ["two handlers for hello.greet.v1: greeter (answer) and second (again); keep one"]
    assert told(empty) == ["service empty has no handlers: decorate one with @empty.handles(contract)"]


def test_contracts_that_need_an_issuer_are_told_with_the_place_of_the_table(run: Run, file: Path, folder: Path) -> None:
    module = folder / "hello" / "contracts.py"
    module.write_text(module.read_text().replace("public=True", "public=False"))

    (fault,) = told(run("check"))

    assert fault.startswith("busgate.toml:1: edge.jwt: no issuer of tokens, but 1 contracts need authentication")


def test_a_file_of_tls_that_holds_something_else_is_a_fault_without_a_broker(run: Run, file: Path) -> None:
    (file.parent / "ca.pem").write_text("this is no certificate")
    file.write_text(f'[bus]\nurl = "amqps://u@rabbit.example"\ntls = {{ cafile = "ca.pem" }}\n{file.read_text()}')

    (fault,) = told(run("check"))

    assert fault.startswith("bus.tls: ")


def test_the_broker_is_asked_where_that_is_wanted(run: Run, file: Path, vhost: Vhost) -> None:
    before = run("check", "--broker", "--bus", vhost.url)
    run("topology", "--apply", "--bus", vhost.url)
    differs = run("check", "--broker", "--bus", vhost.url, BUSGATE_BUS__EXCHANGE_KIND="topic")

    assert (before.returncode, before.stderr) == (0, "")
    assert before.stdout.splitlines()[-1] == "broker: answers, and nothing on it differs"
    (fault,) = told(differs)
    assert fault.startswith("broker amqp://")
    assert "busgate.calls: PRECONDITION_FAILED" in fault
    assert fault.endswith("; delete it, or use another vhost")


def test_a_broker_that_is_not_there_is_a_fault_beside_others(run: Run, file: Path, free_port: int) -> None:
    done = run(*("check", "nowhere", "--broker", "--bus", f"amqp://127.0.0.1:{free_port}"))

    missing, broker = told(done)
    assert missing == "cannot import nowhere: ModuleNotFoundError: No module named 'nowhere'"
    assert broker.startswith(f"broker amqp://guest@127.0.0.1:{free_port}/: ")


def test_what_is_allowed_but_not_safe_is_a_warning_with_its_place(run: Run, file: Path) -> None:
    file.write_text(
        '[bus]\nurl = ["amqp://u:hunter2@rabbit.example", "amqps://u:hunter2@rabbit.example"]\n'
        "allow_plaintext = true\ntls.verify = false\n"
        f"{file.read_text()}"
        '[edge.admin]\nhost = "0.0.0.0"\n'
        '[[edge.jwt]]\nissuer = "i"\nany_audience = true\nuntyped = true\n'
        'keys = [{ secret = "hunter2hunter2hunter2hunter2hunter2" }]\n'
    )
    file.chmod(0o644)

    done = run("check", BUSGATE_EDGE_PORT="9000", BUSGATE_LOG_LEVEL="tcp://10.0.0.1:80")
    strict = run("check", "--strict")

    assert [line.removeprefix("warning: ") for line in told(done)] == [
        "busgate.toml:3: bus.allow_plaintext: password and calls can be read on their way: use amqps://",
        "busgate.toml:4: bus.tls.verify: anyone on the way can pass for the broker: name its authority in cafile",
        "busgate.toml:10: edge.admin.host: who can reach it sees everything, without a login: keep it on 127.0.0.1",
        "busgate.toml:13: edge.jwt[0].any_audience: tokens made for others are taken: name the audience",
        "busgate.toml:14: edge.jwt[0].untyped: ID tokens and others may pass for access tokens: name their types",
        "busgate.toml:2: bus.url: everyone can read it here: chmod o-r busgate.toml",
        "busgate.toml:15: edge.jwt[0].keys[0].secret: everyone can read it here: chmod o-r busgate.toml",
        "BUSGATE_EDGE_PORT: is not read; did you mean BUSGATE_EDGE__PORT?",
    ]
    assert "hunter2" not in done.stderr + done.stdout
    assert (done.returncode, strict.returncode) == (0, 1)


def test_a_safe_configuration_has_no_warnings(run: Run, file: Path) -> None:
    file.write_text(file.read_text() + JWT)

    done = run("check", "--strict", **KEY)

    assert (done.returncode, done.stderr) == (0, "")


def test_files_that_others_can_change_or_read_are_a_warning(run: Run, file: Path, folder: Path) -> None:
    (folder / "audit.jsonl").touch()
    (folder / "audit.jsonl").chmod(0o644)
    file.write_text(file.read_text() + '[edge.audit]\nto = "file"\nfile = "audit.jsonl"\n')
    file.chmod(0o602)

    done = run("check")

    assert [line.partition(": ")[2] for line in told(done)] == [
        "busgate.toml:7: edge.audit.file: it says who did what, and can be read by everyone; chmod o-r it",
        "busgate.toml: everyone can change what holds here: chmod o-w busgate.toml",
    ]


def test_signatures_for_any_host_are_a_warning(run: Run, file: Path) -> None:
    key = '[[edge.signature.keys]]\nkeyid = "k"\nsubject = "s"\nsecret = { env = "S" }\n'
    file.write_text(f"{file.read_text()}[edge.signature]\nforget_nonces = true\n{key}")

    warned = run("check", S="s" * 32)
    named = run("check", S="s" * 32, BUSGATE_EDGE__SIGNATURE__ORIGIN="https://api.shop.example")

    why = "what was signed for another host is taken too: name ours, or edge.hosts"
    assert [line.partition(": ")[2] for line in told(warned)] == [f"busgate.toml:5: edge.signature.origin: {why}"]
    assert told(named) == []


# -- who may call what


RULES = """
[[edge.access]]
name = "staff-only"
effect = "allow"
roles = ["staff"]
addresses = ["10.0.0.0/8"]

[[edge.access]]
name = "not-bob"
effect = "deny"
callers = [{ subject = "bob" }]
"""


@pytest.fixture
def closed(file: Path, folder: Path) -> Path:
    """Rules, for a contract that needs a caller."""
    module = folder / "hello" / "contracts.py"
    module.write_text(module.read_text().replace("public=True", "scopes={'greet'}"))
    file.write_text(file.read_text() + JWT + RULES)
    return file


STAFF = '{"sub":"ann","scope":"greet","roles":["staff"]}'


@pytest.mark.parametrize(
    ("caller", "address", "code", "said"),
    [
        (STAFF, "10.1.2.3", 0, "yes: the rule staff-only allows it"),
        (
            STAFF,
            "11.1.2.3",
            1,
            "no: rules allow some of this contract, and none of them matches: staff-only (addresses)",
        ),
        (STAFF, None, 1, "no: rules allow some of this contract, and none of them matches: staff-only (addresses)"),
        (STAFF.replace("ann", "bob"), "10.1.2.3", 1, "no: the rule not-bob denies it"),
        ("ann", "10.1.2.3", 1, "no: the contract asks for scopes that the caller lacks: greet"),
    ],
)
def test_who_may_call_is_explained_with_the_rule(
    run: Run, closed: Path, caller: str, address: str | None, code: int, said: str
) -> None:
    where = [] if address is None else ["--address", address]

    done = run("check", "--explain", caller, "hello.greet.v1", *where, **KEY)

    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout.splitlines()[0] == said
    assert ("--address" in done.stdout) == (address is None)
    assert "  hello.greet.v1 takes: jwt" in done.stdout.splitlines()


def test_a_rule_that_denies_by_address_denies_where_none_is_known(run: Run, closed: Path) -> None:
    closed.write_text(
        closed.read_text() + '[[edge.access]]\nname = "not-there"\neffect = "deny"\naddresses = ["11.0.0.0/8"]\n'
    )

    lines = run("check", "--explain", STAFF, "hello.greet.v1", **KEY).stdout.splitlines()

    assert lines[0] == "no: the rule not-there denies it"
    assert lines[-1] == "  rules look at the client's address, which is not known: --address says which"


def test_an_explanation_names_every_rule_and_what_of_it_does_not_hold(run: Run, closed: Path) -> None:
    text = run("check", "--explain", STAFF, "hello.greet.v1", **KEY).stdout
    document = json.loads(run("check", "--explain", STAFF, "hello.greet.v1", "--json", **KEY).stdout)

    assert "  allow  staff-only                does not match: addresses" in text.splitlines()
    assert "  deny   not-bob                   does not match: callers" in text.splitlines()
    assert document == {
        "topic": "hello.greet.v1",
        "allowed": False,
        "rule": None,
        "why": "rules allow some of this contract, and none of them matches: staff-only (addresses)",
        "schemes": ["jwt"],
        "rules": [
            {"rule": "staff-only", "effect": "allow", "matches": False, "fails": ["addresses"]},
            {"rule": "not-bob", "effect": "deny", "matches": False, "fails": ["callers"]},
        ],
    }


def test_a_host_is_a_caller_though_its_name_begins_like_a_token(run: Run, closed: Path) -> None:
    assert "is a token" not in run("check", "--explain", "eyes.shop.example", "hello.greet.v1", **KEY).stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["ann", "hello.gret.v1"], "no contract has the topic 'hello.gret.v1'; did you mean hello.greet.v1?"),
        (["ann", "hello.greet.v1", "--address", "office"], "--address: 'office' is not an address like"),
        (['{"sub":1}', "hello.greet.v1"], "not a caller"),
        (["eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln", "hello.greet.v1"], "that is a token; give a name, or its claims"),
    ],
)
def test_what_cannot_be_explained_is_told(run: Run, closed: Path, arguments: list[str], why: str) -> None:
    done = run("check", "--explain", *arguments, **KEY)

    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr


def test_contracts_that_nobody_may_call_are_shown(run: Run, closed: Path) -> None:
    closed.write_text(closed.read_text() + '[[edge.access]]\nname = "off"\neffect = "deny"\ntopics = ["hello.*"]\n')

    done = run("check", **KEY)

    assert "by edge.access nobody may call: hello.greet.v1" in done.stdout.splitlines()


def test_a_fault_of_one_of_several_tables_is_told_with_its_line(run: Run, folder: Path) -> None:
    (folder / "busgate.toml").write_text(
        '[bus]\nurl = "memory://"\n[edge]\ncontracts = "hello.contracts"\n'
        '[[edge.headers]]\nset = ["X-A: b"]\n[[edge.headers]]\nset = ["X-A: ${home}"]\n'
    )

    told = run("check")

    assert told.returncode == 2
    assert told.stderr.startswith("busgate: busgate.toml:7: edge.headers.1: X-A: ${home} is no value here; known are")


def test_keys_of_a_plan_that_is_not_configured_stop_check_and_start_with_place_and_cure(
    run: Run, folder: Path, file: Path
) -> None:
    file.write_text(
        file.read_text() + '[edge.api_keys]\nfile = "keys.jsonl"\n[[edge.plan]]\nname = "gold"\nconcurrent = 1\n'
    )
    add_key(folder / "keys.jsonl", plan="gold")
    first = add_key(folder / "keys.jsonl", plan="golf")
    add_key(folder / "keys.jsonl", plan="golf")

    for command in (run("check"), run("edge", "--bus", "memory://")):
        assert command.returncode == 2
        (line,) = told(command)
        assert "edge.api_keys.file: " in line
        assert f"keys.jsonl:2: the key {first[4:14]} (and 1 more) has the plan 'golf'" in line
        assert "no [[edge.plan]]" in line
        assert "busgate keys revoke" in line


VERIFIED = "greeter = Service('greeter', trust='verified')"


def test_services_that_verify_who_calls_need_keys(run: Run, folder: Path, file: Path) -> None:
    services = folder / "hello" / "services.py"
    services.write_text(services.read_text().replace('greeter = Service("greeter")', VERIFIED))

    done = run("check")

    assert done.returncode == 2
    assert told(done) == [
        'service greeter has trust="verified" and needs the public keys of the edge: name them in [worker.trust]'
    ]


def test_an_edge_without_a_usable_key_to_sign_with_is_told_with_the_cure(run: Run, folder: Path, file: Path) -> None:
    (folder / "keys").mkdir()
    file.write_text(file.read_text().replace("[worker]", '[edge.signing]\nfolder = "keys"\n[worker]'))

    done = run("check")

    assert done.returncode == 2
    (line,) = told(done)
    assert line.startswith("busgate.toml:3: edge.signing: ")
    assert "openssl genpkey -algorithm ed25519 -out" in line
