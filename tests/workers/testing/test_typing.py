"""A test of an author passes mypy's strict mode without a cast, and mypy sees what is wrong with it."""

import os
import re
import sys
from pathlib import Path

import pytest
from mypy import api

SNIPPET = '''
import asyncio
from typing import assert_type
from pydantic import BaseModel
from busgate.contracts import Call, Problem, http
from busgate.contracts.failure import TIMEOUT
from busgate.edge.testing import Answer, HttpHarness
from busgate.workers import Context, Service
from busgate.workers.testing import SILENCE, Harness, StandIn

class Ask(BaseModel):
    what: str

class Reply(BaseModel):
    text: str

class Closed(Problem):
    """The desk is closed."""
    status = 409

ask = Call("test.ask.v1", http.post("/ask"), request=Ask, reply=Reply, errors=[Closed])
desk = Service("desk")

async def test_good(busgate: Harness, busgate_http: HttpHarness) -> None:
    played = busgate.stand_in(ask, TIMEOUT, SILENCE, Closed("now"), Reply(text=""), lambda asked: Reply(text=asked.what))
    assert_type(played, StandIn[Ask])
    assert_type(played.requests, list[Ask])
    busgate.deliver_twice(ask)
    async with busgate.serving(desk), busgate_http.serving(ask, "shop.contracts") as client:
        reply = await busgate.call(ask, Ask(what="a"), caller="alice", timeout=1)
        assert_type(reply, Reply)
        assert_type(await asyncio.create_task(busgate.call(ask, Ask(what="a"))), Reply)
        answer = await client.post("/ask", {"what": "a"}, caller=None, query={"a": "b"})
        assert_type(answer, Answer)
        assert_type(answer.read(Reply), Reply)

async def test_bad(busgate: Harness, busgate_http: HttpHarness) -> None:
    busgate.stand_in(ask, Ask(what=""))  # bad: no reply of it
    busgate.stand_in(ask, lambda asked: asked)  # bad: a function to something else
    async with busgate.serving(ask):  # bad: no service
        await busgate.call(ask, Reply(text=""))  # bad: no request of it
        busgate.call(ask, Ask(what="")).text  # bad: not awaited
        wrong: Ask = await busgate.call(ask, Ask(what=""))  # bad: another type
    async with busgate_http.serving(ask) as client:
        await client.post("/ask", caler="alice")  # bad: no such option
'''

BAD_LINES = {number for number, line in enumerate(SNIPPET.splitlines(), 1) if "# bad: " in line}


@pytest.mark.slow
def test_mypy_infers_the_types_of_an_authors_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run as an author's project would: its own folder, busgate as it is installed."""
    (tmp_path / "test_desk.py").write_text(SNIPPET)
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\nplugins = pydantic.mypy\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MYPYPATH", raising=False)

    out, err, _ = api.run(["--python-executable", sys.executable, "--cache-dir", os.devnull, "test_desk.py"])

    found = {int(line): text for line, text in re.findall(r"^test_desk\.py:(\d+): error: (.*)$", out, re.MULTILINE)}
    assert err == ""
    assert found.keys() == BAD_LINES, out
