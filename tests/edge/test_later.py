"""What is begun only when somebody waits for it. That nobody complains of the rest: warnings are errors here."""

import gc

from busgate.edge.later import Later


async def test_what_nobody_waits_for_is_not_begun_and_nothing_complains():
    begun: list[str] = []

    async def inner() -> str:
        begun.append("inner")
        return "done"

    async def outer(wait: Later[str]) -> str:
        begun.append("outer")
        return await wait

    Later(lambda: outer(Later(inner)))
    gc.collect()
    assert begun == []

    assert await Later(lambda: outer(Later(inner))) == "done"
    assert begun == ["outer", "inner"]
