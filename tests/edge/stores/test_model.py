"""Whatever is asked in whatever order, all stores answer as a simple model does."""

import asyncio
import secrets
import tempfile
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from support.redis_node import RedisNode
from support.stores import Clock, told

from busgate.edge.stores.memory import MemoryStore
from busgate.edge.stores.redis import RedisStore
from busgate.edge.stores.redis_url import RedisUrl
from busgate.edge.stores.rules import Ask, Pace, Tally, Verdict
from busgate.edge.stores.sqlite import SqliteStore

PACES = [Pace.of(1, 1, 1), Pace.of(5, 10, 2), Pace.of(7, 3, 7), Pace.of(1000, 0.5, 500)]
TALLIES = [Tally(1), Tally(3)]
keys = st.sampled_from(["a", "b", "c"])
spans = st.sampled_from([0, 1, 999, 10_000, 333_333, 1_000_000, 3_000_000, 86_400_000_000])


class Model:
    """Buckets that leak, counters that end, and a list of what was said."""

    def __init__(self, clock):
        self.clock = clock
        self.buckets = {}
        self.counters = {}
        self.said = {}
        self.values = {}

    def level(self, ask):
        """How many of a burst are used."""
        level, at = self.buckets.get(ask.key, (Fraction(0), 0))
        return max(Fraction(0), level - Fraction(self.clock.now - at, ask.rule.interval))

    def count(self, ask):
        count, end = self.counters.get(ask.key, (0, 0))
        return count if end > self.clock.now else 0

    def take(self, asks):
        fits = [
            self.level(ask) <= ask.rule.burst - 1 if isinstance(ask.rule, Pace) else self.count(ask) < ask.rule.limit
            for ask in asks
        ]
        if all(fits):
            for ask in asks:
                if isinstance(ask.rule, Pace):
                    self.buckets[ask.key] = self.level(ask) + 1, self.clock.now
                else:
                    self.counters[ask.key] = self.count(ask) + 1, self.clock.now + ask.lasts
        left = [
            int(ask.rule.burst - self.level(ask)) if isinstance(ask.rule, Pace) else ask.rule.limit - self.count(ask)
            for ask in asks
        ]
        return all(fits), fits, left

    def once(self, key, ttl):
        first = self.said.get(key, 0) <= self.clock.now
        if first:
            self.said[key] = self.clock.now + ttl * 1_000_000
        return first

    def get(self, key):
        value, end = self.values.get(key, (None, 0))
        return value if end > self.clock.now else None

    def put(self, key, value, ttl):
        self.values[key] = value, self.clock.now + ttl * 1_000_000


class ByTaker:
    """A store in memory, of which one pace alone is asked as an edge asks it."""

    def __init__(self, clock):
        self._store = MemoryStore(clock=clock)

    def __getattr__(self, name):
        return getattr(self._store, name)

    def take(self, asks):
        if len(asks) != 1 or not isinstance(asks[0].rule, Pace):
            return self._store.take(asks)
        standing = self._store.taker(asks[0].rule)(asks[0].key)
        return Verdict(not standing[1], [standing])


class Stores(RuleBasedStateMachine):
    node: RedisNode

    @initialize()
    def begin(self):
        self.clock = Clock()
        self.model = Model(self.clock)
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        url = RedisUrl.parse(self.node.url, prefix=f"{secrets.token_hex(8)}:")
        self.stores = [
            MemoryStore(clock=self.clock),
            ByTaker(self.clock),
            SqliteStore(Path(self.folder.name) / "store.db", clock=self.clock),
            RedisStore(url, clock=self.clock),
        ]
        self.run(lambda store: store.start())

    def teardown(self):
        if hasattr(self, "runner"):
            self.run(lambda store: store.close())
            self.runner.close()
            self.folder.cleanup()

    def run(self, what):
        """What each store says."""

        async def ask():
            return [await told(what(store)) for store in self.stores]

        return self.runner.run(ask())

    @rule(span=spans)
    def time_passes(self, span):
        self.clock.now += span

    @rule(
        paces=st.lists(st.tuples(keys, st.integers(0, len(PACES) - 1)), max_size=2, unique=True),
        tallies=st.lists(st.tuples(keys, st.integers(0, len(TALLIES) - 1)), max_size=2, unique=True),
        lasts=st.sampled_from([1, 1_000_000, 86_400_000_000]),
    )
    def take(self, paces, tallies, lasts):
        asks = [Ask(f"rate:{number}:{key}", PACES[number]) for key, number in paces]
        asks += [Ask(f"quota:{number}:{key}", TALLIES[number], lasts) for key, number in tallies]
        allowed, fits, left = self.model.take(asks)

        verdicts = self.run(lambda store: store.take(asks))
        assert verdicts == len(verdicts) * [verdicts[0]]
        assert verdicts[0].allowed == allowed
        assert [not wait for _, wait, _ in verdicts[0].standings] == fits
        assert [each for each, _, _ in verdicts[0].standings] == left

    @rule(key=keys, ttl=st.integers(1, 5))
    def once(self, key, ttl):
        assert set(self.run(lambda store: store.once(f"nonce:{key}", ttl))) == {self.model.once(key, ttl)}

    @rule(key=keys)
    def get(self, key):
        assert set(self.run(lambda store: store.get(f"cache:{key}"))) == {self.model.get(key)}

    @rule(key=keys, value=st.binary(max_size=20), ttl=st.integers(1, 5))
    def put(self, key, value, ttl):
        self.model.put(key, value, ttl)
        self.run(lambda store: store.put(f"cache:{key}", value, ttl))


@pytest.mark.slow
def test_all_stores_answer_as_the_model_does(redis_node):
    class OnThisRedis(Stores):
        node = redis_node

    run_state_machine_as_test(OnThisRedis, settings=settings(max_examples=30, stateful_step_count=40, deadline=None))
