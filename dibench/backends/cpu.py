"""The CPU as a device: kernels of csrc/cpu on every core this process may use, best instruction set first."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from dibench import kernels
from dibench.backends import openmp
from dibench.backends.base import Device
from dibench.backends.operands import aligned, operand, operand_shapes
from dibench.errors import UserError
from dibench.intensity import operand_bytes
from dibench.memory import available_bytes
from dibench.numbers import short

if TYPE_CHECKING:
    from dibench.layer import Layer
    from dibench.plan import Case

_PEAK_SECONDS, _CACHE_SECONDS = 0.3, 0.1
_LEAST_BUFFER = 2**28  # bytes; beyond what caches hold


_REBUILD = "`make setup`, or `python setup.py build_ext --inplace`"


def extension() -> ModuleType:
    """The compiled kernels, of the sources that lie here: rows are told to be of these.

    Raises:
        UserError: there is none, or it was built from other sources.
    """
    try:
        from dibench import _cpu
    except ImportError as error:
        rule = f"needs the compiled kernels: build them with `pip install .` and a C++ compiler ({error})"
        raise UserError("--backend", rule, "cpu") from None
    if getattr(_cpu, "sources", "") != kernels.extension_sha():
        rule = f"needs kernels compiled from the sources that are here, and these are of others: {_REBUILD}"
        raise UserError("--backend", f"{rule} builds them anew", "cpu")
    return _cpu


class CpuBackend:
    """Kernels on the CPU; `isa` and `threads` default to the best and to all that the process may use.

    `threads` is then what OpenMP gives, which OMP_THREAD_LIMIT may bound.
    """

    name = "cpu"

    def __init__(self, isa: str | None = None, threads: int | None = None) -> None:
        self._cpu = extension()
        self.isa = isa or self._cpu.isas()[-1]
        self._library = Path(str(self._cpu.__file__))
        self.team = openmp.team(self._library, threads)
        self.threads = self.team.threads
        self.lanes = int(self._cpu.vector_lanes(self.isa))

    def device(self) -> Device:
        """The processor's model; the UUID is a hash of machine and model, since CPUs have none."""
        return Device(
            name=model_name(),
            uuid=uuid(),
            facts={
                "isa": self.isa,
                "lanes": self.lanes,
                **self.team.facts(),
                "cpus": os.cpu_count(),
                "machine": platform.machine(),
                "kernel": platform.release(),
            },
        )

    def peaks(self) -> dict[str, float]:
        """MAC/s of an FMA-only loop and B/s of reading memory, on all threads, measured now.

        `scalar_mac_per_s` is the same loop with one number at a time, as the reuse kernels compute. Each
        level of cache has `l1_bytes` (of all that the threads have) and `l1_bytes_per_s`, of reading half.
        """
        caches = cache_bytes()
        buffer = max(min(max(_LEAST_BUFFER, 4 * last_level_cache_bytes()), available_bytes() // 2), 2**20)
        found = {
            "mac_per_s": self._cpu.peak_flops(self.isa, self.threads, _PEAK_SECONDS),
            "bytes_per_s": self._cpu.peak_bandwidth(self.threads, buffer, _PEAK_SECONDS),
            "scalar_mac_per_s": self._cpu.peak_flops(self.isa, self.threads, _CACHE_SECONDS, scalar=True),
        }
        for level, (size, sharing) in caches.items():
            reachable = size * -(-self.threads // sharing)
            found[f"l{level}_bytes"] = reachable
            half = max(reachable // 2, 4096)
            found[f"l{level}_bytes_per_s"] = self._cpu.peak_bandwidth(self.threads, half, _CACHE_SECONDS)
        return {name: float(value) for name, value in found.items()}

    def prepare(self, case: Case) -> CpuCase:
        """Operands of the case in memory, drawn from its distribution and seed.

        Raises:
            UserError: the variant does not allow the layer or knobs, memory does not suffice, or OpenMP gives
                other threads than when the device was opened.
        """
        registry = kernels.registry("cpu")
        if case.variant not in registry:
            raise UserError("variant", f"must be one of {', '.join(registry)}", case.variant)
        variant = registry[case.variant]
        variant.check(case.layer, case.knobs)
        if case.dtype != "fp32":
            raise UserError("dtype", "the CPU's kernels compute in fp32", case.dtype)
        openmp.check_unchanged(self._library, self.team)
        counts = variant.counts_for(case.layer, case.knobs, self.lanes, self.threads)
        return CpuCase(self, case, counts)

    def busy(self) -> AbstractContextManager[None]:
        """Nothing: what a processor did before a case does not affect its measurement."""
        return nullcontext()

    def prefetch(self, cases: Sequence[Case]) -> None:
        """Nothing: the kernels are compiled already."""


class CpuCase:
    """One case with its operands in memory: x [I,N,C,H,W], w [I,K,C/groups,R,S], y [I,N,K,P,Q]."""

    cells: Mapping[str, Any] = {}

    def __init__(self, backend: CpuBackend, case: Case, counts: Mapping[str, int]) -> None:
        self.counts = dict(counts)
        self._backend = backend
        self._case = case
        layer = case.layer
        try:
            scratch = backend._cpu.scratch_bytes(case.variant, backend.isa, layer.shape, backend.threads)
        except ValueError as error:
            raise UserError("layer", f"the kernel refuses it: {error}", layer) from None
        check_memory(layer, case.instances, scratch)
        x, w, y = operand_shapes(layer, case.instances)
        self.x = operand(x, case.data, case.seed, 0)
        self.w = operand(w, case.data, case.seed, 1)
        self.y = aligned(y)
        self.y.fill(0)  # make its pages exist before the first launch

    def launch(self, n: int) -> float:
        """Launch n times back to back; seconds for all."""
        backend, case = self._backend, self._case
        shape, threads = case.layer.shape, backend.threads
        seconds = backend._cpu.launch(
            case.variant, backend.isa, shape, case.box, self.x, self.w, self.y, threads, n
        )
        return float(seconds)

    def close(self) -> None:
        """Give the operands' memory back."""
        self.x = self.w = self.y = np.empty(0, np.float32)


def check_memory(layer: Layer, instances: int, scratch: int, dtype: str = "fp32") -> None:
    """Refuse a case whose operands and `scratch` bytes do not fit into free memory.

    Raises:
        UserError: it names the memory needed and left.
    """
    needed = operand_bytes(instances * (layer.weights + layer.activations), dtype) + scratch
    available = available_bytes()
    if needed > available:
        rule = f"needs {short(needed, 'B')} of memory and this process has {short(available, 'B')} left"
        raise UserError(
            "instances" if instances > 1 else "layer", rule, instances if instances > 1 else layer
        )


def last_level_cache_bytes() -> int:
    """Bytes of the largest cache; 0 where Linux does not say."""
    return max((size for size, _ in cache_bytes().values()), default=0)


def cache_bytes(root: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> dict[int, tuple[int, int]]:
    """Of each level of data cache: its bytes, and how many CPUs share it; empty where Linux does not say."""
    found = {}
    for index in sorted(root.glob("index*")):
        level, kind, size = (_read(index / name).strip() for name in ("level", "type", "size"))
        if kind in ("Data", "Unified") and level.isdigit() and size.endswith("K") and size[:-1].isdigit():
            sharing = _read(index / "shared_cpu_map").replace(",", "").strip()
            cpus = int(sharing, 16).bit_count() if sharing else 1
            found[int(level)] = (int(size[:-1]) * 1024, max(cpus, 1))
    return found


def uuid() -> str:
    """A hash of machine and model."""
    identity = f"{_machine_id()}/{model_name()}"
    return "cpu-" + hashlib.sha256(identity.encode()).hexdigest()[:16]


def model_name() -> str:
    """The processor's model as Linux reports it, on Arm boards the board's; else the architecture."""
    fields: dict[str, Any] = {}
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), " ".join(value.split()))
    return fields.get("model name") or fields.get("Model") or fields.get("Hardware") or platform.machine()


def _machine_id() -> str:
    return _read("/etc/machine-id").strip() or _read("/var/lib/dbus/machine-id").strip() or platform.node()


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
