"""Compile every kernel of a campaign without a GPU, for a machine that has one.

The directory holds what `KernelCache` would make on that machine, where $DIBENCH_KERNELS names it. NVRTC 12
is preferred where it knows the architecture: a driver for CUDA 12 does not load what CUDA 13 compiled.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dibench import kernels
from dibench.backends import cuda_cache, cuda_driver
from dibench.backends.cuda import anchor_source, gate_source, layer_source
from dibench.backends.cuda_cache import KernelCache, Source
from dibench.check import selftest
from dibench.errors import UserError
from dibench.files import explained
from dibench.kernels import anchors
from dibench.kernels.compilers import nvrtc
from dibench.plan import Case

Say = Callable[[str], None]

_SAY_EVERY_S = 5.0


def compile_all(cases: Iterable[Case], arch: int, directory: Path, say: Say) -> tuple[int, int]:
    """Compile what these cases, selftest and calibration need, as far as it is not there already.

    Returns:
        How many kernels there are, and how many of them do not compile.

    Raises:
        UserError: no compiler is installed that knows the architecture; the message names the wheel.
    """
    with explained(directory):
        directory.mkdir(parents=True, exist_ok=True)
    cache = KernelCache(_compiler(arch), directory, max(1, len(os.sched_getaffinity(0))))
    sources = list({source.digest: source for source in _sources(cases, arch)}.values())
    wrong, last = 0, 0.0
    try:
        cache.prefetch(sources)
        for number, source in enumerate(sources, start=1):
            try:
                cache.binary(source)
            except nvrtc.CompileError as error:
                wrong += 1
                say(f"does not compile: {source.name}: {' '.join(str(error).split())[:200]}")
            if time.monotonic() - last > _SAY_EVERY_S or number == len(sources):
                last = time.monotonic()
                say(f"[{number}/{len(sources)}] kernels for sm_{arch}")
    finally:
        cache.close()
    return len(sources), wrong


def bring(directory: Path) -> None:
    """Have every process of this campaign take its kernels from that directory.

    Raises:
        UserError: there are none.
    """
    found = directory / "cuda" if (directory / "cuda").is_dir() else directory
    if not any(found.glob("*.bin")):
        raise UserError("--kernels", "must hold what campaign --compile-only made", str(directory))
    os.environ["DIBENCH_KERNELS"] = str(found.resolve())


def check(cases: Iterable[Case], arch: int, say: Say) -> None:
    """Say how many kernels of these cases are compiled already.

    Raises:
        UserError: none is, and there is no compiler: every case would be skipped.
    """
    brought = cuda_cache.brought_directory()
    gpu = cuda_driver.gpu()
    cuda = None if isinstance(gpu, str) else gpu.cuda
    cache = KernelCache(None, cuda_cache.default_directory(), brought=brought, cuda=cuda)
    missing, total = lacking(cases, arch, cache)
    say(f"kernels   {total - missing} of {total} are compiled already")
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


def lacking(cases: Iterable[Case], arch: int, cache: KernelCache) -> tuple[int, int]:
    """How many kernels of these cases a cache lacks, and how many there are."""
    sources = {source.digest: source for source in _measured(cases, arch)}
    return sum(not cache.holds(source) for source in sources.values()), len(sources)


def _compiler(arch: int) -> nvrtc.Compiler:
    for major in (12, 13):
        try:
            compiler = nvrtc.compiler(major)
        except UserError:
            continue
        if arch in compiler.archs:
            return compiler
    raise UserError("--arch", "needs an NVRTC that knows it: pip install nvidia-cuda-nvrtc-cu12", arch)


def _measured(cases: Iterable[Case], arch: int) -> Iterator[Source]:
    yield gate_source(arch)
    for name, anchor in anchors.registry().items():
        if arch >= anchor.least_arch:
            yield anchor_source(name, arch)
    variants = kernels.registry("cuda")
    for case in cases:
        if case.backend == "cuda" and not case.anchor:
            yield layer_source(variants[case.variant], case, arch)


def _sources(cases: Iterable[Case], arch: int) -> Iterator[Source]:
    yield from _measured(cases, arch)
    for variant in kernels.registry("cuda").values():  # last: they matter least
        for case in selftest.cases_of(variant, selftest.EDGES + selftest.WHOLE_TILES, arch):
            yield layer_source(variant, case, arch)
