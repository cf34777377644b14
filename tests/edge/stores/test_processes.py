"""Several processes take each nonce once, and one limit holds for all of them (I10, I11)."""

import asyncio
import json
import secrets
import sys

import pytest

PROCESSES, NONCES, LIMIT = 4, 300, 50

TAKER = """
import asyncio, json, sys
from busgate.edge.stores.rules import Ask, Pace
from busgate.edge.stores.settings import StoreSettings

async def main():
    store = StoreSettings.model_validate(json.loads(sys.argv[1])).open()
    await store.start()
    sys.stdin.readline()
    once = await asyncio.gather(*(store.once(f"nonce:{n}", 300) for n in range(int(sys.argv[2]))))
    ask = Ask("rate:one:a", Pace.of(int(sys.argv[3]), 36000, int(sys.argv[3])))
    verdicts = [await store.take([ask]) for _ in range(int(sys.argv[3]))]
    print(sum(once), sum(verdict.allowed for verdict in verdicts))
    await store.close()

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_processes_take_each_nonce_once_and_hold_one_limit(kind, tmp_path, redis_node):
    url = f"sqlite://{tmp_path}/store.db" if kind == "sqlite" else redis_node.url
    store = json.dumps({"url": url, "prefix": f"{secrets.token_hex(8)}:"})
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", TAKER, store, str(NONCES), str(LIMIT)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(PROCESSES)
    ]
    async with asyncio.timeout(60):
        outputs = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))

    counts = [tuple(map(int, output.split())) for output, _ in outputs]
    assert (sum(nonces for nonces, _ in counts), sum(allowed for _, allowed in counts)) == (NONCES, LIMIT)
