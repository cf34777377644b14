"""Many requests that wait for their answers, each on a connection of its own.

    python -m bench.hold URL --count 10000 --header "Authorization: Bearer ..."

Prints `sent` once all are on their way; when its standard input ends, it prints how many were answered, and ends.
"""

import argparse
import asyncio
import sys

import uvloop

from bench.client import Client, Target

AT_A_TIME = 64


async def main(options: argparse.Namespace) -> None:
    target = Target.of(options.url, dict(text.split(": ", 1) for text in options.header))
    turns = asyncio.Semaphore(AT_A_TIME)
    loop = asyncio.get_running_loop()
    answers: list[bytes | None] = []

    async def send() -> Client:
        async with turns:
            _, client = await loop.create_connection(
                lambda: Client(lambda _, head, __: answers.append(head)), target.host, target.port
            )
            client.send(target, 0.0)
            return client

    clients = await asyncio.gather(*(send() for _ in range(options.count)))
    print("sent", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    print(len(answers))
    for client in clients:
        client.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--header", action="append", default=[])
    uvloop.run(main(parser.parse_args()))
