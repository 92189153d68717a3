"""Shards of a plan: disjoint, complete, each with sentinels, pairs whole."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dibench.errors import UserError
from dibench.kernels import registry
from dibench.plan import Case, Plan, load_plan, make_plan
from dibench.plan.file import parse_plan
from dibench.plan.shard import Shard

TWINS = """
[plan]
[[layers]]
layers = ["N=1,C=8,H=4,W=4,K=16,R=1,S=1", "N=1,C=8,H=1,W=1,K=4,R=1,S=1", "N=2,C=8,H=1,W=1,K=4,R=1,S=1"]
name = "single"
[[layers]]
twins = ["N=4,C=16,H=8,W=8,K=64,R=1,S=1", "N=2,C=24,H=8,W=8,K=64,R=1,S=1"]
name = "pairs"
[[kernels]]
variants = ["conv_output_stationary", "conv_no_reuse"]
"""


def small(seed: int = 1, shard: Shard | None = None) -> Plan:
    """Six single cases and eight in pairs, without sentinels."""
    file = parse_plan(TWINS, where="test", name="test")
    return make_plan(file, backend="cpu", seed=seed, registry=registry("cpu"), shard=shard)


def measured(plan: Plan) -> list[Case]:
    return [case for case in plan.cases if not case.sentinel]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), of=st.integers(1, 10))
def test_shards_are_disjoint_complete_and_keep_the_order(seed: int, of: int) -> None:
    whole = small(seed)
    shards = [small(seed, Shard(index, of)) for index in range(1, of + 1)]
    assert shards == [small(seed, Shard(index, of)) for index in range(1, of + 1)], "the same every time"
    ids = [case.case_id for shard in shards for case in shard.cases]
    assert len(set(ids)) == len(ids), "no case twice, sentinels included"
    order = {case.case_id: case.order for case in measured(whole)}
    assert {case.case_id for shard in shards for case in measured(shard)} == set(order)
    positions = [case.order for shard in shards for case in shard.cases]
    assert len(set(positions)) == len(positions)
    for shard in shards:
        assert shard.sha == whole.sha and shard.cases[0].sentinel and shard.cases[-1].sentinel
        assert [case.order for case in shard.cases] == sorted(case.order for case in shard.cases)
        within = [order[case.case_id] for case in measured(shard)]
        assert within == sorted(within), "measured in the plan's order"


@pytest.mark.parametrize("of", [2, 3, 7])
def test_the_halves_of_a_twin_stay_on_one_machine(of: int) -> None:
    whole = measured(small())
    # Cases that share a kernel and M but not W and X are pairs here.
    pairs: dict[Any, set[str]] = {}
    for case in whole:
        if case.layer.macs > 100_000:
            pairs.setdefault((case.variant, case.layer.macs), set()).add(case.case_id)
    assert len(pairs) == 4 and all(len(pair) == 2 for pair in pairs.values())
    for index in range(1, of + 1):
        own = {case.case_id for case in small(shard=Shard(index, of)).cases}
        assert all(pair <= own or not pair & own for pair in pairs.values())


def test_each_shard_of_the_default_plan_begins_with_what_tells_most() -> None:
    """Dealt like cards: the first cases of four shards are the plan's first four."""
    whole = measured(load_plan("default", backend="cpu"))
    first = {measured(load_plan("default", backend="cpu", shard=Shard(i, 4)))[0].case_id for i in range(1, 5)}
    assert first == {case.case_id for case in whole[:4]}


@pytest.mark.parametrize(
    "text", ["", "3", "0/2", "3/2", "-1/2", "1/0", "1/2/3", "a/b", "1 / 2", "²/3", "1/9999999"]
)
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--shard: must be such as 3/16"):
        Shard.parse(text)


def test_more_shards_than_cases_are_refused() -> None:
    with pytest.raises(UserError, match=r"--shard: must have at most 10 parts"):
        small(shard=Shard(1, 11))
