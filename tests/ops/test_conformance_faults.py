"""A worker that does one thing wrong fails the check of that thing; one that does all of it well fails none."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from pydantic import BaseModel
from support.management import Vhost
from support.plain_worker import PlainWorker

from busgate.bus import Address, Topology
from busgate.bus.settings import BusSettings
from busgate.contracts import Call, http
from busgate.ops.conformance.plan import CHECKS, run_checks
from busgate.ops.conformance.probe import Probe
from busgate.ops.conformance.report import Verdict
from busgate.ops.conformance.trial import Trial

TOPIC = "shop.stock.check.v1"
REQUEST = b'{"sku":"A-1"}'


class CheckStock(BaseModel):
    sku: str


class Stock(BaseModel):
    sku: str
    available: int


contract = Call(TOPIC, http.get("/stock/{sku}"), request=CheckStock, reply=Stock)
CHECK = {check.name: check for check in CHECKS}


@pytest.fixture
async def address(vhost: Vhost) -> AsyncIterator[Address]:
    [address] = BusSettings(url=vhost.url).addresses()
    async with Topology(address) as topology:
        await topology.make([TOPIC])
        yield address


async def verdicts(
    address: Address, worker: PlainWorker, names: Sequence[str], *, reruns: bool | None = True, patience: float = 2.0
) -> list[Verdict]:
    """Run some checks on a worker."""
    stops: list[asyncio.Task[None]] = []
    async with asyncio.timeout(60), worker, Probe(address, TOPIC, caller=None, budget=patience) as probe:
        trial = Trial(
            probe,
            [REQUEST],
            contract=contract,
            reruns=reruns,
            timeout=patience,
            drain=10,
            tell=lambda _: stops.append(asyncio.create_task(worker.stop())),
        )
        found = await run_checks([CHECK[name] for name in names], trial)
        await asyncio.gather(*stops)
    return found


GOOD, FORM = "good calls are answered", "answers have the form of the page"
KNOWN = "a call that was answered is not run again"
RUNNING = "a call that runs is not run twice, and both attempts are answered"
AGAIN = "a redelivered call that was answered is not run again"
CHOICE = "a redelivered call is run or refused, as its contract says"
LATE_AGAIN = "a redelivered call after its deadline is not called too late"
MANY = "500 calls at once are answered, each once"
BACKLOG = "a backlog is not taken in one piece"
STOP = "a stop in the middle of calls fails none of them"


@pytest.mark.slow
@pytest.mark.parametrize("reruns", [True, False])
async def test_a_worker_that_does_all_of_the_page_passes_every_check(
    address: Address, vhost: Vhost, reruns: bool
) -> None:
    worker = PlainWorker(vhost.url, TOPIC, reruns=reruns)

    found = await verdicts(address, worker, list(CHECK), reruns=reruns, patience=5)

    assert [verdict for verdict in found if verdict.state != "passed"] == []
    assert len(found) == len(CHECKS)


@pytest.mark.parametrize(
    ("fault", "name", "why"),
    [
        ("crashes", GOOD, "answered urn:busgate:handler-crashed"),
        ("leaves something out", GOOD, "the reply does not match the contract: #/available (missing)"),
        ("wrong type", GOOD, "the type of the answer is 'answer'"),
        ("wrong wire", FORM, "header wire is '1'"),
        ("wrong service", FORM, "header service is None"),
        ("wrong received", FORM, "is a clock wrong?"),
        ("wrong ran", FORM, "header ran is 1.5"),
        ("wrong content type", FORM, "content_type is None"),
        ("wrong delivery mode", FORM, "delivery_mode is 2"),
        ("wrong exchange", FORM, "it came by the exchange ''"),
        ("wrong correlation", "correlation ids come back as they came", "but one to '-_.~:/ upper lower"),
        ("refuses new properties", "encodings: integers of any size, headers in any order", "integers of 8 bits"),
        ("refuses new headers", "unknown headers are ignored", "no answer"),
        ("refuses new members", "unknown members of the body are ignored", "answered urn:busgate:unreadable-request"),
        ("refuses large bodies", "large bodies are read", "a body of 200,000 bytes: no answer"),
        ("runs late ones", "a call after its deadline is not run, and says so", "not urn:busgate:too-late"),
        ("ignores what it cannot read", "what cannot be read is answered with a problem", "no answer"),
        ("dies of a return", "a caller that is gone harms nobody", "no answer"),
        ("takes any version", "dropped: wire version 2", "it was answered reply"),
        ("takes any version", "dropped: no wire version", "it was answered reply"),
        ("takes any type", "dropped: type command", "it was answered reply"),
        ("takes any type", "dropped: content type text/plain", "it was answered reply"),
        ("takes any ids", "dropped: a correlation id of 8 bytes", "it was answered reply"),
        ("takes any ids", "dropped: a call id in upper case", "it was answered reply"),
        ("takes any deadline", "dropped: a deadline as text", "it was answered reply"),
        ("takes any hops", "dropped: hops over 8", "it was answered reply"),
        ("takes any trace", "dropped: a traceparent of zeros", "it was answered reply"),
        ("takes any caller", "dropped: a caller that is no text", "it was answered reply"),
        ("takes any CC", "dropped: a header CC", "it was answered reply"),
        ("takes any CC", "dropped: carried here from another topic", "it was answered reply"),
        ("takes any reply_to", "dropped: a reply_to of another form", "into a queue of the sender's choice"),
        ("requeues", "dropped: wire version 2", "it was handed back to the queue"),
        ("never acks what it drops", "dropped: 300 in a row, and all of them acked", "ack what you drop"),
        ("runs again", KNOWN, "it ran again"),
        ("runs what runs", RUNNING, "it ran again"),
        ("runs again", AGAIN, "it ran again"),
        ("calls all of them too late", LATE_AGAIN, "it may have run elsewhere"),
        ("answers twice", MANY, "of 500 were answered more than once"),
        ("no prefetch", BACKLOG, "set a prefetch"),
        ("loses some", MANY, "were not answered within"),
        ("hands back", STOP, "count as redelivered"),
        ("never acks", STOP, "answered but not acked"),
        ("loses what it took", STOP, "neither answered nor handed back"),
    ],
)  # fmt: skip
async def test_what_is_done_wrong_fails_its_check(
    address: Address, vhost: Vhost, fault: str, name: str, why: str
) -> None:
    worker = PlainWorker(vhost.url, TOPIC, fault)

    crowded = name in (MANY, BACKLOG, STOP) and fault != "loses some"

    [verdict] = await verdicts(address, worker, [name], patience=2 if crowded else 0.5)

    assert verdict.state == "failed"
    assert why in verdict.why


@pytest.mark.parametrize(
    ("does", "should", "why"),
    [(True, False, "does not let it run twice"), (False, True, "this contract says run")],
)
async def test_a_redelivered_call_that_is_treated_otherwise_than_the_contract_says(
    address: Address, vhost: Vhost, does: bool, should: bool, why: str
) -> None:
    [verdict] = await verdicts(address, PlainWorker(vhost.url, TOPIC, reruns=does), [CHOICE], reruns=should)

    assert verdict.state == "failed"
    assert why in verdict.why


async def test_a_worker_that_refuses_what_it_answered_before(address: Address, vhost: Vhost) -> None:
    worker = PlainWorker(vhost.url, TOPIC, "refuses known ones", reruns=False)

    [verdict] = await verdicts(address, worker, [AGAIN], reruns=False)

    assert verdict.state == "failed"
    assert "answered reply and then urn:busgate:redelivered" in verdict.why


async def test_an_answer_to_what_is_no_call_is_found_even_when_it_comes_later(address: Address, vhost: Vhost) -> None:
    worker = PlainWorker(vhost.url, TOPIC, "answers later")
    names = ["dropped: wire version 2", FORM, KNOWN, "dropped: none was answered later on"]

    found = await verdicts(address, worker, names)

    assert [verdict.state for verdict in found] == ["passed", "passed", "passed", "failed"]


async def test_nothing_is_tried_on_a_worker_that_answers_no_more(address: Address, vhost: Vhost) -> None:
    found = await verdicts(address, PlainWorker(vhost.url, TOPIC, "silent"), list(CHECK), patience=0.2)

    assert found[0].state == "failed"
    assert {verdict.state for verdict in found[1:]} == {"skipped"}
    assert found[1].why == "the worker answers no call any more"


async def test_nothing_is_left_in_the_queue_when_the_worker_is_gone(address: Address, vhost: Vhost) -> None:
    """The calls that it took come back to the queue after us, and expire there."""
    await verdicts(address, PlainWorker(vhost.url, TOPIC, "never acks"), [MANY, STOP], patience=0.5)

    queues = await vhost.queues()
    async with Topology(address) as topology, asyncio.timeout(10):
        while (depth := await topology.depth(TOPIC)) and depth.ready:
            await asyncio.sleep(0.05)
    assert list(queues) == [TOPIC]


def test_every_check_has_a_name_of_its_own() -> None:
    assert len(CHECK) == len(CHECKS)
