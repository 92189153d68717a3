"""`selftest`: is every kernel right on this machine? One line for each, as soon as it is checked."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.backends import Backend
    from dibench.check.selftest import KernelVerdict
    from dibench.sweep.selftest_verdicts import RunVerdicts


def selftest(
    backend: Annotated[
        str,
        typer.Option(
            help="auto, cuda, cpu, host (the CUDA kernels run by the CPU), or module:callable from elsewhere."
        ),
    ] = "auto",
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="Skip what was right before with this source, compiler, device and driver."
        ),
    ] = False,
    small: Annotated[
        bool, typer.Option("--small", help="Only the smallest layers: fast enough for compute-sanitizer.")
    ] = False,
    only: Annotated[
        str, typer.Option(metavar="LIST", help="Only these variants, in this order: conv_no_reuse,fc_dot.")
    ] = "",
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write the verdicts into this file after each variant."),
    ] = None,
) -> None:
    """Check every kernel variant against a float64 reference on this machine; exit 1 if one is wrong.

    It runs small layers that no tile divides evenly, fills outputs with NaN before each run, and checks every
    output.
    """
    from dibench.check.selftest import NAMES, chosen_variants
    from dibench.elsewhere import is_elsewhere

    if backend not in NAMES and not is_elsewhere(backend):
        raise UserError("--backend", f"must be one of {', '.join(NAMES)}, or module:callable", backend)
    from dibench.backends import open_backend, resolve
    from dibench.sweep.selftest_verdicts import RunVerdicts

    chosen = backend if backend == "host" else resolve(backend)
    names = [variant.name for variant in chosen_variants(chosen, [name for name in only.split(",") if name])]
    opened = None if chosen == "host" else open_backend(chosen)
    device = "the harness of csrc/host_cuda" if opened is None else opened.device().name
    typer.echo(f"{chosen}: {device}")
    verdicts = RunVerdicts.of(chosen, opened, small=small, json_file=json_file)
    right_before = verdicts.right_before() if once else set()
    left = [name for name in names if name not in right_before]
    if not left:
        typer.echo("passed before with these kernels, this device and driver; without --once it runs again")
    elif len(left) < len(names):
        typer.echo(f"{len(names) - len(left)} variants were right before and are not checked again")
    _check(chosen, opened, left, verdicts, small)


def _check(chosen: str, opened: Backend | None, left: list[str], verdicts: RunVerdicts, small: bool) -> None:
    """Check these and print a line for each; exit 1 if one is wrong or loses the device."""
    from dibench.backends import DeviceFaultError
    from dibench.check.selftest import selftest as check
    from dibench.numbers import time_text

    begin, failed = time.monotonic(), 0
    verdicts.begin(left)
    try:
        for verdict in check(chosen, opened, small=small, only=left) if left else ():
            failed += bool(verdict.failure)
            _show(verdict)
            verdicts.add(verdict)
    except DeviceFaultError as fault:
        verdicts.lost(str(fault))
        typer.echo(f"FAILED  a kernel lost the device, what follows was not checked: {fault}")
        raise typer.Exit(1) from None
    if left:
        took = time_text(time.monotonic() - begin)
        typer.echo(f"{len(left) - failed} of {len(left)} variants right, {took}")
    if failed:
        raise typer.Exit(1)


def _show(verdict: KernelVerdict) -> None:
    from dibench.numbers import percent

    if verdict.failure:
        typer.echo(f"FAILED  {verdict.variant:<28} {verdict.failure}")
    elif verdict.cases == 0:
        typer.echo(f"skipped {verdict.variant:<28} needs a newer GPU")
    else:
        worst = f"{percent(verdict.worst)} of what is allowed"
        typer.echo(f"ok      {verdict.variant:<28} {verdict.cases:>3} cases, largest error {worst}")
    sys.stdout.flush()
