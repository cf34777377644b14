"""What a configuration allows that its owner should have thought about: each is told with its place and the cure."""

import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from busgate.bus.file_rights import too_open
from busgate.bus.tables import is_loopback
from busgate.edge.networks import network
from busgate.edge.settings import EdgeSettings
from busgate.edge.tls.serving import by_name, find

from .config import PREFIX, KeyPath, Sources
from .config_faults import dotted
from .config_reference import leaves, references
from .edge_settings import Settings


def warnings(settings: Settings, sources: Sources, *, file: Path | None, environ: Mapping[str, str]) -> Iterator[str]:
    """A line each.

    Args:
        settings: what holds.
        sources: where it came from.
        file: of the configuration, if there is one.
        environ: the environment.
    """
    for path, told in _unsafe(settings):
        yield f"{sources.place(path)}: {dotted(path)}: {told}"
    mode = file.stat().st_mode if file is not None and file.is_file() else 0
    if file is not None and mode & stat.S_IWOTH:
        yield f"{file}: everyone can change what holds here: chmod o-w {file}"
    if file is not None and mode & stat.S_IROTH:
        for path in _written_secrets(settings, sources, file):
            yield f"{sources.place(path)}: {dotted(path)}: everyone can read it here: chmod o-r {file}"
    for name, meant in _misspelt(environ):
        yield f"{name}: is not read; did you mean {meant}?"


def _unsafe(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    bus, edge = settings.bus, settings.edge
    hosts = [urlsplit(url.get_secret_value()) for url in bus.url]
    if any(url.scheme == "amqp" and not is_loopback(url.hostname or "") for url in hosts):
        yield ("bus", "allow_plaintext"), "password and calls can be read on their way: use amqps://"
    if not bus.tls.verify and any(url.scheme == "amqps" for url in hosts):
        yield ("bus", "tls", "verify"), "anyone on the way can pass for the broker: name its authority in cafile"
    if edge.admin.enabled and not is_loopback(edge.admin.host):
        yield ("edge", "admin", "host"), "who can reach it sees everything, without a login: keep it on 127.0.0.1"
    yield from _unsafe_store(edge)
    if edge.audit.file is not None and (fault := _too_open(edge.audit.file)) is not None:
        yield ("edge", "audit", "file"), f"it says who did what, and {fault}"
    if edge.mock:
        yield ("edge", "mock"), "clients get examples for answers, and nothing is done: not where it counts"
    yield from _of_the_door(edge)
    if edge.signature.keys and not edge.signature.origin and not edge.hosts:
        yield ("edge", "signature", "origin"), "what was signed for another host is taken too: name ours, or edge.hosts"
    for number, issuer in enumerate(edge.jwt):
        if issuer.any_audience:
            yield ("edge", "jwt", number, "any_audience"), "tokens made for others are taken: name the audience"
        if issuer.untyped:
            yield (
                ("edge", "jwt", number, "untyped"),
                "ID tokens and others may pass for access tokens: name their types",
            )


def _unsafe_store(edge: EdgeSettings) -> Iterator[tuple[KeyPath, str]]:
    store = edge.store
    quotas = edge.quota or any(plan.quota for plan in edge.plan)
    if store.in_memory and quotas:
        yield ("edge", "store", "url"), "quotas begin anew with each start of the edge: use sqlite:// or redis://"
    if store.over_network and not store.redis().tls and not is_loopback(store.redis().host):
        yield ("edge", "store", "allow_plaintext"), "its password and all it keeps can be read: use rediss://"
    if store.when_unavailable == "allow" and edge.call_limits.counted:
        yield ("edge", "store", "when_unavailable"), "while the store is away there are no limits"


def _of_the_door(edge: EdgeSettings) -> Iterator[tuple[KeyPath, str]]:
    if any(network(each).prefixlen == 0 for each in edge.trusted_proxies):
        yield ("edge", "trusted_proxies"), "everyone can say where it is: name the networks of your proxies alone"
    if edge.tls is None:
        return
    found = [each.load() for each in edge.tls.certificates]
    for number, each in enumerate(found):
        if (trouble := each.trouble(time.time())) is not None:
            yield ("edge", "tls", "certificates", number), f"{trouble}: clients refuse it"
    if edge.tls.client_ca is not None and (trouble := edge.tls.load_authorities().trouble(time.time())) is not None:
        yield ("edge", "tls", "client_ca"), f"{trouble}: no client with a certificate gets in"
    known = by_name((each, each) for each in found)
    for host in edge.hosts:
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if find(known, name) is None:
            yield ("edge", "hosts"), f"no certificate of edge.tls names {name}: clients refuse what they get"


def _too_open(file: Path) -> str | None:
    return too_open(file.stat().st_mode, private=True) if file.is_file() else None


def _written_secrets(settings: Settings, sources: Sources, file: Path) -> Iterator[KeyPath]:
    """Secrets that stand in the file itself."""
    for path, value in leaves(settings):
        values = value if isinstance(value, tuple) else (value,)
        secret = [each.get_secret_value() for each in values if isinstance(each, SecretStr)]
        if path in (("bus", "url"), ("edge", "store", "url")):
            secret = [text for text in secret if urlsplit(text).password]
        here = sources.place(path).startswith(f"{file}:")
        if secret and here and not isinstance(sources.raw(path), dict | None):
            yield path


def _misspelt(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Names with one `_` where two were meant, unless they are what Kubernetes sets for a service."""
    known = {value.environ for reference in references(Settings) for value in reference.values if value.environ}
    flat = {name.replace("__", "_"): name for name in known}
    for name, value in environ.items():
        if name.startswith(PREFIX) and "__" not in name and name in flat and "://" not in value:
            yield name, flat[name]
