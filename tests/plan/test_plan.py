"""Plans: what makes a case, which cases a plan makes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

import pytest
from plan_kernels import CONV, FAST, FC, make, measured, three_kernels

from dibench.kernels import Variant
from dibench.kernels import registry as variants
from dibench.layer import Layer
from dibench.plan import Case, default_box, ordering, with_knobs
from dibench.plan import file as plan_file


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Variant]:
    return three_kernels(tmp_path_factory.mktemp("kernels"))


# What makes a case


def test_a_case_id_is_the_hash_of_canonical_json() -> None:
    layer = Layer(N=1, C=6, H=9, W=7, K=4, R=3, S=3, pad_h=1, pad_w=1, name="some/name")
    case = Case(
        layer=layer, backend="cpu", variant="boxed", tile_p=2, tile_k=4, tile_c=6, taps=9, window=0, order=17
    )
    text = (
        '{"backend":"cpu","data":"uniform","dtype":"fp32",'
        '"knobs":{"instances":1,"taps":9,"tile_c":6,"tile_k":4,"tile_p":2,"window":0},'
        '"layer":{"C":6,"H":9,"K":4,"N":1,"P":9,"Q":7,"R":3,"S":3,"W":7,"dil_h":1,"dil_w":1,"groups":1,'
        '"pad_h":1,"pad_w":1,"stride_h":1,"stride_w":1},"seed":1,"variant":"boxed"}'
    )
    assert case.key == text
    assert case.case_id == "c" + hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_sentinel_adds_its_order_and_nothing_else_does() -> None:
    layer = Layer.fc(N=1, C=2, K=3)

    def case(order: int, *, sentinel: bool) -> Case:
        return Case(layer=layer, backend="cpu", variant="v", order=order, sentinel=sentinel)

    first, second = case(1, sentinel=True), case(22, sentinel=True)
    assert first.case_id != second.case_id
    assert '"order":22,"seed":1' in second.key
    assert case(5, sentinel=False).case_id == case(6, sentinel=False).case_id


def test_a_reduction_that_one_block_does_alone_keeps_the_id_of_before_it_could_be_shared() -> None:
    layer = Layer.fc(N=1, C=64, K=64)
    box = {"tile_p": 32, "tile_k": 32, "warps": 4}
    before, alone, shared = (
        with_knobs(layer, variants("cuda")["conv_tensor_half"], box | further, dtype="bf16")
        for further in ({}, {"splits": 1}, {"splits": 2})
    )
    assert before.case_id == alone.case_id != shared.case_id
    assert alone.knobs["splits"] == 1
    assert (alone.row().knobs, shared.row().knobs) == ("warps=4", "warps=4;splits=2")


def test_a_preferred_number_of_splits_belongs_to_the_preferred_tile() -> None:
    layer = '[[layers]]\nlayers = ["N=1,C=512,H=7,W=7,K=512,R=3,S=3,pad_h=1,pad_w=1"]\n'
    kernel = '[[kernels]]\nvariants = "conv_implicit_gemm"\n'

    def splits(further: str) -> list[int]:
        made = make(layer + kernel + further, variants("cuda"), backend="cuda")
        return [case.knobs["splits"] for case in measured(made)]

    (preferred,) = splits("")
    assert preferred > 1
    assert splits("tile_p = 64\ntile_k = 64\n") == [1]
    assert sorted(splits("tile_p = 64\ntile_k = 64\nsplits = [1, 4]\n")) == [1, 4]


def test_knobs_are_those_the_kernel_has_and_the_box_fills_with_zeros() -> None:
    case = Case(layer=Layer.fc(N=1, C=2, K=3), backend="cpu", variant="v", tile_k=2, window=0)
    assert case.knobs == {"tile_k": 2, "window": 0}
    assert case.box == (0, 2, 0, 0, 0)


# Which cases a plan makes


def test_cases_are_layers_by_kernels_by_knobs(registry: Mapping[str, Variant]) -> None:
    made = make(FC + '[[kernels]]\nvariants = "boxed"\ntile_p = [1, 2]\ntile_k = [1, 4]\n' + FAST, registry)
    boxes = {case.box for case in measured(made) if case.variant == "boxed"}
    # Knobs left out: all the layer has where any value is legal.
    assert boxes == {(p, k, 6, 1, 0) for p in (1, 2) for k in (1, 4)}
    assert Counter(case.variant for case in measured(made)) == {"boxed": 4, "quick": 1}


def test_knobs_left_out_suit_each_layer_its_batch_and_the_instances() -> None:
    """Layers of one size but for the batch do not get each other's."""
    cuda = variants("cuda")
    text = """
        [plan]
        instances = [1, 64]
        batches   = [1, 8, 32]
        [[layers]]
        networks  = ["resnet50"]
        per_op    = 3
        [[kernels]]
        fast      = true
        """
    made = measured(make(text, cuda, backend="cuda"))
    assert {(case.layer.N, case.instances) for case in made} == {(N, n) for N in (1, 8, 32) for n in (1, 64)}
    for case in made:
        assert case.knobs == default_box(cuda[case.variant], case.layer, instances=case.instances)
    of_gemm = [case for case in made if case.variant == "conv_implicit_gemm"]
    assert len({tuple(case.knobs.items()) for case in of_gemm}) > 2, "the layer's tile depends on both"


