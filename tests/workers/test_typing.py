"""A handler of the wrong type fails mypy, and says where."""

import os
import re
import sys
from pathlib import Path

import pytest
from mypy import api

SNIPPET = '''
from typing import assert_type
from pydantic import BaseModel
from busgate.bus import Client
from busgate.contracts import Call, Problem, http
from busgate.workers import Context, Service

class Ask(BaseModel):
    what: str

class Loud(Ask):
    volume: int

class Reply(BaseModel):
    text: str

class LongReply(Reply):
    more: str

class Closed(Problem):
    """The desk is closed."""
    status = 409
    until: str

ask = Call("test.ask.v1", http.post("/ask"), request=Ask, reply=Reply, errors=[Closed])
service = Service("desk")

# -- good

@service.handles(ask)
async def good(request: Ask, context: Context) -> Reply:
    reply = await context.call(ask, request)
    assert_type(reply, Reply)
    return reply

@service.handles(ask, cancel_at_deadline=False, prefetch=4)
def good_plain(request: Ask, context: Context) -> Reply:
    reply = context.call_blocking(ask, request)
    assert_type(reply, Reply)
    return reply

@service.handles(ask)
async def good_narrower_reply(request: Ask, context: Context) -> LongReply:
    return LongReply(text=request.what, more="")

@service.handles(ask)
async def good_wider_request(request: BaseModel, context: Context) -> Reply:
    raise Closed("come back later", until="noon")

async def test_of_an_author(context: Context) -> None:
    assert_type(await good(Ask(what="a"), context), Reply)
    assert_type(good_plain(Ask(what="a"), context), Reply)

async def test_of_a_script(bus: Client) -> None:
    assert_type(await bus.call(ask, Ask(what="a"), timeout=2), Reply)

# -- bad

@service.handles(ask)  # bad: "handles"
async def wrong_request(request: Reply, context: Context) -> Reply:
    return request

@service.handles(ask)  # bad: "handles"
async def narrower_request(request: Loud, context: Context) -> Reply:
    raise NotImplementedError

@service.handles(ask)  # bad: "handles"
async def wrong_reply(request: Ask, context: Context) -> Ask:
    return request

@service.handles(ask)  # bad: "handles"
async def maybe_no_reply(request: Ask, context: Context) -> Reply | None:
    return None

@service.handles(ask)  # bad: "handles"
def wrong_plain_reply(request: Ask, context: Context) -> str:
    return request.what

@service.handles(ask)  # bad: "handles"
async def no_context(request: Ask) -> Reply:
    return Reply(text=request.what)

@service.handles(ask)  # bad: "handles"
async def one_more(request: Ask, context: Context, more: int) -> Reply:
    return Reply(text=request.what)

async def bad_uses(context: Context) -> None:
    await context.call(ask, Reply(text=""))  # bad: "call"
    reply: Ask = await context.call(ask, Ask(what=""))  # bad: a variable of another type
    context.call_blocking(ask, Reply(text=""))  # bad: "call_blocking"

async def bad_script(bus: Client) -> None:
    await bus.call(ask, Reply(text=""))  # bad: "call"
    said: Ask = await bus.call(ask, Ask(what=""))  # bad: a variable of another type

def bad_problem() -> None:
    raise Closed("come back later", until=5)  # bad: a field of the wrong type
'''

BAD_LINES = {number for number, line in enumerate(SNIPPET.splitlines(), 1) if "# bad: " in line}


@pytest.mark.slow
def test_mypy_accepts_good_handlers_and_refuses_each_bad_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run as an author's project would: its own folder, busgate as it is installed."""
    (tmp_path / "services.py").write_text(SNIPPET)
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\nplugins = pydantic.mypy\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MYPYPATH", raising=False)

    out, err, _ = api.run(["--python-executable", sys.executable, "--cache-dir", os.devnull, "services.py"])

    found = {int(line): text for line, text in re.findall(r"^services\.py:(\d+): error: (.*)$", out, re.MULTILINE)}
    assert err == ""
    assert found.keys() == BAD_LINES, out
