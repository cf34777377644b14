"""The benchmark's servers start and answer; nothing is measured here."""

import asyncio
import json
import signal
import sys
import urllib.request
from pathlib import Path

from support.management import Vhost
from support.ports import free_port

ROOT = Path(__file__).resolve().parent.parent.parent


async def test_bench_serve_prints_a_token_that_works_and_ends_cleanly(vhost: Vhost) -> None:
    port = free_port()
    command = ["-m", "bench.serve", "--bus", vhost.url, "--port", str(port)]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(60):
            assert process.stdout is not None
            address = (await process.stdout.readline()).decode().split()
            token = (await process.stdout.readline()).decode().strip()

            answer = await asyncio.to_thread(_post, address[1], token)
            process.send_signal(signal.SIGINT)
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()

    assert address[0] == "POST"
    assert answer == {"a": 1, "b": "x"}
    assert code == 0


def _post(url: str, token: str) -> object:
    name, value = token.split(": ", 1)
    headers = {name: value, "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, b'{"a":1,"b":"x"}', headers), timeout=10) as answer:
        return json.load(answer)
