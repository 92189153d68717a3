"""Devices that run kernels: what measuring asks of them, and how to open one by name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from dibench.elsewhere import is_elsewhere, make
from dibench.errors import UserError
from dibench.kernels import library

if TYPE_CHECKING:
    from dibench.plan import Case

NAMES = ("auto", "cuda", "cpu", "torch")
"""What `--backend` accepts, and `module:callable` for a device from elsewhere."""

PAIRED = "cuda+torch"
"""Our kernels and PyTorch's library on one GPU, as a campaign opens them; see `paired`."""


@attrs.frozen
class Device:
    """What runs kernels: its model, an identity that outlives reboots, facts for the manifest."""

    name: str
    uuid: str
    facts: Mapping[str, Any]


class DeviceFaultError(Exception):
    """The device is lost to this process, as after a kernel's illegal access: only a new process helps."""


class Prepared(Protocol):
    """One case on its device: operands in place, ready to launch."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Accesses by data type and executed multiply-adds, per launch and instance."""

    @property
    def cells(self) -> Mapping[str, Any]:
        """Further cells of the row that only the device can tell, such as `sms`."""

    def launch(self, n: int) -> float:
        """Launch n times back to back; seconds for all, by the device's clock."""

    def close(self) -> None:
        """Give the operands' memory back."""


class Backend(Protocol):
    """One device and the kernels written for it."""

    @property
    def name(self) -> str:
        """The `backend` of the rows."""

    def device(self) -> Device:
        """What the kernels run on."""

    def peaks(self) -> Mapping[str, float]:
        """The most it reaches, measured now: `mac_per_s` (MAC/s) and `bytes_per_s` (B/s, reading)."""

    def prepare(self, case: Case) -> Prepared:
        """Put a case's operands in place.

        Raises:
            UserError: the variant's header or the device does not allow the case.
            OutOfMemoryError: the device has too little memory for it.
            DeviceFaultError: the device is lost.
        """

    def busy(self) -> AbstractContextManager[None]:
        """Keep the device busy while the context lasts, where cooling down would change what is measured."""

    def prefetch(self, cases: Sequence[Case]) -> None:
        """Begin in the background what these cases will need; they come next."""


def open_backend(name: str) -> Backend:
    """The backend of that name; `auto` is the best that this machine has.

    Raises:
        UserError: unknown name, or this installation cannot run it; the message says what is missing.
    """
    # OpenMP reads it when the library with the kernels is loaded. Its threads then wait for each other some
    # 10 µs awake, then asleep. By default they stay awake for milliseconds, which gains nothing on idle cores
    # and costs a whole time slice at each barrier where other processes use them (a convolution of 0.57 ms
    # took 45 ms on average beside one busy process, 2 ms so).
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if is_elsewhere(name):
        made: Backend = make("--backend", name)
        return made
    if resolve(name) == "cuda":
        from dibench.backends.cuda import CudaBackend

        return CudaBackend.open()
    if name == PAIRED:
        from dibench.backends.paired import PairedBackend

        return PairedBackend.open()
    if name == "torch":
        from dibench.backends.torch_library import TorchBackend

        return TorchBackend.open()
    from dibench.backends.cpu import CpuBackend

    return CpuBackend()


def kernels_of(name: str) -> str:
    """Whose kernels a resolved backend runs: a device from elsewhere runs the CUDA family."""
    return "cuda" if is_elsewhere(name) or name == PAIRED else name


def device_uuid(name: str) -> str:
    """The UUID of the GPU that a resolved backend will launch on; empty without. No context is made for it.

    A device from elsewhere is not asked.
    """
    from dibench.backends import cuda_driver

    on_gpu = name in ("cuda", PAIRED) or (name == "torch" and library.here() is library.CUDNN)
    gpu = cuda_driver.gpu() if on_gpu else ""
    return "" if isinstance(gpu, str) else gpu.uuid


def resolve(name: str) -> str:
    """The backend that a name stands for: `auto` is cuda where a driver, a GPU and CuPy are there, else cpu.

    Raises:
        UserError: no such backend.
    """
    if is_elsewhere(name) or name == PAIRED:
        return name
    if name not in NAMES:
        raise UserError("--backend", f"must be one of {', '.join(NAMES)}", name)
    if name != "auto":
        return name
    from importlib.util import find_spec

    from dibench.backends import cuda_driver

    # Cheapest first: without CuPy the driver need not be asked.
    usable = find_spec("cupy") is not None and not isinstance(cuda_driver.gpu(), str)
    return "cuda" if usable else "cpu"
