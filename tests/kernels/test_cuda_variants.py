"""Every CUDA variant on the harness: right against float64, and counted to the last element."""

from __future__ import annotations

from typing import Any

import pytest
import references
from cuda_cases import BOXED, CUDA, check, settings_of
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from dibench.backends import host
from dibench.kernels import Variant, registry
from dibench.layer import Layer

BY_NAME = pytest.mark.parametrize("variant", CUDA, ids=[variant.name for variant in CUDA])
EDGES = Layer(
    N=2, C=6, H=7, W=9, K=10, R=3, S=3, pad_h=1, pad_w=1, stride_h=2, groups=2
)  # tiles, chunks and warps end early; padding on every side


@BY_NAME
@settings(
    max_examples=8,
    deadline=None,  # an example may have to compile
    suppress_health_check=[HealthCheck.filter_too_much],  # variants of one operator take one layer in six
)
@given(data=st.data())
def test_right_and_counted_on_random_layers(variant: Variant, data: st.DataObject) -> None:
    layer = data.draw(references.layers(variant.ops))
    assume(layer.op in variant.ops and layer.macs < 150_000)
    knobs = data.draw(settings_of(variant, layer))
    check(
        variant,
        layer,
        knobs,
        instances=data.draw(st.integers(1, 2)),
        sms=data.draw(st.sampled_from([0, 1, 3])),
        reverse_threads=data.draw(st.booleans()),
        reverse_blocks=data.draw(st.booleans()),
    )


def knobs_for(variant: Variant, **chosen: Any) -> dict[str, Any]:
    """The chosen values of the knobs the variant has; elsewhere 1, p, ca, 2 warps, staged inputs."""
    usual = {"lanes": "p", "cache": "ca", "warps": 2, "window": 0, "stage_w": 0, "stage_x": 1}
    return {name: chosen.get(name, usual.get(name, 1)) for name in variant.knobs}


@pytest.mark.parametrize("variant", BOXED, ids=[variant.name for variant in BOXED])
@settings(max_examples=15, deadline=None)
@given(
    N=st.integers(1, 3), groups=st.sampled_from([1, 2]), Cg=st.integers(2, 7), Kg=st.integers(2, 9),
    H=st.integers(1, 9), W=st.integers(3, 70), instances=st.integers(1, 3), reverse=st.booleans(),
)  # fmt: skip
def test_one_compile_serves_all_sizes(
    variant: Variant,
    N: int, groups: int, Cg: int, Kg: int, H: int, W: int, instances: int, reverse: bool,
) -> None:  # fmt: skip
    layer = Layer(N=N, C=groups * Cg, H=H, W=W, K=groups * Kg, R=3, S=3, pad_h=1, pad_w=1, groups=groups)
    knobs = knobs_for(variant, tile_p=2, tile_k=2, tile_c=2, taps=3, stage_w=1)
    check(variant, layer, knobs, instances=instances, reverse_threads=reverse, reverse_blocks=reverse)


@pytest.mark.parametrize("variant", BOXED, ids=[variant.name for variant in BOXED])
def test_every_order_gives_the_same_bits(variant: Variant) -> None:
    knobs = knobs_for(variant, tile_p=4, tile_k=2, tile_c=2, taps=3)
    orders = [
        check(variant, EDGES, knobs, reverse_threads=threads, reverse_blocks=blocks).y.tobytes()
        for threads in (False, True)
        for blocks in (False, True)
    ]
    assert len(set(orders)) == 1


# What each knob is there to move, and nothing else. The layout knobs move sectors or the machine code.
MOVES = {
    "tile_p": {"weight_reads"},
    "tile_k": {"input_reads"},
    "tile_c": {"output_reads", "output_writes"},
    "taps": {"output_reads", "output_writes"},
    "window": {"input_reads"},
}
TURNS = [
    (variant, knob, low, high)
    for variant in BOXED
    for knob, low, high in [
        ("tile_p", 2, 4), ("tile_k", 1, 2), ("tile_c", 1, 3), ("taps", 3, 9), ("window", 0, 1)
    ]
    if knob in variant.knobs
]  # fmt: skip


