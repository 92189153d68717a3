"""Zeus (`zeus`, formerly `zeus-ml`) as a meter: its monitor reads energy around our windows.

Zeus reads a GPU's energy counter at the edges of a window, on NVIDIA and AMD; before Volta it integrates
power in a process of its own. It does not wait for the counter's ticks, so a window must be long: twenty
periods, as for every meter that is read at edges, here of the 100 ms that data-centre cards have. Windows
begin and end when the device has finished, so Zeus is told not to synchronise with a framework.

On Apple's chips Zeus shows a chip with its parts; GPU and memory together are what a card's counter holds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dibench.errors import UserError
from dibench.extras import pip_install
from dibench.meters import nvml
from dibench.meters.base import Reading

PACKAGES = ("zeus", "zeus-ml")
"""Its name on PyPI since 0.12, and before."""

_WINDOW = "dibench"
_ON_CHIP_MJ = ("gpu_mj", "gpu_sram_mj", "dram_mj")


class ZeusMeter:
    """One GPU through a ZeusMonitor."""

    source = "zeus"
    has_variance = True
    period_s: float | None = 0.1

    def __init__(self, monitor: Any, index: int = 0) -> None:
        """A meter of the monitor's GPU of that index."""
        self._monitor, self._index = monitor, index
        self.gain_accuracy_pct: float | None = None
        """That of the sensor which Zeus reads; known of NVIDIA's, found by UUID."""

    @classmethod
    def open(cls, uuid: str = "") -> ZeusMeter:
        """The meter of the GPU with that UUID; without one of the first that Zeus shows.

        Zeus counts GPUs as NVML does, by bus, CUDA by speed unless CUDA_DEVICE_ORDER=PCI_BUS_ID is set: by
        `CUDA_VISIBLE_DEVICES=1` Zeus may mean another GPU than the one that launches.

        Raises:
            UserError: Zeus is not installed, finds no GPU it can read, or not the one that launches.
        """
        try:
            monitor = import_module("zeus.monitor")
        except ImportError as error:
            reason = " ".join(str(error).split())
            raise UserError("--meter", f"needs Zeus ({reason}): {pip_install('zeus')}", "zeus") from None
        try:
            index = _index_of(uuid) if uuid else 0
            indices = [index] if uuid else None  # None means all; beside Apple's chip there may be none
            made = cls(monitor.ZeusMonitor(gpu_indices=indices, cpu_indices=[]), index)
            made.gain_accuracy_pct = nvml.GAIN_ACCURACY_PCT if uuid else None
            return made
        except UserError:
            raise
        except Exception as error:  # Zeus raises different ones for each vendor
            reason = f"{type(error).__name__}: {error}"
            raise UserError("--meter", f"Zeus cannot read this GPU: {reason}", "zeus") from None

    @property
    def facts(self) -> Mapping[str, Any]:
        """The version of Zeus, and what it leaves out."""
        return {
            "kind": "sensor: the GPU's energy counter as Zeus reads it at the edges of a window",
            "zeus": release(),
            "note": "gross energy of the GPU; edges are not aligned to the counter's ticks",
        }

    def window(self, run: Callable[[], float], counts: Mapping[str, int], launches: int) -> Reading:
        """The window's time by the device, its joules by Zeus; None where Zeus shows none."""
        self._monitor.begin_window(_WINDOW, sync_execution=False)
        try:
            time_s = run()
        except BaseException:
            self._monitor.end_window(_WINDOW, sync_execution=False, cancel=True)
            raise
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a counter that did not move: the cell stays empty
            energy_j = self._joules(self._monitor.end_window(_WINDOW, sync_execution=False))
        return Reading(time_s, energy_j or None)

    def _joules(self, measurement: Any) -> float:
        if self._index in measurement.gpu_energy:
            return float(measurement.gpu_energy[self._index])
        chip = getattr(measurement, "soc_energy", None)
        return 1e-3 * sum(float(getattr(chip, part, None) or 0.0) for part in _ON_CHIP_MJ)


def release() -> str:
    """The installed version of Zeus; empty where there is none."""
    for package in PACKAGES:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return ""


def _index_of(uuid: str) -> int:
    """Zeus's index of the GPU with that UUID."""
    shown = {gpu.index: gpu.uuid for gpu in nvml.gpus(nvml.import_pynvml())}
    indices = [gpu.gpu_index for gpu in import_module("zeus.device").get_gpus().gpus]
    for index, position in enumerate(indices):
        if shown.get(position) == uuid:
            return index
    rule = (
        "Zeus must show the GPU that launches: set CUDA_DEVICE_ORDER=PCI_BUS_ID, "
        "and CUDA_VISIBLE_DEVICES by number; it shows "
    )
    seen = ", ".join(shown.get(position, "a lost GPU") for position in indices) or "none"
    raise UserError("--meter", rule + seen, uuid)
