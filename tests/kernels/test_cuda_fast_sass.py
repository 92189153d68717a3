"""Counted is executed, in fast kernels too: a whole small layer of each, compiled, is what its header says.

In a proof compile sizes are constants and loops unroll. The layer is one block's work and fills it: what
stands in the machine code, times the threads that execute it, are the accesses and multiply-adds themselves.
What lies outside of a layer at its edges is switched off one by one, which the harness counts
(test_cuda_fast.py). The loop of fc_matrix_vector begins at the thread's own channel and does not unroll: it
is proved there too. Where blocks share a reduction, each has the same part of it: what stands before the
counter is what every block executes, what stands behind it only the last.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import pytest

from dibench.backends import cuda_cache
from dibench.backends.cuda_cache import KernelCache, Source
from dibench.kernels import Variant, compilers, registry
from dibench.kernels.compilers import nvrtc, sass
from dibench.layer import Layer

CUDA = registry("cuda")
GEMM, STENCIL = CUDA["conv_implicit_gemm"], CUDA["depthwise_window"]
TF32, HALF = CUDA["conv_tensor_tf32"], CUDA["conv_tensor_half"]
ARCHS = (75, 80, 86, 89, 90, 100, 120)
GEMM_TILES = [(128, 128), (64, 128), (32, 128), (16, 256), (8, 256), (64, 64), (32, 32)]  # tile_k, tile_p
STAGES = 2  # of each block
SHARED_GEMMS = [
    ("dense", 64, 64, 2),
    ("windows", 128, 128, 3),
    ("rows", 32, 32, 4),
]  # how, tile_k, tile_p, splits
SHARED_TENSOR = [
    ("dense", 128, 32, "tf32", 3),
    ("windows", 64, 64, "bf16", 2),
    ("rows", 256, 128, "fp16", 4),
]  # how, tile_p, tile_k, type, splits


@attrs.frozen
class Proof:
    """A layer that is exactly one block's work, with what its kernel does beside operands."""

    variant: Variant
    layer: Layer
    knobs: dict[str, Any]
    dtype: str = "fp32"
    slices: int = 1
    """Groups of warps that add up their sums in the end; one of them stores."""
    taps: int = 0
    """Bytes that a thread reads of the GEMM's table of filter taps, 8 or 16 at a time."""


