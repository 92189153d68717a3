"""The registry: what a kernel file's header must say, which formulas are let through, what is refused."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from dibench.errors import UserError
from dibench.kernels import COUNTS, read_variant, registry, source_directory, sources_sha
from dibench.kernels.counting import HELPERS
from dibench.kernels.formula import Definition, Formula, FormulaError, Scope, read_definitions
from dibench.layer import Layer

HEADER = """/* A kernel that does nothing.
[variant]
ops          = ["pointwise", "fc"]
stationarity = "output"
fast         = false
teaches      = "how to be brief"
knobs.tile_p = [1, 2]
knobs.tile_c = "any"
requires     = ["tile_p * tile_c <= 8"]
counts.macs_executed = "K * C"
counts.weight_reads  = "K * C // tile_p"
counts.input_reads   = "ceil_div(C, lanes) * threads"
counts.output_reads  = "0 if tile_c == C else row_length()"
counts.output_writes = "min(P, Q)"
*/
"""
POINTWISE = Layer(N=1, C=16, H=4, W=8, K=2, R=1, S=1)


def read(tmp_path: Path, text: str) -> object:
    path = tmp_path / "idle.cpp"
    path.write_text(text)
    return read_variant(path, "cpu")


def test_a_header_becomes_a_variant(tmp_path: Path) -> None:
    path = tmp_path / "idle.cpp"
    path.write_text(HEADER)
    variant = read_variant(path, "cpu")
    assert (variant.name, variant.summary, variant.fast) == ("idle", "A kernel that does nothing.", False)
    assert dict(variant.knobs) == {"tile_p": (1, 2), "tile_c": "any"}
    counts = variant.counts_for(POINTWISE, {"tile_p": 2, "tile_c": 4}, lanes=8, threads=3)
    assert list(counts.values()) == [32, 16, 6, 32, 4]
    assert tuple(counts) == COUNTS


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[variant]", "[kernel]", r"idle.cpp: \[variant\]: must stand in the first comment"),
        ('"output"', '"sideways"', r"stationarity: must be one of output.*got 'sideways'"),
        ('"fc"]', '"attention"]', r"ops: must list some of standard"),
        ('"fc"]', '["fc"]]', r"ops: must list some of standard"),
        ('["tile_p * tile_c <= 8"]', '"tile_p < 8"', r"requires: must be a list of words.*got 'tile_p < 8'"),
        ("false", '"no"', r"fast: must be true or false"),
        ("teaches", "teach", r"teaches: must be given"),
        ("tile_p = [1, 2]", "tile_q = [1, 2]", r"knobs.tile_q: must be one of tile_p"),
        ("[1, 2]", "[]", r'knobs.tile_p: must be "any" or a list'),
        ("[1, 2]", "[1, -2]", r'knobs.tile_p: must be "any" or a list'),
        ("K * C\"", "K * D\"", r"counts.macs_executed: unknown name 'D'"),
        ("K * C\"", "K / C\"", r"counts.macs_executed: may not use Div"),
        ("K * C\"", "K *\"", r"counts.macs_executed: is not an expression"),
        ("ceil_div", "eval", r"counts.input_reads: calls 'eval', which neither the header"),
        ("min(P, Q)", "P.__class__", r"counts.output_writes: may not use Attribute"),
        ("min(P, Q)", "[P for P in (1,)]", r"counts.output_writes: may not use"),
        ("counts.output_reads", "counts.reads", r"counts: must have exactly"),
        ("ops ", "ops = ", r"\[variant\]: must be TOML"),
    ],
)  # fmt: skip
def test_a_header_that_breaks_a_rule_is_refused_by_field(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in HEADER
    with pytest.raises(UserError, match=message):
        read(tmp_path, HEADER.replace(old, new, 1))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("dtypes", '["fp8"]', r"dtypes: must list some of fp32, tf32, fp16, bf16 \(got \['fp8'\]\)"),
        ("constants", '["R", "tile_p"]', r"constants: must list some of N, C, H"),
        ("arch", '"sm_90"', r'arch: must be ">=NN", the least compute capability'),
        ("grid", '"N * sms"', r"grid: unknown name 'sms'"),
        ("spill_bytes", '"none"', r"spill_bytes: must be a whole number"),
        ("prefer.tile_p", '"2"', r"prefer: must be a table of lanes, cache, warps"),
    ],
)
def test_a_launch_that_breaks_a_rule_is_refused_by_field(
    tmp_path: Path, field: str, value: str, message: str
) -> None:
    lines = (source_directory() / "cuda" / "conv_no_reuse.cu").read_text().splitlines(keepends=True)
    lines = [line for line in lines if line.split("=")[0].strip() != field]
    at = next(i for i, line in enumerate(lines) if line.startswith("counts."))
    path = tmp_path / "kernel.cu"
    path.write_text("".join([*lines[:at], f"{field} = {value}\n", *lines[at:]]))
    with pytest.raises(UserError, match=message):
        read_variant(path, "cuda")


@pytest.mark.parametrize(
    ("layer", "knobs", "message"),
    [
        (POINTWISE, {"tile_p": 3, "tile_c": 1}, r"tile_p: must be one of 1, 2 \(got 3\)"),
        (POINTWISE, {"tile_p": 1, "tile_c": 0}, r"tile_c: must be at least 1 \(got 0\)"),
        (POINTWISE, {"tile_p": 1}, r"tile_c: must be given"),
        (POINTWISE, {"tile_p": 1, "tile_c": 1, "taps": 1}, r"taps: is no knob of it \(has tile_p, tile_c\)"),
        (
            POINTWISE,
            {"tile_p": 2, "tile_c": 5},
            r"tile_p: must satisfy tile_p \* tile_c <= 8 with tile_c = 5, tile_p = 2",
        ),
        (Layer(N=1, C=1, H=3, W=3, K=1, R=3, S=3), {}, r"op: idle runs pointwise, fc \(got 'standard'\)"),
    ],
)
def test_a_case_beyond_a_limit_is_refused_with_limit_and_value(
    tmp_path: Path, layer: Layer, knobs: dict[str, int], message: str
) -> None:
    path = tmp_path / "idle.cpp"
    path.write_text(HEADER)
    variant = read_variant(path, "cpu")
    with pytest.raises(UserError, match=message):
        variant.check(layer, knobs)
    assert not variant.allows(layer, knobs)


def test_a_refusal_shows_the_lists_of_the_header() -> None:
    layer = Layer(N=1, C=16, H=8, W=8, K=16, R=1, S=1)
    with pytest.raises(UserError, match=r"with tile_k = 8, tile_p = 32, tiles = \(\(128, 128, 1, "):
        registry("cuda")["conv_implicit_gemm"].check(layer, {"tile_p": 32, "tile_k": 8, "splits": 1})


def test_formulas_know_tuples_and_logic() -> None:
    formula = Formula.parse("S in (3, 5) and not S == 5 or S > 9", Scope("S"))
    assert [bool(formula.value({"S": s})) for s in (3, 5, 10)] == [True, False, True]


ROOM = Scope({"P", "Q", "lanes", "order"}, words=frozenset({"order"}))
DEFINED = {
    "half(n)": "ceil_div(n, 2)",
    "pitch": "Q + lanes - 1",
    "pairs": [[1, 10], [2, 20]],
    "sizes": [4, 8],
    "held": "sum(half(p) for p in range(0, P, 2) if p > 0)",
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("half(P) * pitch", 5 * 10),
        ("held", 1 + 2 + 3 + 4),
        ("sum(a * b for a, b in pairs)", 50),
        ("first(b for a, b in pairs if a * 8 > P)", 20),
        ("max(n for n in sizes) if any(n == lanes for n in sizes) else lanes in sizes", 8),
        ("sum(p * q for p in range(1, 3) for q in range(p))", 0 + 0 + 2),
        ("sum(lanes for lanes in range(3)) + lanes", 3 + 4),
        ("(P, lanes) in ((9, 4), (8, 4)) and order in ('rows', 'columns')", True),
    ],
)
def test_formulas_know_what_the_header_defines(text: str, value: int) -> None:
    definitions = read_definitions(DEFINED, ROOM)
    formula = Formula.parse(text, Scope(ROOM.names, ROOM.words, definitions))
    assert formula.value({"P": 9, "Q": 7, "lanes": 4, "order": "rows"}) == value


def test_formulas_know_the_values_of_a_knob(tmp_path: Path) -> None:
    """Those of numbers, under the name that they have in the header; nothing else has a dot."""
    header = HEADER.replace("requires", 'define.most = "max(4 * n for n in knobs.tile_p)"\nrequires')
    for listed, most in (("[1, 2]", 8), ("[1, 2, 3]", 12)):
        path = tmp_path / "idle.cpp"
        path.write_text(header.replace("<= 8", "<= most").replace("[1, 2]", listed))
        allowed = [read_variant(path, "cpu").allows(POINTWISE, {"tile_p": 2, "tile_c": c}) for c in (4, 5, 6)]
        assert allowed == [most >= 8, most >= 10, most >= 12]
    known = Scope("P", definitions={"knobs.tile_p": Definition(rows=(1, 2))})
    assert Formula.parse("P in knobs.tile_p", known).value({"P": 2})
    assert Formula.parse("P in knobs.tile_p", known).lists == {"knobs.tile_p": (1, 2)}
    for wrong in ("sum(n for n in knobs.tile_c)", "knobs.tile_p * 2", "P in P.tile_p", "sum(knobs.tile_p)"):
        with pytest.raises(ValueError, match=r"may (only loop over|not use)|needs a loop"):
            Formula.parse(wrong, known)


def test_a_definition_means_the_knob_even_where_a_parameter_has_its_name() -> None:
    definitions = read_definitions({"own": "lanes * 2", "of(lanes)": "own + lanes"}, ROOM)
    formula = Formula.parse("of(100)", Scope({"lanes"}, definitions=definitions))
    assert formula.value({"lanes": 3}) == 106
    assert formula.names == {"lanes"}, "a refusal shows every value that it follows from"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("P", "1", r"define.P: must be a name in small letters"),
        ("f()", "1", r"define.f\(\): must be a name in small letters, or name\(parameter"),
        ("lanes", "1", r"define.lanes: must be a new name: lanes has a meaning already"),
        ("ceil_div(a)", "1", r"must be a new name: ceil_div"),
        ("half", "1", r"must be a new name: half"),
        ("f(a, a)", "a", r"define.f\(a, a\): must name each parameter once"),
        ("f(a)", [1], r"must be a formula, as a function is"),
        ("f", [[1], [1, 2]], r"must be a formula, or a list"),
        ("f", 1.5, r"must be a formula, or a list"),
        ("f", "f + 1", r"define.f: unknown name 'f'"),
        ("f", "later(1)", r"calls 'later', which neither the header nor kernels.counting defines"),
        ("f", "half", r"half takes 1 arguments, not 0"),
        ("f", "half(1, 2)", r"half takes 1 arguments, not 2"),
        ("f(a)", "a(1)", r"calls 'a'"),
        ("f", "P ** 2", r"may not use Pow"),
        ("f", "layer", r"unknown name 'layer'"),
        ("f", "order * 10", r"may only compare order, which is a word"),
        ("f", "'ab' * P", r"may only compute with whole numbers"),
        ("f", "(1, 2) * P", r"may only compare tuples"),
        ("f", "pairs * 2", r"may only loop over pairs"),
        ("f", "sum(pairs)", r"sum needs a loop"),
        ("f", "min(P)", r"min needs two numbers, or a loop"),
        ("f", "sum(a for a in pairs)", r"loops with 1 names over rows of 2"),
        ("f", "sum(a for a, b in sizes)", r"loops with 2 names over rows of 1"),
        ("f", "sum(a for a in half)", r"may only loop over range"),
        ("f", "sum(_a for _a in range(3))", r"may only loop with names in small letters"),
        ("f", "sum(sum(c for c in (a for a in range(3))) for b in range(2))", r"may only loop over range"),
        ("f", "[a for a in range(3)]", r"may not use ListComp"),
        ("f", "(lambda: 1)()", r"may only call functions by name"),
        ("f", "1" + " + 1" * 100_000, r"is (nested too deeply|not an expression|longer than)"),
    ],
)  # fmt: skip
def test_a_definition_that_breaks_a_rule_is_refused_by_name(key: str, value: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_definitions({**DEFINED, key: value} if key != "half" else {"half(n)": "n", key: value}, ROOM)


def test_definitions_cannot_take_unbounded_time_or_memory() -> None:
    doubling = {"x0": "P + P"} | {f"x{n}": f"x{n - 1} * x{n - 1}" for n in range(1, 40)}
    with pytest.raises(
        UserError, match=r"define.x1\d: is longer than 100,000 terms, definitions written out"
    ):
        read_definitions(doubling, ROOM)
    formula = Formula.parse("sum(p * q for p in range(P) for q in range(P))", ROOM)
    with pytest.raises(FormulaError, match=r"its loops take more than 100,000,000 steps"):
        formula.value({"P": 2**31 - 1})
    with pytest.raises(FormulaError, match=r"no item of its loop fits"):
        Formula.parse("first(p for p in range(P) if p > P)", ROOM).value({"P": 3})


def test_a_field_may_not_use_through_a_definition_what_it_may_not_use_itself(tmp_path: Path) -> None:
    header = HEADER.replace("requires", 'define.wide = "lanes * 2"\nrequires').replace("<= 8", "<= wide")
    with pytest.raises(UserError, match=r"idle.cpp: requires: unknown name 'lanes', which wide uses"):
        read(tmp_path, header)
    with pytest.raises(UserError, match=r"idle.cpp: define.wide: unknown name 'width'"):
        read(tmp_path, header.replace('"lanes * 2"', '"width * 2"'))


def test_every_definition_of_a_header_is_used() -> None:
    for backend in ("cpu", "cuda"):
        for variant in registry(backend).values():
            text = variant.path.read_text(encoding="utf-8").partition("*/")[0]
            for name in re.findall(r'(?m)^define\."?([a-z][a-z0-9_]*)', text):
                uses = len(re.findall(rf"\b{name}\b", re.sub(r"(?m)^#.*", "", text)))
                assert uses > 1, f"{variant.path}: define.{name} is used nowhere"


def test_a_helper_of_formulas_is_shared() -> None:
    headers = [
        variant.path.read_text(encoding="utf-8").partition("*/")[0]
        for backend in ("cpu", "cuda")
        for variant in registry(backend).values()
    ]
    bodies = {name: inspect.getsource(helper).partition(chr(34) * 3)[2] for name, helper in HELPERS.items()}
    for name in HELPERS:
        users = [text for text in headers if re.search(rf"\b{name}\(", text)]
        users += [body for other, body in bodies.items() if other != name and re.search(rf"\b{name}\(", body)]
        assert len(users) > 1, f"{name}: what one kernel alone needs belongs into its header"


def test_every_kernel_file_is_a_variant() -> None:
    files = {path.stem for path in (source_directory() / "cpu").glob("*.cpp")}
    assert files == set(registry("cpu"))


def test_the_sources_hash_follows_every_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu").mkdir()
    monkeypatch.setattr("dibench.kernels.source_directory", lambda: tmp_path)
    seen = []
    for name, text in [("a.cpp", "1"), ("a.cpp", "2"), ("box.h", "2"), ("notes.txt", "2")]:
        (tmp_path / "cpu" / name).write_text(text)
        sources_sha.cache_clear()
        seen.append(sources_sha("cpu"))
    sources_sha.cache_clear()
    assert len(set(seen)) == 3
    assert seen[2] == seen[3], "only what is compiled counts"


def test_an_unknown_backend_is_named() -> None:
    with pytest.raises(UserError, match=r"backend: must be one of cpu.*got 'abacus'"):
        registry("abacus")
