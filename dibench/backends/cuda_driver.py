"""GPUs as the NVIDIA driver describes them, without CuPy and without making a context.

Kernels run on the first device, which `CUDA_VISIBLE_DEVICES` decides. Its UUID finds the same device in NVML,
which ignores that variable.
"""

from __future__ import annotations

import ctypes
import uuid
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs

LIBRARY, NVML_LIBRARY = "libcuda.so.1", "libnvidia-ml.so.1"

# CUdevice_attribute of cuda.h
_ATTRIBUTES = {
    "clock_khz": 13,
    "sms": 16,
    "ecc": 32,
    "memory_clock_khz": 36,
    "memory_bus_bits": 37,
    "l2_bytes": 38,
    "major": 75,
    "minor": 76,
    "shared_bytes": 97,
}


@attrs.frozen
class Gpu:
    """A GPU as the driver describes it. Clocks are the highest possible ones, not the present ones."""

    name: str
    uuid: str
    arch: int  # 90 for sm_90
    cuda: int  # what the driver supports: 13 for CUDA 13.x
    cuda_version: str
    memory_bytes: int
    sms: int
    l2_bytes: int
    shared_bytes: int
    clock_khz: int
    memory_clock_khz: int
    memory_bus_bits: int
    ecc: bool


def first_gpu(library: str = LIBRARY) -> Gpu | str:
    """The GPU that kernels would run on, or a phrase that says why there is none."""
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return f"there is no NVIDIA driver ({library} is not there)"
    if status := cuda.cuInit(0):
        return f"the NVIDIA driver refuses (cuInit: error {status}{_error_name(cuda, status)})"
    count = _integer(cuda.cuDeviceGetCount)
    if not count:
        return "the NVIDIA driver sees no device (CUDA_VISIBLE_DEVICES?)"
    version = _integer(cuda.cuDriverGetVersion)
    name = ctypes.create_string_buffer(256)
    cuda.cuDeviceGetName(name, len(name), 0)
    memory = ctypes.c_size_t()
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), 0)
    found: dict[str, Any] = {what: _attribute(cuda, code) for what, code in _ATTRIBUTES.items()}
    return Gpu(
        name=name.value.decode(errors="replace"),
        uuid=_uuid(cuda),
        arch=10 * found.pop("major") + found.pop("minor"),
        cuda=version // 1000,
        cuda_version=f"{version // 1000}.{version % 1000 // 10}",
        memory_bytes=memory.value,
        ecc=bool(found.pop("ecc")),
        **found,
    )


def uuids(library: str = LIBRARY) -> tuple[str, ...] | str:
    """Every GPU that CUDA shows, in its order, or a phrase that says why there is none."""
    found = first_gpu(library)
    if isinstance(found, str):
        return found
    cuda = ctypes.CDLL(library)
    return tuple(_uuid(cuda, ordinal) for ordinal in range(_integer(cuda.cuDeviceGetCount)))


@lru_cache(maxsize=1)
def gpu() -> Gpu | str:
    """The result of `first_gpu`, cached."""
    return first_gpu()


def extra(gpu: Gpu) -> str:
    """The extra of this package that fits a GPU and its driver; CUDA 13 begins at sm_75."""
    return "cuda13" if gpu.cuda >= 13 and gpu.arch >= 75 else "cuda12"


def driver_version(module: Path = Path("/proc/driver/nvidia/version"), library: str = NVML_LIBRARY) -> str:
    """The driver's release such as 570.86.15, by its kernel module or, in a sandbox, NVML; empty without."""
    try:
        words = module.read_text(encoding="utf-8", errors="replace").partition("\n")[0].split()
        return next(word for word in words if word.count(".") >= 1 and word[0].isdigit())
    except (OSError, StopIteration):
        pass
    try:
        nvml = ctypes.CDLL(library)
    except OSError:
        return ""
    text = ctypes.create_string_buffer(80)
    if nvml.nvmlInit_v2() or nvml.nvmlSystemGetDriverVersion(text, len(text)):
        return ""
    return text.value.decode(errors="replace")


def _uuid(cuda: Any, ordinal: int = 0) -> str:
    """GPU-… as nvidia-smi shows it; MIG-… where the device is an instance of a partitioned GPU."""
    whole, own = (ctypes.create_string_buffer(16) for _ in range(2))
    cuda.cuDeviceGetUuid(whole, ordinal)
    if not hasattr(cuda, "cuDeviceGetUuid_v2") or cuda.cuDeviceGetUuid_v2(own, ordinal):
        own = whole
    kind = "GPU" if own.raw == whole.raw else "MIG"
    return f"{kind}-{uuid.UUID(bytes=own.raw)}"


def _attribute(cuda: Any, code: int) -> int:
    value = ctypes.c_int()
    return 0 if cuda.cuDeviceGetAttribute(ctypes.byref(value), code, 0) else value.value


def _integer(function: Any) -> int:
    value = ctypes.c_int()
    return 0 if function(ctypes.byref(value)) else value.value


def _error_name(cuda: Any, status: int) -> str:
    text = ctypes.c_char_p()
    if not hasattr(cuda, "cuGetErrorName") or cuda.cuGetErrorName(status, ctypes.byref(text)):
        return ""
    return f", {text.value.decode()}" if text.value else ""
