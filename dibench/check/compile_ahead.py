"""Every kernel of a campaign, compiled where there is no GPU, to be brought along to where one is lent.

The directory holds what `KernelCache` would make on the spot; $DIBENCH_KERNELS names it there. NVRTC 12
compiles where it knows the architecture: a driver for CUDA 12 does not load what CUDA 13 compiled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from dibench import kernels
from dibench.backends.cuda import anchor_source, gate_source, layer_source
from dibench.backends.cuda_cache import KernelCache, Source
from dibench.check import selftest
from dibench.errors import UserError
from dibench.kernels import anchors
from dibench.kernels.compilers import nvrtc
from dibench.plan import Case


@attrs.frozen
class Compiled:
    """So many of all kernels are done; of the last one, what the compiler says if it does not compile."""

    number: int
    total: int
    wrong: str = ""


def compile_ahead(cases: Iterable[Case], arch: int, directory: Path, *, threads: int) -> Iterator[Compiled]:
    """Compile what these cases, selftest and calibration need; what is there already is kept.

    Raises:
        UserError: no compiler is installed that knows the architecture; the message names the wheel.
    """
    cache = KernelCache(_compiler(arch), directory, threads)
    sources = list({source.digest: source for source in _sources(cases, arch)}.values())
    try:
        cache.prefetch(sources)
        for number, source in enumerate(sources, start=1):
            wrong = ""
            try:
                cache.binary(source)
            except nvrtc.CompileError as error:
                wrong = f"{source.name}: {' '.join(str(error).split())[:200]}"
            yield Compiled(number, len(sources), wrong)
    finally:
        cache.close()


def lacking(cases: Iterable[Case], arch: int, cache: KernelCache) -> tuple[int, int]:
    """How many kernels of these cases a cache lacks, and of how many."""
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
    for variant in kernels.registry("cuda").values():  # its edges come last: they matter least
        for case in selftest.cases_of(variant, selftest.EDGES + selftest.WHOLE_TILES, arch):
            yield layer_source(variant, case, arch)
