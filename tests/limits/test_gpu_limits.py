"""Predicted beside measured: the check of `variants --limits` on the first GPU, rehearsed on its stand-in."""

from __future__ import annotations

import attrs
import pytest
from fake_gpu import GPU, LAUNCH_S, FakeGpuBackend

from benchmarks import gpu_limits
from dibench.layer import Layer
from dibench.limits import cards, choice


def test_the_card_is_the_gpu_at_hand(gpu: FakeGpuBackend) -> None:
    card = gpu_limits.card_of(gpu)
    assert (card.name, card.arch, card.sms, card.l2_bytes) == (GPU.name, 90, GPU.sms, GPU.l2_bytes)
    assert card.clock_hz == 1.5e9
    assert card.dram_bytes_per_s == 2 * 2e9 * 5120 / 8
    assert attrs.evolve(card, name="", sms=0, clock_hz=0, l2_bytes=0, dram_bytes_per_s=0) == attrs.evolve(
        cards.of(90), name="", sms=0, clock_hz=0, l2_bytes=0, dram_bytes_per_s=0
    )


def test_an_architecture_without_a_card_takes_the_one_before() -> None:
    known = cards.of_gpu(arch=103, name="B300", sms=148, clock_hz=1e9, dram_bytes_per_s=8e12, l2_bytes=1)
    assert (known.arch, known.tensor_macs) == (103, cards.of(100).tensor_macs)


def test_each_case_is_measured_beside_its_prediction(gpu: FakeGpuBackend) -> None:
    card = gpu_limits.card_of(gpu)
    cases = choice.cases_of(Layer.fc(N=1, C=64, K=8), card, dtypes=("fp32",))
    found = list(gpu_limits.rows(gpu, cases, card))
    assert {row["variant"] for row in found} == {"conv_implicit_gemm", "fc_matrix_vector"}
    for row in found:
        assert row["measured_s"] == pytest.approx(LAUNCH_S, rel=0.5)
        assert row["ratio"] == row["measured_s"] / row["predicted_s"] > 1
    assert all("measured over predicted" in line for line in gpu_limits.summary(found))
