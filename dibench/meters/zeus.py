"""Zeus (`zeus-ml`) as a meter: what its monitor reads around our windows, to stand beside our own reading.

Zeus reads a GPU's energy counter at the edges of a window, on NVIDIA, AMD and Apple devices as far as it
carries them; it does not wait for the counter's ticks, so a window has to be long: twenty periods, as for
every meter that is read at edges, here of the 100 ms that data-centre cards have. Windows start and end when
the device has finished; Zeus is told not to synchronise, which it can do through PyTorch or JAX only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dibench.errors import UserError
from dibench.meters import Reading

_WINDOW = "dibench"
_FIRST = 0  # of the GPUs that CUDA_VISIBLE_DEVICES leaves: the one that launches


class ZeusMeter:
    """The first visible GPU through a ZeusMonitor."""

    source = "zeus"
    has_variance = True
    period_s: float | None = 0.1

    def __init__(self, monitor: Any) -> None:
        """A meter of the monitor's first GPU."""
        self._monitor = monitor

    @classmethod
    def open(cls) -> ZeusMeter:
        """The meter of the first visible GPU.

        Raises:
            UserError: Zeus is not installed, or finds no GPU it can read.
        """
        try:
            monitor = import_module("zeus.monitor")
        except ImportError as error:
            reason = " ".join(str(error).split())
            raise UserError(
                "--meter", f"needs Zeus ({reason}): pip install 'dibench[zeus]'", "zeus"
            ) from None
        try:
            return cls(monitor.ZeusMonitor(gpu_indices=[_FIRST], cpu_indices=[]))
        except Exception as error:  # Zeus has its own for each vendor
            reason = f"{type(error).__name__}: {error}"
            raise UserError("--meter", f"Zeus cannot read this GPU: {reason}", "zeus") from None

    @property
    def facts(self) -> Mapping[str, Any]:
        """Which Zeus; what it cannot say."""
        try:
            release = version("zeus-ml")
        except PackageNotFoundError:
            release = "unknown"
        return {
            "kind": "sensor: the GPU's energy counter as Zeus reads it at the edges of a window",
            "zeus": release,
            "note": "gross energy of the GPU; edges are not aligned to the counter's ticks",
        }

    def window(self, run: Callable[[], float], counts: Mapping[str, int], launches: int) -> Reading:
        """The window's time by the device, its joules by Zeus; a window that shows none has none."""
        self._monitor.begin_window(_WINDOW, sync_execution=False)
        try:
            time_s = run()
        except BaseException:
            self._monitor.end_window(_WINDOW, sync_execution=False, cancel=True)
            raise
        energy_j = self._monitor.end_window(_WINDOW, sync_execution=False).gpu_energy.get(_FIRST)
        return Reading(time_s, float(energy_j) if energy_j else None)
