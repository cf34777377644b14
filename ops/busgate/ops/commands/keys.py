"""`busgate keys`: make, list, replace and revoke API keys. A key itself is shown once, on stdout, when it is made.

A running edge takes a change within two seconds.
"""

import argparse
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from pydantic import ValidationError

from busgate.edge.api_keys.records import KeyFileError, KeyRecord, SecretRecord, changing, now, read_records
from busgate.edge.api_keys.text import new_id, new_key
from busgate.ops.faults import CommandError
from busgate.ops.key_settings import KeysProcess, StoreProcess
from busgate.ops.key_use import last_used
from busgate.ops.lifetimes import end_of
from busgate.ops.loading import read_settings
from busgate.ops.table import lines

_FOR = {
    "scope": ("create",),
    "role": ("create",),
    "issuer": ("create",),
    "tenant": ("create",),
    "plan": ("create",),
    "expires": ("create",),
    "overlap": ("rotate",),
    "old": ("revoke",),
}
"""Which options go with which action."""


def run(options: argparse.Namespace) -> int:
    _check(options)
    edge = None if options.file else read_settings(KeysProcess, options).edge
    file = options.file if edge is None else edge.api_keys.file
    if file is None:
        raise CommandError(["no file of keys: set file in [edge.api_keys], or name it with --file"])
    actions: dict[str, Callable[[Path, argparse.Namespace], None]] = {
        "create": _create,
        "list": _list,
        "rotate": _rotate,
        "revoke": _revoke,
    }
    try:
        actions[options.action](file, options)
    except KeyFileError as error:
        raise CommandError([str(error)]) from None
    if options.plan and edge is not None and options.plan not in {plan.name for plan in edge.plan}:
        print(
            f"busgate: warning: no [[edge.plan]] is called {options.plan!r}: the edge refuses the key until one is",
            file=sys.stderr,
        )
    return 0


def _check(options: argparse.Namespace) -> None:
    if (options.name is None) != (options.action == "list"):
        wanted = {"create": "the OWNER of the key", "list": "nothing"}.get(options.action, "the ID of a key")
        raise CommandError([f"keys {options.action} needs {wanted}"])
    for name, actions in _FOR.items():
        if getattr(options, name) and options.action not in actions:
            raise CommandError([f"--{name} goes with keys {' and '.join(actions)}"])


def _create(file: Path, options: argparse.Namespace) -> None:
    key_id = new_id()
    key, secret = _secret(key_id)
    granted = {
        "subject": options.name,
        "scopes": tuple(options.scope),
        "roles": tuple(options.role),
        "tenant": options.tenant,
        "plan": options.plan,
    }
    granted |= {} if options.issuer is None else {"issuer": options.issuer}
    ends = end_of(options.expires, "--expires")
    try:
        record = KeyRecord(id=key_id, created=secret.created, expires=ends, secrets=(secret,), **granted)
        record.caller()
    except ValidationError as error:
        faults = error.errors(include_url=False)
        raise CommandError(
            f"{each['loc'][0]}: {each['msg'].removeprefix('Value error, ')}" for each in faults
        ) from None
    except ValueError as error:
        raise CommandError([str(error)]) from None
    with changing(file) as records:
        records.append(record)
    _hand_over(record, key, as_json=options.json)
    if not options.json:
        until = "without end" if ends is None else f"until {_shown(ends)}"
        print(f"busgate: key {key_id} of {options.name}, {until}; it is not shown again", file=sys.stderr)


def _rotate(file: Path, options: argparse.Namespace) -> None:
    ends = end_of(options.overlap or "7d", "--overlap")
    with changing(file) as records:
        at = _find(records, options.name)
        key, secret = _secret(records[at].id)
        before = records[at].secrets[0]
        secrets = (secret, before.model_copy(update={"until": ends}))
        record = records[at] = records[at].model_copy(update={"secrets": secrets})
    _hand_over(record, key, as_json=options.json)
    if not options.json:
        print(
            f"busgate: the secret before holds until {_shown(ends)}, or: busgate keys revoke {record.id} --old",
            file=sys.stderr,
        )


