"""What the fast kernels take of a multiprocessor: figures that a change must not make worse unnoticed.

The table has what each kernel takes today, on sm_90. A change that improves a figure tightens its line; one
that makes it worse fails with the figure. `python -m dibench variants --limits LAYER --full` shows the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from dibench.backends import host
from dibench.kernels import Variant, registry
from dibench.kernels.compilers import nvrtc, sass
from dibench.layer import Layer
from dibench.limits import main_loop
from dibench.limits.cards import CARDS
from dibench.limits.examine import limits_of
from dibench.limits.machine_code import Instruction, instructions
from dibench.limits.main_loop import MainLoop
from dibench.plan import with_knobs

CUDA = registry("cuda")
COMPILATIONS = 3
"""That all exceed a limit before a kernel counts as worse."""


@attrs.frozen
class Case:
    """A kernel on a layer."""

    variant: str
    layer: Layer
    knobs: Mapping[str, Any]
    dtype: str = "fp32"


@attrs.frozen
class Figures:
    """Of a kernel as it is, or the most of each that it may take; of `loads` the least."""

    registers: int
    loop: int
    """Instructions of the main loop."""
    conflicts: float = 1.0
    """Cycles of shared memory over those without conflicts."""
    loads: float = 0.0
    """Of a thread under way from DRAM, on average."""
    moves: int = 0
    """Between the mma of the main loop."""
    spill_bytes: int = 0


def windows(N: int = 2, C: int = 64, K: int = 128) -> Layer:
    return Layer(N=N, C=C, H=28, W=28, K=K, R=3, S=3, pad_h=1, pad_w=1)


def dense(N: int = 2, C: int = 128, K: int = 128) -> Layer:
    return Layer(N=N, C=C, H=28, W=28, K=K, R=1, S=1)


def planes(size: int, stride: int = 1) -> Layer:
    return Layer(
        N=4,
        C=64,
        H=size,
        W=size,
        K=64,
        R=3,
        S=3,
        pad_h=1,
        pad_w=1,
        stride_h=stride,
        stride_w=stride,
        groups=64,
    )


def tile(k: int, p: int, **further: int) -> dict[str, int]:
    return {"tile_k": k, "tile_p": p, **further}


LIMITS: dict[str, tuple[Case, Figures]] = {
    "gemm dense 128x128": (
        Case("conv_implicit_gemm", dense(), tile(128, 128, splits=1)),
        Figures(168, 587),
    ),
    "gemm windows 128x128": (
        Case("conv_implicit_gemm", windows(), tile(128, 128, splits=1)),
        Figures(168, 613),
    ),
    "gemm odd channels 128x128": (
        Case("conv_implicit_gemm", windows(C=63), tile(128, 128, splits=1)),
        Figures(168, 640),
    ),
    "gemm rows 128x128": (
        Case("conv_implicit_gemm", Layer.fc(256, 128, 128), tile(128, 128, splits=1)),
        Figures(168, 603),
    ),
    "gemm dense 64x64": (
        Case("conv_implicit_gemm", dense(), tile(64, 64, splits=1)),
        Figures(117, 326),
    ),
    "gemm windows 32x32": (
        Case("conv_implicit_gemm", windows(), tile(32, 32, splits=1)),
        Figures(123, 379, conflicts=1.01),
    ),
    "gemm windows 32x32 of 8": (
        Case("conv_implicit_gemm", windows(), tile(32, 32, splits=8)),
        Figures(127, 380, conflicts=1.02, loads=5.9),
    ),
    "gemm dense 64x64 of 3": (
        Case("conv_implicit_gemm", dense(), tile(64, 64, splits=3)),
        Figures(123, 330, loads=1.7),
    ),
    "bf16 dense 256x128": (
        Case("conv_tensor_half", dense(), tile(128, 256, splits=1), "bf16"),
        Figures(222, 181, conflicts=1.01, loads=6.3, moves=1),
    ),
    "bf16 windows 128x128": (
        Case("conv_tensor_half", windows(), tile(128, 128, splits=1), "bf16"),
        Figures(228, 195, loads=10.9, moves=1),
    ),
    "bf16 odd channels 128x128": (
        Case("conv_tensor_half", windows(C=63), tile(128, 128, splits=1), "bf16"),
        Figures(228, 202, loads=23.4, moves=3),
    ),
    "bf16 rows 64x64": (
        Case("conv_tensor_half", Layer.fc(256, 128, 128), tile(64, 64, splits=1), "bf16"),
        Figures(111, 115, loads=4.4, moves=1),
    ),
    "bf16 windows 64x64 of 4": (
        Case("conv_tensor_half", windows(), tile(64, 64, splits=4), "bf16"),
        Figures(115, 119, loads=3.3, moves=2),
    ),
    "bf16 dense 256x128 of 2": (
        Case("conv_tensor_half", dense(), tile(128, 256, splits=2), "bf16"),
        Figures(226, 190, conflicts=1.01, loads=4.5, moves=6),
    ),
    "tf32 windows 64x64 of 16": (
        Case("conv_tensor_tf32", windows(), tile(64, 64, splits=16), "tf32"),
        Figures(126, 150, conflicts=1.01, loads=2.2, moves=2),
    ),
    "tf32 dense 256x128": (
        Case("conv_tensor_tf32", dense(), tile(128, 256, splits=1), "tf32"),
        Figures(224, 248, loads=7.5, moves=2),
    ),
    "tf32 windows 64x64": (
        Case("conv_tensor_tf32", windows(), tile(64, 64, splits=1), "tf32"),
        Figures(106, 145, loads=5.9, moves=2),
    ),
    "depthwise tile 7": (
        Case("depthwise_window", planes(28), {"tile_p": 7}),
        Figures(48, 197, conflicts=1.03, loads=5.8),
    ),
    "depthwise tile 14": (
        Case("depthwise_window", planes(28), {"tile_p": 14}),
        Figures(48, 380, conflicts=1.02, loads=6.0),
    ),
    "depthwise tile 28": (
        Case("depthwise_window", planes(56), {"tile_p": 28}),
        Figures(48, 725, loads=6.3),
    ),
    "depthwise stride 2": (
        Case("depthwise_window", planes(56, 2), {"tile_p": 7}),
        Figures(48, 251, conflicts=1.52, loads=8.3),
    ),
    "fc tile 2x1": (
        Case("fc_matrix_vector", Layer.fc(1, 2048, 256), {"tile_k": 2, "tile_p": 1, "warps": 4}),
        Figures(106, 57, loads=5.0),
    ),
    "fc tile 8x8": (
        Case("fc_matrix_vector", Layer.fc(8, 2048, 256), {"tile_k": 8, "tile_p": 8, "warps": 8}),
        Figures(168, 303, conflicts=1.5, loads=8.3),
    ),
}


@attrs.frozen
class Examined:
    """A compiled kernel with its main loop."""

    figures: Figures
    loop: MainLoop


def examined(case: Case, variant: Variant | None = None) -> Examined:
    """The figures of a case, of another version of its kernel if one is given."""
    variant = variant or CUDA[case.variant]
    binary = nvrtc.compiler_for(90).compile_variant(
        variant, case.layer, case.knobs, arch=90, dtype=case.dtype
    )
    (listing,) = sass.disassemble([binary])
    code = instructions(binary, listing)
    seen = host.block_traffic(variant, case.layer, case.knobs, dtype=case.dtype)
    loop = main_loop.find(code, seen, tensor=case.dtype != "fp32")
    assert loop is not None
    planned = with_knobs(case.layer, variant, case.knobs, dtype=case.dtype)
    found = limits_of(planned, CARDS[90], binary, loop, seen, main_loop.way_to(code, loop))
    figures = Figures(
        registers=found.registers,
        loop=found.loop_instructions,
        conflicts=round(found.conflicts, 2),
        loads=round(found.loads_in_flight, 1),
        moves=found.moves_between_mma,
        spill_bytes=found.spill_bytes,
    )
    return Examined(figures, loop)


def worse(found: Figures, most: Figures) -> dict[str, tuple[float, float]]:
    """Figures that exceed their limits, with these."""
    pairs = {
        field.name: (getattr(found, field.name), getattr(most, field.name)) for field in attrs.fields(Figures)
    }
    return {
        name: (value, limit)
        for name, (value, limit) in pairs.items()
        if (value < limit if name == "loads" else value > limit)
    }


@pytest.mark.parametrize("name", LIMITS)
def test_no_kernel_takes_more_than_it_did(name: str) -> None:
    """NVRTC compiles one source to other code in one call of about 75: it is asked again."""
    case, most = LIMITS[name]
    exceeded = [worse(examined(case).figures, most)]
    while exceeded[-1] and len(exceeded) < COMPILATIONS:
        exceeded.append(worse(examined(case).figures, most))
    assert exceeded[-1] == {}, f"in {COMPILATIONS} compilations: {exceeded}"


def test_every_fast_kernel_has_limits() -> None:
    fast = {(v.name, dtype != "fp32") for v in CUDA.values() if v.fast for dtype in v.dtypes}
    assert {(case.variant, case.dtype != "fp32") for case, _ in LIMITS.values()} == fast


# ---- each figure moves when the kernel gets worse ---------------------------------------------------------


def mutant(case: Case, was: str, becomes: str, folder: Path) -> Variant:
    variant = CUDA[case.variant]
    text = variant.path.read_text("utf-8")
    header = variant.path.parent / "tensor_gemm.cuh"
    if was not in text:
        text = text.replace('#include "tensor_gemm.cuh"\n', header.read_text("utf-8"))
    assert was in text
    path = folder / variant.path.name
    path.write_text(text.replace(was, becomes), "utf-8")
    return attrs.evolve(variant, path=path)


def test_fewer_registers_than_it_needs_are_a_spill(tmp_path: Path) -> None:
    case, most = LIMITS["gemm dense 128x128"]
    changed = mutant(case, "__launch_bounds__(threads, blocks)", "__launch_bounds__(threads, 3)", tmp_path)
    assert worse(examined(case, changed).figures, most)["spill_bytes"][0] > 0


def test_rows_without_padding_are_conflicts(tmp_path: Path) -> None:
    case, most = LIMITS["gemm rows 128x128"]
    changed = mutant(case, "x_pitch = tile_p + 4", "x_pitch = tile_p", tmp_path)
    assert worse(examined(case, changed).figures, most)["conflicts"][0] > 1.1


def test_a_load_that_is_waited_for_at_once_is_seen(tmp_path: Path) -> None:
    case, most = LIMITS["fc tile 2x1"]
    changed = mutant(case, "#pragma unroll ahead", "#pragma unroll 1", tmp_path)
    assert "loads" in worse(examined(case, changed).figures, most)


def test_a_move_between_products_is_seen() -> None:
    case, most = LIMITS["bf16 dense 256x128"]
    now = examined(case)
    places = [i for i, one in enumerate(now.loop.instructions) if one.kind == "HMMA"]
    move = Instruction(0, False, "IMAD.MOV.U32", "R2, RZ, RZ, R3", 1, None, None, ())
    code = [*now.loop.instructions[: places[1]], move, *now.loop.instructions[places[1] :]]
    moved = attrs.evolve(now.loop, instructions=tuple(code))
    assert moved.moves_between_mma == now.figures.moves + 1
    tightest = attrs.evolve(most, moves=now.figures.moves)
    changed = attrs.evolve(now.figures, moves=moved.moves_between_mma, loop=len(code))
    assert set(worse(changed, tightest)) >= {"moves"}


# ---- the loop that is looked at is the one that runs -------------------------------------------------------


def test_each_way_in_which_inputs_lie_has_its_own_loop() -> None:
    cases = ("gemm dense 128x128", "gemm windows 128x128", "gemm rows 128x128")
    begins = {examined(LIMITS[name][0]).loop.instructions[0].address for name in cases}
    assert len(begins) == 3


def test_an_odd_number_of_channels_loads_inputs_one_by_one() -> None:
    assert examined(LIMITS["bf16 odd channels 128x128"][0]).loop.tally["LDG"]
    assert not examined(LIMITS["bf16 windows 128x128"][0]).loop.tally["LDG"]
