"""A GPU for tests: the calls of CuPy that dibench makes, answered by the CPU.

Kernels run on the harness of csrc/host_cuda, so results are real; time is not: a launch takes LAUNCH_S. What
this stand-in cannot show is whether CuPy and the driver behave as it does. Where CuPy is installed its
attributes are compared with those offered here (test_cuda_driver.py).
"""

from __future__ import annotations

import ctypes
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from dibench import kernels
from dibench.backends import cuda_cache, cuda_driver, cuda_gpu, host
from dibench.backends.cuda import CudaBackend
from dibench.kernels import anchors, compilers
from dibench.kernels.compilers.nvrtc import Binary
from dibench.layer import DIMENSIONS, Layer
from dibench.plan import Case
from dibench.plan.boxes import default_box

LAUNCH_S = 0.01
PASS_S = 1e-3  # of an anchor
MEMORY = 2**26
GPU = cuda_driver.Gpu(
    name="Test GPU", uuid="GPU-00000000-0000-0000-0000-000000000001", arch=90, cuda=13, cuda_version="13.0",
    memory_bytes=MEMORY, sms=8, l2_bytes=2**16, shared_bytes=232448, clock_khz=1_500_000,
    memory_clock_khz=2_000_000, memory_bus_bits=5120, ecc=True,
)  # fmt: skip

VARIANT = (ctypes.c_int * len(DIMENSIONS), ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
SUPPORT: Mapping[str, tuple[Any, ...]] = {
    "gate": (ctypes.c_longlong,),
    **dict.fromkeys(anchors.registry(), (ctypes.c_void_p, ctypes.c_longlong, ctypes.c_int)),
}


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


class CUDADriverError(RuntimeError):
    pass


class HostCompiler:
    """In NVRTC's place: compiles for the harness; the "machine code" says where that lies."""

    version = (13, 5)
    archs = (90,)

    def __init__(self) -> None:
        self.compiled: list[str] = []

    def compile(self, source: str, name: str, headers: Mapping[str, str], *, arch: int) -> Binary:
        self.compiled.append(name)
        code: dict[str, str] = {"name": name}
        if name != "gate":
            code["source"], code["constants"] = source, headers.get("constants.cuh", "")
        return Binary(name, arch, json.dumps(code).encode(), 32, 0, 0, 0, "")


class FakeCupy:
    """`cupy`, as far as cuda_gpu.Context asks."""

    __version__ = "0 (stand-in)"

    def __init__(self) -> None:
        self.memory: dict[int, np.ndarray[Any, Any]] = {}
        self.launched: list[tuple[str, tuple[Any, ...]]] = []
        self.captures = 0
        self.static_shared = 0  # bytes of every kernel
        self.allowed: list[tuple[int, int]] = []  # attributes of functions that were set
        self.watching = False
        self.profiled: list[str] = []
        self.clock_s = 0.0
        self.lost = ""
        self.capturing: list[Any] | None = None
        self.functions: list[dict[str, str]] = []
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(
                CUDARuntimeError=CUDARuntimeError,
                memcpyHostToDevice=1,
                memcpyDeviceToHost=2,
                memcpyDeviceToDevice=3,
                free=self._free,
                malloc=self._malloc,
                memcpy=self._memcpy,
                memset=self._memset,
                memGetInfo=lambda: (MEMORY - self._used(), MEMORY),
                deviceSynchronize=self._check,
                profilerStart=lambda: self._watch(True),
                profilerStop=lambda: self._watch(False),
            ),
            driver=SimpleNamespace(
                CUDADriverError=CUDADriverError,
                CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=8,
                CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES=1,
                funcGetAttribute=lambda attribute, function: {1: self.static_shared}[attribute],
                funcSetAttribute=lambda function, attribute, value: self.allowed.append((attribute, value)),
                launchKernel=self._launch,
            ),
            function=SimpleNamespace(Module=lambda: FakeModule(self)),
            Device=lambda index: SimpleNamespace(use=lambda: None),
            Stream=lambda non_blocking: FakeStream(self),
            Event=lambda: FakeEvent(self),
            get_elapsed_time=lambda begin, end: 1e3 * (end.at - begin.at),
        )

    def _watch(self, on: bool) -> None:
        self.watching = on

    def _check(self) -> None:
        if self.lost:
            raise CUDARuntimeError(700, self.lost)

    def _used(self) -> int:
        return sum(array.nbytes for array in self.memory.values())

    def _malloc(self, size: int) -> int:
        self._check()
        if self._used() + size > MEMORY:
            raise CUDARuntimeError(2, "cudaErrorMemoryAllocation: out of memory")
        array = np.empty(size + 256, np.uint8)
        begin = -array.ctypes.data % 256
        pointer = int(array.ctypes.data + begin)
        self.memory[pointer] = array[begin : begin + size]
        return pointer

    def _free(self, pointer: int) -> None:
        self._check()
        if pointer:
            del self.memory[pointer]

    def _inside(self, pointer: int, size: int) -> None:
        """As a GPU would fault: the bytes lie in one allocation."""
        assert any(
            base <= pointer and pointer + size <= base + array.nbytes for base, array in self.memory.items()
        ), "outside of device memory"

    def _memcpy(self, target: int, source: int, size: int, kind: int) -> None:
        self._check()
        if kind in (1, 3):
            self._inside(target, size)
        if kind in (2, 3):
            self._inside(source, size)
        ctypes.memmove(target, source, size)

    def _memset(self, pointer: int, value: int, size: int) -> None:
        self._check()
        self._inside(pointer, size)
        ctypes.memset(pointer, value, size)

    def _launch(
        self, function: int, gx: int, gy: int, gz: int, bx: int, by: int, bz: int,
        shared: int, stream: int, parameters: int, extra: int,
    ) -> None:  # fmt: skip
        assert (gy, gz, by, bz, extra) == (1, 1, 1, 1, 0)
        assert gx >= 1 and 1 <= bx <= 1024
        code = self.functions[function]
        types = SUPPORT.get(code["name"], VARIANT)
        cells = ctypes.cast(parameters, ctypes.POINTER(ctypes.c_void_p))
        # Values are taken now, as the driver takes them: the caller's memory may be gone at the launch.
        values = tuple(
            kind.from_buffer_copy(ctypes.string_at(cells[i], ctypes.sizeof(kind)))
            for i, kind in enumerate(types)
        )
        work = (code, values, compilers.Geometry(gx, bx, shared))
        if self.capturing is None:
            self.run(work)
        else:
            self.capturing.append(work)

    def run(self, work: tuple[dict[str, str], tuple[Any, ...], compilers.Geometry]) -> None:
        code, values, geometry = work
        if self.lost:
            return
        self.launched.append((code["name"], values))
        if self.watching:
            self.profiled.append(code["name"])
        if code["name"] in SUPPORT:
            if code["name"] != "gate":
                time.sleep(1e-3)
                self.clock_s += PASS_S * values[2].value
            return
        self.clock_s += LAUNCH_S
        layer = Layer.from_dims(dict(zip(DIMENSIONS, values[0], strict=True)))
        if str(layer.K) == os.environ.get("FAKE_GPU_FAULT_K"):
            self.lost = "cudaErrorIllegalAddress: an illegal memory access was encountered"
            return
        instances = values[1].value
        element = ctypes.c_uint16 if "using T = unsigned short" in code["constants"] else ctypes.c_float
        operands = {
            "input": self.view(values[2].value, instances * layer.inputs, element),
            "weight": self.view(values[3].value, instances * layer.weights, element),
            "output": self.view(values[4].value, instances * layer.outputs, ctypes.c_float),
        }
        self.harness(code, values, operands, geometry)

    def view(self, pointer: int, elements: int, element: Any) -> np.ndarray[Any, Any]:
        """Device memory as an array."""
        self._inside(pointer, ctypes.sizeof(element) * elements)
        return np.ctypeslib.as_array((element * elements).from_address(pointer))

    def harness(
        self,
        code: dict[str, str],
        values: tuple[Any, ...],
        operands: Mapping[str, np.ndarray[Any, Any]],
        geometry: compilers.Geometry,
    ) -> Any:
        """Run the kernel; what it accessed."""
        kernel = host.build(code["source"], code["name"], code["constants"])
        return kernel.launch(list(values), operands, geometry, sectors=False)


