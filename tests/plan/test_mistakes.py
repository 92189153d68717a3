"""What is wrong with a plan is said in one clear line, and odd plans are no crash."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_kernels import CONV, FAST, FC, THOUSAND, make, three_kernels

from dibench import kernels, models, plan
from dibench.errors import UserError
from dibench.kernels import Variant
from dibench.plan import file as plan_file
from dibench.plan import layers


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Variant]:
    return three_kernels(tmp_path_factory.mktemp("kernels"))


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
    monkeypatch.setattr(layers, "MOST_CASES", 7)
    text = FC + "[[kernels]]\nvariants = 'boxed'\ntile_p = [1, 2, 4, 8]\ntile_k = [1, 2]\n"
    with pytest.raises(
        UserError, match=r"\[\[kernels\]\] 1: must not make more than 7 combinations \(got 8\)"
    ):
        make(text, registry)


@pytest.mark.parametrize(
    ("text", "message", "models_read"),
    [
        ("[[layers]]\nnetworks = 'resnet50'\nbatches = [1, 2, 3]\n", r"1: networks: .* \(got 162\)", 1),
        (f"[[layers]]\nlayers = 'resnet50/conv1'\nbatches = {THOUSAND}\n", r"1: layers: .* \(got 1001\)", 0),
        (2 * "[[layers]]\ngrid = {N=[1, 2], C=[1, 2], H=1, W=1, K=[1, 2], R=1, S=1}\n" + 13 * FC
         + f"[[layers]]\ngrid = {{N={THOUSAND[:80]}, C=1, H=1, W=1, K=1, R=1, S=1}}\n",
         r"16: grid: .* \(got 109\)", 0),
    ],
)  # fmt: skip
def test_layers_are_counted_before_they_are_made_those_of_all_tables_together(
    text: str,
    message: str,
    models_read: int,
    registry: Mapping[str, Variant],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[Any] = []
    monkeypatch.setattr(layers, "MOST_CASES", 100)
    for name in ("load", "find"):
        monkeypatch.setattr(models, name, partial(_noted, read, getattr(models, name)))
    with pytest.raises(UserError, match=rf"\[\[layers\]\] {message}"):
        make(text + FAST, registry)
    assert len(read) == models_read


def _noted(read: list[Any], call: Callable[..., Any], *args: Any, **options: Any) -> Any:
    read.append(args)
    return call(*args, **options)


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
        UserError, match=r"plan: must be a file, a model or one of the presets .*perhaps smoke \(got 'smok'\)"
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


@pytest.mark.slow
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
        plan.make_plan(file, backend="cpu", seed=1, registry=kernels.registry("cpu"))