def lie(how: str, tile_k: int, tile_p: int, steps: int) -> Layer:
    """A layer of so many steps of reduction whose positions lie in x as `how` says (im2col.cuh); no edge, no
    padding.
    """
    if how == "rows":
        return Layer.fc(tile_p, steps, tile_k)
    if how == "dense":
        return Layer(N=1, C=steps, H=tile_p // 16, W=16, K=tile_k, R=1, S=1)
    return Layer(N=1, C=steps // 2, H=tile_p // 16, W=17, K=tile_k, R=1, S=2)


def gemm(how: str, tile_k: int, tile_p: int, splits: int = 1) -> Proof:
    slices = 1 if tile_p >= 128 else 2 if tile_p == 64 else 4
    layer = lie(how, tile_k, tile_p, 8 * slices * STAGES * splits)
    knobs = {"tile_p": tile_p, "tile_k": tile_k, "splits": splits}
    threads = compilers.geometry(GEMM, layer, knobs).block
    steps = 8 * slices * min(tile_p, threads) // threads  # that a thread copies of its columns, in a stage
    return Proof(GEMM, layer, knobs, slices=slices, taps=8 * STAGES * steps if how == "windows" else 0)


def tensor(how: str, tile_p: int, tile_k: int, dtype: str, splits: int = 1) -> Proof:
    layer = lie(how, tile_k, tile_p, (16 if dtype == "tf32" else 32) * STAGES * splits)
    knobs = {"tile_p": tile_p, "tile_k": tile_k, "splits": splits}
    return Proof(TF32 if dtype == "tf32" else HALF, layer, knobs, dtype)


def stencil(window: int, stride: int, tile_p: int) -> Proof:
    # Strips of one or two columns, so that all threads copy alike; a block takes as many as 128 columns make.
    columns = 2 if stride == 1 else 1
    channels = 128 // columns
    layer = Layer(
        N=1, C=channels, H=(tile_p - 1) * stride + window, W=(columns - 1) * stride + window, K=channels,
        R=window, S=window, stride_h=stride, stride_w=stride, groups=channels,
    )  # fmt: skip
    return Proof(STENCIL, layer, {"tile_p": tile_p})


PROOFS = {
    **{f"gemm {how} {k}x{p}": gemm(how, k, p) for how in ("dense", "windows") for k, p in GEMM_TILES},
    **{f"gemm rows {k}x{p}": gemm("rows", k, p) for k, p in GEMM_TILES if p < 256},
    **{
        f"tensor {how} {tile_p}x{tile_k} {dtype}": tensor(how, tile_p, tile_k, dtype)
        for how in ("dense", "windows", "rows")
        for tile_p, tile_k in ((256, 128), (64, 64), (128, 32))
        for dtype in ("tf32", "fp16", "bf16")
        if dtype != "fp16" or tile_k == 32  # else as bf16
    },
    **{f"gemm {how} {k}x{p} of {n}": gemm(how, k, p, n) for how, k, p, n in SHARED_GEMMS},
    **{
        f"tensor {how} {tile_p}x{tile_k} {dtype} of {n}": tensor(how, tile_p, tile_k, dtype, n)
        for how, tile_p, tile_k, dtype, n in SHARED_TENSOR
    },
    **{
        f"stencil {window} {stride} {tile_p}": stencil(window, stride, tile_p)
        for window, stride, tile_p in [(3, 1, 4), (3, 2, 7), (3, 1, 28), (5, 1, 14), (7, 1, 7)]
    },
}
EVERYWHERE = (
    "gemm dense 128x128", "gemm windows 32x32", "gemm rows 64x64", "tensor dense 256x128 tf32",
    "tensor windows 64x64 bf16", "tensor rows 128x32 fp16", "stencil 3 1 4", "stencil 5 1 14",
    "gemm dense 64x64 of 2", "gemm rows 32x32 of 4", "tensor windows 64x64 bf16 of 2",
)  # fmt: skip
CASES = [
    pytest.param(PROOFS[name], arch, id=f"{name} sm_{arch}")
    for name in PROOFS
    for arch in (ARCHS if name in EVERYWHERE else (90,))
    if arch >= 80 or not name.startswith("tensor")
]

WIDTH = {"128": 16, "64": 8, "32": 4, "U16": 2, "U8": 1}


def compiled(proof: Proof, arch: int) -> list[nvrtc.Binary]:
    """The proof; of tensor kernels without splits also what runs: only there 16 bytes are one store."""
    runs = proof.dtype != "fp32" and proof.knobs["splits"] == 1
    return [kept(proof, arch, sizes_known) for sizes_known in ((True, False) if runs else (True,))]


def kept(proof: Proof, arch: int, sizes_known: bool) -> nvrtc.Binary:
    """Compiled once for each source, as most of what this module takes is the compiler."""
    headers = compilers.device_headers()
    headers["constants.cuh"] = compilers.constants(
        proof.variant, proof.layer, proof.knobs, dtype=proof.dtype, proof=sizes_known
    )
    source = Source(proof.variant.name, proof.variant.path.read_text("utf-8"), headers, arch)
    return KernelCache(nvrtc.compiler_for(arch), cuda_cache.default_directory()).binary(source)


def moved(code: Counter[str], *names: str, only: str = "") -> int:
    """Bytes that one thread moves with these instructions, of some widths."""
    total = 0
    for name, number in code.items():
        first, *modifiers = name.split(".")
        width = next((m for m in modifiers if m in WIDTH), "32")
        if first in names and only in ("", width):
            total += number * WIDTH[width]
    return total


@pytest.mark.machine_code(of=compiled)
@pytest.mark.parametrize(("proof", "arch"), CASES)
def test_a_whole_layer_is_what_its_header_counts(proof: Proof, arch: int, listings: list[str]) -> None:
    listing, *running = listings
    real = "\n".join(line for line in listing.splitlines() if "LDS RZ, [RZ]" not in line)  # never executed
    code, added = each_and_last(real)
    counts = proof.variant.counts_for(proof.layer, proof.knobs)
    geometry = compilers.geometry(proof.variant, proof.layer, proof.knobs)
    threads = geometry.block * geometry.grid
    shared = counts.get("weight_reads_shared", 0) + counts.get("input_reads_shared", 0)
    reads = counts["weight_reads"] + counts["input_reads"] - shared
    element = 2 if proof.dtype in ("fp16", "bf16") else 4
    assert products(proof, code) * threads == counts["macs_executed"]
    assert moved(code, "LDG", "LDGSTS") * threads == element * reads
    if sums := counts["output_reads"]:
        adders = min(geometry.block, proof.layer.outputs // 16)  # sixteen sums of a thread at a time
        assert moved(code, "STG") * threads // proof.slices == moved(added, "LDG") * adders == 4 * sums
        assert moved(added, "STG") * adders == element * proof.layer.outputs
        assert counts["output_writes"] == proof.layer.outputs + sums
    else:
        assert moved(code, "STG") * threads // proof.slices == element * counts["output_writes"]
    for other in running:  # 16 bytes at once; of 16-bit outputs two are rounded by one instruction
        assert moved(Counter(sass.instructions(other)), "STG", only="128") == moved(code, "STG")
        rounded = sum(number for name, number in code.items() if name.startswith("F2FP"))
        assert 2 * rounded * threads == (counts["output_writes"] if element == 2 else 0)
    # From shared memory come 16 bytes at a time in the GEMM, 4 under a window, matrices to tensor cores;
    # the rest are tables of taps or positions, and sums that slices hand over.
    if proof.variant is GEMM:
        operands = moved(code, "LDS", only="128") + moved(code, "LDS", only="64") - proof.taps
    elif proof.dtype == "fp32":
        operands = moved(code, "LDS", only="32")
    else:
        operands = 16 * code["LDSM.16.M88.4"]
    assert operands * threads == element * shared


def each_and_last(listing: str) -> tuple[Counter[str], Counter[str]]:
    """Instructions of every block, and those behind a tile's counter, which only the last executes."""
    each, counter, last = listing.partition("ATOMG")
    assert "ATOMG" not in last
    behind = last.partition("\n")[2] if counter else ""
    return Counter(sass.instructions(each)), Counter(sass.instructions(behind))


def products(proof: Proof, code: Counter[str]) -> int:
    """Multiply-adds that one thread executes; of an mma its 32nd part."""
    number: Counter[str] = Counter()
    for name, times in code.items():
        number[name.partition(".")[0]] += times
    if proof.dtype == "fp32":
        return number["FFMA"] + number["FMUL"] + 2 * number["FFMA2"]
    k = "1688" if proof.dtype == "tf32" else "16816"
    kind = {"tf32": f"HMMA.{k}.F32.TF32", "fp16": f"HMMA.{k}.F32", "bf16": f"HMMA.{k}.F32.BF16"}[proof.dtype]
    assert code[kind] == number["HMMA"]
    return 16 * 8 * (8 if proof.dtype == "tf32" else 16) // 32 * number["HMMA"]
