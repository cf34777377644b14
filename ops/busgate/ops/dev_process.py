"""What `busgate dev` starts again at each change: a fork of it that imports contracts and services, and serves them.

The fork has all libraries already, so a restart costs what the author's own modules cost. It tells its parent over a
socket, a line of JSON each, what it loaded (`files`, `scopes`) and that it serves (`ready`).
"""

import importlib
import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from busgate.bus import BusError
from busgate.bus.tables import is_loopback
from busgate.contracts import Catalog, ContractError
from busgate.edge.client_certificates import without_certificates
from busgate.edge.issuers import IssuerSettings
from busgate.edge.settings import faults_with
from busgate.workers import Service, ServiceError
from busgate.workers.process import handlers_of

from .child import Child
from .edge_process import Place
from .edge_settings import Settings
from .faults import CommandError, lines_of, trace_of
from .listeners import show
from .loading import try_catalog, try_services
from .logs import configure
from .one_process import serve_all
from .report import contract_lines, service_lines, unhandled
from .signer import HOURS, Signer, scopes_of
from .watching import files_of_the_author

FAULTY = 2
"""Exit code when contracts or services cannot be served: the next change may mend it."""
UNSUITED = 3
"""Exit code when the surroundings are at fault, such as a broker that is not there."""

_BEYOND = "edge.host: is more than this machine, so dev hands out no token: 127.0.0.1 is for that"


@dataclass(frozen=True, slots=True)
class Start:
    """What a fork gets from its parent.

    Args:
        settings: of edge and workers.
        child: its sockets: to the parent, to listen on, and for the operator if that is wanted.
        signer: of tokens for development.
        known: the scopes of the token that was shown last; None: none was.
    """

    settings: Settings
    child: Child
    signer: Signer
    known: list[str] | None


def serve(start: Start) -> int:
    """Load and serve until SIGTERM comes; the exit code. What is wrong stands on stderr."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for each in (signal.SIGINT, signal.SIGHUP):  # the terminal sends them to us too: the parent decides
        signal.signal(each, signal.SIG_IGN)
    settings, child = start.settings, start.child
    child.follow(settings.edge.drain_grace)
    configure(settings.log)
    importlib.invalidate_caches()
    catalog, services, errors = _load(settings)
    public = child.listeners[0]
    local = is_loopback(public.getsockname()[0])
    if local:
        settings = _with_issuer(settings, start.signer)
        catalog = without_certificates(catalog)
    if not errors and (faults := faults_with(settings.edge, catalog)):
        errors = [CommandError(faults if local else [*faults, _BEYOND])]
    _tell(child, files=files_of_the_author(), scopes=scopes_of(catalog))
    if errors:
        _show(errors)
        return FAULTY

    def ready() -> None:
        _tell(child, ready=True)
        if start.known is None:
            print("\n".join(_banner(start, catalog, services)))
        if local and any(not call.public for call in catalog) and start.known != scopes_of(catalog):
            print("\n".join(_token(start.signer, catalog)))
        sys.stdout.flush()

    place = Place(public, admin=child.listeners[1] if len(child.listeners) > 1 else None)
    try:
        return serve_all(settings, catalog, services, place=place, ready=ready, numbers=[signal.SIGTERM])
    except (ContractError, ServiceError) as error:
        _show([error])
        return FAULTY
    except (BusError, CommandError) as error:
        _show([error])
        return UNSUITED


def _load(settings: Settings) -> tuple[Catalog, list[Service], list[Exception]]:
    catalog, errors = try_catalog(settings.edge.contracts)
    services, more = try_services(settings.worker.services)
    errors += more
    if not errors:
        try:
            handlers_of(services)
        except ServiceError as error:
            errors.append(error)
    return catalog, services, errors


def _with_issuer(settings: Settings, signer: Signer) -> Settings:
    """Ours as well: tokens of whom the configuration names stay good."""
    ours = IssuerSettings.model_validate(signer.table)
    edge = settings.edge.model_copy(update={"jwt": (*settings.edge.jwt, ours)})
    return settings.model_copy(update={"edge": edge})


def _tell(child: Child, **message: object) -> None:
    child.control.sendall(json.dumps(message).encode() + b"\n")


def _show(errors: list[Exception]) -> None:
    """Each fault once: a module that fails does so for contracts and for services."""
    shown = set()
    for error in errors:
        trace = trace_of(error)
        cause = (repr(error.__cause__), *trace)
        if error.__cause__ is None or cause not in shown:
            print("\n".join([f"busgate: {line}" for line in lines_of(error) or []] + trace), file=sys.stderr)
        shown.add(cause)
    sys.stderr.flush()


def _banner(start: Start, catalog: Catalog, services: list[Service]) -> Iterator[str]:
    bus = "the embedded bus" if start.settings.bus.embedded else "RabbitMQ"
    address = show(start.child.listeners[0].getsockname())
    yield f"http://{address} on {bus}, started again at each change. Ctrl-C ends it."
    if start.settings.edge.docs.enabled:
        yield f"http://{address}/docs to read about the contracts, and to try them"
    if len(start.child.listeners) > 1:
        yield f"http://{show(start.child.listeners[1].getsockname())} for the operator: /readyz, /metrics"
    yield from contract_lines(catalog)
    yield from service_lines(services)
    if lonely := unhandled(catalog, services):
        yield f"no service here handles: {', '.join(lonely)}"


def _token(signer: Signer, catalog: Catalog) -> Iterator[str]:
    yield ""
    yield f"A token for development: good on this machine, for this run, {HOURS} hours long, with all scopes."
    yield f"  export TOKEN={signer.token(catalog)}"
    yield '  curl -i -H "Authorization: Bearer $TOKEN" ...'
    yield ""
