"""What the lanes of a warp do together on the harness: shuffles, votes, tensor-core products."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dibench.backends import host
from dibench.kernels import compilers
from dibench.kernels.compilers import nvrtc, sass

LANES = np.arange(32)


def launch(
    body: str,
    y: npt.NDArray[Any],
    x: npt.NDArray[Any] | None = None,
    *,
    block: int = 32,
    reverse: bool = False,
) -> Any:
    """Run one block of a kernel `probe(const float* x, float* y)` with this body."""
    source = f"""#include "access.cuh"
    #include "mma.cuh"
    extern "C" __global__ void probe(const float* x, float* y) {{
      const int lane = threadIdx.x % 32;
      {body}
    }}"""
    inputs = np.zeros(1, np.float32) if x is None else x
    kernel = host.build(source, "probe", "")
    return kernel.launch(
        [ctypes.c_void_p(inputs.ctypes.data), ctypes.c_void_p(y.ctypes.data)],
        {"weight": inputs, "input": inputs, "output": y},
        compilers.Geometry(1, block, 0),
        reverse_threads=reverse,
    )


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("__shfl_sync(0xffffffffu, v, 5)", np.full(32, 5)),
        ("__shfl_sync(0xffffffffu, v, lane + 1)", (LANES + 1) % 32),
        ("__shfl_sync(0xffffffffu, v, 3, 8)", LANES // 8 * 8 + 3),
        ("__shfl_xor_sync(0xffffffffu, v, 16)", LANES ^ 16),
        ("__shfl_down_sync(0xffffffffu, v, 4)", np.where(LANES + 4 < 32, LANES + 4, LANES)),
        ("__shfl_up_sync(0xffffffffu, v, 1, 16)", np.where(LANES % 16, LANES - 1, LANES)),
        ("__popc(__ballot_sync(0xffffffffu, lane % 3 == 0))", np.full(32, 11)),
        ("__any_sync(0xffffffffu, lane == 7)", np.ones(32)),
        ("__all_sync(0xffffffffu, lane < 31)", np.zeros(32)),
    ],
)  # fmt: skip
def test_every_lane_gets_what_the_gpu_would_give(
    call: str, expected: npt.NDArray[Any], reverse: bool
) -> None:
    y = np.full(64, np.nan, np.float32)
    launch(
        f"const float v = lane; (void)v; put_output(y + threadIdx.x, (float){call});",
        y,
        block=64,
        reverse=reverse,
    )
    np.testing.assert_array_equal(y, np.tile(expected, 2))


def test_many_exchanges_in_a_row() -> None:
    """A warp's sum by a butterfly, repeated: lanes that run ahead must not disturb those behind."""
    y = np.full(32, np.nan, np.float32)
    body = """float v = lane;
      for (int i = 0; i < 10; ++i) {
        for (int bits = 16; bits; bits /= 2) v += __shfl_xor_sync(0xffffffffu, v, bits);
        __syncwarp();
        v /= 32;
      }
      put_output(y + threadIdx.x, v);"""
    launch(body, y)
    np.testing.assert_array_equal(y, np.full(32, 15.5))


def test_an_exchange_that_a_lane_misses_is_named() -> None:
    y = np.zeros(32, np.float32)
    with pytest.raises(host.KernelError, match=r"barrier divergence: .* waits for its warp at probe.cu:5"):
        launch("if (lane != 9) put_output(y + lane, __shfl_sync(0xffffffffu, 1.0f, 0));", y)


def test_a_lane_outside_its_own_mask_is_named() -> None:
    y = np.zeros(32, np.float32)
    with pytest.raises(host.KernelError, match="not in its own mask"):
        launch("put_output(y + lane, __shfl_sync(0x0000ffffu, 1.0f, 0));", y)


def bits_of(name: str, values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint32]:
    """The bits of a 16-bit type, rounded to nearest even."""
    if name == "fp16":
        return values.astype(np.float16).view(np.uint16).astype(np.uint32)
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint32)


def value_of(name: str, bits: npt.NDArray[np.uint32]) -> npt.NDArray[np.float64]:
    """The numbers that bits stand for."""
    if name == "fp16":
        return bits.astype(np.uint16).view(np.float16).astype(np.float64)
    return (bits << 16).astype(np.uint32).view(np.float32).astype(np.float64)