def _revoke(file: Path, options: argparse.Namespace) -> None:
    with changing(file) as records:
        at = _find(records, options.name)
        record = records[at]
        if not options.old:
            del records[at]
        elif len(record.secrets) == 1:
            raise CommandError([f"key {record.id} has no secret from before"])
        else:
            records[at] = record.model_copy(update={"secrets": record.secrets[:1]})
    if options.json:
        print(json.dumps({"id": record.id, "subject": record.subject, "revoked": "old" if options.old else "all"}))
    else:
        what = "the secret before of key" if options.old else "key"
        print(f"{what} {record.id} of {record.subject} is revoked")


def _list(file: Path, options: argparse.Namespace) -> None:
    records = read_records(file)
    used = last_used(read_settings(StoreProcess, options).edge.store, [record.id for record in records])
    if options.json:
        documents = [_document(record) | {"last_used": _iso(used.get(record.id))} for record in records]
        print(json.dumps(documents, indent=2 if sys.stdout.isatty() else None))
        return
    if not records:
        print("busgate: there are no keys", file=sys.stderr)
        return
    head = ("ID", "OWNER", "SCOPES", "ROLES", "TENANT", "PLAN", "CREATED", "EXPIRES", "LAST USED", "STATE")
    for line in lines([head, *(_row(record, used.get(record.id)) for record in records)], indent=""):
        print(line)


def _row(record: KeyRecord, used: datetime | None) -> tuple[str, ...]:
    return (
        record.id,
        record.subject,
        " ".join(record.scopes) or "-",
        " ".join(record.roles) or "-",
        record.tenant or "-",
        record.plan or "-",
        _shown(record.created),
        _shown(record.expires),
        _shown(used),
        _state(record),
    )


def _state(record: KeyRecord) -> str:
    moment = now()
    if record.expires is not None and record.expires <= moment:
        return "expired"
    old = [each.until for each in record.secrets[1:] if each.until is None or each.until > moment]
    return f"live, the secret before until {_shown(old[0])}" if old else "live"


def _document(record: KeyRecord) -> dict[str, object]:
    """A key for programs, without its hashes."""
    document = record.model_dump(mode="json", exclude={"secrets"})
    secrets = [each.model_dump(mode="json", exclude={"sha256"}) for each in record.secrets]
    return document | {"secrets": secrets, "state": _state(record).partition(",")[0]}


def _secret(key_id: str) -> tuple[str, SecretRecord]:
    key = new_key(key_id)
    return key, SecretRecord(sha256=sha256(key.encode()).hexdigest(), created=now())


def _hand_over(record: KeyRecord, key: str, *, as_json: bool) -> None:
    print(json.dumps(_document(record) | {"key": key}) if as_json else key)
    mode = os.fstat(sys.stdout.fileno()).st_mode
    if stat.S_ISREG(mode) and mode & stat.S_IROTH:
        print("busgate: warning: everyone can read the file that the key stands in now: chmod o-r it", file=sys.stderr)


def _find(records: list[KeyRecord], key_id: str) -> int:
    """The place of a key; its owner will do where that has one only.

    Raises:
        CommandError: there is none, or more than one.
    """
    found = [at for at, record in enumerate(records) if record.id == key_id]
    found = found or [at for at, record in enumerate(records) if record.subject == key_id]
    if len(found) == 1:
        return found[0]
    if found:
        raise CommandError([f"{key_id} has {len(found)} keys: {', '.join(_ids(records, found))}"])
    raise CommandError([f"there is no key {key_id!r}; see busgate keys list"])


def _ids(records: list[KeyRecord], places: list[int]) -> Iterator[str]:
    return (records[at].id for at in places)


def _iso(when: datetime | None) -> str | None:
    return None if when is None else when.isoformat()


def _shown(when: datetime | None) -> str:
    return "-" if when is None else when.strftime("%Y-%m-%d %H:%M")
