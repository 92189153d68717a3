"""Which sensor meters the user's own code: opened at its first use, once in a process, closed at its end."""

from __future__ import annotations

import atexit
import os
import sys
import threading

from dibench.backends import cuda_driver
from dibench.errors import UserError
from dibench.meters.sampler import RealClock
from dibench.meters.spans import NoSpans, SpanMeter

METERS = {"cpu": ("auto", "rapl", "none"), "cuda": ("auto", "nvml_counter", "nvml_power", "none")}
"""What reads each device. `auto` takes a sensor that works, or says why there is none; never a model."""

_lock = threading.Lock()
_opened: dict[tuple[int, str, str], SpanMeter] = {}
"""By process, as one that was forked has no thread of its parent; device and meter."""


def check(device: str, meter: str) -> None:
    """Refuse a device or a meter that there is not.

    Raises:
        UserError: it names the legal ones.
    """
    kind, _, ordinal = device.partition(":")
    if kind not in METERS or (ordinal and (kind != "cuda" or not ordinal.isdecimal())):
        raise UserError("device", "must be cpu, cuda or cuda:N", device)
    if meter not in METERS[kind]:
        raise UserError("meter", f"must be one of {', '.join(METERS[kind])} for device {kind}", meter)


def span_meter(device: str, meter: str) -> SpanMeter:
    """What meters spans on that device; the first call opens it, which may take a second.

    Raises:
        UserError: a meter that was named refuses; the message names the remedy.
    """
    key = os.getpid(), device, meter
    with _lock:
        if key not in _opened:
            try:
                found = _open(device, meter)
            except UserError as error:
                why = str(error).removeprefix("--meter: ")
                if meter == "auto":
                    found = NoSpans(why, RealClock())
                elif error.field == "device":
                    raise
                else:  # the command line's other meters are none here
                    raise UserError("", f"{why}; use meter auto or none to go on without joules") from None
            _opened[key] = found
            if len(_opened) == 1:
                atexit.register(_close)
        return _opened[key]


def wait_for_device(device: str) -> None:
    """Wait until a GPU has done what PyTorch or CuPy gave it, where one of them is in use.

    What launches by other ways must be waited for by the code itself.
    """
    if not device.startswith("cuda"):
        return
    torch, cupy, ordinal = sys.modules.get("torch"), sys.modules.get("cupy"), _ordinal(device)
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize(ordinal)
    if cupy is not None:
        cupy.cuda.Device(ordinal).synchronize()


def _ordinal(device: str) -> int:
    return int(device.partition(":")[2] or 0)


def _open(device: str, meter: str) -> SpanMeter:
    if meter == "none":
        return NoSpans("not asked for", RealClock())
    if device == "cpu":
        from dibench.meters.rapl import RaplMeter
        from dibench.meters.rapl_spans import RaplSpans

        return RaplSpans(RaplMeter.open(), RealClock())
    from dibench.meters.gpu_spans import GpuSpans

    uuids = cuda_driver.uuids()
    if isinstance(uuids, str):
        raise UserError("", uuids)
    ordinal = _ordinal(device)
    if ordinal >= len(uuids):
        raise UserError("device", f"must be one of the {len(uuids)} GPUs that CUDA shows", device)
    return GpuSpans.open(uuids[ordinal], meter)


def _close() -> None:
    for one in _opened.values():
        one.close()
