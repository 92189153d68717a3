"""`selftest`: is every kernel right on this machine? One line each."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dibench import __version__
from dibench.errors import UserError
from dibench.files import write_json

if TYPE_CHECKING:
    from dibench.backends import Backend


def selftest(
    backend: Annotated[
        str, typer.Option(help="auto, cuda, cpu, or host: the CUDA kernels run by the CPU.")
    ] = "auto",
    once: Annotated[
        bool, typer.Option("--once", help="Not again where it passed with these kernels, device and driver.")
    ] = False,
    small: Annotated[
        bool, typer.Option("--small", help="Only the smallest layers, as under compute-sanitizer.")
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write there what was found, after each variant."),
    ] = None,
) -> None:
    """Check every kernel variant against a float64 reference on this machine; exit 1 if one is wrong.

    Small layers whose tiles end in the middle, every output checked, outputs NaN before each run.
    """
    from dibench.selftest import NAMES

    if backend not in NAMES:
        raise UserError("--backend", f"must be one of {', '.join(NAMES)}", backend)
    from dibench.backends import DeviceFaultError, open_backend, resolve
    from dibench.selftest import selftest as check
    from dibench.variants import registry

    chosen = backend if backend == "host" else resolve(backend)
    opened = None if chosen == "host" else open_backend(chosen)
    device = "the harness of csrc/host_cuda" if opened is None else opened.device().name
    typer.echo(f"{chosen}: {device}")
    passed = _passed(chosen, opened)
    if once and passed.exists():
        typer.echo("passed before with these kernels, this device and driver; without --once it runs again")
        if json_file is not None:
            write_json(json_file, {"passed_before": True, "complete": True, "variants": {}})
        return
    begin, failed, number = time.monotonic(), 0, 0
    found: dict[str, str] = {}

    def note(complete: bool) -> None:
        if json_file is not None:
            write_json(json_file, {"passed_before": False, "complete": complete, "variants": found})

    try:
        for verdict in check(chosen, opened, small=small):
            number += 1
            failed += bool(verdict.failure)
            _show(verdict.variant, verdict.cases, verdict.worst, verdict.failure)
            found[verdict.variant] = verdict.failure and f"failed: {verdict.failure}"
            found[verdict.variant] = found[verdict.variant] or (
                "right" if verdict.cases else "not for this GPU"
            )
            note(False)
    except DeviceFaultError as fault:
        lost = next(name for name in registry("cpu" if chosen == "cpu" else "cuda") if name not in found)
        found[lost] = f"failed: the device is lost: {fault}"
        note(False)
        typer.echo(f"FAILED  a kernel lost the device, what follows was not checked: {fault}")
        raise typer.Exit(1) from None
    note(True)
    right = number - failed
    typer.echo(f"{right} of {number} variants right, {time.monotonic() - begin:.1f} s")
    if failed:
        raise typer.Exit(1)
    if small:  # which is not all
        return
    with contextlib.suppress(OSError):
        passed.parent.mkdir(parents=True, exist_ok=True)
        passed.touch()


def _passed(chosen: str, opened: Backend | None) -> Path:
    """The file that says so: its name is of kernels, compiler, device and driver."""
    from dibench.compilers import cache_directory
    from dibench.variants import sources_sha

    device = opened.device() if opened else None
    facts = device.facts if device else {}
    parts = [chosen, __version__, sources_sha("cpu" if chosen == "cpu" else "cuda")]
    parts += [device.uuid if device else "", *(str(facts.get(key)) for key in ("driver", "compiler", "isa"))]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    return cache_directory() / "selftest" / f"{chosen}-{digest}"


def _show(variant: str, cases: int, worst: float, failure: str) -> None:
    if failure:
        typer.echo(f"FAILED  {variant:<28} {failure}")
    elif cases == 0:
        typer.echo(f"skipped {variant:<28} needs a newer GPU")
    else:
        typer.echo(f"ok      {variant:<28} {cases:>3} cases, largest error {worst:.2f} of what is allowed")
    sys.stdout.flush()
