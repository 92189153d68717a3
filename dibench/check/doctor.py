"""What a machine can run and measure, what it cannot, why, and what would change that."""

from __future__ import annotations

import math
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import attrs

from dibench.errors import UserError
from dibench.extras import pip_install
from dibench.numbers import number, short


@attrs.frozen
class Finding:
    """One thing that was looked at: whether it works, what was seen, and the remedy where it does not."""

    area: str
    what: str
    ok: bool
    seen: str
    remedy: str = ""


def findings() -> list[Finding]:
    """Everything that was looked at, area by area."""
    return [finding for look in _LOOKS for finding in look()]


def _look(area: str, what: str, ok: bool, seen: str, remedy: str = "") -> Finding:
    return Finding(area, what, ok, seen, "" if ok else remedy)


def _machine() -> Iterator[Finding]:
    from dibench.backends.cpu import model_name

    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    free = shutil.disk_usage(Path.cwd()).free
    seen = f"{model_name()}, {cores} of {os.cpu_count()} cores for this process"
    yield _look("machine", "processor", True, seen)
    remedy = "end other work before a sweep: it shows up as spread, and as flagged rows"
    yield _look("machine", "quiet", load < 0.5 * cores, f"load average {number(load, '.1f')}", remedy)
    remedy = "free some: a sweep of the 25 networks writes a few MB"
    yield _look("machine", "disk", free > 1e8, f"{short(free, 'B')} free here", remedy)


def _kernels() -> Iterator[Finding]:
    from dibench.backends.cpu import extension

    python = f"{platform.python_version()}, NumPy {metadata.version('numpy')}"
    yield _look("kernels", "Python", sys.version_info >= (3, 11), python, "install Python 3.11 or newer")
    try:
        compiled = extension()
        works, seen = (
            True,
            f"{len(compiled.variants())} variants, instruction sets {', '.join(compiled.isas())}",
        )
    except UserError as error:
        works, seen = False, str(error)
    yield _look("kernels", "CPU kernels", works, seen, "make setup (needs g++ and python3-dev)")
    remedy = f"{pip_install('torch')}: `measure` and `make bench` then show it beside ours"
    yield _look(
        "kernels", "PyTorch (peer)", bool(_version("torch")), _version("torch") or "not installed", remedy
    )


def _gpu() -> Iterator[Finding]:
    from dibench.backends import cuda_cache, cuda_driver

    gpu = cuda_driver.gpu()
    there = not isinstance(gpu, str)
    seen = gpu if isinstance(gpu, str) else f"{cuda_driver.driver_version()} for CUDA {gpu.cuda_version}"
    remedy = "install the NVIDIA driver (nvidia-smi must work); in a container, pass the GPU in"
    yield _look("GPU", "NVIDIA driver", there, seen.strip(), remedy)
    if not isinstance(gpu, str):
        seen = (
            f"{gpu.name}, sm_{gpu.arch}, {gpu.sms} multiprocessors, {short(gpu.memory_bytes, 'B')} of memory"
        )
        yield _look("GPU", "GPU", True, f"{seen}, {gpu.uuid}")
    cupy = next((name for name in ("cupy-cuda13x", "cupy-cuda12x", "cupy") if _version(name)), "")
    extra = "cuda13" if isinstance(gpu, str) else cuda_driver.extra(gpu)
    remedy = pip_install(extra) + ("" if there else ", once there is a driver")
    yield _look("GPU", "CuPy", bool(cupy), f"{cupy} {_version(cupy)}" if cupy else "not installed", remedy)
    works, seen = _cuda_compiler(gpu)
    yield _look("GPU", "CUDA compiler", works, seen, remedy)
    runs = there and bool(cupy) and (works or cuda_cache.default_directory().is_dir())
    seen = f"{len(_cuda_variants())} variants"
    remedy = "what the lines above lack; meanwhile `selftest --backend host` runs them on the CPU"
    yield _look("GPU", "CUDA kernels", runs, seen, remedy)
    ncu = _ncu()
    remedy = "for `counters`: package nsight-compute, and the right to read the driver's counters"
    yield _look("GPU", "Nsight Compute", bool(ncu), ncu or "ncu is not installed", remedy)


