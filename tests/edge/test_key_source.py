"""One source of keys by itself: when it looks again, what it uses, and how it ends."""

import asyncio
import math

from hypothesis import given, settings
from hypothesis import strategies as st
from support.issuer import Issuer, answer, jwk_set, never

from busgate.edge.compact import TokenRefused
from busgate.edge.issuer_keys import COOLDOWN, IssuerKeys
from busgate.edge.issuers import IssuerSettings
from busgate.edge.keys import KeySet, jwks_keys
from busgate.edge.tokens import TokenVerifier


async def test_an_end_while_a_look_runs_leaves_nothing_behind() -> None:
    before = asyncio.all_tasks()
    async with asyncio.timeout(10), Issuer("one") as issuer:
        issuer.serve = never
        table = IssuerSettings.model_validate(issuer.settings())
        keys = IssuerKeys([table], TokenVerifier([table]))
        (source,) = keys.sources
        source.look()
        while not issuer.requests:
            await asyncio.sleep(0.01)
        await keys.close()

    assert not {task for task in asyncio.all_tasks() - before if "keys of" in task.get_name()}
    assert source.age == math.inf


@settings(max_examples=30, deadline=None)
@given(age=st.integers(0, 10**9), refresh=st.floats(30, 86400))
def test_the_next_look_is_within_bounds_whatever_the_issuer_says(age: int, refresh: float) -> None:
    async def pause() -> float:
        async with Issuer("one") as issuer:
            table = IssuerSettings.model_validate(issuer.settings(refresh=refresh))
            issuer.publish("one", headers=f"Cache-Control: max-age={age}\r\n")
            keys = IssuerKeys([table], TokenVerifier([table]))
            await keys.start()
            wait = keys.sources[0].next_look_in
            await keys.close()
            return wait

    wait = asyncio.run(pause())

    assert COOLDOWN - 1 <= wait <= refresh
    assert wait <= max(age, COOLDOWN)


ANSWERS = st.sampled_from(["one", "two", "one two", "two one", "three", "", "404", "huge", "{}"])


@settings(max_examples=25, deadline=None)
@given(st.lists(ANSWERS, min_size=1, max_size=8))
def test_the_keys_in_use_are_always_those_of_the_last_good_answer(answers: list[str]) -> None:
    async def follow() -> None:
        async with Issuer() as issuer:
            table = IssuerSettings.model_validate(issuer.settings())
            verifier = TokenVerifier([table])
            keys = IssuerKeys([table], verifier)
            good: set[str] = set()
            for each in answers:
                issuer.serve = {
                    "404": answer(b"", status="404 Not Found"),
                    "huge": answer(b" " * 300_000),
                    "{}": answer(b"{}"),
                }.get(each, answer(jwk_set(*each.split())))
                await keys.sources[0].look()
                if not {each} & {"404", "huge", "{}", ""}:
                    good = set(each.split())
                assert {key.kid for key in keys.sources[0].keys} == good
                for kid in ("one", "two", "three"):
                    assert holds(verifier, issuer.token(kid)) == (kid in good)
            await keys.close()

    asyncio.run(follow())


def holds(verifier: TokenVerifier, token: str) -> bool:
    try:
        verifier.verify(token)
    except TokenRefused:
        return False
    return True


def test_key_sets_are_equal_by_what_they_hold() -> None:
    one, other = (jwks_keys(jwk_set(*kids)) for kids in (("one", "two"), ("two", "one")))

    assert KeySet(one) == KeySet(other)
    assert KeySet(one) != KeySet(one[:1])
    assert KeySet(one) != one
