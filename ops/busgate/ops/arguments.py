"""The command line: one function for each command.

An option whose `dest` has a dot sets that value of the configuration.
"""

from argparse import SUPPRESS, ArgumentTypeError, Namespace
from pathlib import Path

from .parser import Command, Parser, ShowVersion

_EPILOG = """\
busgate COMMAND --help says more. Contracts and services are found from the current folder.
Every value of busgate.toml can be set by the environment: BUSGATE_EDGE__PORT=9000 sets port in [edge].
The command line wins over the environment, that over the file.
"""


_BUS = "amqp://user@host:port/vhost; others see in ps what stands here: give a password in BUSGATE_BUS__URL"


def new_parser() -> Parser:
    """The parser of the whole command line; it sets `command`, and for each sub-command its own options."""
    parser = Parser(
        prog="busgate",
        usage="busgate COMMAND [ARGUMENT ...]",
        description="A gateway between HTTP and services that live on RabbitMQ queues.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="show the version and exit")
    parser.add_groups(
        {
            "Build": [
                Command("new", "Lay out a small service project in a new folder", _new),
                Command("dev", "Run edge and services in one process, started again at each change", _dev),
                Command("check", "Check configuration, contracts and services, and show them", _check),
                Command("openapi", "Print the OpenAPI document of the contracts", _openapi),
                Command("conformance", "Test a worker in any language against the wire format", _conformance),
            ],
            "Run": [
                Command("demo", "Run the example shop", _demo),
                Command("edge", "Serve contracts over HTTP", _edge),
                Command("worker", "Run services", _worker),
            ],
            "Operate": [
                Command("sign", "Print the headers, or the curl line, of a signed HTTP request", _sign),
                Command("call", "Call a topic and print the reply", _call),
                Command("ps", "Show the edges and workers that are there, and their contracts", _ps),
                Command("queues", "Show the queues of calls: how many wait, for how long, and who takes them", _queues),
                Command("tap", "Watch calls as they happen, without touching them", _tap),
                Command("audit", "Read the audit of calls: who called what, or figures for each caller", _audit),
                Command("certs", "Show the certificates of an edge, what it serves of them, and when they end", _certs),
                Command("drain", "Tell one process to finish its work and end", _drain),
                Command("config", "Show the configuration that holds, or all there is to configure", _configuration),
                Command("topology", "Show the exchanges and queues on the broker, or make them", _topology),
                Command("permissions", "Print the users of RabbitMQ, with the least rights they need", _permissions),
                Command("keys", "Make, list, replace and revoke API keys", _keys),
                Command("completion", "Print what completes this command line in your shell", _completion),
            ],
        }
    )
    return parser


def overrides(options: Namespace) -> dict[str, object]:
    """The values of the configuration that the command line sets, by dotted name."""
    return {name: value for name, value in vars(options).items() if "." in name and value not in (None, [])}


def _config(parser: Parser) -> None:
    parser.add_argument("--config", metavar="FILE", help="configuration (default: busgate.toml if it is there)")


def _common(parser: Parser) -> None:
    _config(parser)
    parser.add_argument("--bus", dest="bus.url", metavar="URL", help=_BUS)


def _process(parser: Parser, table: str) -> None:
    _common(parser)
    parser.add_argument("--processes", dest=f"{table}.processes", metavar="N", help="how many processes")
    _log(parser)
    parser.add_argument("--child", help=SUPPRESS)  # how a supervisor says what a process inherits


def _log(parser: Parser) -> None:
    levels, formats = ("debug", "info", "warning", "error"), ("auto", "text", "json")
    parser.add_argument("--log-level", dest="log.level", metavar="LEVEL", words=levels, help=", ".join(levels))
    parser.add_argument("--log-format", dest="log.format", metavar="FORMAT", words=formats, help=", ".join(formats))


def _contracts(parser: Parser) -> None:
    parser.add_argument(
        "edge.contracts", nargs="*", metavar="MODULE", help="a module with contracts, like shop.contracts"
    )


def _services(parser: Parser, *, option: bool = False) -> None:
    name = "--service" if option else "worker.services"
    extra = {"dest": "worker.services", "action": "append"} if option else {"nargs": "*"}
    parser.add_argument(name, metavar="SERVICE", help="module:name, like shop.services:orders", **extra)


def _edge(parser: Parser) -> None:
    _contracts(parser)
    _process(parser, "edge")
    _listener(parser)


def _listener(parser: Parser) -> None:
    parser.add_argument("--host", dest="edge.host", metavar="HOST", help="address to listen on")
    parser.add_argument("--port", dest="edge.port", metavar="PORT", help="port to listen on")
    parser.add_argument("--admin-port", dest="edge.admin.port", metavar="PORT", help="port for the operator")


def _worker(parser: Parser) -> None:
    _services(parser)
    _process(parser, "worker")
    parser.add_argument(
        "--admin-port", dest="worker.admin.port", metavar="PORT", help="port for the operator (default: none)"
    )


def _dev(parser: Parser) -> None:
    _contracts(parser)
    _services(parser, option=True)
    _config(parser)
    parser.add_argument("--bus", dest="bus.url", metavar="URL", help="run on this RabbitMQ (default: the embedded bus)")
    _listener(parser)
    _log(parser)


def _check(parser: Parser) -> None:
    _contracts(parser)
    _services(parser, option=True)
    _common(parser)
    parser.add_argument("--broker", action="store_true", help="log in to the broker too, and compare what is on it")
    parser.add_argument("--strict", action="store_true", help="exit code 1 when there are warnings")
    parser.add_argument(
        "--explain",
        nargs=2,
        metavar=("CALLER", "TOPIC"),
        help="say whether a caller, a name or its JSON, may use a contract, and by which rule; exit code 1 is no",
    )
    parser.add_argument("--address", metavar="ADDRESS", help="of the client, for --explain")
    parser.add_argument("--json", action="store_true", help="explain as JSON")


def _configuration(parser: Parser) -> None:
    parser.add_argument(
        "action", choices=["show", "reference"], metavar="show|reference", help="the values that hold, or all there are"
    )
    _common(parser)
    _listener(parser)
    _log(parser)
    parser.add_argument("--json", action="store_true", help="show them as JSON")


def _topology(parser: Parser) -> None:
    _contracts(parser)
    _services(parser, option=True)
    _common(parser)
    parser.add_argument("--apply", action="store_true", help="make what is missing")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _permissions(parser: Parser) -> None:
    _contracts(parser)
    _services(parser, option=True)
    _common(parser)
    formats, kinds = ("rabbitmqctl", "definitions"), ("direct", "topic")
    parser.add_argument(
        "--format", metavar="FORMAT", choices=formats, default=formats[0], help="rabbitmqctl (default) or definitions"
    )
    parser.add_argument("--vhost", metavar="NAME", help="the vhost (default: that of bus.url)")
    parser.add_argument(
        "--kind", dest="bus.exchange_kind", metavar="KIND", words=kinds, help="of busgate.calls: direct or topic"
    )
    parser.add_argument("--one-worker", action="store_true", help="one user for the workers of all services")
    parser.add_argument(
        "--named", action="store_true", help="each process has its user's name in [bus] name: narrows its queues to it"
    )


def _shown(parser: Parser) -> None:
    _common(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--watch", action="store_true", help="look again every two seconds, until Ctrl-C")


def _ps(parser: Parser) -> None:
    _shown(parser)
    _management(parser)


def _queues(parser: Parser) -> None:
    _shown(parser)
    _management(parser)


def _management(parser: Parser) -> None:
    parser.add_argument(
        "--management", dest="bus.management", metavar="URL", help="RabbitMQ's management API (default: port 15672)"
    )


def _tap(parser: Parser) -> None:
    parser.add_argument("pattern", metavar="TOPIC", nargs="?", default="*", help="shop.orders.*; * is any text")
    _common(parser)
    parser.add_argument("--admin", metavar="URL", help="tap the embedded bus of the edge with this admin listener")
    parser.add_argument("--status", help="only reply, problem, none (no answer), unseen, refused, 4xx, 5xx or a status")
    parser.add_argument("--slower-than", metavar="TIME", help="only calls that took longer, like 250ms")
    parser.add_argument("--caller", metavar="SUBJECT", help="only calls of this caller")
    parser.add_argument("--call", metavar="ID", help="only this call and those that it leads to: X-Request-Id or trace")
    parser.add_argument("--bodies", action="store_true", help="show requests and replies, their secrets masked")
    parser.add_argument("--unknown", action="store_true", help="bodies also where nobody says what of them is secret")
    parser.add_argument("--count", type=_number, metavar="N", help="end after so many calls")
    parser.add_argument("--for", dest="seconds", metavar="TIME", default="10m", help="end after it (default: 10m)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def _audit(parser: Parser) -> None:
    parser.add_argument(
        "files", metavar="FILE", nargs="*", help="audit files, also .gz; - is stdin (default: that of edge.audit)"
    )
    _common(parser)  # --bus: hear what edges publish from now on
    parser.add_argument("--caller", metavar="SUBJECT", help="only calls of this caller")
    parser.add_argument("--topic", metavar="TOPIC", help="only of these topics: shop.orders.*; * is any text")
    parser.add_argument("--status", metavar="STATUS", help="only 2xx, 4xx, 5xx or a status")
    parser.add_argument("--outcome", choices=("executed", "not_executed", "unknown"), help="only with this outcome")
    parser.add_argument("--refused", action="store_true", help="only calls that the edge refused")
    parser.add_argument("--rule", metavar="NAME", help="only what this access rule decided, or this limit refused")
    parser.add_argument("--since", metavar="TIME", help="only from then on: 15m (ago) or 2026-01-31T12:00")
    parser.add_argument("--until", metavar="TIME", help="only before then")
    parser.add_argument("--by", choices=("caller", "topic"), help="figures for each caller or topic, instead of calls")
    parser.add_argument("--follow", action="store_true", help="go on as records come, until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def _certs(parser: Parser) -> None:
    _config(parser)
    parser.add_argument("--host", dest="edge.host", metavar="HOST", help="where the edge listens")
    parser.add_argument("--port", dest="edge.port", metavar="PORT", help="its port")
    parser.add_argument(
        "--within",
        type=_days,
        metavar="DAYS",
        help="exit code 1 when one ends within them (default: 14, or a quarter of its life)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _drain(parser: Parser) -> None:
    parser.add_argument("id", metavar="ID", help="of the process, as `busgate ps` shows it, or its beginning or end")
    _common(parser)
    parser.add_argument("--wait", type=float, default=60.0, metavar="SECONDS", help="until it is gone (default: 60)")


def _sign(parser: Parser) -> None:
    parser.add_argument("method", metavar="METHOD", help="of HTTP, like POST")
    parser.add_argument("url", metavar="URL", help="exactly as it is sent: with its query, its letters escaped")
    parser.add_argument("--keyid", required=True, metavar="NAME", help="the name of the key at the edge")
    parser.add_argument("--secret", metavar="FILE", type=Path, help="holds the secret, at least 32 bytes")
    parser.add_argument("--secret-env", metavar="NAME", default="BUSGATE_SIGN_SECRET", help="the environment has it")
    parser.add_argument("--private-key", metavar="FILE", type=Path, help="an Ed25519 key in PEM, in place of a secret")
    parser.add_argument("--data", metavar="BODY", help="the body; @FILE reads it from a file, @- from stdin")
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="HEADER",
        help="one more, like 'X-Shop: seoul', which is signed",
    )
    parser.add_argument("--tag", metavar="TAG", help="what the signature is for, where the edge asks for it")
    parser.add_argument("--curl", action="store_true", help="print the whole curl line")


def _keys(parser: Parser) -> None:
    actions = ("create", "list", "rotate", "revoke")
    parser.add_argument("action", choices=actions, metavar="ACTION", help=", ".join(actions))
    parser.add_argument("name", nargs="?", metavar="NAME", help="create: the owner; rotate and revoke: the id of a key")
    _config(parser)
    parser.add_argument("--file", metavar="FILE", type=Path, help="of the keys (default: that of [edge.api_keys])")
    parser.add_argument("--scope", action="append", default=[], metavar="SCOPE", help="create: granted; repeatable")
    parser.add_argument("--role", action="append", default=[], metavar="ROLE", help="create: had; repeatable")
    parser.add_argument("--issuer", metavar="ISSUER", help="create: who vouches for the owner (default: busgate)")
    parser.add_argument("--tenant", default="", metavar="TENANT", help="create: on whose behalf the owner acts")
    parser.add_argument("--plan", default="", metavar="PLAN", help="create: how often it may call")
    parser.add_argument("--expires", metavar="TIME", help="create: when it ends, like 90d or 2027-01-31")
    parser.add_argument("--overlap", metavar="TIME", help="rotate: how long the old secret still holds (default: 7d)")
    parser.add_argument("--old", action="store_true", help="revoke: only the secret before the last rotate")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _completion(parser: Parser) -> None:
    parser.add_argument("shell", choices=["bash", "zsh", "fish"], metavar="SHELL", help="bash, zsh or fish")
    parser.epilog = """\
bash:  echo 'eval "$(busgate completion bash)"' >> ~/.bashrc
zsh:   echo 'eval "$(busgate completion zsh)"' >> ~/.zshrc      (after compinit)
fish:  busgate completion fish > ~/.config/fish/completions/busgate.fish
"""


def _openapi(parser: Parser) -> None:
    _contracts(parser)
    _config(parser)
    parser.add_argument("--title", dest="edge.docs.title", metavar="TITLE", help="title of the document")
    parser.add_argument("--api-version", dest="edge.docs.version", metavar="VERSION", help="version of the API")
    parser.add_argument("--yaml", action="store_true", help="print YAML instead of JSON")


def _call(parser: Parser) -> None:
    parser.add_argument("topic", metavar="TOPIC", help="like shop.orders.place.v1")
    parser.add_argument("request", nargs="?", metavar="JSON", help="the request; without it, or as -, stdin is read")
    parser.add_argument("--file", metavar="FILE", type=Path, help="read the request from a file")
    parser.add_argument("--timeout", metavar="S", type=_seconds, help="seconds to wait (default: the contract's, or 5)")
    parser.add_argument("--caller", metavar="CALLER", help="who calls: a name, or the JSON of the caller header")
    _contract_modules(parser)
    parser.add_argument("--json", action="store_true", help="print the reply with its times and service as JSON")
    _common(parser)


def _contract_modules(parser: Parser) -> None:
    parser.add_argument(
        "--contracts",
        dest="edge.contracts",
        action="append",
        metavar="MODULE",
        help="a module with contracts, to check topic, requests and replies by",
    )


def _number(text: str) -> int:
    """How many, of the command line: at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def _seconds(text: str) -> float:
    """A time of the command line, at most an hour."""
    try:
        seconds = float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no number of seconds") from None
    if not 0.05 <= seconds <= 3600:
        raise ArgumentTypeError(f"{text} is not within 0.05 and 3600 seconds")
    return seconds


def _days(text: str) -> int:
    """A number of days of the command line."""
    if not text.isdecimal() or int(text) > 3650:
        raise ArgumentTypeError(f"{text!r} is not a number of days from 0 to 3650")
    return int(text)


def _conformance(parser: Parser) -> None:
    parser.add_argument("bus.url", metavar="URL", help="amqp://user:password@host:port/vhost, of a broker for tests")
    parser.add_argument("topic", metavar="TOPIC", help="what the worker serves, like shop.orders.place.v1")
    parser.add_argument(
        "--request", action="append", metavar="JSON", help="a request that it answers, as JSON or in a file; repeatable"
    )
    _contract_modules(parser)
    parser.add_argument(
        "--redelivery", choices=("run", "refuse"), help="what it does with redelivered calls (default: the contract's)"
    )
    parser.add_argument("--caller", metavar="CALLER", help="who calls: a name, or the JSON of the caller header")
    parser.add_argument("--timeout", metavar="S", type=_seconds, default=5.0, help="seconds for an answer (default: 5)")
    parser.add_argument(
        "--drain", nargs="?", metavar="S", type=_seconds, const=60.0,
        help="test a stop too: you stop the worker when asked to, within S seconds (default: 60)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")
    _config(parser)


def _demo(parser: Parser) -> None:
    parser.add_argument("--bus", metavar="URL", help="run on this RabbitMQ, each part in a process of its own")
    parser.add_argument(
        "--port", metavar="PORT", type=int, help="port to listen on (default: 8080, or the next free one)"
    )


def _new(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the project and its folder, like my-shop")
