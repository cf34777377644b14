"""The first bound: the same echo on bare aiohttp, without a bus, a token, a contract or a record.

    python -m bench.bare PORT

It stands on aiohttp's low-level server, uvloop and the collector's settings of the edge. POST /hold is never
answered.
"""

import asyncio
import sys

import uvloop
from aiohttp import web

from busgate.ops.tuning import settle


async def handle(request: web.BaseRequest) -> web.StreamResponse:
    said = await request.json()
    if request.path == "/hold":
        await asyncio.Event().wait()
    return web.json_response(said)


async def main(port: int) -> None:
    server = web.Server(handle, access_log=None)
    await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, backlog=1024)
    settle()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
