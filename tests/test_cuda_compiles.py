"""Every CUDA variant compiles for every architecture it claims, without a GPU and without spilling."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from dibench.compilers import nvrtc
from dibench.errors import UserError
from dibench.layer import Layer
from dibench.variants import Variant, registry

CUDA_13 = (75, 80, 86, 89, 90, 100, 120)
CUDA_12 = (60, 61, 70)
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


def smallest(variant: Variant, layer: Layer) -> dict[str, Any]:
    """The first setting that is legal, of low values."""
    low = [(1,) if legal == "any" else legal[:2] for legal in variant.knobs.values()]
    settings = (dict(zip(variant.knobs, values, strict=True)) for values in itertools.product(*low))
    return next(knobs for knobs in settings if variant.allows(layer, knobs))


def largest(variant: Variant, layer: Layer) -> dict[str, Any]:
    """Each knob in turn at the highest value that the variant still allows for the layer."""
    knobs = smallest(variant, layer)
    many = {"tile_p": 8, "tile_k": 8, "tile_c": 8, "taps": layer.R * layer.S}
    for name, legal in variant.knobs.items():
        values = (1, 2, 4, many.get(name, 1)) if legal == "any" else legal
        knobs[name] = [value for value in values if variant.allows(layer, {**knobs, name: value})][-1]
    return knobs


CASES = [
    pytest.param(variant, arch, id=f"{variant.name}-sm_{arch}")
    for variant in VARIANTS
    for arch in CUDA_12 + CUDA_13
    if variant.cuda and arch >= variant.cuda.least_arch
]


@pytest.mark.parametrize(("variant", "arch"), CASES)
def test_compiles_without_spilling(variant: Variant, arch: int) -> None:
    assert variant.cuda is not None
    op = "standard" if "standard" in variant.ops else variant.ops[0]
    for dtype in variant.cuda.dtypes:
        for choose in (smallest, largest):
            layer = LAYERS[op]
            knobs = choose(variant, layer)
            variant.check(layer, knobs)
            binary = nvrtc.compiler_for(arch).compile_variant(variant, layer, knobs, arch=arch, dtype=dtype)
            assert binary.spill_bytes <= variant.cuda.spill_bytes, (knobs, binary.log)
            assert binary.stack_bytes <= variant.cuda.spill_bytes, (knobs, binary.log)
            assert 0 < binary.registers <= 255
            assert binary.shared_bytes <= 48 * 1024


@pytest.mark.parametrize("variant", VARIANTS, ids=[variant.name for variant in VARIANTS])
def test_every_operator_compiles(variant: Variant) -> None:
    assert variant.cuda is not None
    for op in variant.ops:
        knobs = largest(variant, LAYERS[op])
        arch = max(90, variant.cuda.least_arch)
        binary = nvrtc.compiler_for(arch).compile_variant(
            variant, LAYERS[op], knobs, arch=arch, dtype=variant.cuda.dtypes[0]
        )
        assert binary.spill_bytes <= variant.cuda.spill_bytes, (op, knobs, binary.log)


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
