"""docker-compose.yml and what it mounts, looked at without an engine. `scripts/try-compose` brings all of it up."""

import asyncio
import json
import os
import re
import secrets
import socket
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import pytest
import yaml  # type: ignore[import-untyped] # its stubs are a package of their own
from support.broker import Broker
from support.definitions import DEFINITIONS, ROOT
from support.management import Management

from busgate.edge.issuers import IssuerSettings
from busgate.edge.tokens import TokenVerifier
from busgate.ops.admin import AdminServer
from busgate.ops.catalog_settings import CatalogProcess
from busgate.ops.config import load
from busgate.ops.edge_settings import Settings

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "busgate-shop"}
ON_THE_BUS = {name: service for name, service in OURS.items() if "environment" in service}
CONFIG = ROOT / "deploy" / "compose" / "busgate.toml"


def settings_of(service: dict[str, Any]) -> Settings:
    """The configuration as its process reads it, with other secrets."""
    issuer = {"issuer": "demo", "audience": "shop", "keys": [{"secret": "s" * 32}]}
    environ = {"BUSGATE_BUS__PASSWORD": "secret", "BUSGATE_EDGE__JWT": json.dumps([issuer]), **service["environment"]}
    return load(Settings, CONFIG, environ=environ)


def secrets_of(service: dict[str, Any]) -> list[str]:
    """The volumes with secrets that it can see."""
    return [mount.partition(":")[0] for mount in service["volumes"] if "-secrets:" in mount]


def test_what_runs_is_what_was_asked_for() -> None:
    assert {"rabbitmq", "edge", "worker-1", "worker-2"} <= set(SERVICES)
    assert SERVICES["rabbitmq"]["image"] == "rabbitmq:4-management"
    assert SERVICES["worker-1"] == SERVICES["worker-2"]


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_of_our_containers_is_locked_down(name: str) -> None:
    service = OURS[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "user" not in service
    assert "privileged" not in service


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_ports_are_published_on_this_machine_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", sorted(ON_THE_BUS))
def test_each_has_a_user_of_rabbitmq_and_sees_no_other_password(name: str) -> None:
    role = name.partition("-")[0].replace("topology", "operator")

    (address,) = settings_of(ON_THE_BUS[name]).bus.addresses()

    assert (address.user, address.vhost) == (role, DEFINITIONS["vhosts"][0]["name"])
    assert secrets_of(ON_THE_BUS[name]) == [f"{role}-secrets"]


def test_no_secret_stands_in_what_is_deployed() -> None:
    urls = [service["environment"]["BUSGATE_BUS__URL"] for service in ON_THE_BUS.values()]

    assert [urlsplit(url).password for url in urls] == [None] * len(urls)
    assert not re.search(r"(password|secret)\s*[=:]\s*[\"']?[^\s{\"']", CONFIG.read_text())


def test_containers_get_more_time_to_stop_than_their_drain_takes() -> None:
    edge, worker = (SERVICES[name] for name in ("edge", "worker-1"))

    assert _seconds(edge["stop_grace_period"]) > settings_of(edge).edge.drain_grace
    assert _seconds(worker["stop_grace_period"]) > settings_of(worker).worker.grace


def _seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text[:-1])


def test_edge_and_workers_listen_where_the_health_check_asks() -> None:
    settings = settings_of(SERVICES["edge"])

    assert settings.edge.admin.port == settings.worker.admin.port == 8081
    assert f"'127.0.0.1', {settings.edge.admin.port}" in health_check()[-1]


def test_the_operator_reads_the_same_file_without_the_secrets_of_the_edge() -> None:
    settings = load(
        CatalogProcess, CONFIG, environ={"BUSGATE_BUS__PASSWORD": "secret", **SERVICES["topology"]["environment"]}
    )

    assert settings.edge.contracts == ("shop.contracts",)


def test_every_file_that_is_mounted_or_copied_is_there() -> None:
    mounts = {mount.partition(":")[0] for service in SERVICES.values() for mount in service["volumes"]}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    names = [name for name in mounts if name.startswith("./")] + " ".join(copied).split()

    assert names
    assert [name for name in names if not (ROOT / name).exists()] == []
    assert {name for name in mounts if not name.startswith("./")} == set(COMPOSE["volumes"])


