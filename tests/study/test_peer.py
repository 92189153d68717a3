"""Our fastest kernels beside a library: the right pairs and ratios, nothing claimed of modelled joules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from study_frames import some_layers, table

from dibench.layer import Layer
from dibench.show import peer, terminal
from dibench.study.findings.peer import Peers
from dibench.study.questions.peer import peers
from dibench.study.table.layers import layers_of

LAYERS = [layer for layer in some_layers(60, seed=1) if layer.op == "pointwise"][:6]
OURS_S, OURS_J = 1e-3, 0.2


def rows(
    layers: list[Layer], variant: str, backend: str, time_s: float, energy_j: float, **cells: Any
) -> Any:
    frame = table(layers, np.full(len(layers), energy_j), variant=variant, backend=backend, **cells)
    return frame.assign(
        time_s=time_s, energy_j=energy_j, energy_source=cells.get("energy_source", "nvml_counter")
    )


def found(*frames: pd.DataFrame) -> Peers:
    result = peers(pd.concat(frames, ignore_index=True))
    assert result is not None
    return result


def test_a_layer_counts_once_with_the_fastest_on_both_sides() -> None:
    ours = rows(LAYERS, "conv_implicit_gemm", "cuda", OURS_S, OURS_J)
    slow = rows(LAYERS, "conv_no_reuse", "cuda", 50 * OURS_S, 50 * OURS_J)
    theirs = rows(LAYERS, "torch_cudnn", "torch", 2 * OURS_S, 3 * OURS_J)
    slower = rows(LAYERS, "torch_cudnn", "torch", 4 * OURS_S, 6 * OURS_J, knobs="format=nhwc")
    only_ours = rows(some_layers(3, seed=9), "conv_implicit_gemm", "cuda", OURS_S, OURS_J, dtype="fp16")
    (one,) = found(ours, slow, theirs, slower, only_ours).by
    assert (one.op, one.dtype, one.variants) == ("pointwise", "fp32", ("conv_implicit_gemm",))
    assert one.time.layers == len(LAYERS) and one.time.value == pytest.approx(2.0)
    assert one.energy is not None and one.energy.value == pytest.approx(3.0)
    assert one.time.ci_low == pytest.approx(2.0), "every layer says the same"


def test_the_interval_is_students_over_layers() -> None:
    ours = rows(LAYERS, "conv_implicit_gemm", "cuda", OURS_S, OURS_J)
    theirs = rows(LAYERS, "torch_cudnn", "torch", OURS_S, OURS_J)
    theirs["time_s"] *= np.exp(np.tile([-0.1, 0.1], 3))
    time = found(ours, theirs).by[0].time
    half = 2.571 * np.std(np.tile([-0.1, 0.1], 3), ddof=1) / np.sqrt(6)  # t of 5 degrees of freedom
    assert time.value == pytest.approx(1.0)
    assert (time.ci_low, time.ci_high) == pytest.approx((np.exp(-half), np.exp(half)), rel=1e-3)


@pytest.mark.parametrize(
    "cells",
    [
        {"knobs": "cold=1"},
        {"instances": 4},
        {"device_uuid": "GPU-2"},
        {"data": "zeros"},
        {"knobs": "sms=half"},
        {"sentinel": 1},
        {"status": "failed"},
    ],
)
def test_what_is_not_alike_is_no_pair(cells: dict[str, Any]) -> None:
    ours = rows(LAYERS, "conv_implicit_gemm", "cuda", OURS_S, OURS_J)
    theirs = rows(LAYERS, "torch_cudnn", "torch", OURS_S, OURS_J, **cells)
    assert peers(pd.concat([ours, theirs], ignore_index=True)) is None


def test_joules_of_two_sources_are_not_compared_and_modelled_ones_are_said_to_be() -> None:
    ours = rows(LAYERS, "conv_implicit_gemm", "cuda", OURS_S, OURS_J)
    theirs = rows(LAYERS, "torch_cudnn", "torch", 2 * OURS_S, OURS_J, energy_source="nvml_power")
    assert found(ours, theirs).by[0].energy is None
    ours, theirs = (frame.assign(energy_source="simulated") for frame in (ours, theirs))
    both = found(ours, theirs)
    assert not both.measured and both.by[0].energy is not None
    out = Console(width=150, record=True)
    terminal.show(out, [peer.section(both)])
    said = out.export_text()
    assert "SIMULATED joules: no evidence" in said and "2 (within" in said and "torch_cudnn" in said
    shown = peer.table(both)
    assert "simulated, not measured: no evidence" in shown.note and shown.rows[0][:3] == [
        "pointwise",
        "fp32",
        "6",
    ]


def test_a_table_without_a_library_has_no_peer_and_a_page_draws_our_kernels() -> None:
    ours = rows(LAYERS, "conv_implicit_gemm", "cuda", OURS_S, OURS_J)
    theirs = rows(LAYERS, "torch_cudnn", "torch", OURS_S / 9, OURS_J)
    assert peers(ours) is None and peers(theirs) is None
    both = pd.concat([ours, theirs], ignore_index=True)
    assert set(layers_of(both)["backend"]) == {"cuda"} and set(layers_of(theirs)["backend"]) == {"torch"}
