"""An edge whose contracts are answered by examples says so, wherever one would look."""

import asyncio
import json
import signal
import urllib.request
from pathlib import Path

from support.command import Run, Start

CONFIG = """\
[bus]
url = "memory://"

[edge]
contracts = "hello.contracts"
mock = ["hello.*"]
"""


def get(url: str) -> tuple[str, str | None]:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=20) as answer:
        return answer.read().decode(), answer.headers["Busgate-Mock"]


async def test_without_a_service_examples_answer_and_everybody_is_told(
    start: Start, folder: Path, free_ports: list[int]
) -> None:
    (folder / "busgate.toml").write_text(CONFIG)
    port, admin = free_ports
    dev = await start("dev", f"--config={folder / 'busgate.toml'}", f"--port={port}", f"--admin-port={admin}")

    told = await dev.until("answered by examples, not by services")
    body, mark = await asyncio.to_thread(get, f"http://127.0.0.1:{port}/greetings/ann")
    ready, _ = await asyncio.to_thread(get, f"http://127.0.0.1:{admin}/readyz")
    metrics, _ = await asyncio.to_thread(get, f"http://127.0.0.1:{admin}/metrics")
    dev.signal(signal.SIGTERM)
    await dev.ended()

    assert "hello.greet.v1" in told
    assert (json.loads(body), mark) == ({"name": "string"}, "true")
    assert json.loads(ready) == {
        "status": "ok",
        "remarks": ["answered by examples, not by services: hello.greet.v1"],
    }
    assert 'busgate_mocked{topic="hello.greet.v1"} 1' in metrics


def test_the_check_warns_of_it(run: Run, folder: Path) -> None:
    (folder / "busgate.toml").write_text(CONFIG)

    checked = run("check", "--strict")

    assert checked.returncode == 1
    assert checked.stderr == (
        "busgate: warning: busgate.toml:6: edge.mock: clients get examples for answers, and nothing is done: "
        "not where it counts\n"
    )
