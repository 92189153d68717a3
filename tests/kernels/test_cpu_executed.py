"""What the headers promise is what the compiled inner loops do: their loads, stores and multiply-adds.

The counting build proves that the source makes as many accesses as the formula says; this file proves that
the compiler kept every one of them, and added none by spilling what should rest in registers.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import attrs
import pytest
from references import ROOT, build

from dibench.kernels import Variant, registry
from dibench.layer import Layer

NAMES = ("conv_output_stationary", "conv_weight_stationary", "conv_input_stationary", "conv_no_reuse")
BOXED = [registry("cpu")[name] for name in NAMES]
"""The variants on box.h. What their loops must do `expected` says; others would need a rule there."""


@attrs.frozen
class Loop:
    """Scalar float instructions of one innermost loop."""

    loads: int
    stores: int
    multiplies: int
    additions: int
    folded: int  # accesses inside arithmetic: plain ones, as GCC leaves volatile ones by themselves
    stack: int


@lru_cache
def commands() -> dict[str, list[str]]:
    """The compiler's command line of every object of the release build, by object (`name.isa`)."""
    listed = json.loads((build("release").parent / "compile_commands.json").read_text())
    return {Path(entry["arguments"][-1]).stem: entry["arguments"] for entry in listed}


def objects(*, kernels_only: bool = True) -> list[Path]:
    names = [name for name in commands() if name != "module"]
    return [ROOT / commands()[name][-1] for name in names if not kernels_only or not name.startswith("peaks")]


def isas() -> list[str]:
    return sorted({name.partition(".")[2] for name in commands() if "." in name})


def disassemble(path: Path) -> dict[str, list[tuple[int, str, str]]]:
    """(address, operation, operands) of every instruction, by function."""
    text = subprocess.run(
        ["objdump", "-d", "-C", "--no-show-raw-insn", str(path)], capture_output=True, text=True, check=True
    ).stdout
    functions: dict[str, list[tuple[int, str, str]]] = {}
    for line in text.splitlines():
        if function := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            current = functions.setdefault(function[1], [])
        elif instruction := re.match(r"\s*([0-9a-f]+):\s+(\S+)\s*(.*)$", line):
            current.append((int(instruction[1], 16), instruction[2], instruction[3]))
    return functions


def inner_loops(code: list[tuple[int, str, str]]) -> Iterator[Loop]:
    """Innermost loops without a branch inside: the streaming loops of whole tiles (edges ask questions)."""
    return map(tally, bodies(code))


def bodies(code: list[tuple[int, str, str]]) -> Iterator[list[tuple[int, str, str]]]:
    """The instructions of each of these loops."""
    jumps = {
        at: int(operands.split()[0], 16)
        for at, operation, operands in code
        if operation.startswith("j") and re.match(r"[0-9a-f]+ ", operands)
    }
    for end, start in jumps.items():
        if start <= end and not any(start <= at < end for at in jumps):
            yield [entry for entry in code if start <= entry[0] <= end]


def tally(body: list[tuple[int, str, str]]) -> Loop:
    seen: Counter[str] = Counter()
    for _, operation, operands in body:
        memory = "(" in operands
        seen["stack"] += "%rsp" in operands
        if re.fullmatch(r"v?movss", operation):
            seen["stores" if operands.startswith("%xmm") and memory else "loads"] += memory
        elif re.fullmatch(r"vfn?madd\d+ss", operation):
            seen["multiplies"] += 1
            seen["additions"] += 1
            seen["folded"] += memory
        elif re.fullmatch(r"v?mulss", operation):
            seen["multiplies"] += 1
            seen["folded"] += memory
        elif re.fullmatch(r"v?addss", operation):
            seen["additions"] += 1
            seen["folded"] += memory
    return Loop(**{field.name: seen[field.name] for field in attrs.fields(Loop)})


def instances(path: Path) -> dict[tuple[str, tuple[int, ...]], list[Loop]]:
    """The multiplying loops of each template instance of a variant: ("box", (4, 2)) and the like."""
    found = {}
    for function, code in disassemble(path).items():
        if name := re.search(r"\b(\w*box)(?:<([-\d, ]+)>)?\(", function):
            loops = [loop for loop in inner_loops(code) if loop.multiplies]
            if loops:
                numbers = tuple(int(n) for n in (name[2] or "").split(",") if n.strip())
                found[name[1], numbers] = loops
    return found