@pytest.mark.parametrize(("variant", "knob", "low", "high"), TURNS)
def test_a_knob_moves_its_count_and_no_other(variant: Variant, knob: str, low: int, high: int) -> None:
    base = knobs_for(variant, tile_p=2, tile_k=1, tile_c=1, taps=3)
    few, many = (check(variant, EDGES, {**base, knob: value}) for value in (low, high))
    assert {name for name in few.counts if few.counts[name] != many.counts[name]} == MOVES[knob]
    assert all(few.counts[name] > many.counts[name] for name in MOVES[knob])


DIRECT = [variant for variant in BOXED if "stage_x" not in variant.knobs]


@pytest.mark.parametrize("variant", DIRECT, ids=[variant.name for variant in DIRECT])
def test_lanes_decide_which_operand_is_one_sector(variant: Variant) -> None:
    layer = Layer(N=1, C=4, H=8, W=8, K=64, R=1, S=1)
    across = {
        lanes: check(variant, layer, knobs_for(variant, lanes=lanes), sectors=True) for lanes in ("p", "k")
    }
    assert across["p"].counts == across["k"].counts
    requests = 64 * 64 * 4 // 32  # of 32 lanes, for each multiply-add one
    p, k = across["p"].sectors, across["k"].sectors
    assert (p["weight_sectors"], p["input_sectors"]) == (requests, 4 * requests)  # 32 positions: 128 bytes
    assert (k["weight_sectors"], k["input_sectors"]) == (16 * requests, requests)  # 2 channels to a sector


@pytest.mark.parametrize("operand", ["weight", "input"])
def test_staging_moves_reads_to_shared_memory(operand: str) -> None:
    variant = registry("cuda")["conv_output_staged"]
    # The lanes of a warp span one dimension and its warps the other: the operand that the warps share.
    knob, lanes = {"weight": ("stage_w", "k"), "input": ("stage_x", "p")}[operand]
    both = knobs_for(variant, tile_p=2, stage_w=1, stage_x=1, warps=4, lanes=lanes)
    staged, direct = check(variant, EDGES, both), check(variant, EDGES, {**both, knob: 0})
    moved = {name for name in staged.counts if staged.counts[name] != direct.counts[name]}
    assert moved == {f"{operand}_reads"}
    # As many reads as before, now of shared memory; the copy's own come from the caches, and are fewer.
    shared = staged.shared[f"{operand}_reads_shared"]
    assert (shared, direct.shared[f"{operand}_reads_shared"]) == (direct.counts[f"{operand}_reads"], 0)
    assert staged.counts[f"{operand}_reads"] - shared < shared
    assert staged.sectors[f"{operand}_sectors"] < direct.sectors[f"{operand}_sectors"]


TWINS = sorted(set(registry("cuda")) & set(registry("cpu")))


@pytest.mark.parametrize("name", TWINS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_equal_boxes_count_as_on_the_cpu(name: str, data: st.DataObject) -> None:
    cpu, cuda = registry("cpu")[name], registry("cuda")[name]
    layer = data.draw(references.layers(set(cuda.ops) & set(cpu.ops)))
    knobs = data.draw(settings_of(cuda, layer))
    shared = {knob: knobs[knob] for knob in cpu.knobs}
    assert cpu.counts_for(layer, shared) == cuda.counts_for(layer, knobs)


def test_the_stationarities_have_twins() -> None:
    assert {registry("cpu")[name].stationarity for name in TWINS} == {"output", "weight", "input", "none"}


def test_instances_do_not_mix() -> None:
    """Each instance has its own operands: equal ones give equal outputs, at the counts of one each."""
    variant = registry("cuda")["conv_output_stationary"]
    knobs = knobs_for(variant, tile_p=2, tile_k=2)
    x, w, _ = references.operands(EDGES, 2, seed=1)
    both = host.run(variant, EDGES, knobs, x, w)
    for i in range(2):
        alone = host.run(variant, EDGES, knobs, x[i : i + 1].copy(), w[i : i + 1].copy())
        assert (alone.y[0] == both.y[i]).all()
        assert {name: 2 * count for name, count in alone.counts.items()} == both.counts
