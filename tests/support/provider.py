"""Which RabbitMQ the tests get: a container, else a private node, installed first if it must be."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from support.broker import BrokerError, RabbitNode
from support.container_node import ContainerNode, have_image, wanted_image
from support.private_node import PrivateNode, find_scripts

Say = Callable[[str], None]
POLICY = Path("/usr/sbin/policy-rc.d")
NOTHING = (
    "no RabbitMQ for the tests: install rabbitmq-server, or start Docker, or set AMQP_URL (and AMQP_MANAGEMENT_URL)"
)


def find_node(say: Say) -> Callable[[], RabbitNode]:
    """What makes a node of the suite's own; `BrokerError` where there can be none."""
    image = wanted_image()
    if image and have_image(image, say):
        return partial(ContainerNode, image)
    return find_private_node(say)


def find_private_node(say: Say) -> Callable[..., PrivateNode]:
    """The same for a node on this machine, whose files the test writes."""
    scripts = find_scripts()
    if scripts is None and can_install():
        say("installing rabbitmq-server for the tests (apt-get)")
        if why := install("rabbitmq-server"):
            raise BrokerError(f"{NOTHING} ({why})")
        scripts = find_scripts()
    if scripts is None:
        raise BrokerError(NOTHING)
    return partial(PrivateNode, scripts)


def can_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(*packages: str) -> str | None:
    """Install packages of the system; why it could not be done, None when it was."""
    with _no_services_started():
        for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            done = subprocess.run(
                ["apt-get", "-qq", *command],
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
            if done.returncode:
                return f"apt-get {command[0]} failed: {' '.join(done.stderr.split())[-300:]}"
    return None


@contextmanager
def _no_services_started() -> Iterator[None]:
    """Debian starts what it installs unless this file says no."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()
