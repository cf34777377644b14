"""`busgate keys`: what it prints and writes, and that an edge takes the keys that it makes."""

import asyncio
import json
import re
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.api_keys import add_key
from support.command import COMMAND, Run
from support.signed import request

from busgate.edge.api_keys.memory import load_keys
from busgate.edge.api_keys.scheme import ApiKeys
from busgate.edge.api_keys.text import PATTERN
from busgate.edge.api_keys.watch import used_key
from busgate.edge.stores.sqlite import SqliteStore
from busgate.edge.verified import CredentialRefused


@pytest.fixture(autouse=True)
def _configured(folder: Path) -> None:
    (folder / "busgate.toml").write_text('[edge.api_keys]\nfile = "keys.jsonl"\nheader = "X-Shop-Key"\n')


def holds(folder: Path, key: str) -> bool:
    scheme = ApiKeys("X-Api-Key")
    scheme.replace(load_keys(folder / "keys.jsonl", {}, plans={"gold"}))
    try:
        scheme.verify(request(f"X-Api-Key: {key}"))
    except CredentialRefused:
        return False
    return True


def test_a_key_is_made_shown_once_listed_and_revoked(run: Run, folder: Path) -> None:
    made = run("keys", "create", "shop", "--scope=orders:read", "--scope=orders:write", "--role=clerk", "--tenant=t", "--plan=gold", "--expires=90d")  # fmt: skip
    key = made.stdout.strip()
    held = holds(folder, key)
    listed = run("keys", "list")
    revoked = run("keys", "revoke", key[4:14])

    assert (made.returncode, listed.returncode, revoked.returncode) == (0, 0, 0)
    assert re.fullmatch(PATTERN, key)
    assert "not shown again" in made.stderr
    assert listed.stdout.splitlines()[1].split()[:6] == [key[4:14], "shop", "orders:read", "orders:write", "clerk", "t"]
    assert key[15:] not in listed.stdout + (folder / "keys.jsonl").read_text()
    assert held
    assert not holds(folder, key)
    assert stat.S_IMODE((folder / "keys.jsonl").stat().st_mode) == 0o640


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o600, False)])
def test_a_key_in_a_file_that_everyone_can_read_is_a_warning(folder: Path, mode: int, warned: bool) -> None:
    file = folder / "shop.key"
    file.touch()
    file.chmod(mode)

    with file.open("w") as written:
        done = subprocess.run(
            [*COMMAND, "keys", "create", "shop"],
            cwd=folder,
            stdout=written,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
            timeout=60,
        )

    assert re.fullmatch(PATTERN, file.read_text().strip())
    assert ("everyone can read the file that the key stands in now: chmod o-r it" in done.stderr) == warned


def test_a_key_of_a_plan_that_is_not_configured_is_made_with_a_warning(run: Run, folder: Path) -> None:
    with (folder / "busgate.toml").open("a") as file:
        file.write('[[edge.plan]]\nname = "gold"\nconcurrent = 1\n')
    good = run("keys", "create", "shop", "--plan=gold")
    unknown = run("keys", "create", "shop", "--plan=golf")

    assert (good.returncode, unknown.returncode) == (0, 0)
    assert "warning" not in good.stderr
    assert "no [[edge.plan]] is called 'golf'" in unknown.stderr


def test_a_rotated_key_and_the_one_before_hold_both_until_the_old_is_revoked(run: Run, folder: Path) -> None:
    first = run("keys", "create", "shop").stdout.strip()
    second = run("keys", "rotate", "shop", "--overlap=1h").stdout.strip()
    both = holds(folder, first), holds(folder, second)
    run("keys", "revoke", second[4:14], "--old")

    assert first[:15] == second[:15]
    assert both == (True, True)
    assert (holds(folder, first), holds(folder, second)) == (False, True)


def test_a_third_secret_ends_the_first(run: Run, folder: Path) -> None:
    keys = [run("keys", "create", "shop").stdout.strip()]
    keys += [run("keys", "rotate", keys[0][4:14]).stdout.strip() for _ in range(2)]

    assert [holds(folder, key) for key in keys] == [False, True, True]


def test_programs_get_json(run: Run, folder: Path) -> None:
    made = json.loads(run("keys", "create", "shop", "--issuer=us", "--expires=2099-01-01", "--json").stdout)
    listed = json.loads(run("keys", "list", "--json").stdout)
    rotated = json.loads(run("keys", "rotate", made["id"], "--json").stdout)
    revoked = json.loads(run("keys", "revoke", made["id"], "--json").stdout)

    assert (made["subject"], made["issuer"], made["expires"], made["state"]) == (
        "shop",
        "us",
        "2099-01-01T00:00:00Z",
        "live",
    )
    assert listed == [{name: value for name, value in made.items() if name != "key"} | {"last_used": None}]
    assert rotated["key"] != made["key"]
    assert datetime.fromisoformat(rotated["secrets"][1]["until"]) > datetime.now(UTC) + timedelta(days=6)
    assert revoked == {"id": made["id"], "subject": "shop", "revoked": "all"}
    assert "sha256" not in json.dumps([made, listed, rotated])


