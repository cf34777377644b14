"""Which plan a caller has, where several could be meant."""

import pytest

from busgate.contracts import Caller
from busgate.edge.metering.plans import Plans
from busgate.edge.metering.settings import PlanSettings
from busgate.edge.verified import VerifiedCaller

PLANS = Plans(
    [
        PlanSettings.model_validate({"concurrent": 1} | plan)
        for plan in (
            {"name": "of-issuer", "callers": [{"issuer": "shop"}]},
            {"name": "claimed", "claims": [{"name": "plan", "values": ["c", "d"]}]},
            {"name": "claimed-later", "claims": [{"name": "plan", "values": ["d", "e"]}]},
            {"name": "named", "callers": [{"issuer": "shop", "subject": "ann"}]},
            {"name": "free", "default": True},
        )
    ]
)


@pytest.mark.parametrize(
    ("caller", "key_plan", "plan"),
    [
        (Caller("ann", "shop", claims={"plan": "c"}), "claimed-later", "claimed-later"),
        (Caller("ann", "shop", claims={"plan": "c"}), "gone", "named"),
        (Caller("ann", "shop", claims={"plan": "c"}), "", "named"),
        (Caller("bob", "shop", claims={"plan": "c"}), "", "claimed"),
        (Caller("bob", "shop", claims={"plan": "d"}), "", "claimed"),
        (Caller("bob", "shop", claims={"plan": ["x", 5, "e"]}), "", "claimed-later"),
        (Caller("bob", "shop", claims={"plan": {"c": 1}}), "", "of-issuer"),
        (Caller("ann", "other"), "", "free"),
    ],
)
def test_the_nearest_plan_counts(caller, key_plan, plan):
    assert PLANS.of(VerifiedCaller(caller, 0, "key", plan=key_plan)) == plan


def test_without_a_default_a_caller_may_have_none():
    assert Plans([]).of(VerifiedCaller(Caller("ann"), 0, "jwt")) is None