@pytest.mark.parametrize("name", ["fp16", "bf16"])
def test_mma_of_16_bit_types_is_the_product(name: str) -> None:
    rng = np.random.default_rng(5)
    a, b = (bits_of(name, rng.normal(size=shape).astype(np.float32)) for shape in ((16, 16), (16, 8)))
    x = np.concatenate([a.ravel(), b.T.ravel()]).astype(np.uint32).view(np.float32)  # A rows, then B columns
    y = np.full(16 * 8, np.nan, np.float32)
    body = f"""const int g = lane / 4, t = lane % 4;
      const unsigned* bits = (const unsigned*)x;
      unsigned a[4], b[2];
      for (int i = 0; i < 4; ++i) {{
        const unsigned* at = bits + (g + i % 2 * 8) * 16 + 2 * t + i / 2 * 8;
        a[i] = at[0] | at[1] << 16;
      }}
      for (int i = 0; i < 2; ++i) {{
        const unsigned* at = bits + 256 + g * 16 + 2 * t + i * 8;
        b[i] = at[0] | at[1] << 16;
      }}
      float d[4] = {{1, 1, 1, 1}};
      mma_{name}(d, a, b);
      for (int i = 0; i < 4; ++i) put_output(y + (g + i / 2 * 8) * 8 + 2 * t + i % 2, d[i]);"""
    counts = launch(body, y, x)
    expected = 1 + value_of(name, a) @ value_of(name, b)
    np.testing.assert_allclose(y.reshape(16, 8), expected, rtol=1e-6, atol=1e-6)
    assert counts.macs_executed == 16 * 8 * 16


@pytest.mark.parametrize("name", ["fp16", "bf16"])
def test_two_sums_are_rounded_to_a_word_of_16_bit_numbers(name: str) -> None:
    rng = np.random.default_rng(7)
    patterns = rng.integers(0, 2**32, 2**15, dtype=np.uint32)  # every exponent, infinities and NaN among them
    exponents = rng.integers(96, 160, 2**14, dtype=np.uint32) << 23  # of fp16 and a little beyond
    halfway = exponents | rng.integers(0, 2**12, 2**14, dtype=np.uint32) << 12 | 1 << 12
    x = np.concatenate([patterns, halfway, halfway | 1, halfway - 1]).view(np.float32)
    y = np.zeros(x.size // 2, np.float32)
    body = f"""for (int i = lane; i < {y.size}; i += 32)
        put_output(y + i, __uint_as_float(to_{name}(x[2 * i], x[2 * i + 1])));"""
    launch(body, y, x)
    with np.errstate(over="ignore"):
        found, expected = y.view(np.uint16), bits_of(name, x).astype(np.uint16)
    nan = np.isnan(x)
    assert (found[~nan] == expected[~nan]).all() and (found[nan] == 0x7FFF).all() and nan.any()


TF32 = """const int g = lane / 4, t = lane % 4;
      unsigned a[4], b[2];
      for (int i = 0; i < 4; ++i) a[i] = to_tf32(x[(g + i % 2 * 8) * 8 + t + i / 2 * 4]);
      for (int i = 0; i < 2; ++i) b[i] = to_tf32(x[128 + g * 8 + t + i * 4]);
      float d[4] = {0, 0, 0, 0};
      mma_tf32(d, a, b);
      for (int i = 0; i < 4; ++i) put_output(y + (g + i / 2 * 8) * 8 + 2 * t + i % 2, d[i]);"""


def tf32(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Rounded to 10 bits of mantissa, to nearest."""
    return ((values.view(np.uint32) + 0x1000) & 0xFFFFE000).astype(np.uint32).view(np.float32).astype(float)


@pytest.mark.parametrize("reverse", [False, True])
def test_mma_of_tf32_is_the_product_of_rounded_operands(reverse: bool) -> None:
    rng = np.random.default_rng(6)
    a, b = (rng.normal(size=shape).astype(np.float32) for shape in ((16, 8), (8, 8)))
    y = np.full(16 * 8, np.nan, np.float32)
    x = np.concatenate([a.ravel(), np.ascontiguousarray(b.T).ravel()])
    counts = launch(TF32, y, x, reverse=reverse)
    np.testing.assert_allclose(y.reshape(16, 8), tf32(a) @ tf32(b), rtol=1e-6, atol=1e-6)
    assert abs(y.reshape(16, 8) - a.astype(float) @ b).max() > 1e-5  # the rounding is there
    assert counts.macs_executed == 16 * 8 * 8


def three_products(arch: int) -> list[nvrtc.Binary]:
    source = """#include "mma.cuh"
    extern "C" __global__ void probe(const unsigned* x, float* y) {
      unsigned a[4], b[2];
      float d[4];
      for (int i = 0; i < 4; ++i) a[i] = x[i * 32 + threadIdx.x], d[i] = y[i * 32 + threadIdx.x];
      for (int i = 0; i < 2; ++i) b[i] = x[(i + 4) * 32 + threadIdx.x];
      mma_tf32(d, a, b);
      mma_fp16(d, a, b);
      mma_bf16(d, a, b);
      for (int i = 0; i < 4; ++i) y[i * 32 + threadIdx.x] = d[i];
      ((unsigned*)y)[threadIdx.x] = to_fp16(d[0], d[1]) + to_bf16(d[2], d[3]);
    }"""
    return [nvrtc.compiler(13).compile(source, "probe", compilers.device_headers(), arch=arch)]


@pytest.mark.machine_code(of=three_products)
@pytest.mark.parametrize("arch", [80, 90, 120])
def test_mma_and_rounding_are_one_instruction_each(arch: int, listings: list[str]) -> None:
    (counted,) = (sass.tally(listing) for listing in listings)
    assert (counted["HMMA"], counted["F2FP"]) == (3, 2)
