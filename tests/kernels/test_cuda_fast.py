"""The fast CUDA kernels: every tile and data type, the instructions of their main loops, and each barrier."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from cuda_cases import check

from dibench import networks
from dibench.backends import host
from dibench.backends.operands import as_elements, as_values
from dibench.check import reference
from dibench.kernels import Variant, architectures, compilers, registry
from dibench.kernels.compilers import nvrtc, sass
from dibench.layer import Layer

FAST = [variant for variant in registry("cuda").values() if variant.fast]
GEMM = registry("cuda")["conv_implicit_gemm"]
TENSOR = [variant for variant in FAST if variant.name.startswith("conv_tensor")]
TILES = [(128, 128), (64, 128), (32, 128), (16, 256), (8, 256), (64, 64), (32, 32)]  # tile_k, tile_p
TENSOR_TILES = [(256, 128), (128, 64), (64, 128), (32, 32)]  # tile_p, tile_k: warps of each shape

# Tiles end early in every direction, and so do stages of the reduction; each way in which positions lie in x.
EDGES = {
    "windows": Layer(N=2, C=6, H=7, W=9, K=10, R=3, S=3, pad_h=1, pad_w=1, stride_h=2, groups=2),
    "dilated": Layer(N=1, C=21, H=9, W=9, K=35, R=3, S=2, pad_h=1, pad_w=1, dil_h=2, dil_w=2),
    "dense": Layer(N=3, C=41, H=6, W=12, K=35, R=1, S=1),
    "vectors": Layer(N=2, C=72, H=8, W=8, K=70, R=1, S=1),
    "odd images": Layer(N=3, C=41, H=5, W=5, K=75, R=1, S=1),
    "rows": Layer.fc(37, 70, 75),
    "aligned rows": Layer.fc(70, 72, 9),
    "chunks": Layer(N=1, C=48, H=8, W=7, K=20, R=3, S=3, pad_h=1, pad_w=1, groups=2),
    "pairs": Layer(N=1, C=22, H=6, W=7, K=9, R=2, S=3, pad_w=1, stride_w=2),
}


@pytest.mark.parametrize("layer", EDGES.values(), ids=EDGES)
@pytest.mark.parametrize(("tile_k", "tile_p"), TILES)
def test_every_tile_is_right_and_counted(layer: Layer, tile_k: int, tile_p: int) -> None:
    knobs = {"tile_p": tile_p, "tile_k": tile_k, "splits": 1}
    if not GEMM.allows(layer, knobs):
        assert tile_p == 256 and layer.op == "fc"
        return
    forward = check(GEMM, layer, knobs, instances=2, sms=3)
    backward = check(GEMM, layer, knobs, instances=2, reverse_threads=True, reverse_blocks=True)
    assert forward.y.tobytes() == backward.y.tobytes()


@pytest.mark.parametrize("layer", EDGES.values(), ids=EDGES)
@pytest.mark.parametrize(
    ("variant", "dtype"),
    [
        pytest.param(variant, dtype, id=f"{variant.name}-{dtype}")
        for variant in TENSOR
        for dtype in variant.dtypes
    ],
)
def test_every_data_type_is_right_and_counted(variant: Variant, dtype: str, layer: Layer) -> None:
    for tile_p, tile_k in TENSOR_TILES:
        knobs = {"tile_p": tile_p, "tile_k": tile_k, "splits": 1}
        forward = check(variant, layer, knobs, dtype=dtype, instances=2, sectors=False)
        backward = check(
            variant, layer, knobs, dtype=dtype, instances=2, reverse_threads=True, reverse_blocks=True
        )
        assert forward.y.tobytes() == backward.y.tobytes()


@pytest.mark.parametrize("K", [24, 9], ids=["16 bytes at once", "one by one"])
@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_a_16_bit_output_is_the_sum_rounded_to_nearest_even(dtype: str, K: int) -> None:
    """Sums of whole numbers are exact in fp32, so every output is known to the bit; many lie half-way."""
    variant, layer = registry("cuda")["conv_tensor_half"], Layer.fc(N=40, C=512, K=K)
    rng = np.random.default_rng(2)
    x = rng.integers(0, 8, (1, 40, 512, 1, 1)).astype(np.float32)
    w = rng.integers(0, 8, (1, K, 512, 1, 1)).astype(np.float32)
    sums = reference.convolution(layer, x[0], w[0]).astype(np.float32)
    knobs = {"tile_p": 32, "tile_k": 32, "splits": 1}
    elements = (as_elements(operand, dtype) for operand in (x, w))
    rounded = host.run(variant, layer, knobs, *elements, dtype=dtype, sectors=False).y[0]
    assert (rounded == as_values(as_elements(sums, dtype), dtype)).all()
    step = 4 if dtype == "fp16" else 32  # of numbers from 4096 to 8192
    halfway = (sums >= 4096) & (sums < 8192) & (sums % step == step // 2)
    assert (rounded > sums)[halfway].any() and (rounded < sums)[halfway].any()


def least_shared(variant: Variant) -> list[int]:
    assert variant.cuda
    return [held for arch, held in architectures.SHARED_BYTES.items() if arch >= variant.cuda.least_arch]


@pytest.mark.parametrize("N", [1, 8, 32])
def test_preferred_knobs_are_legal_for_real_layers(N: int) -> None:
    """Every layer of the 25 networks has a fast kernel in fp32 and, if it sums over channels, in tf32."""
    layers = networks.distinct(layer for name in networks.names() for layer in networks.load(name))
    for layer in layers:
        batched = layer.with_batch(N)
        runs = [v for v in FAST if batched.op in v.ops and v.allows(batched, v.preferred(batched))]
        for variant in runs:
            shared = compilers.geometry(variant, batched, variant.preferred(batched)).shared_bytes
            assert shared <= min(least_shared(variant)), "every GPU that the variant runs on has it"
        assert any("fp32" in v.dtypes for v in runs), batched
        assert batched.op == "depthwise" or any("tf32" in v.dtypes for v in runs), batched


# ---- what the streaming kernels execute, also where a strip or a tile of images ends early ---------------


STENCIL = registry("cuda")["depthwise_window"]


def strips(window: int, stride: int) -> dict[int, Layer]:
    """By tile_p two strips, one of each channel: the kernel, whose loops all unroll, is the work of one."""
    return {
        tile_p: Layer(
            N=1, C=2, H=(tile_p - 1) * stride + window, W=window, K=2, R=window, S=window,
            stride_h=stride, stride_w=stride, groups=2,
        )
        for tile_p in (4, 7, 14, 28)
        if tile_p <= 7 or window <= 5
    }  # fmt: skip


def stencils(arch: int, window: int, stride: int) -> list[nvrtc.Binary]:
    compiler = nvrtc.compiler_for(arch)
    return [
        compiler.compile_variant(STENCIL, layer, {"tile_p": tile_p}, arch=arch)
        for tile_p, layer in strips(window, stride).items()
    ]


@pytest.mark.machine_code(of=stencils)
@pytest.mark.parametrize(("window", "stride"), [(3, 1), (5, 1), (7, 1), (3, 2)])
@pytest.mark.parametrize("arch", [75, 90, 120])
def test_the_stencil_executes_what_its_header_counts(
    arch: int, window: int, stride: int, listings: list[str]
) -> None:
    for (tile_p, layer), listing in zip(strips(window, stride).items(), listings, strict=True):
        counts = STENCIL.counts_for(layer, {"tile_p": tile_p})
        counted = sass.tally(listing)
        switched_off = listing.count("LDS RZ, [RZ]")  # ptxas puts them before copies
        assert 2 * counted["FFMA"] == counts["macs_executed"]
        assert 2 * (counted["LDS"] - switched_off) == counts["input_reads_shared"]
        assert 2 * counted["STG"] == counts["output_writes"]
        if arch >= 80:  # before, copies to shared memory are loads too
            assert 2 * counted["LDG"] == counts["weight_reads"]
        # Strips that end early multiply no further; Blackwell throws an output's first product away.
        always = [line for line in listing.splitlines() if "FFMA" in line and "@" not in line]
        assert len(always) == counted["FSEL"] == (tile_p if arch >= 100 else 0)


def matrix_vector(arch: int, tile_k: int, tile_p: int) -> list[nvrtc.Binary]:
    variant, knobs = registry("cuda")["fc_matrix_vector"], {"tile_k": tile_k, "tile_p": tile_p, "warps": 4}
    return [nvrtc.compiler_for(arch).compile_variant(variant, Layer.fc(8, 64, 64), knobs, arch=arch)]


@pytest.mark.machine_code(of=matrix_vector)
@pytest.mark.parametrize(
    ("arch", "tile_k", "tile_p"),
    [(90, tile_k, tile_p) for tile_k, tile_p in ((1, 1), (1, 8), (4, 2), (4, 4))]
    + [(arch, *tile) for arch in (75, 80, 86, 89, 90, 100, 120) for tile in ((2, 1), (8, 8))],
)
def test_the_matrix_vector_product_executes_what_its_header_counts(
    arch: int, tile_k: int, tile_p: int, listings: list[str]
) -> None:
    (listing,) = listings
    lines = [line for line in listing.splitlines() if " LDG" in line or " FFMA" in line]
    wide = sum("LDG" in line and ".128" in line for line in lines)
    single = sum("LDG" in line for line in lines) - wide
    # In every loop: tile_k reads of w and tile_p of x, for as many products with each element of both.
    reads, products = tile_k + tile_p, tile_k * tile_p
    assert wide > 0 and wide % reads == single % reads == 0
    assert sum("FFMA" in line for line in lines) == products * (4 * wide + single) // reads
    assert sum(name.startswith("STG") for name in sass.instructions(listing)) == 1
    # Only the loop for whole tiles multiplies always. On Blackwell the two others do so with the first
    # product of each sum, and throw it away where there is no such row or image.
    always = [line for line in lines if "@" not in line]
    whole = sum("LDG" in line and ".128" in line for line in always)
    single_whole = sum("LDG" in line for line in always) - whole
    more = sum("FFMA" in line for line in always) - products * (4 * whole + single_whole) // reads
    assert more in ((0, 2 * products) if arch >= 100 and products > 1 else (0,))


# ---- each barrier and each wait is needed: without it some order of threads gives wrong numbers -----------


def whole_source(variant: Variant) -> str:
    """The kernel's text with tensor_gemm.cuh, which holds most of some, in its place."""
    header = (variant.path.parent / "tensor_gemm.cuh").read_text("utf-8")
    return variant.path.read_text("utf-8").replace('#include "tensor_gemm.cuh"\n', header)