def test_the_image_has_what_every_store_needs_and_what_it_may_be_built_with_is_there() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    found = re.search(r"^ARG EXTRAS=(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    documented = re.findall(r"`(edge(?:,\w+)+)`", (ROOT / "docs" / "deploying.md").read_text())

    assert found is not None
    assert {"edge", "redis"} <= set(found[1].split(","))
    assert found[1] in documented
    assert {extra for each in documented for extra in each.split(",")} <= set(extras)


# -- the health check of the image


def health_check() -> list[str]:
    """The command that the image is asked by."""
    found = re.search(r"^HEALTHCHECK .*\\\n  CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found is not None
    return list(json.loads(found[1]))


@pytest.mark.parametrize(("path", "code"), [("ready", 0), ("unready", 1), ("gone", 1)])
async def test_the_health_check_tells_ready_from_unready_and_from_gone(path: str, code: int) -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    command = [part.replace("8081", str(sock.getsockname()[1])) for part in health_check()]
    admin = AdminServer(sock, readiness=lambda: ["draining"] if path == "unready" else [], metrics=list)
    async with asyncio.timeout(30), admin:
        if path == "gone":
            await admin.close()
        environ = os.environ | {"http_proxy": "http://127.0.0.1:9"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command[1:], stderr=asyncio.subprocess.DEVNULL, env=environ
        )
        assert await process.wait() == code


# -- passwords


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As the volumes are, before the first start."""
    for name in ("edge", "worker", "operator", "rabbitmq"):
        (tmp_path / name).mkdir()
    return tmp_path


def make_secrets(folder: Path) -> dict[str, str]:
    """Run the script; all files and what they hold."""
    script, definitions = ROOT / "deploy/compose/make_secrets.py", ROOT / "deploy/rabbitmq/definitions.json"
    subprocess.run([sys.executable, script, folder, definitions], check=True, timeout=60)
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_each_role_gets_a_password_of_its_own_and_the_broker_none(folder: Path) -> None:
    files = make_secrets(folder)

    definitions = files.pop("rabbitmq/definitions.json")
    assert set(files) == {"edge/rabbitmq", "edge/jwt", "worker/rabbitmq", "operator/rabbitmq"}
    assert len(set(files.values())) == 4
    assert all(len(secret) >= 43 and secret not in definitions for secret in files.values())
    modes = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in files}
    assert set(modes.values()) == {0o400}
    assert stat.S_IMODE((folder / "rabbitmq" / "definitions.json").stat().st_mode) == 0o644  # RabbitMQ is another user


def test_a_second_start_leaves_the_passwords(folder: Path) -> None:
    first, second = make_secrets(folder), make_secrets(folder)

    del first["rabbitmq/definitions.json"], second["rabbitmq/definitions.json"]  # a new salt
    assert first == second


def test_the_token_that_is_shown_is_one_that_the_edge_takes(folder: Path) -> None:
    secret = make_secrets(folder)["edge/jwt"]
    script = ROOT / "deploy" / "compose" / "show_token.py"
    command = [sys.executable, str(script), "http://127.0.0.1:8080", str(folder / "edge" / "jwt")]
    done = subprocess.run(command, cwd=ROOT / "examples", capture_output=True, text=True, timeout=60, check=True)
    (token,) = re.findall(r"^token, .*: (\S+)$", done.stdout, re.MULTILINE)
    issuer = {**tomllib.loads(CONFIG.read_text())["edge"]["jwt"][0], "keys": [{"secret": secret}]}
    verifier = TokenVerifier([IssuerSettings.model_validate(issuer)])

    verified = verifier.verify(token)

    assert verified.scopes >= {"orders:write"}
    assert done.stdout.count("curl -i http://127.0.0.1:8080/orders") == 3


async def test_rabbitmq_takes_the_definitions_and_lets_each_user_in(folder: Path, rabbit: Broker) -> None:
    files = make_secrets(folder)
    ours = secrets.token_hex(4)
    text = files["rabbitmq/definitions.json"]
    for name in ("edge", "worker", "operator", "busgate"):  # the broker may be shared: names of our own
        text = re.sub(rf'"(name|user|vhost)": "{name}"', rf'"\1": "{name}-{ours}"', text)
    document = json.loads(text)
    try:
        await asyncio.to_thread(rabbit.management.request, "POST", "definitions", document)
        for role in ("edge", "worker", "operator"):
            await log_in(rabbit, f"{role}-{ours}", files[f"{role}/rabbitmq"], vhost=f"busgate-{ours}")
        operator = Management(rabbit.management.url, f"operator-{ours}", files["operator/rabbitmq"])
        whoami = await operator.get("whoami")
    finally:
        await rabbit.management.delete_vhost(f"busgate-{ours}")
        for role in ("edge", "worker", "operator"):
            await rabbit.management.delete_user(f"{role}-{ours}")

    assert whoami["name"] == f"operator-{ours}"


async def log_in(rabbit: Broker, user: str, password: str, *, vhost: str) -> None:
    connection = await aio_pika.connect(
        host=rabbit.address[0], port=rabbit.address[1], login=user, password=password, virtualhost=vhost
    )
    await connection.close()
