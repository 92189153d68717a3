"""Every CUDA variant compiles for every architecture it claims, without a GPU and without spilling."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
from cuda_cases import extremes

from dibench.errors import UserError
from dibench.kernels import Variant, compilers, registry, source_directory
from dibench.kernels.compilers import nvrtc
from dibench.layer import Layer

CUDA_13 = (75, 80, 86, 89, 90, 100, 120)
CUDA_12 = (60, 61, 70)
BRANCHES = (60, 70, 75, 80, 100)
"""The least architectures of each compiler and of each condition on __CUDA_ARCH__ in csrc/cuda."""
VARIANTS = list(registry("cuda").values())

LAYERS = {
    "standard": Layer(N=2, C=16, H=14, W=14, K=32, R=3, S=3, pad_h=1, pad_w=1),
    "depthwise": Layer(
        N=2, C=32, H=14, W=14, K=32, R=3, S=3, pad_h=1, pad_w=1, stride_h=2, stride_w=2, groups=32
    ),
    "grouped": Layer(N=2, C=64, H=14, W=14, K=64, R=3, S=3, pad_h=1, pad_w=1, groups=4),
    "pointwise": Layer(N=2, C=32, H=14, W=14, K=32, R=1, S=1),
    "fc": Layer.fc(N=32, C=64, K=64),
}


CASES = [
    pytest.param(variant, arch, variant.ops[0], id=f"{variant.name}-sm_{arch}")
    for variant in VARIANTS
    for arch in CUDA_12 + CUDA_13
    if variant.cuda and arch >= variant.cuda.least_arch
] + [
    pytest.param(variant, 90, op, id=f"{variant.name}-{op}") for variant in VARIANTS for op in variant.ops[1:]
]


def compiled(variant: Variant, arch: int, op: str) -> list[tuple[dict[str, Any], nvrtc.Binary]]:
    """Every data type at the highest setting of the knobs, and at the lowest where device code branches."""
    assert variant.cuda is not None
    lowest, highest = extremes(variant, LAYERS[op])
    return [
        (knobs, of_text(variant.name, compilers.constants(variant, LAYERS[op], knobs, dtype=dtype), arch))
        for dtype in variant.cuda.dtypes
        for knobs in ([lowest, highest] if arch in BRANCHES else [highest])
    ]


@cache
def of_text(name: str, constants: str, arch: int) -> nvrtc.Binary:
    """The compile of a variant with these constants: most variants have the same for every operator."""
    source = registry("cuda")[name].path.read_text("utf-8")
    headers = {**compilers.device_headers(), "constants.cuh": constants}
    return nvrtc.compiler_for(arch).compile(source, name, headers, arch=arch)


@pytest.mark.parametrize(("variant", "arch", "op"), CASES)
def test_compiles_without_spilling(variant: Variant, arch: int, op: str) -> None:
    assert variant.cuda is not None
    for knobs, binary in compiled(variant, arch, op):
        assert binary.spill_bytes <= variant.cuda.spill_bytes, (knobs, binary.log)
        assert binary.stack_bytes <= variant.cuda.spill_bytes, (knobs, binary.log)
        assert 0 < binary.registers <= 255
        assert binary.shared_bytes <= 48 * 1024


def test_every_branch_of_the_device_code_is_compiled_at_both_ends_of_the_knobs() -> None:
    texts = [path.read_text("utf-8") for path in (source_directory() / "cuda").glob("*.cu*")]
    least = {int(arch) // 10 for text in texts for arch in re.findall(r"__CUDA_ARCH__ >= (\d+)", text)}
    assert least and least <= set(BRANCHES)


def test_an_error_is_the_compilers() -> None:
    with pytest.raises(nvrtc.CompileError, match=r"broken.cu\(1\): error: .*nonsense"):
        nvrtc.compiler(13).compile("__global__ void broken() { nonsense; }", "broken", {}, arch=90)


def test_an_architecture_that_the_compiler_lacks_is_named() -> None:
    with pytest.raises(UserError, match=r"NVRTC 13.* has sm_75, .*\(got 'sm_61'\)"):
        nvrtc.compiler(13).compile("", "empty", {}, arch=61)


def test_spills_are_seen() -> None:
    source = """extern "C" __global__ void __launch_bounds__(1024, 2) wide(const float* x, float* y) {
      float held[200];
      #pragma unroll
      for (int i = 0; i < 200; ++i) held[i] = x[i * 1024 + threadIdx.x];
      #pragma unroll
      for (int i = 0; i < 200; ++i) y[i * 1024 + threadIdx.x] = held[i] * held[(i * 7) % 200] + held[199 - i];
    }"""
    binary = nvrtc.compiler(13).compile(source, "wide", {}, arch=90)
    assert binary.spill_bytes > 0
    assert binary.stack_bytes > 0