def is_caught(variant: Variant, layer: Layer, knobs: dict[str, Any]) -> bool:
    for threads in (False, True):
        try:
            check(variant, layer, knobs, reverse_threads=threads, sms=1)
        except (AssertionError, host.KernelError):
            return True
    return False


CONV = Layer(N=1, C=37, H=9, W=9, K=70, R=3, S=3, pad_h=1, pad_w=1)  # several tiles, several stages
GUARDED = {  # kernels whose threads wait for each other, with a layer that makes a block go round all loops
    # 9 stages of 32 steps: the last lies where the sums of its slices are added up afterwards.
    "conv_implicit_gemm": (attrs.evolve(CONV, C=29), {"tile_p": 32, "tile_k": 32, "splits": 1}),
    "conv_tensor_tf32": (attrs.evolve(CONV, C=40), {"tile_p": 64, "tile_k": 64, "splits": 1}),
    "fc_matrix_vector": (Layer.fc(3, 260, 5), {"tile_k": 2, "tile_p": 2, "warps": 4}),
    "depthwise_window": (
        Layer(N=1, C=6, H=30, W=30, K=6, R=3, S=3, pad_h=1, pad_w=1, groups=6),
        {"tile_p": 7},
    ),
}
GUARDS = [
    (name, guard, number)
    for name in GUARDED
    for guard in (r"__syncthreads\(\);", r"wait_for_copies<[^>]*>\(\);", r"commit_copies\(\);")
    for number in range(len(re.findall(guard, whole_source(registry("cuda")[name]))))
]