def _cuda_variants() -> list[str]:
    from dibench.kernels import registry

    return list(registry("cuda"))


def _cuda_compiler(gpu: object) -> tuple[bool, str]:
    """Whether there is a compiler for the GPU, or without one any; its version or why not."""
    from dibench.backends import cuda_cache, cuda_driver
    from dibench.check.resources import compilers_by_arch

    try:
        if isinstance(gpu, cuda_driver.Gpu):
            version = cuda_cache.choose_compiler(gpu.arch, gpu.cuda).version
            return True, f"NVRTC {version[0]}.{version[1]}"
        archs = compilers_by_arch()
    except UserError as error:
        return False, str(error)
    versions = sorted({f"{compiler.version[0]}.{compiler.version[1]}" for compiler in archs.values()})
    return True, f"NVRTC {' and '.join(versions)}, sm_{min(archs)} … sm_{max(archs)}"


def _ncu() -> str:
    from dibench.check.counters import find_ncu

    try:
        return find_ncu()
    except UserError:
        return ""


def _energy() -> Iterator[Finding]:
    """Every meter that is a sensor."""
    from dibench.meters.rapl import RaplMeter
    from dibench.meters.zeus import release

    try:
        meter = RaplMeter.open()
    except UserError as error:
        yield _refused("RAPL", error)
    else:
        zones = ", ".join(zone.name for zone in meter.zones)
        without = "".join(f"; without {name}, which {why}" for name, why in meter.left_out.items())
        yield _look("energy", "RAPL", True, f"{zones}; new value every {short(meter.period_s, 's')}{without}")
    yield from _gpu_meters()
    zeus = release()
    remedy = f"{pip_install('zeus')}, on a machine with a GPU: its reading then stands beside ours"
    yield _look("energy", "zeus", bool(zeus), f"Zeus {zeus}" if zeus else "Zeus is not installed", remedy)


def _gpu_meters() -> Iterator[Finding]:
    """The meters that read NVML, and whether this GPU and driver were calibrated."""
    from dibench.backends import cuda_driver
    from dibench.measure import calibration
    from dibench.meters.gpu import GpuMeter
    from dibench.meters.offered import ESTIMATORS

    gpu = cuda_driver.gpu()
    for source in ("nvml_counter", "nvml_power"):
        if isinstance(gpu, str):
            remedy = "install the NVIDIA driver (nvidia-smi must work); in a container, pass the GPU in"
            yield _look("energy", source, False, gpu, remedy)
            continue
        try:
            meter = GpuMeter.open(source, gpu.uuid)
        except UserError as error:
            yield _refused(source, error)
        else:
            limit = f"limit {short(meter.limit_w, 'W')}" if math.isfinite(meter.limit_w) else "no limit named"
            seen = ", ".join([f"{meter.estimator} of {meter.sensor.name}", limit, *meter.extras])
            others = ((name, why) for name, why in meter.refused.items() if name not in ESTIMATORS.values())
            refused = "; ".join(f"{name} ({why.partition(':')[0]})" for name, why in others)
            yield _look("energy", source, True, f"{seen}; not readable: {refused}" if refused else seen)
    if not isinstance(gpu, str):
        kept = calibration.path_of(gpu.uuid, cuda_driver.driver_version())
        seen = f"kept as {kept}" if kept.is_file() else "none of this GPU under this driver"
        yield _look("energy", "calibration", kept.is_file(), seen, "python -m dibench calibrate, 43 seconds")


def _refused(meter: str, error: UserError) -> Finding:
    """Refusals read "what is wrong: what to do"."""
    seen, _, remedy = error.rule.partition(": ")
    return _look("energy", meter, False, seen, remedy or "see above")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


_LOOKS: tuple[Callable[[], Iterator[Finding]], ...] = (_machine, _kernels, _gpu, _energy)
