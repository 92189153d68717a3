"""Where operands lie on a GPU: the ring that makes them cold, and what is drawn, rounded and read."""

from __future__ import annotations

import ctypes

import attrs
import fake_gpu
import numpy as np
import pytest
from fake_gpu import case_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dibench.backends import cuda_buffers, operands
from dibench.errors import UserError
from dibench.layer import Layer
from dibench.plan import Case


def replicas_launched(gpu: fake_gpu.FakeGpuBackend) -> list[int]:
    """Addresses of x in the order of launches."""
    return [values[2].value for name, values in gpu.cupy.launched if name not in fake_gpu.SUPPORT]


@given(
    used=st.integers(1000, 10**7),
    l2=st.integers(10**5, 10**6),
    windows=st.lists(st.integers(1, 3000), min_size=1, max_size=12),
)
@settings(deadline=None, max_examples=200)
def test_between_two_launches_on_a_replica_four_caches_of_others_pass(
    used: int, l2: int, windows: list[int]
) -> None:
    try:
        ring = cuda_buffers.ring(used, l2)
    except UserError:
        assume(False)
    seen: dict[int, int] = {}
    time = position = 0
    for n in windows:
        for replica in ((position + i) % ring.replicas for i in range(n)):
            if replica in seen and ring.replicas > 1:
                others = time - seen[replica] - 1
                assert (others + 1) * used >= cuda_buffers.COLD_L2S * l2
            seen[replica] = time
            time += 1
        position = ring.after((position + n) % ring.replicas, n)
    if ring.replicas == 1:
        assert used >= cuda_buffers.COLD_L2S * l2
    assert ring.replicas // ring.step <= 12, "few places to begin, so few graphs"


def test_cold_launches_go_around_copies_of_the_operands(gpu: fake_gpu.FakeGpuBackend) -> None:
    layer = Layer.fc(N=4, C=200, K=20)  # 19.5 KB, of a cache of 64 KiB
    warm, cold = gpu.prepare_layer(case_of(layer)), gpu.prepare_layer(case_of(layer, cold=True))
    gpu.cupy.launched.clear()
    warm.launch(5)
    assert len(set(replicas_launched(gpu))) == 1
    gpu.cupy.launched.clear()
    cold.launch(cold.ring.replicas)
    addresses = replicas_launched(gpu)
    assert len(set(addresses)) == cold.ring.replicas >= 4 * 2**16 / 19520
    kind = ctypes.c_float * layer.inputs
    first, last = (kind.from_address(address) for address in (addresses[0], addresses[-1]))
    assert list(first) == list(last), "replicas hold the same values"


def test_the_profiler_sees_one_launch_after_the_operands_are_in_place(gpu: fake_gpu.FakeGpuBackend) -> None:
    prepared = gpu.prepare_layer(case_of(Layer.fc(N=4, C=200, K=20), cold=True))
    prepared.launch_profiled()
    assert gpu.cupy.profiled == ["conv_output_stationary"]
    before = replicas_launched(gpu)[:-1]
    assert len(set(before)) == prepared.ring.replicas


@pytest.mark.parametrize(("dtype", "element"), [("fp32", 4), ("tf32", 4), ("fp16", 2), ("bf16", 2)])
def test_every_operand_takes_elements_of_the_data_type(dtype: str, element: int) -> None:
    layer = Layer.fc(N=4, C=200, K=20)
    layout = cuda_buffers.Layout.of(case_of(layer, dtype=dtype, instances=3))
    assert layout.used_bytes == 3 * element * (layer.inputs + layer.weights + layer.outputs)
    assert layout.stride - layout.y == -(-3 * element * layer.outputs // 256) * 256


def test_so_few_operands_that_no_number_of_copies_is_cold(gpu: fake_gpu.FakeGpuBackend) -> None:
    gpu.gpu = attrs.evolve(gpu.gpu, l2_bytes=2**26)
    with pytest.raises(UserError, match=r"cold: needs operands of at least 43691 bytes .* more instances"):
        gpu.prepare_layer(case_of(cold=True))


def test_operands_drawn_ahead_are_those_drawn_when_asked() -> None:
    cases = [Case(layer=Layer.fc(2, 8, k), backend="cuda", variant="v", instances=2) for k in (3, 4, 5, 6)]
    ahead, when_asked = cuda_buffers.Operands(), cuda_buffers.Operands()
    for index, case in enumerate(cases):
        for later in cases[index + 1 : index + 2]:
            ahead.draw_ahead(later)
        for drawn, expected in zip(ahead.of(case), when_asked.of(case), strict=True):
            np.testing.assert_array_equal(drawn, expected)
    for case in cases:  # nobody comes for them: they are let go
        ahead.draw_ahead(case)
    assert len(ahead._ahead) == 2


def test_sixteen_bit_elements_are_rounded_to_nearest() -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal(10_000).astype(np.float32)
    halves = operands.as_values(operands.as_elements(values, "fp16"), "fp16")
    assert np.array_equal(halves, values.astype(np.float16))
    rounded = operands.as_values(operands.as_elements(values, "bf16"), "bf16")
    assert np.all(np.abs(rounded - values) <= np.abs(values) * 2.0**-8)
    torch = pytest.importorskip("torch")
    assert np.array_equal(rounded, torch.from_numpy(values).bfloat16().float().numpy())
