"""The GPU as a device: kernels of csrc/cuda, compiled here, launched as graphs, timed by its own events.

It never changes the device: clocks, power limit and modes are only read, for the manifest.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any

import attrs

from dibench import kernels
from dibench.backends import cuda_cache, cuda_driver, cuda_gpu
from dibench.backends.base import Device, DeviceError, Prepared
from dibench.backends.cuda_anchor import PreparedAnchor, anchor_launch
from dibench.backends.cuda_buffers import COLD_L2S, Operands, Station
from dibench.backends.cuda_cache import KernelCache, Source
from dibench.backends.cuda_case import CudaCase
from dibench.backends.cuda_gpu import Buffer, Launch
from dibench.errors import UserError
from dibench.extras import pip_install
from dibench.kernels import Variant, anchors, architectures, compilers
from dibench.kernels.compilers import Geometry

if TYPE_CHECKING:
    from dibench.plan import Case

_GATE_S = 200e-6  # enqueuing the graphs of a window takes less
_FILLER_S = 2e-3
_SHARES = {"whole": 1, "half": 2, "quarter": 4}
_PEAK_SECONDS = 0.2
_PEAK_BUFFER = 2**30  # bytes
_BLOCKS_PER_SM = 8  # of 256 threads: as many as a multiprocessor of any GPU since sm_60 holds, or more
_TRIAL_PASSES = 64


class CudaBackend:
    """Kernels on the first GPU that CUDA shows."""

    name = "cuda"

    def __init__(self, gpu: cuda_driver.Gpu, context: cuda_gpu.Context, cache: KernelCache) -> None:
        self.gpu = gpu
        self._context = context
        self._cache = cache
        self.operands = Operands()
        self._filling: Launch | None = None
        cycles = ctypes.c_longlong(int(_GATE_S * 1e3 * (gpu.clock_khz or 1_500_000)))
        self.gate = Launch(self._load(gate_source(gpu.arch)), Geometry(1, 1, 0), (cycles,))

    @classmethod
    def open(cls) -> CudaBackend:
        """The backend of this machine.

        Raises:
            UserError: no driver, no GPU, no CuPy or no compiler; the message names the remedy.
        """
        gpu = cuda_driver.gpu()
        if isinstance(gpu, str):
            rule = f"{gpu}: nvidia-smi must work here (in a container, pass the GPU in); or --backend cpu"
            raise UserError("--backend", rule, "cuda")
        directory = cuda_cache.default_directory()
        brought = cuda_cache.brought_directory()
        compiler = None
        try:
            compiler = cuda_cache.choose_compiler(gpu.arch, gpu.cuda)
        except UserError:
            if not directory.is_dir() and brought is None:
                raise
        threads = max(1, min(8, (os.cpu_count() or 2) // 2))
        cupy = cuda_gpu.import_cupy(gpu)
        try:
            cache = KernelCache(compiler, directory, threads, brought=brought, cuda=gpu.cuda)
            return cls(gpu, cuda_gpu.Context(cupy), cache)
        except DeviceError as fault:
            advice = f"{pip_install(cuda_driver.extra(gpu))} fits its driver for CUDA {gpu.cuda_version}"
            raise UserError("--backend", f"{gpu.name} cannot be used ({fault}); {advice}", "cuda") from None

    def device(self) -> Device:
        """The GPU's model, its UUID as NVML and nvidia-smi show it, facts that were read and not set."""
        gpu = self.gpu
        facts: dict[str, Any] = {
            **attrs.asdict(gpu),
            "driver": cuda_driver.driver_version(),
            "cuda": gpu.cuda_version,
            "compute_capability": f"{gpu.arch // 10}.{gpu.arch % 10}",
            "cupy": self._context.version,
            "compiler": self._cache.compiler_name,
            "visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        }
        return Device(name=gpu.name, uuid=gpu.uuid, facts=facts)

    def peaks(self) -> dict[str, float]:
        """MAC/s of the FMA anchor and B/s of the memory-read anchor, measured now."""
        threads = self._blocks() * anchors.registry()["anchor_fma"].block
        most = self._context.memory()[0] // 2
        buffer = min(max(_PEAK_BUFFER, COLD_L2S * self.gpu.l2_bytes), most)
        return {
            "mac_per_s": self._peak("anchor_fma", "macs_executed", threads),
            "bytes_per_s": 4 * self._peak("anchor_dram_read", "reads", buffer // 4),
        }

    def prepare(self, case: Case) -> Prepared:
        """The case ready to launch; the GPU is kept busy meanwhile.

        Raises:
            UserError, OutOfMemoryError, DeviceError: as `prepare_layer`.
        """
        return self._prepared_anchor(case) if case.anchor else self.prepare_layer(case)

    def prepare_layer(self, case: Case) -> CudaCase:
        """Operands of a layer's case on the device, its kernel loaded; the GPU is kept busy meanwhile.

        Raises:
            UserError: the variant's header, the architecture or the compiled kernel's needs say no.
            OutOfMemoryError: bytes asked and free.
            DeviceError: the device refused; DeviceFaultError: it is lost.
        """
        variant = _variant(case)
        self._check(variant, case)
        with self.busy():
            return self._prepared(case, variant)

    def _prepared(self, case: Case, variant: Variant) -> CudaCase:
        binary = self._cache.binary(self.source(variant, case))
        _check_resources(variant, binary.spill_bytes, self.gpu.arch)
        geometry = self.geometry(variant, case)
        most = self.gpu.shared_bytes or architectures.shared_bytes(self.gpu.arch)
        if binary.shared_bytes + geometry.shared_bytes > most:
            rule = f"must be at most {most} bytes per block on sm_{self.gpu.arch}"
            used = binary.shared_bytes + geometry.shared_bytes
            raise UserError("shared memory", rule, used, where=variant.name)
        kernel = self._context.load(binary.cubin, variant.name, geometry.shared_bytes)
        return CudaCase(self._station(), case, variant, kernel, geometry)

    def _prepared_anchor(self, case: Case) -> PreparedAnchor:
        anchor = anchors.registry()[case.variant]
        if self.gpu.arch < anchor.least_arch:
            rule = f"must be at least {anchor.least_arch}"
            raise UserError("compute capability", rule, self.gpu.arch, where=anchor.name)
        blocks = self._blocks() if case.sms == "all" else max(1, self.gpu.sms // _SHARES[case.sms])
        with self.busy():
            kernel = self._load(self._anchor_source(anchor.name))
            return PreparedAnchor(self._station(), case, anchor, kernel, blocks)

    def _station(self) -> Station:
        return Station(self.gpu, self._context, self.gate, self.operands)

    def prefetch(self, cases: Sequence[Case]) -> None:
        """Draw the first case's operands and compile what is missing, in the background."""
        if cases:
            self.operands.draw_ahead(cases[0])
        sources = []
        for case in cases:
            with suppress(UserError):  # prepare() reports it when it is this case's turn
                if case.anchor:
                    sources.append(self._anchor_source(case.variant))
                    continue
                variant = _variant(case)
                self._check(variant, case)
                sources.append(self.source(variant, case))
        self._cache.prefetch(sources)

    def busy(self) -> AbstractContextManager[None]:
        """Keep the GPU busy while the host prepares: FFMA chains, a few milliseconds at a time."""
        if self._filling is None:
            kernel, blocks = self._load(self._anchor_source("anchor_fma")), self._blocks()
            threads = blocks * anchors.registry()["anchor_fma"].block
            buffer = self._context.allocate(4 * threads, "filler")
            try:
                trial = self._anchor_launch(kernel, "anchor_fma", buffer, threads, _TRIAL_PASSES)
                graph = self._context.capture([trial])
                self._context.seconds([graph])  # the first launch also loads the code
                seconds = max(self._context.seconds([graph], self.gate), 1e-7)
            except BaseException:
                buffer.close()
                raise
            self._filler = kernel, buffer  # keeps them as long as the backend lives
            passes = max(1, int(_TRIAL_PASSES * _FILLER_S / seconds))
            self._filling = self._anchor_launch(kernel, "anchor_fma", buffer, threads, passes)
        return self._context.busy(self._filling)

    def source(self, variant: Variant, case: Case) -> Source:
        """What the kernel of a case is compiled from."""
        return layer_source(variant, case, self.gpu.arch)

    def geometry(self, variant: Variant, case: Case) -> Geometry:
        """Grid, block and dynamic shared memory of the case's launches on this GPU."""
        blocks = 0 if case.sms == "all" else max(1, self.gpu.sms // _SHARES[case.sms])
        return compilers.geometry(variant, case.layer, case.knobs, instances=case.instances, sms=blocks)

    def _check(self, variant: Variant, case: Case) -> None:
        if case.dtype not in variant.dtypes:
            rule = f"must be one of {', '.join(variant.dtypes)}"
            raise UserError("dtype", rule, case.dtype, where=variant.name)
        variant.check(case.layer, case.knobs)
        architectures.check(variant, case.layer, case.knobs, case.instances, self.gpu.arch)

    def _anchor_source(self, name: str) -> Source:
        return anchor_source(name, self.gpu.arch)

    def _load(self, source: Source) -> cuda_gpu.LoadedKernel:
        return self._context.load(self._cache.binary(source).cubin, source.name)

    def _blocks(self) -> int:
        return self.gpu.sms * _BLOCKS_PER_SM

    def _anchor_launch(
        self, kernel: cuda_gpu.LoadedKernel, name: str, buffer: Buffer, elements: int, passes: int
    ) -> Launch:
        return anchor_launch(kernel, anchors.registry()[name], buffer, self._blocks(), elements, passes)

    def _peak(self, name: str, count: str, elements: int) -> float:
        """The rate of an anchor, run long enough to take _PEAK_SECONDS."""
        kernel = self._load(self._anchor_source(name))
        buffer = self._context.allocate(4 * elements, "peaks")
        try:
            self._context.fill(buffer.pointer, 0, buffer.nbytes)
            passes, seconds = 1, 0.0
            while seconds < _PEAK_SECONDS:
                step = min(16.0, 1.2 * _PEAK_SECONDS / seconds) if seconds > 0 else 1.0
                passes = math.ceil(passes * max(step, 1.1))
                launch = self._anchor_launch(kernel, name, buffer, elements, passes)
                seconds = self._context.seconds([self._context.capture([launch])], self.gate)
        finally:
            buffer.close()
        done = anchors.registry()[name].counts_for(blocks=self._blocks(), elements=elements, passes=passes)
        return done[count] / seconds


def layer_source(variant: Variant, case: Case, arch: int) -> Source:
    """What the kernel of a layer's case is compiled from."""
    headers = compilers.device_headers()
    headers["constants.cuh"] = compilers.constants(variant, case.layer, case.knobs, dtype=case.dtype)
    return Source(variant.name, variant.path.read_text("utf-8"), headers, arch)


def anchor_source(name: str, arch: int) -> Source:
    """What an anchor is compiled from."""
    text = anchors.registry()[name].path.read_text("utf-8")
    return Source(name, text, compilers.device_headers(), arch)


def gate_source(arch: int) -> Source:
    """The kernel that holds the stream while graphs are enqueued."""
    path = kernels.source_directory() / "cuda" / "support" / "gate.cu"
    return Source("gate", path.read_text("utf-8"), {}, arch)


def _variant(case: Case) -> Variant:
    registry = kernels.registry("cuda")
    if case.variant not in registry:
        raise UserError("variant", f"must be one of {', '.join(registry)}", case.variant)
    return registry[case.variant]


def _check_resources(variant: Variant, spill_bytes: int, arch: int) -> None:
    assert variant.cuda is not None
    if spill_bytes > variant.cuda.spill_bytes:
        rule = f"must suffice without spilling on sm_{arch}, bytes spilled at most {variant.cuda.spill_bytes}"
        raise UserError("registers", rule, spill_bytes, where=variant.name)
