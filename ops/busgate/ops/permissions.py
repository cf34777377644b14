"""The users of RabbitMQ that contracts and services need, each with the rights of its work and no others.

docs/permissions.md says what each right is for, and what none of them stops.
"""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from busgate.bus.audit import ALLOWED, REFUSED
from busgate.bus.topology import ExchangeKind
from busgate.bus.wire import AUDIT_EXCHANGE, CALLS_EXCHANGE, CONTROL_EXCHANGE
from busgate.workers import Service

NOTHING = "^$"

_READS = ["replies", "control"]


@dataclass(frozen=True, slots=True)
class TopicRights:
    """Which keys of an exchange of kind topic a user may write and read, as regular expressions."""

    exchange: str
    write: str
    read: str


@dataclass(frozen=True, slots=True)
class User:
    """A user: on which exchanges and queues it may do what, as regular expressions on their names."""

    name: str
    configure: str
    write: str
    read: str
    topics: Sequence[TopicRights]
    tags: Sequence[str] = field(default=())


def users_for(
    called: Sequence[str],
    services: Sequence[Service],
    *,
    kind: ExchangeKind,
    one_worker: bool,
    named: bool,
    audit: bool,
) -> list[User]:
    """The users of a deployment: of its edges, of the workers of each service, of its operators.

    Args:
        called: topics of all contracts that edges call: those that they serve, and what decides who calls.
        services: all of them.
        kind: of the exchange that calls go through; only `topic` looks at topics.
        one_worker: one user for the workers of all services, not one for each.
        named: each process has the name of its user ([bus] name), so that it is given only the queues of that name.
        audit: edges publish audit records.
    """
    served = _topics(services)
    everything = list(dict.fromkeys([*called, *served]))
    workers = [("worker", services)] if one_worker else [(f"worker-{each.name}", [each]) for each in services]
    return [
        _process("edge", "edge", writes=called, serves=(), kind=kind, named=named, audit=audit),
        *(
            _process(name, "worker", writes=_calls(several), serves=_topics(several), kind=kind, named=named)
            for name, several in workers
        ),
        User(
            "operator",
            configure=_pattern([r"busgate\..*", *map(_escaped, everything)]),
            write=_pattern([r"busgate\..*", *map(_escaped, everything)]),
            read=_pattern([r"busgate\..*"]),
            topics=[TopicRights(CONTROL_EXCHANGE, _pattern(["who", r"drain\..*", r"tap\..*"]), r"^presence\.#$")],
            tags=["monitoring"],
        ),
    ]


def _process(
    user: str,
    role: str,
    *,
    writes: Sequence[str],
    serves: Sequence[str],
    kind: ExchangeKind,
    named: bool,
    audit: bool = False,
) -> User:
    """An edge or a worker: it has its own queues, calls some topics, and consumes some."""
    name = rf"{_escaped(user)}-[0-9a-f]{{6}}\." if named else ""
    own = [rf"reply\.{name}.*", rf"control\.{name}.*"]
    hears = ["who", r"drain\..*", r"tap\.#", *([r"presence\.#"] if role == "worker" else [])]
    says = rf"presence\.{role}\.{name[:-2]}" if named else rf"presence\.{role}\..*"
    topics = [TopicRights(CONTROL_EXCHANGE, _pattern(["who", says]), _pattern(hears))]
    if kind == "topic":
        topics.insert(0, TopicRights(CALLS_EXCHANGE, _pattern(map(_escaped, writes)), NOTHING))
    if audit:
        topics.append(TopicRights(AUDIT_EXCHANGE, _pattern(map(_escaped, (ALLOWED, REFUSED))), NOTHING))
    reads = _ours([*_READS, *own])
    return User(
        user,
        configure=f"^{_ours(own)}$",
        write=f"^{_ours([*(['calls'] if writes else []), *_READS, *(['audit'] if audit else []), *own])}$",
        read=_pattern([reads, *map(_escaped, serves)]) if serves else f"^{reads}$",
        topics=topics,
    )


def _topics(services: Iterable[Service]) -> list[str]:
    """What the handlers of these serve."""
    return [handler.contract.topic for service in services for handler in service]


def _calls(services: Iterable[Service]) -> list[str]:
    """What the handlers of these say that they call."""
    return list(dict.fromkeys(contract.topic for service in services for contract in service.calls))


def _ours(names: Iterable[str]) -> str:
    return rf"busgate\.({'|'.join(names)})"


def _pattern(names: Iterable[str]) -> str:
    """A regular expression for these and nothing else; for nothing at all where there are none."""
    names = list(names)
    if not names:
        return NOTHING
    return f"^{names[0]}$" if len(names) == 1 else f"^({'|'.join(names)})$"


def _escaped(topic: str) -> str:
    return topic.replace(".", r"\.")


# -- as text


def definitions(users: Sequence[User], vhost: str) -> dict[str, Any]:
    """What RabbitMQ can import. It has no passwords: add a `password_hash` to each user."""
    return {
        "vhosts": [{"name": vhost}],
        "users": [{"name": user.name, "tags": list(user.tags)} for user in users],
        "permissions": [
            {"user": user.name, "vhost": vhost, "configure": user.configure, "write": user.write, "read": user.read}
            for user in users
        ],
        "topic_permissions": [
            {"user": user.name, "vhost": vhost, "exchange": each.exchange, "write": each.write, "read": each.read}
            for exchange in (CALLS_EXCHANGE, CONTROL_EXCHANGE, AUDIT_EXCHANGE)
            for user in users
            for each in user.topics
            if each.exchange == exchange
        ],
    }


def shell_lines(users: Sequence[User], vhost: str) -> Iterator[str]:
    """Commands for a shell. Those that fail when they are run again are comments."""
    yield "# Once:"
    yield f"#   {_command('add_vhost', vhost)}"
    for user in users:
        yield f"#   {_command('add_user', user.name)}    # asks for a password"
    for user in users:
        yield ""
        yield _command("set_user_tags", user.name, *user.tags)
        yield _command("set_permissions", "-p", vhost, user.name, user.configure, user.write, user.read)
        for each in user.topics:
            yield _command("set_topic_permissions", "-p", vhost, user.name, each.exchange, each.write, each.read)


def _command(*words: str) -> str:
    return shlex.join(("rabbitmqctl", *words))
