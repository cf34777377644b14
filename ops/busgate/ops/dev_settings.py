"""The configuration as `busgate dev` takes it: what belongs to other machines is left out."""

import argparse
import re
from pathlib import Path

from busgate.bus.tables import is_loopback

from .config import ConfigError
from .edge_settings import Settings
from .faults import CommandError
from .loading import read_settings

GRACE = 5.0
"""Seconds for calls in flight at a restart; the new process serves meanwhile."""

_OF_ISSUERS = re.compile(r": edge\.jwt[.:\[]")


def read_dev_settings(options: argparse.Namespace, file: Path) -> tuple[Settings, list[str]]:
    """What to serve and how, and why configured issuers of tokens were left out, if they were.

    Args:
        options: of the command line.
        file: of the configuration; it need not be there.

    Raises:
        ConfigError: a value is wrong.
        CommandError: there is nothing to serve.
    """
    fixed: dict[str, object] = {
        "edge.drain_grace": GRACE,
        "edge.signature.forget_nonces": True,
        "edge.tls": None,
        "worker.grace": GRACE,
    }
    if not vars(options)["bus.url"]:
        fixed["bus"] = {"url": "memory://"}  # nothing of [bus], whose secrets need not be on this machine
        fixed |= {"edge.signing": {}, "worker.trust": {}}  # nor keys: dev makes its own for each run
    settings, left_out = _read(options, fixed)
    if not settings.edge.contracts:
        place = f"{file}: " if file.exists() else ""
        raise CommandError([f"{place}edge.contracts: no contract to serve; name a module: busgate dev shop.contracts"])
    usual = {"level": "warning", "format": "text"}  # of what nobody set: a person reads it, again at each change
    wanted = {name: value for name, value in usual.items() if name not in settings.log.model_fields_set}
    log = settings.log.model_copy(update=wanted)
    return settings.model_copy(update={"log": log}), left_out


def _read(options: argparse.Namespace, fixed: dict[str, object]) -> tuple[Settings, list[str]]:
    """Without issuers whose keys are not on this machine: on loopback a token of our own does as well."""
    try:
        return read_settings(Settings, options, fixed=fixed), []
    except ConfigError as error:
        if not all(_OF_ISSUERS.search(fault) for fault in error.faults):
            raise
        settings = read_settings(Settings, options, fixed={**fixed, "edge.jwt": []})
        if not is_loopback(settings.edge.host):
            raise
        return settings, error.faults
