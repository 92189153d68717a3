"""Kernels of a campaign compiled beforehand: `--compile-only` makes them, `--kernels` brings them along."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dibench.cli.campaign_view import say
from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.plan.stages import Stages

_SAY_EVERY_S = 5.0


def compile_all(out: Path, found: Stages, arch: int) -> None:
    """All kernels of these stages, of selftest and calibration; exit 1 if one does not compile."""
    from dibench.check.compile_ahead import compile_ahead
    from dibench.files import explained
    from dibench.plan.stages import in_turns
    from dibench.show.numbers import time_text

    begin, last, total, wrong = time.monotonic(), 0.0, 0, list[str]()
    threads = max(1, len(os.sched_getaffinity(0)))
    with explained(out):
        (out / "cuda").mkdir(parents=True, exist_ok=True)
    cases = [found.sentinel, *in_turns(found.stages)]
    for done in compile_ahead(cases, arch, out / "cuda", threads=threads):
        total = done.total
        if done.wrong:
            wrong.append(done.wrong)
            typer.echo(f"does not compile: {done.wrong}", err=True)
        if time.monotonic() - last > _SAY_EVERY_S or done.number == done.total:
            last = time.monotonic()
            typer.echo(f"[{done.number}/{done.total}] kernels for sm_{arch}", err=True)
    size = sum(path.stat().st_size for path in (out / "cuda").glob("*.bin")) / 2**20
    took = time_text(time.monotonic() - begin)
    say(f"{total - len(wrong)} kernels for sm_{arch} in {out}, {size:.1f} MiB, {took}")
    say(f"On the machine with the GPU: python -m dibench campaign --kernels {shlex.quote(str(out))} --out …")
    if wrong:
        raise typer.Exit(1)


def bring(directory: Path) -> None:
    """Have every process of this campaign take kernels from there.

    Raises:
        UserError: there are none.
    """
    found = directory / "cuda" if (directory / "cuda").is_dir() else directory
    if not any(found.glob("*.bin")):
        raise UserError("--kernels", "must hold what campaign --compile-only made", str(directory))
    os.environ["DIBENCH_KERNELS"] = str(found.resolve())


def check(found: Stages, arch: int) -> None:
    """Say how many kernels are compiled already.

    Raises:
        UserError: none is, and there is no compiler: every case would be skipped.
    """
    from dibench.backends import cuda_cache, cuda_driver
    from dibench.check.compile_ahead import lacking
    from dibench.plan.stages import in_turns

    brought = cuda_cache.brought_directory()
    cache = cuda_cache.KernelCache(None, cuda_cache.default_directory(), brought=brought)
    missing, total = lacking([found.sentinel, *in_turns(found.stages)], arch, cache)
    say(f"kernels   {total - missing} of {total} are compiled already")
    gpu = cuda_driver.gpu()
    if not missing or isinstance(gpu, str):
        return
    try:
        cuda_cache.choose_compiler(arch, gpu.cuda)
    except UserError as error:
        if missing == total and brought is not None:
            rule = f"must be of this checkout, for sm_{arch}, as there is no compiler here: "
            remedy = f"campaign --compile-only --arch {arch} makes them"
            raise UserError("--kernels", rule + remedy, str(brought)) from None
        if missing == total:
            raise
        say(f"kernels   the other {missing} cannot be compiled here, their cases are skipped: {error}")
