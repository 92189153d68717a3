"""`selftest`: is every kernel right on this machine? One line for each, as soon as it is checked."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from dibench.cli.options import Json, check_json
from dibench.cli.output import STANDARD_OUTPUT
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
    json_file: Json = None,
) -> None:
    """Check every kernel variant against a float64 reference on this machine; exit 1 if one is wrong.

    It runs small layers that no tile divides evenly, fills outputs with NaN before each run, and checks every
    output. JSON in a file is written after each variant, so after a crash it says which was being checked.
    """
    from dibench.check.selftest import NAMES, chosen_variants
    from dibench.elsewhere import is_elsewhere

    if backend not in NAMES and not is_elsewhere(backend):
        raise UserError("--backend", f"must be one of {', '.join(NAMES)}, or module:callable", backend)
    check_json(json_file)
    from dibench.backends import open_backend, resolve
    from dibench.cli.output import data_output
    from dibench.files import json_text
    from dibench.sweep.selftest_verdicts import RunVerdicts

    chosen = backend if backend == "host" else resolve(backend)
    names = [variant.name for variant in chosen_variants(chosen, [name for name in only.split(",") if name])]
    opened = None if chosen == "host" else open_backend(chosen)
    device = "the harness of csrc/host_cuda" if opened is None else opened.device().name
    only_json = json_file == STANDARD_OUTPUT
    say = partial(typer.echo, err=only_json)
    say(f"{chosen}: {device}")
    verdicts = RunVerdicts.of(chosen, opened, small=small, json_file=None if only_json else json_file)
    right_before = verdicts.right_before() if once else set()
    left = [name for name in names if name not in right_before]
    if not left:
        say("passed before with these kernels, this device and driver; without --once it runs again")
    elif len(left) < len(names):
        say(f"{len(names) - len(left)} variants were right before and are not checked again")
    try:
        _check(chosen, opened, left, verdicts, small, say)
    finally:
        if only_json:
            print(json_text(verdicts.as_json()), file=data_output())


def _check(
    chosen: str,
    opened: Backend | None,
    left: list[str],
    verdicts: RunVerdicts,
    small: bool,
    say: Callable[[str], None],
) -> None:
    """Check these and print a line for each; exit 1 if one is wrong or loses the device."""
    from dibench.backends import DeviceFaultError
    from dibench.check.selftest import selftest as check
    from dibench.numbers import time_text

    begin, failed = time.monotonic(), 0
    verdicts.begin(left)
    try:
        for verdict in check(chosen, opened, small=small, only=left) if left else ():
            failed += bool(verdict.failure)
            say(_line(verdict))
            sys.stdout.flush()
            verdicts.add(verdict)
    except DeviceFaultError as fault:
        verdicts.lost(str(fault))
        say(f"FAILED  a kernel lost the device, what follows was not checked: {fault}")
        raise typer.Exit(1) from None
    if left:
        took = time_text(time.monotonic() - begin)
        say(f"{len(left) - failed} of {len(left)} variants right, {took}")
    if failed:
        raise typer.Exit(1)


def _line(verdict: KernelVerdict) -> str:
    from dibench.numbers import percent

    if verdict.failure:
        return f"FAILED  {verdict.variant:<23} {verdict.failure}"
    if verdict.cases == 0:
        return f"skipped {verdict.variant:<23} needs a newer GPU"
    worst = f"{percent(verdict.worst)} of what is allowed"
    return f"ok      {verdict.variant:<23} {verdict.cases:>3} cases, largest error {worst}"
