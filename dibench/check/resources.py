"""What the CUDA kernels take of a multiprocessor: registers, shared memory and spills, by architecture.

They are compiled at the usual knob values of one small layer an operator; no GPU is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from dibench import kernels
from dibench.backends import cuda_cache
from dibench.backends.cuda_cache import KernelCache, Source
from dibench.errors import UserError
from dibench.kernels import compilers
from dibench.kernels.compilers import nvrtc
from dibench.layer import Layer
from dibench.plan import usual_case

ARCHS = (60, 61, 70, 75, 80, 86, 89, 90, 100, 120)

LAYERS = {
    "standard": Layer(N=8, C=64, H=28, W=28, K=64, R=3, S=3, pad_h=1, pad_w=1),
    "pointwise": Layer(N=8, C=64, H=28, W=28, K=64, R=1, S=1),
    "grouped": Layer(N=8, C=64, H=28, W=28, K=64, R=3, S=3, pad_h=1, pad_w=1, groups=4),
    "depthwise": Layer(N=8, C=64, H=28, W=28, K=64, R=3, S=3, pad_h=1, pad_w=1, groups=64),
    "fc": Layer.fc(N=8, C=1024, K=1024),
}
"""One layer an operator; the first that a variant runs stands for it."""


@attrs.frozen
class Needs:
    """What one thread and one block of a kernel take on one architecture."""

    variant: str
    dtype: str
    arch: int
    registers: int
    shared_bytes: int
    spill_bytes: int


def compilers_by_arch(archs: Iterable[int] = ARCHS) -> dict[int, nvrtc.Compiler]:
    """The newest installed compiler of each architecture that has one.

    Raises:
        UserError: there is no compiler at all; the message names the wheel.
    """
    found: dict[int, nvrtc.Compiler] = {}
    refusal: UserError | None = None
    for major in (12, 13):
        try:
            compiler = nvrtc.compiler(major)
        except UserError as error:
            refusal = error
            continue
        found |= {arch: compiler for arch in archs if arch in compiler.archs}
    if not found and refusal is not None:
        raise refusal
    return {arch: found[arch] for arch in archs if arch in found}


def needs(archs: Iterable[int] = ARCHS) -> Iterator[Needs]:
    """Registers and shared memory of every CUDA variant and data type, on each architecture it runs on.

    Raises:
        UserError: no compiler is installed.
    """
    by_arch = compilers_by_arch(archs)
    directory = cuda_cache.default_directory()
    compilers_in_use = {id(compiler): compiler for compiler in by_arch.values()}
    caches = {key: KernelCache(one, directory, threads=2) for key, one in compilers_in_use.items()}
    jobs = []
    for variant in kernels.registry("cuda").values():
        assert variant.cuda is not None
        layer = next(LAYERS[op] for op in LAYERS if op in variant.ops)
        for dtype in variant.dtypes:
            case = usual_case(layer, variant, dtype=dtype)
            headers = compilers.device_headers()
            headers["constants.cuh"] = compilers.constants(variant, layer, case.knobs, dtype=dtype)
            dynamic = compilers.geometry(variant, layer, case.knobs).shared_bytes
            for arch, compiler in by_arch.items():
                if arch >= variant.cuda.least_arch:
                    source = Source(variant.name, variant.path.read_text("utf-8"), headers, arch)
                    jobs.append((caches[id(compiler)], source, dtype, dynamic))
    for cache, source, _, _ in jobs:
        cache.prefetch([source])
    for cache, source, dtype, dynamic in jobs:
        binary = cache.binary(source)
        shared = binary.shared_bytes + dynamic
        yield Needs(source.name, dtype, source.arch, binary.registers, shared, binary.spill_bytes)