def test_the_last_use_is_read_from_the_store(run: Run, folder: Path) -> None:
    (key, other) = add_key(folder / "keys.jsonl"), add_key(folder / "keys.jsonl")
    with (folder / "busgate.toml").open("a") as file:
        file.write(f'[edge.store]\nurl = "sqlite://{folder}/store.db"\n')
    used = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    asyncio.run(note(folder / "store.db", key[4:14], used))

    listed = run("keys", "list")
    documents = json.loads(run("keys", "list", "--json").stdout)

    assert "2026-01-02 03:04" in listed.stdout.splitlines()[1]
    assert [each["last_used"] for each in documents] == ["2026-01-02T03:04:00+00:00", None]
    assert documents[1]["id"] == other[4:14]


async def note(file: Path, name: str, used: datetime) -> None:
    """As an edge does."""
    store = SqliteStore(file)
    await store.start()
    await store.put(used_key(name), str(int(used.timestamp())).encode(), 1e9)
    await store.close()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["create"], "needs the OWNER"),
        (["list", "shop"], "needs nothing"),
        (["rotate"], "needs the ID"),
        (["rotate", "nobody"], "there is no key 'nobody'"),
        (["rotate", "twins"], "twins has 2 keys"),
        (["rotate", "mill", "--scope=a"], "--scope goes with keys create"),
        (["revoke", "mill", "--overlap=1h"], "--overlap goes with keys rotate"),
        (["revoke", "mill", "--old"], "no secret from before"),
        (["rotate", "mill", "--overlap=soon"], "a length of time is needed"),
        (["create", "a", "--expires=2020-01-01"], "that is over"),
        (["create", "a", "--expires=0d"], "a length of time is needed"),
        (["create", "a", "--scope=a b"], "'a b' is not a scope"),
        (["create", ""], "subject"),
        (["create", "a\nb"], "printable"),
        (["create", "a" * 300], "at most 256 bytes"),
        (["create", "a", *[f"--role={'r' * 200}{number}" for number in range(30)]], "travel"),
        (["create", "a", "--file=no/folder/keys.jsonl"], "No such file"),
        (["list", "--file=nowhere"], "No such file"),
        (["list", "--file=bad.jsonl"], "bad.jsonl:1: "),
        (["remove", "a"], "invalid choice"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_changes_nothing(
    run: Run, folder: Path, arguments: list[str], why: str
) -> None:
    for owner in ("mill", "twins", "twins"):
        add_key(folder / "keys.jsonl", subject=owner)
    (folder / "bad.jsonl").write_text("{}\n")
    (folder / "bad.jsonl").chmod(0o600)
    before = (folder / "keys.jsonl").read_bytes()

    done = run("keys", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
    assert "Traceback" not in done.stderr
    assert (folder / "keys.jsonl").read_bytes() == before


def test_check_tells_of_a_file_that_is_not_there_or_not_good(run: Run, folder: Path) -> None:
    missing = run("check", "hello.contracts")
    (folder / "keys.jsonl").write_text("{}\n")
    (folder / "keys.jsonl").chmod(0o600)
    bad = run("check", "hello.contracts")

    assert (missing.returncode, bad.returncode) == (2, 2)
    assert "busgate.toml:2: edge.api_keys.file: there is no file keys.jsonl" in missing.stderr
    assert "busgate.toml:2: edge.api_keys.file: keys.jsonl:1: subject: Field required" in bad.stderr


def test_the_document_says_what_a_contract_takes(run: Run, folder: Path) -> None:
    (folder / "closed.py").write_text(
        "from busgate.contracts import Call, Nothing, http\n"
        "ping = Call('test.ping.v1', http.get('/ping', status=204), request=Nothing, reply=Nothing, scopes={'ping'})\n"
        "pong = Call('test.pong.v1', http.get('/pong', status=204), request=Nothing, reply=Nothing, schemes={'key'})\n"
    )
    with (folder / "busgate.toml").open("a") as file:
        file.write('[[edge.signature.keys]]\nkeyid = "k"\nsubject = "s"\nsecret = { env = "NOT_HERE" }\n')

    document = json.loads(run("openapi", "closed").stdout)

    assert document["paths"]["/ping"]["get"]["security"] == [{"apiKey": ["ping"]}, {"signature": ["ping"]}]
    assert document["paths"]["/pong"]["get"]["security"] == [{"apiKey": []}]
    assert document["components"]["securitySchemes"]["apiKey"] == {
        "type": "apiKey",
        "in": "header",
        "name": "X-Shop-Key",
    }
    assert list(document["components"]["securitySchemes"]) == ["apiKey", "signature"]
