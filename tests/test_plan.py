"""Plans: what makes a case, which cases a plan makes, and one clear line for what is wrong with a plan."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dibench import anchors, backends, plan, variants
from dibench.errors import UserError
from dibench.intensity import OPERATORS
from dibench.layer import Layer
from dibench.measure.settings import Settings
from dibench.plan import Case, Plan, expand, ordering
from dibench.plan import file as plan_file
from dibench.sweep import duration
from dibench.variants import STATIONARITIES, Variant

HEADER = """/* A kernel for tests.
[variant]
ops          = {ops}
stationarity = "{stationarity}"
fast         = {fast}
teaches      = "nothing"
{further}
counts.macs_executed = "1"
counts.weight_reads  = "1"
counts.input_reads   = "1"
counts.output_reads  = "1"
counts.output_writes = "1"
*/
"""
ALL_OPS = str(list(OPERATORS)).replace("'", '"')
BOXED = """
knobs.tile_p = [1, 2, 4, 8]
knobs.tile_k = [1, 2, 4, 8]
knobs.tile_c = "any"
knobs.taps   = "any"
requires     = ["tile_p * tile_k <= 8", "taps == 1 or taps == S or taps == R * S"]
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Variant]:
    """One boxed kernel, one without knobs, and a fast one for all but grouped layers."""
    folder = tmp_path_factory.mktemp("kernels")
    headers = {
        "boxed": HEADER.format(ops=ALL_OPS, stationarity="output", fast="false", further=BOXED),
        "plain": HEADER.format(ops=ALL_OPS, stationarity="none", fast="false", further=""),
        "quick": HEADER.format(
            ops=ALL_OPS.replace(', "grouped"', ""), stationarity="output", fast="true", further=""
        ),
    }
    for name, header in headers.items():
        (folder / f"{name}.cpp").write_text(header)
    return {name: variants.read_variant(folder / f"{name}.cpp", "cpu") for name in headers}


def make(text: str, registry: Mapping[str, Variant], seed: int = 1) -> Plan:
    file = plan_file.parse_plan(text, where="plan.toml", name="test")
    return plan.make_plan(file, backend="cpu", seed=seed, registry=registry)


def measured(made: Plan) -> list[Case]:
    return [case for case in made.cases if not case.sentinel]


FC = '[[layers]]\nlayers = "N=4,C=6,H=1,W=1,K=10,R=1,S=1"\n'
CONV = '[[layers]]\nlayers = "N=1,C=6,H=9,W=7,K=4,R=3,S=3,pad_h=1,pad_w=1"\n'
THOUSAND = list(range(1, 1002))
FAST = "[[kernels]]\nfast = true\n"


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
    assert case.case_id == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_sentinel_adds_its_order_and_nothing_else_does() -> None:
    layer = Layer.fc(N=1, C=2, K=3)

    def case(order: int, *, sentinel: bool, tier: int = 1) -> Case:
        return Case(layer=layer, backend="cpu", variant="v", order=order, sentinel=sentinel, tier=tier)

    first, second = case(1, sentinel=True), case(22, sentinel=True)
    assert first.case_id != second.case_id
    assert '"order":22,"seed":1' in second.key
    assert case(5, sentinel=False).case_id == case(6, sentinel=False, tier=2).case_id


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


# Presets, with the kernels that come with the program


@cache
def preset(name: str) -> Plan:
    return plan.load_plan(name, backend="cpu")


def kind(case: Case) -> str:
    variant = variants.registry("cpu")[case.variant]
    return "fast" if variant.fast else variant.stationarity


def test_there_are_the_five_presets() -> None:
    assert plan.presets() == ("default", "lattice", "networks", "smoke", "twins")


@pytest.mark.parametrize("name", ["default", "lattice", "networks", "smoke", "twins"])
def test_every_case_of_a_preset_is_one_that_its_kernel_runs(name: str) -> None:
    made = preset(name)
    registry = variants.registry("cpu")
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


