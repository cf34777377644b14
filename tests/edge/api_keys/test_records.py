import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.api_keys import add_key, secret_of

from busgate.edge.api_keys.memory import load_keys
from busgate.edge.api_keys.records import KeyFileError, KeyRecord, changing, now, read_records
from busgate.edge.api_keys.settings import ApiKeySettings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.jsonl"


def line(**changes: Any) -> str:
    """A good line of a file, changed."""
    good = {
        "id": "abcdefghi0",
        "subject": "shop",
        "created": "2026-01-01T00:00:00Z",
        "secrets": [{"sha256": "0" * 64, "created": "2026-01-01T00:00:00Z"}],
    }
    return json.dumps({key: value for key, value in (good | changes).items() if value is not None})


def test_what_is_written_is_read(path: Path) -> None:
    add_key(path, scopes=("b", "a"), roles=("clerk",), tenant="t", plan="gold", issuer="us", expires=now())
    add_key(path)

    first, second = read_records(path)

    assert (first.scopes, first.roles, first.tenant, first.plan, first.issuer) == (
        ("b", "a"),
        ("clerk",),
        "t",
        "gold",
        "us",
    )
    assert (second.subject, second.scopes, second.expires) == ("shop", (), None)


def test_the_file_holds_no_key_and_not_everyone_can_read_it(path: Path) -> None:
    key = add_key(path)

    assert key[15:] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_who_could_read_the_file_can_read_it_still(path: Path) -> None:
    add_key(path)
    path.chmod(0o600)

    add_key(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_change_that_fails_leaves_the_file_as_it_was_and_nothing_beside_it(path: Path) -> None:
    add_key(path)
    before = path.read_bytes()

    with pytest.raises(ZeroDivisionError), changing(path) as records:  # noqa: PT012 - what fails is what is tried
        records.clear()
        raise ZeroDivisionError

    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_link_to_the_file_stays_one(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path.name)

    add_key(link)

    assert link.is_symlink()
    assert len(read_records(path)) == 1


def test_changes_at_one_time_are_all_there(path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: add_key(path), range(40)))

    assert {record.id for record in read_records(path)} == {key[4:14] for key in made}
    assert list(path.parent.iterdir()) == [path]


BAD = [
    ("no JSON", "{", "JSON"),
    ("an empty line", "", "JSON"),
    ("a list", "[]", "object|dictionary"),
    ("no id", line(id=None), "id"),
    ("a short id", line(id="abc"), "id"),
    ("an id that is no name", line(id="../../etc1"), "id"),
    ("no subject", line(subject=None), "subject"),
    ("an empty subject", line(subject=""), "subject"),
    ("a subject with a line break", line(subject="a\nb"), "subject"),
    ("a subject that is too long", line(subject="a" * 257), "subject"),
    ("a scope that is none", line(scopes=["a b"]), "scope"),
    ("a date without its zone", line(created="2026-01-01T00:00:00"), "time zone"),
    ("an end without its zone", line(expires="2026-01-01T00:00:00"), "time zone"),
    ("no secrets", line(secrets=[]), "secrets"),
    ("three secrets", line(secrets=[{"sha256": "0" * 64, "created": "2026-01-01T00:00:00Z"}] * 3), "secrets"),
    ("a hash that is none", line(secrets=[{"sha256": "x" * 64, "created": "2026-01-01T00:00:00Z"}]), "sha256"),
    ("a hash of another length", line(secrets=[{"sha256": "0" * 40, "created": "2026-01-01T00:00:00Z"}]), "sha256"),
    ("an unknown member", line(admin=True), "admin"),
    ("grants beyond what travels", line(scopes=[f"scope-{number}" for number in range(600)]), "travel"),
    (
        "the same in letters that take more",
        line(scopes=["a"], roles=[f"{'ä' * 50}{n}" for n in range(15)]).replace("\\u00e4", "ä"),
        "travel",
    ),
    ("an id twice", line() + "\n" + line(), "twice"),
]


@pytest.mark.parametrize(("text", "why"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_line_is_told_with_its_place(path: Path, text: str, why: str) -> None:
    path.write_text(line(id="0000000000") + "\n" + text + "\n")
    path.chmod(0o600)

    for read in (read_records, lambda each: load_keys(each, {}, plans={"gold"})):
        with pytest.raises(KeyFileError, match=why) as caught:
            read(path)

        assert str(caught.value).startswith(f"{path}:{3 if why == 'twice' else 2}: ")


@pytest.mark.parametrize(("mode", "cure"), [(0o644, "o-r"), (0o604, "o-r"), (0o666, "o-rw"), (0o602, "o-w")])
def test_a_file_that_everyone_can_read_or_change_is_not_used(path: Path, mode: int, cure: str) -> None:
    add_key(path)
    path.chmod(mode)

    with pytest.raises(KeyFileError, match=f"chmod {cure} it"):
        read_records(path)
    with pytest.raises(ValidationError, match=f"chmod {cure} it"):
        ApiKeySettings.model_validate({"file": str(path)})


def test_settings_tell_of_a_file_that_is_missing_or_bad(path: Path) -> None:
    with pytest.raises(ValidationError, match="there is no file"):
        ApiKeySettings.model_validate({"file": str(path)})
    path.write_text("{}\n")
    path.chmod(0o600)
    with pytest.raises(ValidationError, match=r"keys\.jsonl:1"):
        ApiKeySettings.model_validate({"file": str(path)})


@pytest.mark.parametrize("name", ["", "Authorization", "cookie", "X Key", "X_Key", "X-Key:", "é"])
def test_the_header_is_one_of_its_own(name: str) -> None:
    with pytest.raises(ValidationError, match="header"):
        ApiKeySettings(header=name)


def test_only_lines_that_changed_are_read_again(path: Path) -> None:
    for number in range(3):
        add_key(path, subject=f"shop-{number}")
    before = load_keys(path, {}, plans={"gold"})
    with changing(path) as records:
        records[1] = records[1].model_copy(update={"tenant": "t"})

    after = load_keys(path, before, plans={"gold"})

    same = [before[name] is after[name] for name in before]
    assert same == [True, False, True]
    assert [key.caller.caller.tenant for key in after.values() if key.caller] == ["", "t", ""]


def test_a_record_says_who_presents_its_key() -> None:
    record = KeyRecord(
        id="abcdefghi0", subject="shop", plan="gold", created=now(), secrets=(secret_of("x"),), scopes=("a",)
    )

    caller = record.caller()

    assert (caller.scheme, caller.credential, caller.plan, *caller.scopes) == ("key", "abcdefghi0", "gold", "a")
