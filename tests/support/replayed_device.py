"""A GPU for whole sweeps in tests: the CUDA family planned and checked, launches replayed with known joules.

For a worker: `--backend replayed_device:backend --meter replayed_device:meter`. Both share one replayed card
in one replayed clock. A launch's joules above active idle follow weighted DI with the truth below.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from fake_nvml import FakeNvml
from replay import HOPPER, UNKIND, Load, ReplayedClock
from simulated_gpu import SimulatedGpu

from dibench import kernels
from dibench.backends import Device
from dibench.errors import UserError
from dibench.kernels import anchors, architectures
from dibench.meters import nvml
from dibench.meters.gpu import GpuMeter
from dibench.plan import Case

E0_PJ, E_W_PJ, E_A_PJ, LAUNCH_J = 12.0, 600.0, 400.0, 2e-4
"""The truth: pJ per multiply-add, per weight and per activation, and joules of a launch; alpha is 0.6.

As on a large card, where memory costs some 10 pJ a bit: loads draw 250 to 650 W.
"""
MAC_PER_S, BYTES_PER_S, GAP_S = 2e13, 2e12, 2e-6
PREPARE_S = 0.3
ANCHOR_PJ = {
    "anchor_fma": 0,
    "anchor_l1": 20,
    "anchor_l2": 100,
    "anchor_dram_read": 400,
    "anchor_dram_write": 400,
}
ANCHOR_W = 250.0
SCALE = int(os.environ.get("REPLAYED_SCALE", "1"))
"""The card takes each layer for so many copies: layers that a CPU can run keep it as busy as real ones."""
SHARES = {"all": 1, "whole": 1, "half": 2, "quarter": 4}
ARCH, SMS, L2_BYTES = 90, 132, 50 * 2**20

CLOCK = ReplayedClock()
UUID = os.environ.get("REPLAYED_UUID") or os.environ.get("CUDA_VISIBLE_DEVICES") or "GPU-simulated-0"
CARD = UNKIND if os.environ.get("REPLAYED_SENSORS") == "unkind" else HOPPER
GPU = SimulatedGpu(CLOCK, CARD, seed=int(os.environ.get("REPLAYED_SEED", "1")), uuid=UUID)


def truth_j(case: Case, counts: Mapping[str, int] | None = None) -> float:
    """Above active idle, of a launch with all its instances; `counts` are an anchor's."""
    layer, copies = case.layer, case.instances * SCALE
    if case.anchor:
        counts = counts or anchor_counts(case)
        accesses = counts["input_reads"] + counts["output_writes"]
        return LAUNCH_J + (E0_PJ * counts["macs_executed"] + ANCHOR_PJ[case.variant] * accesses) * 1e-12
    picojoules = E0_PJ * layer.macs + E_W_PJ * layer.weights + E_A_PJ * (layer.inputs + layer.outputs)
    return LAUNCH_J + copies * picojoules * 1e-12


def launch_s(case: Case, counts: Mapping[str, int] | None = None) -> float:
    """Roofline, or what it takes to stay under the power limit."""
    if case.anchor:
        return max(1e-4, truth_j(case, counts) / ANCHOR_W)
    layer, copies = case.layer, case.instances * SCALE
    elements = layer.weights + layer.inputs + layer.outputs
    roof_s = copies * max(layer.macs / MAC_PER_S, 4 * elements / BYTES_PER_S) + GAP_S
    return max(roof_s, truth_j(case) / (HOPPER.limit_w - HOPPER.active_idle_w - 50.0))


def load_of(case: Case, counts: Mapping[str, int] | None = None) -> Load:
    """What the card sees of launches of a case."""
    seconds, layer, copies = launch_s(case, counts), case.layer, case.instances * SCALE
    elements = layer.weights + layer.inputs + layer.outputs
    return Load(
        HOPPER.active_idle_w + truth_j(case, counts) / seconds,
        seconds,
        dram_bandwidth_pct=100 * copies * 4 * elements / BYTES_PER_S / seconds,
        fp32_pct=100 * copies * layer.macs / MAC_PER_S / seconds,
    )


def anchor_counts(case: Case) -> dict[str, int]:
    """As the backend of a GPU counts them."""
    anchor, blocks = anchors.registry()[case.variant], SMS // SHARES[case.sms]
    elements, _ = anchor.launch_size(blocks=blocks, l2_bytes=L2_BYTES)
    counted = anchor.counts_for(blocks=blocks, elements=elements, passes=anchor.passes)
    reads = {"weight_reads": 0, "input_reads": counted["reads"], "output_reads": 0}
    return reads | {"macs_executed": counted["macs_executed"], "output_writes": counted["writes"]}


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
        if case.anchor:
            return Prepared(case, anchor_counts(case))
        variant = kernels.registry("cuda").get(case.variant)
        if variant is None:
            raise UserError("variant", "must be one of the family", case.variant)
        architectures.check(variant, case.layer, case.knobs, case.instances, ARCH)
        with self.busy():
            CLOCK.sleep(PREPARE_S)
        return Prepared(case, variant.counts_for(case.layer, case.knobs))


class Prepared:
    def __init__(self, case: Case, counts: Mapping[str, int]) -> None:
        self.counts = counts
        self.cells = {"sms": SMS // SHARES[case.sms]}
        self.load = load_of(case)

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