# Bad input


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[layers]\n", r"is not TOML: .*line 1"),
        ("[plan]\nseed = 1\nseed = 2\n", r"is not TOML: .*line 3"),
        ("", r"layers: must be given"),
        ("layers = []\n", r"layers: must be one table or more, written with \[\[…\]\] \(got \[\]\)"),
        ("layers = 5\n", r"layers: must be one table or more"),
        (FC, r"kernels: must be given"),
        (FC + FAST + "[plam]\n", r"plam: is not a key here; perhaps plan"),
        ("[plan]\nbatch = 1\n" + FC + FAST, r"\[plan\]: batch: is not a key here; perhaps batches"),
        ("[plan]\nbatches = []\n" + FC + FAST, r"\[plan\]: batches: must not be an empty list"),
        ("[plan]\nbatches = [0]\n" + FC + FAST, r"\[plan\]: batches: must be from 1 to \d+ \(got 0\)"),
        ('[plan]\nbatches = "8"\n' + FC + FAST, r"batches: must be a whole number \(got '8'\)"),
        ("[plan]\nbatches = [true]\n" + FC + FAST, r"batches: must be a whole number \(got True\)"),
        ("[plan]\ninstances = nan\n" + FC + FAST, r"instances: must be a whole number \(got nan\)"),
        ('[plan]\ndata = "ones"\n' + FC + FAST, r"data: must be one of uniform, .* \(got 'ones'\)"),
        ('[plan]\nsentinel = "vgg16"\n' + FC + FAST, r"\[plan\]: sentinel: .*layer of vgg16"),
        (FC + 'networks = "all"\n' + FAST, r"must have exactly one of networks, .*networks and layers"),
        ("[[layers]]\nops = 'fc'\n" + FAST, r"\[\[layers\]\] 1: must have exactly one of .* \(got 'none'\)"),
        ('[[layers]]\nnetworks = "resnet5"\n' + FAST, r"networks: must be one of .*perhaps resnet50"),
        ('[[layers]]\nlayers = "resnet50/conv9"\n' + FAST, r"layers: .*must be a layer of resnet50"),
        ('[[layers]]\nlayers = "N=1,C=1"\n' + FAST, r"\[\[layers\]\] 1: layers: H: must be given"),
        (CONV + "max_macs = 1\n" + FAST, r"\[\[layers\]\] 1: must select at least one layer"),
        (CONV + "batches = 0.5\n" + FAST, r"batches: must be a whole number \(got 0.5\)"),
        ("[[layers]]\ngrid = {N = 1, C = 2}\n" + FAST, r"\[\[layers\]\] 1: grid: H: must be given"),
        ("[[layers]]\ngrid = {N = 1, C = 2, X = 1}\n" + FAST, r"grid: X: is not a key here"),
        (
            "[[layers]]\ngrid = {N=1, C=2, H=3, W=3, K=1, R=5, S=1}\n" + FAST,
            r"grid: must make at least one layer: R: must be at most H \+ 2\*pad_h = 3 \(got 5\)",
        ),
        (
            f"[[layers]]\ngrid = {{N={THOUSAND}, C={THOUSAND}, H=3, W=3, K=1, R=1, S=1}}\n" + FAST,
            r"grid: must not make more than 1000000 combinations \(got 1002001\)",
        ),
        ('[[layers]]\ntwins = "N=1,C=8,H=1,W=1,K=8,R=1,S=1"\n' + FAST, r"twins: must have an exact twin"),
        (
            '[[layers]]\niso_macs = {layer = "N=1,C=8,H=8,W=8,K=8,R=1,S=1,stride_h=2"}\n' + FAST,
            r"iso_macs: .*must begin with a layer of stride 1",
        ),
        (
            "[[layers]]\ntwins = {multiple = 16}\n" + FAST,
            r"\[\[layers\]\] 1: twins: max_macs: must be given",
        ),
        (
            "[[layers]]\ntwins = {multiple = 16, max_macs = 10}\n" + FAST,
            r"\[\[layers\]\] 1: twins: must make at least one pair",
        ),
        (
            "[[layers]]\ntransposed = {multiple = 16, max_macs = 10, tiles = 4}\n" + FAST,
            r"transposed: tiles: is not a key here; perhaps tile",
        ),
        (
            '[[layers]]\ntwins = "N=8,C=8,H=1,W=1,K=4,R=1,S=1"\nper_op = 2\n' + FAST,
            r"\[\[layers\]\] 1: per_op: must not stand beside twins",
        ),
        (FC + "[[kernels]]\nops = ['fc']\n", r"\[\[kernels\]\] 1: must select kernels by"),
        (FC + "[[kernels]]\nfast = 1\n", r"\[\[kernels\]\] 1: fast: must be true or false \(got 1\)"),
        (FC + "[[kernels]]\nvariants = 'boxd'\n", r"variants: must be one of boxed, plain, quick \(got"),
        (FC + "[[kernels]]\nstationarity = 'weight'\n", r"must select at least one kernel"),
        (FC + "[[kernels]]\nstationarity = 'row'\n", r"stationarity: must be one of output, weight"),
        (FC + FAST + "on = 'big'\n", r"\[\[kernels\]\] 1: on: must be the name of a \[\[layers\]\] table"),
        (FC + FAST + "tile_q = 1\n", r"\[\[kernels\]\] 1: tile_q: is not a key here; perhaps tile_"),
        (FC + FAST + "tile_p = 1\n", r"\[\[kernels\]\] 1: tile_p: must be a knob of quick \(got 1\)"),
        (
            FC + "[[kernels]]\nvariants = 'boxed'\ntile_p = [1, 3]\n",
            r"tile_p: no case can use this value: tile_p must be one of 1, 2, 4, 8 \(got 3\)",
        ),
        (
            FC + "[[kernels]]\nvariants = 'boxed'\ntile_p = 4\ntile_k = 4\n",
            r"tile_p: no case can use this value: .* <= 8 with tile_k = 4, tile_p = 4 \(got 4\)",
        ),
        (
            FC + "[[kernels]]\nvariants = 'boxed'\ntile_c = 'K'\n",
            r"""tile_c: must be a whole number or "C" \(got 'K'\)""",
        ),
        (FC + "[[kernels]]\nvariants = 'boxed'\ntile_c = 0\n", r"tile_c: must be from 1 to \d+ \(got 0\)"),
        (FC + FAST + "ops = 'standard'\n", r"\[\[kernels\]\] 1: must have a layer that can run quick"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_file_key_rule_and_value(
    text: str, message: str, registry: Mapping[str, Variant]
) -> None:
    with pytest.raises(UserError) as caught:
        make(text, registry)
    table = r"(\[\[?\w+\]\]?( \d)?: )?"
    assert re.match(rf"plan\.toml: {table}{message}", str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plan_of_too_many_cases_is_refused_before_it_is_made(
    registry: Mapping[str, Variant], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expand, "MOST_CASES", 7)
    text = FC + "[[kernels]]\nvariants = 'boxed'\ntile_p = [1, 2, 4, 8]\ntile_k = [1, 2]\n"
    with pytest.raises(
        UserError, match=r"\[\[kernels\]\] 1: must not make more than 7 combinations \(got 8\)"
    ):
        make(text, registry)


def test_files_that_are_no_plans(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"[plan]\n\xff\xfe")
    (tmp_path / "large.toml").write_bytes(b"#" * 2**21)
    for path, rule in [
        (tmp_path / "none.toml", "no such file"),
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "binary.toml", "is not TOML: no UTF-8 at byte 7"),
        (tmp_path / "large.toml", "must be at most 1048576 bytes to be a plan"),
    ]:
        with pytest.raises(UserError) as caught:
            plan.load_plan(path, backend="cpu")
        assert str(caught.value) == f"{path}: {rule}"


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(
        UserError, match=r"plan: must be a file or one of the presets .*perhaps smoke \(got 'smok'\)"
    ):
        plan.load_plan("smok", backend="cpu")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_KEYS = [
    "networks",
    "layers",
    "grid",
    "iso_macs",
    "twins",
    "batches",
    "ops",
    "per_op",
    "fast",
    "tile_p",
    "on",
]


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "plan": _VALUES | st.dictionaries(st.sampled_from(["data", "batches", "sentinel"]), _VALUES),
            "layers": _VALUES | st.lists(st.dictionaries(st.sampled_from(_KEYS), _VALUES), max_size=2),
            "kernels": _VALUES | st.lists(st.dictionaries(st.sampled_from(_KEYS), _VALUES), max_size=2),
        },
    )
)
def test_odd_values_make_a_plan_or_one_line_never_a_crash(document: dict[str, object]) -> None:
    with contextlib.suppress(UserError):
        file = plan_file.plan_of(document, where="plan.toml", name="test")
        plan.make_plan(file, backend="cpu", seed=1, registry=variants.registry("cpu"))


# The rest


def test_plans_know_the_distributions_that_backends_make() -> None:
    assert plan_file.DISTRIBUTIONS == backends.DATA


def test_expected_time_is_overhead_and_windows_within_the_budget(registry: Mapping[str, Variant]) -> None:
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
    assert duration.expected_s(made.cases, variants.registry("cpu"), Settings(), threads=2) < 150


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


@pytest.mark.parametrize("backend", ["cpu", "cuda"])
def test_both_halves_of_every_generated_pair_count_alike(backend: str) -> None:
    registry = variants.registry(backend)
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
