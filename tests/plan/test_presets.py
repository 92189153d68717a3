"""The plans that come with the program, with its kernels, and how long they are expected to take."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from plan_kernels import measured, three_kernels

from dibench import kernels, plan
from dibench.intensity import OPERATORS
from dibench.kernels import STATIONARITIES, anchors
from dibench.layer import Layer
from dibench.measure.settings import Settings
from dibench.plan import Case, Plan
from dibench.plan.stages import load_stages
from dibench.sweep import duration


@cache
def preset(name: str) -> Plan:
    return plan.load_plan(name, backend="cpu")


def kind(case: Case) -> str:
    variant = kernels.registry("cpu")[case.variant]
    return "fast" if variant.fast else variant.stationarity


def test_there_are_the_five_presets() -> None:
    assert plan.presets() == ("default", "lattice", "networks", "smoke", "twins")


@pytest.mark.parametrize("name", ["default", "lattice", "networks", "smoke", "twins"])
def test_every_case_of_a_preset_is_one_that_its_kernel_runs(name: str) -> None:
    made = preset(name)
    registry = kernels.registry("cpu")
    for case in made.cases:
        registry[case.variant].check(case.layer, case.knobs)
    assert len({case.case_id for case in made.cases}) == len(made.cases)
    assert made.description


@pytest.mark.parametrize("name", ["default", "smoke"])
def test_smoke_and_default_have_every_operator_under_every_stationarity_and_fast(name: str) -> None:
    kinds = {(case.layer.op, kind(case)) for case in measured(preset(name))}
    assert kinds == {(op, stationarity) for op in OPERATORS for stationarity in (*STATIONARITIES, "fast")}


def test_default_has_enough_rows_from_several_networks() -> None:
    cases = preset("default").cases
    assert 120 <= len(cases) <= 260  # more would not fit into the five minutes of `make run`
    assert len({case.layer.name.partition("/")[0] for case in cases}) >= 6
    assert all(case.layer.name for case in cases)


def test_networks_has_every_distinct_layer_at_three_batch_sizes() -> None:
    cases = measured(preset("networks"))
    assert Counter(case.layer.N for case in cases) == {1: 572, 8: 572, 32: 572}
    assert {kind(case) for case in cases} == {"fast"}


def test_lattice_has_the_corners_of_the_box() -> None:
    boxes = {(kind(case), *case.box[:3]) for case in measured(preset("lattice"))}
    for corner in [("output", 8, 1, 1), ("output", 1, 8, 1), ("output", 8, 1, 128), ("output", 1, 8, 128)]:
        assert corner in boxes
    for held in ("output", "weight", "input"):
        assert {(held, 1, 1, 1), (held, 8, 1, 1), (held, 1, 8, 1), (held, 2, 4, 1)} <= boxes


def test_twins_has_eight_pairs_per_operator_and_their_placebo() -> None:
    cases = [case for case in measured(preset("twins")) if kind(case) == "output"]
    pairs: Counter[tuple[str, str]] = Counter()
    at = 0
    while at < len(cases):
        one, other = cases[at].layer, cases[at + 1].layer
        assert cases[at].box == cases[at + 1].box
        assert (one.op, one.macs, one.outputs) == (other.op, other.macs, other.outputs)
        if one.weights == other.weights:
            assert (one.H, one.W, one.inputs) == (other.W, other.H, other.inputs)
            pairs[one.op, "placebo"] += 1
        else:
            assert (one.weights, one.inputs) == (other.inputs, other.weights)
            pairs[one.op, "twin"] += 1
        at += 2
    operators = ("standard", "grouped", "pointwise")
    assert pairs == {
        ("fc", "twin"): 8,
        **{(op, what): 8 for op in operators for what in ("twin", "placebo")},
    }


def test_expected_time_is_overhead_and_windows_within_the_budget(tmp_path: Path) -> None:
    registry = three_kernels(tmp_path)
    measuring = Settings(warm_up_s=0.02, window_s=0.01, case_budget_s=1.0)

    def seconds(macs: int) -> float:
        layer = Layer.fc(N=1, C=1, K=macs)
        case = Case(layer=layer, backend="cpu", variant="quick")
        return duration.expected_s([case], registry, measuring, threads=2, rates={"quick": 1e6})

    assert seconds(2_000) == pytest.approx(0.1 + 0.02 + 20 * 0.01)  # 1 ms a launch
    assert seconds(40_000) == pytest.approx(0.1 + 0.02 + 20 * 0.02)  # 20 ms a launch
    assert seconds(400_000) == pytest.approx(0.1 + 1.0)  # 200 ms: the budget ends it
    assert seconds(2_000_000) == pytest.approx(0.1 + 3 * 1.0)  # 1 s: warm-up, calibration, one window


def test_default_is_expected_to_end_in_time() -> None:
    made = preset("default")
    assert duration.expected_s(made.cases, kernels.registry("cpu"), Settings(), threads=2) < 150


def test_the_lattice_of_a_gpu_has_levels_mappings_shares_and_anchors() -> None:
    cases = [case for case in plan.load_plan("lattice", backend="cuda").cases if not case.sentinel]
    layers = {(case.layer.N, case.cold) for case in cases if not case.anchor}
    assert layers == {(64, True), (2, False)}
    assert Layer(N=64, C=256, H=32, W=32, K=256, R=1, S=1).macs == 4_294_967_296
    held = [case for case in cases if case.variant == "conv_output_stationary"]
    boxes = {case.box[:3] for case in held}
    assert {(1, 1, 1), (8, 1, 1), (1, 8, 1), (1, 1, 256), (8, 4, 256), (4, 8, 256), (2, 2, 8)} <= boxes
    per_box = Counter(case.box[:3] for case in held)
    assert set(per_box.values()) == {2 * 2 * 2 * 3}, "each box on each layer, mapping, cache level and share"
    assert {(case.variant, case.sms) for case in cases if case.anchor} == {
        (name, sms) for name in anchors.registry() for sms in ("whole", "half", "quarter")
    }


def test_no_anchor_of_l1_where_l2_serves_its_loads() -> None:
    """Before sm_70; the plan says so, and the campaign's anchors are the others."""
    made = plan.load_plan("lattice", backend="cuda", arch=61)
    others = {"anchor_fma", "anchor_l2", "anchor_dram_read", "anchor_dram_write"}
    assert {case.variant for case in made.cases if case.anchor} == others
    assert made.dropped["anchor_l1: arch: must be at least sm_70"] == 3, "a share of multiprocessors each"
    campaign = load_stages(arch=61).stages
    assert {case.variant for stage in campaign for case in stage.cases if case.anchor} == others


@pytest.mark.parametrize("backend", ["cpu", "cuda"])
def test_both_halves_of_every_generated_pair_count_alike(backend: str) -> None:
    registry = kernels.registry(backend)
    cases = [case for case in plan.load_plan("twins", backend=backend).cases if not case.sentinel]
    pairs: Counter[tuple[str, str]] = Counter()
    for one, other in zip(cases[::2], cases[1::2], strict=True):
        first, second = (registry[case.variant].counts_for(case.layer, case.knobs) for case in (one, other))
        if one.layer.weights == other.layer.weights:
            assert first == second, "a placebo differs in no count"
            pairs[one.op, "placebo"] += 1
        else:
            assert (one.layer.weights, one.layer.inputs) == (other.layer.inputs, other.layer.weights)
            kept = ("macs_executed", "weight_reads", "input_reads", "output_reads", "output_writes")
            assert [first[name] for name in kept] == [second[name] for name in kept]
            pairs[one.op, "twin"] += 1
    assert min(pairs.values()) >= 8