def test_symbols_mean_all_that_the_layer_has(registry: Mapping[str, Variant]) -> None:
    text = CONV + '[[kernels]]\nvariants = "boxed"\ntile_c = [2, "C"]\ntaps = ["S", "RS"]\n'
    assert {case.box for case in measured(make(text, registry))} == {
        (1, 1, c, taps, 0) for c in (2, 6) for taps in (3, 9)
    }


def test_values_beyond_the_layer_are_clipped_to_legal_ones_and_merged(
    registry: Mapping[str, Variant],
) -> None:
    # A row of 7 positions holds at most a tile of 4; 6 channels hold chunks of at most 6.
    text = CONV + '[[kernels]]\nvariants = "boxed"\ntile_p = [4, 8]\ntile_c = [6, 8, 100]\n'
    assert [case.box for case in measured(make(text, registry))] == [(4, 1, 6, 9, 0)]


def test_what_does_not_fit_is_left_out_and_counted(registry: Mapping[str, Variant]) -> None:
    text = FC + '[[kernels]]\nvariants = "boxed"\ntile_p = [1, 4]\ntile_k = [2, 4]\n'
    made = make(text, registry)
    assert {case.box[:2] for case in measured(made)} == {(1, 2), (1, 4), (4, 2)}
    assert made.dropped == {"boxed: tile_p: must satisfy tile_p * tile_k <= 8": 1}


def test_a_grid_leaves_out_what_makes_no_layer(registry: Mapping[str, Variant]) -> None:
    grid = "[[layers]]\ngrid = {N = 1, C = [4, 8], H = [1, 5], W = 5, K = 4, R = 3, S = 1}\n"
    made = make(grid + FAST, registry)
    assert Counter(case.layer.H for case in measured(made)) == {5: 2}
    assert made.dropped == {"[[layers]] 1: grid: R: makes no layer": 2}


def test_filters_keep_operators_sizes_and_a_spread(registry: Mapping[str, Variant]) -> None:
    text = (
        '[[layers]]\nnetworks = "mobilenet_v1"\nbatches = [1, 8]\nops = ["pointwise", "depthwise"]\n'
        "min_macs = 1_000_000\nmax_macs = 60_000_000\nper_op = 5\n"
    )
    cases = measured(make(text + FAST, registry))
    assert Counter(case.layer.op for case in cases) == {"pointwise": 5, "depthwise": 5}
    assert all(1_000_000 <= case.layer.macs <= 60_000_000 for case in cases)
    assert all(case.layer.name.startswith("mobilenet_v1/") for case in cases)


def test_kernels_meet_the_layers_they_name(registry: Mapping[str, Variant]) -> None:
    named = FC + 'name = "small"\n' + CONV + FAST + '[[kernels]]\nvariants = "plain"\non = "small"\n'
    cases = measured(make(named, registry))
    assert {(case.layer.op, case.variant) for case in cases} == {
        ("fc", "quick"),
        ("standard", "quick"),
        ("fc", "plain"),
    }


def test_equal_shapes_under_two_names_are_one_case(registry: Mapping[str, Variant]) -> None:
    cases = measured(make('[[layers]]\nnetworks = ["resnet50", "resnet101"]\n' + FAST, registry))
    shapes = {case.layer.shape for case in cases}
    assert len(cases) == len(shapes)
    assert all(case.layer.name.startswith("resnet50/") for case in cases)


def test_twins_stand_side_by_side_and_are_left_out_together(registry: Mapping[str, Variant]) -> None:
    twins = (
        '[[layers]]\ntwins = ["N=8,C=4,H=6,W=6,K=8,R=3,S=3,pad_h=1,pad_w=1", "N=3,C=4,H=1,W=1,K=8,R=1,S=1"]'
    )
    cases = measured(make(twins + '\n[[kernels]]\nvariants = "boxed"\ntile_p = 4\ntile_k = 2\n', registry))
    # N = 3 clips tile_p = 4 to 2, which its twin of N = 8 does not: not the same box, so no pair.
    assert len(cases) == 2
    one, other = (case.layer for case in cases)
    assert (one.weights, one.inputs) == (other.inputs, other.weights)


def test_sentinels_are_the_fast_variant_throughout(registry: Mapping[str, Variant]) -> None:
    made = make('[[layers]]\nnetworks = "vgg16"\nbatches = [1, 2, 3, 4]\n' + FAST, registry)
    at = [case.order for case in made.cases if case.sentinel]
    assert at[0] == 1
    assert at[-1] == len(made.cases)
    assert max(b - a for a, b in pairwise(at)) == ordering.SENTINEL_EVERY + 1
    assert {case.layer.name for case in made.cases if case.sentinel} == {plan_file.DEFAULT_SENTINEL}
    assert {case.variant for case in made.cases if case.sentinel} == {"quick"}


def test_another_seed_gives_the_same_cases_in_another_order(registry: Mapping[str, Variant]) -> None:
    text = '[[layers]]\nnetworks = "vgg16"\nbatches = [1, 8]\n' + FAST
    one, again, other = (make(text, registry, seed) for seed in (1, 1, 2))
    ids = [[case.case_id for case in made.cases] for made in (one, again, other)]
    assert ids[0] == ids[1]
    assert ids[0] != ids[2]
    assert sorted(ids[0]) == sorted(ids[2])
    assert one.sha == other.sha
    assert [case.order for case in other.cases] == list(range(1, len(other.cases) + 1))
