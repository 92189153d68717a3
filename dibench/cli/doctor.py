"""`doctor`: what this machine can run and measure, what it cannot, why, and what would change that."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import metadata, util
from pathlib import Path
from typing import Annotated

import attrs
import typer

from dibench.errors import UserError


@attrs.frozen
class Finding:
    """One thing looked at: whether it is there, what was seen, and the remedy where it is not."""

    area: str
    what: str
    ok: bool
    seen: str
    remedy: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list for programs.")] = False,
) -> None:
    """Tell what this machine can run and measure; for each "cannot", the reason and the remedy."""
    findings = [finding for look in _LOOKS for finding in look()]
    if as_json:
        typer.echo(json.dumps([attrs.asdict(finding) for finding in findings], indent=1))
        return
    from rich.markup import escape

    from dibench.cli.output import console

    out, area = console(), ""
    for finding in findings:
        if finding.area != area:
            area = finding.area
            out.print(f"\n[bold]{area}[/bold]")
        mark = "[green]yes[/green]" if finding.ok else "[yellow]no [/yellow]"
        out.print(f"  {mark}  {finding.what:<22} {escape(finding.seen)}", soft_wrap=True)
        if finding.remedy:
            out.print(f"       {'':<22} [dim]remedy:[/dim] {escape(finding.remedy)}", soft_wrap=True)
    out.print(f"\n{_summary(findings)}", soft_wrap=True)


def _summary(findings: list[Finding]) -> str:
    able = {finding.what: finding.ok for finding in findings}
    runs = "CPU kernels" if able["CPU kernels"] else "no kernels"
    energy = (
        "measured by RAPL" if able["RAPL"] else "not measured here; `model` computes a stand-in that says so"
    )
    return f"In short: {runs}; time measured; energy {energy}."


def _look(area: str, what: str, ok: bool, seen: str, remedy: str = "") -> Finding:
    return Finding(area, what, ok, seen, "" if ok else remedy)


def _machine() -> Iterator[Finding]:
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    free = shutil.disk_usage(Path.cwd()).free
    seen = f"{_processor()}, {cores} of {os.cpu_count()} cores for this process"
    yield _look("machine", "processor", True, seen)
    remedy = "end other work before a sweep: it shows up as spread, and as flagged rows"
    yield _look("machine", "quiet", load < 0.5 * cores, f"load average {load:.1f}", remedy)
    remedy = "free some: a sweep of the 25 networks writes a few MB"
    yield _look("machine", "disk", free > 1e8, f"{free / 1e9:.1f} GB free here", remedy)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _kernels() -> Iterator[Finding]:
    python = f"{platform.python_version()}, NumPy {metadata.version('numpy')}"
    yield _look("kernels", "Python", sys.version_info >= (3, 11), python, "install Python 3.11 or newer")
    try:
        from dibench import _cpu

        works, seen = True, f"{len(_cpu.variants())} variants, instruction sets {', '.join(_cpu.isas())}"
    except ImportError as error:
        works, seen = False, f"the compiled extension does not load: {error}"
    yield _look("kernels", "CPU kernels", works, seen, "make setup (needs g++ and python3-dev)")
    remedy = "pip install 'dibench[torch]': `measure` and `make bench` then show it beside ours"
    yield _look(
        "kernels", "PyTorch (peer)", bool(_version("torch")), _version("torch") or "not installed", remedy
    )


def _gpu() -> Iterator[Finding]:
    problem = _driver_problem()
    remedy = "install the NVIDIA driver (nvidia-smi must work); in a container, pass the GPU in"
    yield _look("GPU", "NVIDIA driver", not problem, problem or "libcuda loads and sees a device", remedy)
    cupy = next((name for name in ("cupy-cuda13x", "cupy-cuda12x") if _version(name)), "")
    remedy = "needed to launch kernels on a GPU, once there is a driver"
    yield _look("GPU", "CuPy", bool(cupy), f"{cupy} {_version(cupy)}" if cupy else "not installed", remedy)


def _driver_problem() -> str:
    """Why no CUDA device can be used, in one phrase; empty where one can."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no driver: libcuda.so.1 is not there"
    status = cuda.cuInit(0)
    if status:
        return f"cuInit fails with error {status}"
    count = ctypes.c_int()
    cuda.cuDeviceGetCount(ctypes.byref(count))
    return "" if count.value else "the driver sees no device"


def _energy() -> Iterator[Finding]:
    from dibench.meters.rapl import RaplMeter

    try:
        meter = RaplMeter.open()
    except UserError as error:
        seen, _, remedy = str(error).removeprefix("RAPL: ").partition(": ")
        yield _look("energy", "RAPL", False, seen, remedy)
    else:
        zones = ", ".join(zone.name for zone in meter.zones)
        yield _look("energy", "RAPL", True, f"{zones}; new value every {meter.period_s * 1e3:.2g} ms")
    nvml = util.find_spec("pynvml") is not None
    remedy = "pip install nvidia-ml-py, on a machine with an NVIDIA GPU"
    yield _look("energy", "NVML", nvml, f"pynvml is {'' if nvml else 'not '}installed", remedy)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


_LOOKS: tuple[Callable[[], Iterator[Finding]], ...] = (_machine, _kernels, _gpu, _energy)
