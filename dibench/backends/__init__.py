"""Devices that run kernels, opened by name; `base` says what measuring asks of one."""

from __future__ import annotations

import os

from dibench.backends.base import (
    Backend,
    Device,
    DeviceError,
    DeviceFaultError,
    Prepared,
    ProcessSpentError,
    lap_of,
)
from dibench.elsewhere import is_elsewhere, make
from dibench.errors import UserError
from dibench.kernels import library

__all__ = [
    "NAMES", "PAIRED", "Backend", "Device", "DeviceError", "DeviceFaultError", "Prepared",
    "ProcessSpentError", "compute_capability", "device_uuid", "kernels_of", "lap_of", "open_backend",
    "resolve",
]  # fmt: skip

NAMES = ("auto", "cuda", "cpu", "torch")
"""What `--backend` accepts, and `module:callable` for a device from elsewhere."""

PAIRED = "cuda+torch"
"""Our kernels and PyTorch's library on one GPU, as a campaign opens them; see `paired`."""


def open_backend(name: str) -> Backend:
    """The backend of that name; `auto` is the best that this machine has.

    Raises:
        UserError: unknown name, or this installation cannot run it; the message says what is missing.
    """
    # OpenMP reads this when the kernels' library is loaded: its threads then spin for about 10 µs before
    # they sleep. By default they spin for milliseconds, which gains nothing on idle cores and costs a time
    # slice at each barrier where other processes use the cores (beside one busy process a convolution of
    # 0.57 ms took 45 ms on average, and 2 ms with this setting).
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
    """The family of kernels that a resolved backend runs; a device from elsewhere runs CUDA's."""
    return "cuda" if is_elsewhere(name) or name == PAIRED else name


def device_uuid(name: str) -> str:
    """The UUID of the GPU that a resolved backend will launch on, empty without one; makes no context.

    A device from elsewhere is not asked.
    """
    from dibench.backends import cuda_driver

    on_gpu = name in ("cuda", PAIRED) or (name == "torch" and library.here() is library.CUDNN)
    gpu = cuda_driver.gpu() if on_gpu else ""
    return "" if isinstance(gpu, str) else gpu.uuid


def compute_capability(name: str) -> int | None:
    """Of the GPU that a resolved backend launches our kernels on, 90 for sm_90; None without one."""
    from dibench.backends import cuda_driver

    gpu = cuda_driver.gpu() if name == "cuda" else ""
    return None if isinstance(gpu, str) else gpu.arch


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

    # The cheap test first: without CuPy the driver is not asked.
    usable = find_spec("cupy") is not None and not isinstance(cuda_driver.gpu(), str)
    return "cuda" if usable else "cpu"
