"""A GPU for whole sweeps in tests: the CUDA family planned and checked, launches replayed with known joules.

For a worker: `--backend replayed_device:backend --meter replayed_device:meter`. Both share one replayed card
in one replayed clock. A launch's joules above active idle follow weighted DI with the truth below.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from fake_nvml import FakeNvml

from dibench import architectures, variants
from dibench.backends import Device
from dibench.errors import UserError
from dibench.meters import nvml
from dibench.meters.gpu import GpuMeter
from dibench.meters.replay import HOPPER, Load, ReplayedClock
from dibench.meters.simulated import SimulatedGpu
from dibench.plan import Case

E0_PJ, E_W_PJ, E_A_PJ, LAUNCH_J = 2.0, 60.0, 40.0, 2e-5
"""The truth: pJ per multiply-add, per weight and per activation, and joules of a launch; alpha is 0.6."""
MAC_PER_S, BYTES_PER_S, GAP_S = 2e13, 2e12, 2e-6
PREPARE_S = 0.3
ARCH = 90

CLOCK = ReplayedClock()
GPU = SimulatedGpu(CLOCK, HOPPER, seed=int(os.environ.get("REPLAYED_SEED", "1")))


def truth_j(case: Case) -> float:
    """Above active idle, of a launch with all its instances."""
    layer, copies = case.layer, case.instances
    picojoules = E0_PJ * layer.macs + E_W_PJ * layer.weights + E_A_PJ * (layer.inputs + layer.outputs)
    return LAUNCH_J + copies * picojoules * 1e-12


def launch_s(case: Case) -> float:
    """Roofline, or what it takes to stay under the power limit."""
    layer = case.layer
    elements = layer.weights + layer.inputs + layer.outputs
    roof_s = case.instances * max(layer.macs / MAC_PER_S, 4 * elements / BYTES_PER_S) + GAP_S
    return max(roof_s, truth_j(case) / (HOPPER.limit_w - HOPPER.active_idle_w - 50.0))


class ReplayedBackend:
    name = "cuda"

    def device(self) -> Device:
        return Device(HOPPER.name, GPU.uuid, {"driver": "replayed", "cuda": "replayed", "arch": ARCH})

    def peaks(self) -> Mapping[str, float]:
        return {"mac_per_s": MAC_PER_S, "bytes_per_s": BYTES_PER_S}

    def busy(self) -> AbstractContextManager[None]:
        return GPU.busy()

    def prefetch(self, cases: Sequence[Case]) -> None:
        pass

    def prepare(self, case: Case) -> Prepared:
        if os.environ.get("REPLAYED_CRASH") == case.case_id:
            sys.exit("the replayed driver is gone")
        variant = variants.registry("cuda").get(case.variant)
        if variant is None:
            raise UserError("variant", "must be one of the family", case.variant)
        architectures.check(variant, case.layer, case.knobs, case.instances, ARCH)
        with self.busy():
            CLOCK.sleep(PREPARE_S)
        return Prepared(case, variant.counts_for(case.layer, case.knobs))


class Prepared:
    cells: Mapping[str, Any] = {"sms": 132}

    def __init__(self, case: Case, counts: Mapping[str, int]) -> None:
        self.counts = counts
        seconds, layer = launch_s(case), case.layer
        elements = layer.weights + layer.inputs + layer.outputs
        self.load = Load(
            HOPPER.active_idle_w + truth_j(case) / seconds,
            seconds,
            dram_bandwidth_pct=100 * case.instances * 4 * elements / BYTES_PER_S / seconds,
            fp32_pct=100 * case.instances * layer.macs / MAC_PER_S / seconds,
        )

    def launch(self, n: int) -> float:
        return GPU.launch(self.load, n)

    def close(self) -> None:
        GPU.rest()


def backend() -> ReplayedBackend:
    GPU.open_context()
    return ReplayedBackend()


def meter() -> GpuMeter:
    CLOCK.sleep(0.5)
    return GpuMeter(nvml.gpus(FakeNvml([GPU]))[0], CLOCK, "simulated")