def promised(variant: Variant, small: Layer, large: Layer, knobs: dict[str, int], per: int = 1) -> Loop:
    """One step of the stream by the header's formulas: what a layer with `per` steps more does more."""
    more, less = (variant.counts_for(layer, knobs, lanes=1) for layer in (large, small))
    step = {name: (more[name] - less[name]) // per for name in more}
    return Loop(
        loads=step["weight_reads"] + step["input_reads"] + step["output_reads"],
        stores=step["output_writes"],
        multiplies=step["macs_executed"],
        additions=step["macs_executed"],
        folded=0,
        stack=0,
    )


def expected(variant: Variant, function: str, numbers: tuple[int, ...]) -> list[Loop]:
    """The loops an instance must have, from the formulas: first chunks (sums start at 0) and later ones.

    The layer has no edges and its streamed dimension grows from 1 to 2. Sums of a second chunk are read,
    which one chunk more shows: the difference of differences.
    """
    match variant.stationarity, numbers:
        case "output", (p, k):
            knobs = {"tile_p": p, "tile_k": k, "tile_c": 2, "taps": 1, "window": 0}
            one, two = (Layer(N=1, C=c, H=1, W=p, K=k, R=1, S=1) for c in (1, 2))
            return [promised(variant, one, two, knobs)]
        case "output", (p, k, s, stride):
            knobs = {"tile_p": p, "tile_k": k, "tile_c": 2, "taps": s, "window": 1}
            one, two = (
                Layer(N=1, C=c, H=1, W=(p - 1) * stride + s, K=k, R=1, S=s, stride_w=stride) for c in (1, 2)
            )
            return [promised(variant, one, two, knobs)]
        case "weight", (k, c, r, s):
            knobs = {"tile_p": 2, "tile_k": k, "tile_c": c, "taps": r * s}

            def row(q: int, chunks: int) -> Layer:
                return Layer(N=1, C=c * chunks, H=r, W=q - 1 + s, K=k, R=r, S=s)

            first = promised(variant, row(1, 1), row(2, 1), knobs)
            both = promised(variant, row(1, 2), row(2, 2), knobs)
            return [first, subtract(both, first)]
        case "input", (p, c, r, s, stride):
            window = int(stride > 0)
            knobs = {"tile_p": p, "tile_k": 2, "tile_c": c, "taps": r * s, "window": window}

            def channels(k: int, chunks: int) -> Layer:
                step = max(stride, 1)
                return Layer(N=1, C=c * chunks, H=r, W=(p - 1) * step + s, K=k, R=r, S=s, stride_w=step)

            first = promised(variant, channels(1, 1), channels(2, 1), knobs)
            both = promised(variant, channels(1, 2), channels(2, 2), knobs)
            return [first, subtract(both, first)]
        case "none", ():
            one, two = (Layer.fc(1, c, 1) for c in (1, 2))
            return [promised(variant, one, two, {})]
    raise AssertionError(f"{variant.name}: no rule for {function}{numbers}: say here what its loop must do")


def subtract(a: Loop, b: Loop) -> Loop:
    return Loop(*(x - y for x, y in zip(attrs.astuple(a), attrs.astuple(b), strict=True)))


def differences(variant: Variant, path: Path) -> list[str]:
    """Where the machine code of a variant's object does something else than its header says."""
    found = instances(path)
    wrong = [] if found else [f"{variant.name}: no streaming loop found"]
    for (function, numbers), loops in found.items():
        wanted = expected(variant, function, numbers)
        # A loop may exist twice (unit strides), never in another form; each form must exist.
        if set(loops) != set(wanted):
            wrong.append(f"{path.stem} {function}{numbers}: {sorted(map(str, set(loops) ^ set(wanted)))}")
    return wrong


def listed_instances(variant: Variant) -> int:
    """How many instances the tables at the end of a variant's source list."""
    return len(re.findall(r"\bbox<|window_box<", variant.path.read_text())) or 1


@pytest.mark.parametrize("variant", BOXED, ids=[variant.name for variant in BOXED])
def test_inner_loops_do_what_the_header_says(variant: Variant) -> None:
    if "base" in isas():
        pytest.skip("reads x86 machine code")
    for isa in isas():
        path = ROOT / commands()[f"{variant.name}.{isa}"][-1]
        assert len(instances(path)) == listed_instances(variant)
        assert differences(variant, path) == []


MUTANTS = {
    "accesses that the compiler may merge": (
        "conv_output_stationary", "access.h",
        "#define DIBENCH_QUALIFIER volatile", "#define DIBENCH_QUALIFIER",
    ),
    "a sum kept in a register": (
        "conv_no_reuse", "conv_no_reuse.cpp",
        "for (int64_t i = inside.first; i < inside.last; ++i, x += rows.x_step, y += rows.y_step)\n"
        "      store_output(y, mac(load_partial(y), load_weight(w), load_input(x)));",
        "float sum = *y; for (int64_t i = inside.first; i < inside.last; ++i, x += rows.x_step)\n"
        "      sum = mac(sum, load_weight(w), load_input(x)); *y = sum;",
    ),
    "weights read again for each position": (
        "conv_output_stationary", "conv_output_stationary.cpp",
        "acc[k][i] = mac(acc[k][i], w_now[k], x_now);",
        "acc[k][i] = mac(acc[k][i], load_weight(w + k * w_k), x_now);",
    ),
    "partial sums that skip memory": (
        "conv_weight_stationary", "conv_weight_stationary.cpp",
        "sum[k] = first || (edge && k >= tile.channels) ? 0.0f : load_partial(y + k * steps.y_channel);",
        "sum[k] = 0.0f;",
    ),
    "an input read once for two output channels": (
        "conv_input_stationary", "conv_input_stationary.cpp",
        "const float w_now = load_weight(w + c * steps.w_channel + r * S + s);",
        "const float w_now = *(w + c * steps.w_channel); if (k == 0) load_weight(w);",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_caught(mutant: str, tmp_path: Path) -> None:
    if "base" in isas():
        pytest.skip("reads x86 machine code")
    name, file, old, new = MUTANTS[mutant]
    for source in (ROOT / "csrc" / "cpu").iterdir():
        text = source.read_text()
        if source.name == file:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / source.name).write_text(text)
    command = commands()[f"{name}.v3"]
    output = tmp_path / f"{name}.o"
    compile_mutant = [*command[: command.index("-c") + 1], str(tmp_path / f"{name}.cpp"), "-o", str(output)]
    subprocess.run(compile_mutant, check=True, cwd=ROOT, capture_output=True)
    assert differences(registry("cpu")[name], output)


@pytest.mark.parametrize("variant", [v for v in registry("cpu").values() if not v.fast], ids=lambda v: v.name)
def test_accesses_of_a_variant_that_is_not_fast_are_volatile(variant: Variant) -> None:
    """Without DIBENCH_EXACT the compiler merges accesses that the header counts, and no count shows it."""
    command = ["g++", "-std=c++17", "-fopenmp", "-E", "-dM", str(variant.path)]
    macros = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "#define DIBENCH_QUALIFIER volatile" in macros, (
        f'{variant.path.name}: `#define DIBENCH_EXACT` must stand before `#include "access.h"`'
    )


def test_peaks_multiply_from_registers_alone() -> None:
    """Sums that lie in memory wait for their own stores: the roof would be that of the store buffer."""
    if "base" in isas():
        pytest.skip("reads x86 machine code")
    for isa in isas():
        functions = disassemble(ROOT / commands()[f"peaks.{isa}"][-1])
        for name, number in (("::multiply_adds", "ps"), ("::scalar_multiply_adds", "ss")):
            (code,) = (code for function, code in functions.items() if f"{name}(" in function)
            arithmetic = re.compile(rf"v?(mul|add|fmadd\d+){number}")
            loops = [body for body in bodies(code) if any(arithmetic.fullmatch(op) for _, op, _ in body)]
            assert len(loops) == 1, f"{isa} {name}"
            (body,) = loops
            # 12 chains: a multiply-add each, or without FMA a multiplication and an addition.
            assert sum(bool(arithmetic.fullmatch(op)) for _, op, _ in body) == (24 if isa == "v2" else 12)
            assert not [operands for _, _, operands in body if "(%" in operands], f"{isa} {name}"


TILES = {
    "pointwise_gemm": ("multiply_tile", {"v3": "4, 3", "v4": "8, 3"}),
    "standard_implicit_gemm": ("multiply_tile", {"v3": "4, 3", "v4": "8, 3"}),
    "grouped_planes": ("run_tile", {"v3": "3, 4, false", "v4": "4, 6, false"}),
    "fc_dot": ("dot_tile", {"v3": "4, 3", "v4": "4, 6"}),
}
"""The largest register tile of a fast kernel by instruction set: its template arguments."""


@pytest.mark.parametrize("name", TILES)
def test_register_tiles_follow_the_vectors_and_stay_in_registers(name: str) -> None:
    if "base" in isas():
        pytest.skip("reads x86 machine code")
    function, tiles = TILES[name]
    for isa, tile in tiles.items():
        functions = disassemble(ROOT / commands()[f"{name}.{isa}"][-1])
        (code,) = (code for signature, code in functions.items() if f"::{function}<{tile}>(" in signature)
        first, second = (int(number) for number in tile.split(", ")[:2])
        loops = [
            body
            for body in bodies(code)
            if sum(op.startswith("vfmadd") and op.endswith("ps") for _, op, _ in body) == first * second
        ]
        assert loops, f"{isa}: no loop has {first} x {second} multiply-adds"
        for body in loops:
            assert not [operands for _, _, operands in body if "(%rsp" in operands or "(%rbp" in operands]


def test_kernel_objects_have_no_weak_symbols() -> None:
    for path in objects(kernels_only=False):
        text = subprocess.run(["nm", "-C", str(path)], capture_output=True, text=True, check=True).stdout
        weak = [line for line in text.splitlines() if re.search(r"\s[VvWu]\s", line)]
        assert not weak, f"the linker may keep another machine's copy: {path.name}: {weak}"


def test_objects_use_no_more_than_their_instruction_set() -> None:
    if "base" in isas():
        pytest.skip("reads x86 machine code")
    for path in objects(kernels_only=False):
        text = subprocess.run(["objdump", "-d", str(path)], capture_output=True, text=True, check=True).stdout
        isa = path.stem.partition(".")[2]
        assert "%xmm" in text
        if isa in ("v2", "v3"):
            assert "%zmm" not in text, path.name
            assert not re.search(r"%[xy]mm(1[6-9]|2\d|3[01])|%k[1-7]\b", text), path.name
        if isa == "v2":
            assert "%ymm" not in text, path.name
            assert not re.search(r"\bvf?n?m(ul|add|ov)", text), path.name