@pytest.mark.parametrize(("name", "guard", "number"), GUARDS)
def test_no_barrier_is_idle(name: str, guard: str, number: int, tmp_path: Path) -> None:
    variant, (layer, knobs) = registry("cuda")[name], GUARDED[name]
    assert not is_caught(variant, layer, knobs), "the kernel as it stands is right in both orders"
    source = whole_source(variant)
    start, end = [found.span() for found in re.finditer(guard, source)][number]
    mutant = tmp_path / variant.path.name
    mutant.write_text(source[:start] + source[end:], "utf-8")
    assert is_caught(attrs.evolve(variant, path=mutant), layer, knobs)


# ---- and so is each guard of the copies to shared memory ---------------------------------------------------

COPIES = {
    "waits for one stage too few": ("<stages - 2>", "<stages - 1>"),
    "refills the stage that is read": ("stages + before);", "stages + max(before, now));"),
    "starts one stage too few": ("i < stages - 1; ++i)", "i < stages - 2; ++i)"),
    "channels past the last": ("k + dk < rows && ", "k + dk < rows + tile_k && "),
    "steps past the last": ("k + dk < rows && e + de < left", "k + dk < rows && e + de < left + depth"),
    "16 bytes from anywhere": ("if (group_c * window % 4)", "if (false)"),
    "taps of the stage before": ("copies.taps + next_tap", "copies.taps"),
}


@pytest.mark.parametrize(("was", "becomes"), COPIES.values(), ids=COPIES)
def test_no_guard_of_a_copy_is_idle(was: str, becomes: str, tmp_path: Path) -> None:
    source = GEMM.path.read_text("utf-8")
    assert source.count(was) == 1
    mutant = tmp_path / GEMM.path.name
    mutant.write_text(source.replace(was, becomes), "utf-8")
    assert is_caught(attrs.evolve(GEMM, path=mutant), *GUARDED["conv_implicit_gemm"])