class FakeModule:
    def __init__(self, cupy: FakeCupy) -> None:
        self._cupy = cupy

    def load(self, cubin: bytes) -> None:
        self._code = json.loads(cubin)

    def get_function(self, name: str) -> Any:
        assert name == self._code["name"]
        self._cupy.functions.append(self._code)
        return SimpleNamespace(ptr=len(self._cupy.functions) - 1)


class FakeStream:
    ptr = 7

    def __init__(self, cupy: FakeCupy) -> None:
        self._cupy = cupy

    def begin_capture(self) -> None:
        self._cupy.capturing = []

    def end_capture(self) -> Any:
        work, self._cupy.capturing = self._cupy.capturing or [], None
        self._cupy.captures += 1

        def launch(stream: FakeStream) -> None:
            for one in work:
                self._cupy.run(one)

        return SimpleNamespace(launch=launch, upload=lambda stream: None)

    def synchronize(self) -> None:
        self._cupy._check()


class FakeEvent:
    def __init__(self, cupy: FakeCupy) -> None:
        self._cupy = cupy
        self.at = 0.0

    def record(self, stream: FakeStream) -> None:
        self.at = self._cupy.clock_s

    def synchronize(self) -> None:
        self._cupy._check()


class FakeGpuBackend(CudaBackend):
    """The backend on the stand-in; `cupy` and `compiler` tell what was asked of them."""

    def __init__(self, directory: Path) -> None:
        self.cupy, self.compiler = FakeCupy(), HostCompiler()
        cache = cuda_cache.KernelCache(self.compiler, directory)
        super().__init__(GPU, cuda_gpu.Context(self.cupy), cache)


def backend() -> FakeGpuBackend:
    """For a worker: `fake_gpu:backend`."""
    return FakeGpuBackend(Path(os.environ["FAKE_GPU_CACHE"]))


STANDARD = Layer(N=1, C=3, H=5, W=4, K=4, R=3, S=3, pad_h=1, pad_w=1)
FC = Layer.fc(N=2, C=10, K=6)


def case_of(layer: Layer = FC, variant: str = "conv_output_stationary", **fields: Any) -> Case:
    """A case of the backend: the layer at the variant's usual knobs, or at those given as `knobs`."""
    box = {**default_box(kernels.registry("cuda")[variant], layer), **fields.pop("knobs", {})}
    known = {knob: box.pop(knob) for knob in list(box) if knob in kernels.KNOBS}
    return Case(layer=layer, backend="cuda", variant=variant, further=box.items(), **known, **fields)
