"""The command line. An option whose `dest` has a dot sets that value of the configuration."""

import argparse
from argparse import SUPPRESS, ArgumentParser

_EPILOG = """\
Every value of busgate.toml can be set by the environment: BUSGATE_EDGE__PORT=9000 sets port in [edge].
The command line wins over the environment, that over the file.
"""


def new_parser() -> ArgumentParser:
    """The parser; it sets `command`, and for each sub-command its own options."""
    parser = ArgumentParser(
        prog="busgate",
        description="A gateway between HTTP and services that live on RabbitMQ queues.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> ArgumentParser:
        return commands.add_parser(name, help=text, description=f"{text}.", allow_abbrev=False)

    _edge(command("edge", "Serve contracts over HTTP"))
    _worker(command("worker", "Run services"))
    _check(command("check", "Check configuration, contracts and services, and show them"))
    _topology(command("topology", "Show the exchanges and queues on the broker, or make them"))
    _openapi(command("openapi", "Print the OpenAPI document of the contracts"))
    _demo(command("demo", "Run the example shop"))
    return parser


def overrides(options: argparse.Namespace) -> dict[str, object]:
    """The values of the configuration that the command line sets, by dotted name."""
    return {name: value for name, value in vars(options).items() if "." in name and value not in (None, [])}


def _common(parser: ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="configuration (default: busgate.toml if it is there)")
    parser.add_argument("--bus", dest="bus.url", metavar="URL", help="amqp://user:password@host:port/vhost")


def _process(parser: ArgumentParser, table: str) -> None:
    _common(parser)
    parser.add_argument("--processes", dest=f"{table}.processes", metavar="N", help="how many processes")
    parser.add_argument("--log-level", dest="log.level", metavar="LEVEL", help="debug, info, warning or error")
    parser.add_argument("--log-format", dest="log.format", metavar="FORMAT", help="auto, text or json")
    parser.add_argument("--child", help=SUPPRESS)  # how a supervisor says what a process inherits


def _contracts(parser: ArgumentParser) -> None:
    parser.add_argument(
        "edge.contracts", nargs="*", metavar="MODULE", help="a module with contracts, like shop.contracts"
    )


def _services(parser: ArgumentParser, *, option: bool = False) -> None:
    name = "--service" if option else "worker.services"
    extra = {"dest": "worker.services", "action": "append"} if option else {"nargs": "*"}
    parser.add_argument(name, metavar="SERVICE", help="module:name, like shop.services:orders", **extra)  # type: ignore[arg-type]


def _edge(parser: ArgumentParser) -> None:
    _contracts(parser)
    _process(parser, "edge")
    parser.add_argument("--host", dest="edge.host", help="address to listen on")
    parser.add_argument("--port", dest="edge.port", help="port to listen on")
    parser.add_argument("--admin-port", dest="edge.admin.port", metavar="PORT", help="port for the operator")


def _worker(parser: ArgumentParser) -> None:
    _services(parser)
    _process(parser, "worker")


def _check(parser: ArgumentParser) -> None:
    _contracts(parser)
    _services(parser, option=True)
    _common(parser)


def _topology(parser: ArgumentParser) -> None:
    _contracts(parser)
    _services(parser, option=True)
    _common(parser)
    parser.add_argument("--apply", action="store_true", help="make what is missing")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _openapi(parser: ArgumentParser) -> None:
    _contracts(parser)
    parser.add_argument("--config", metavar="FILE", help="configuration (default: busgate.toml if it is there)")
    parser.add_argument("--title", default="API", help="title of the document")
    parser.add_argument("--api-version", default="1", metavar="VERSION", help="version of the API")


def _demo(parser: ArgumentParser) -> None:
    parser.add_argument("--bus", metavar="URL", help="run on this RabbitMQ, each part in a process of its own")
    parser.add_argument("--port", type=int, help="port to listen on (default: 8080, or the next free one)")
