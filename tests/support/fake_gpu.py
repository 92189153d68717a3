"""A GPU for tests: the calls of CuPy that dibench makes, answered by the CPU.

Kernels run on the harness of csrc/host_cuda, so results are real; time is not: a launch takes LAUNCH_S.
Queues, memory, captures and faults are fake_cuda's. Where CuPy is installed its attributes are compared with
those offered here (test_cuda_driver.py).
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import attrs
import numpy as np
from cuda_errors import ERRORS
from fake_cuda import RELAXED, CudaError, Event, FakeCuda, Stream, asked

from dibench import kernels
from dibench.backends import Prepared, cuda_cache, cuda_driver, cuda_gpu, host
from dibench.backends.cuda import CudaBackend
from dibench.kernels import anchors, compilers
from dibench.kernels.compilers.nvrtc import Binary
from dibench.layer import DIMENSIONS, Layer
from dibench.plan import Case
from dibench.plan.boxes import default_box

LAUNCH_S = 0.01
PASS_S = 1e-3  # of an anchor
CAPTURE_S = 5e-6  # of the host, for a launch in a graph
REGISTERS, USUAL_SHARED = 2**16, 48 * 1024  # of a block
MEMORY = 2**26
GPU = cuda_driver.Gpu(
    name="Test GPU", uuid="GPU-00000000-0000-0000-0000-000000000001", arch=90, cuda=13, cuda_version="13.0",
    memory_bytes=MEMORY, sms=8, l2_bytes=2**16, shared_bytes=232448, clock_khz=1_500_000,
    memory_clock_khz=2_000_000, memory_bus_bits=5120, ecc=True,
)  # fmt: skip

VARIANT = (ctypes.c_int * len(DIMENSIONS), ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
SPLIT = (*VARIANT, ctypes.c_void_p)
SUPPORT: Mapping[str, tuple[Any, ...]] = {
    "gate": (ctypes.c_longlong,),
    **dict.fromkeys(anchors.registry(), (ctypes.c_void_p, ctypes.c_longlong, ctypes.c_int)),
}


def parameters(name: str) -> tuple[Any, ...]:
    """The types of a kernel's parameters."""
    found = kernels.registry("cuda").get(name)
    return SUPPORT.get(name, SPLIT if found and found.cuda and found.cuda.workspace else VARIANT)


class CUDARuntimeError(RuntimeError):
    """cupy_backends/cuda/api/runtime.pyx."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"{ERRORS[status][0]}: {ERRORS[status][2]}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.status,)


class CUDADriverError(RuntimeError):
    """cupy_backends/cuda/api/driver.pyx."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"{ERRORS[status][1]}: {ERRORS[status][2]}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.status,)


class HostCompiler:
    """In NVRTC's place: compiles for the harness; the "machine code" says from what, and what it fits."""

    archs = (90,)

    def __init__(self, version: tuple[int, int] = (13, 5)) -> None:
        self.version = version
        self.compiled: list[str] = []

    def compile(self, source: str, name: str, headers: Mapping[str, str], *, arch: int) -> Binary:
        self.compiled.append(name)
        code = {"name": name, "arch": arch, "cuda": self.version[0], "registers": 32}
        if name != "gate":
            code |= {"source": source, "constants": headers.get("constants.cuh", "")}
        return Binary(name, arch, json.dumps(code).encode(), 32, 0, 0, 0, "")


@attrs.frozen
class Launched:
    """A kernel with its arguments as the driver took them."""

    code: Mapping[str, Any]
    taken: tuple[bytes, ...]
    geometry: compilers.Geometry

    @property
    def name(self) -> str:
        return str(self.code["name"])

    @property
    def values(self) -> tuple[Any, ...]:
        """As ctypes has them."""
        types = parameters(self.name)
        return tuple(kind.from_buffer_copy(taken) for kind, taken in zip(types, self.taken, strict=True))


class FakeCupy:
    """`cupy`, as far as cuda_gpu.Context asks, on the device of fake_cuda.

    As in CuPy, calls of its `runtime` raise CUDARuntimeError and those of its `driver` CUDADriverError. The
    driver's need a context current in their thread, which a call of the runtime makes.
    """

    __version__ = "0 (stand-in)"

    def __init__(self, gpu: cuda_driver.Gpu = GPU, device: FakeCuda | None = None) -> None:
        self.gpu, self.device = gpu, device or FakeCuda(MEMORY)
        self.launched: list[tuple[str, tuple[Any, ...]]] = []
        self.captures = 0
        self.static_shared = 0  # bytes of every kernel
        self.allowed: list[tuple[int, int]] = []  # attributes of functions that were set
        self.refusals: dict[str, int] = {}
        """Statuses with which the next call of that name fails."""
        self.watching = False
        self.profiled: list[str] = []
        self.functions: list[weakref.ref[FakeFunction]] = []
        self._local = threading.local()
        device = self.device
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(
                CUDARuntimeError=CUDARuntimeError,
                memcpyHostToDevice=1,
                memcpyDeviceToHost=2,
                memcpyDeviceToDevice=3,
                **{
                    name: partial(self.call, CUDARuntimeError, name, do)
                    for name, do in {
                        "free": device.free,
                        "malloc": device.malloc,
                        "memcpy": self._memcpy,
                        "memset": partial(device.fill, device.legacy),
                        "memGetInfo": lambda: (device.memory_bytes - device.used, device.memory_bytes),
                        "deviceSynchronize": device.synchronize,
                        "profilerStart": lambda: self._watch(True),
                        "profilerStop": lambda: self._watch(False),
                    }.items()
                },
            ),
            driver=SimpleNamespace(
                CUDADriverError=CUDADriverError,
                CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=8,
                CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES=1,
                **{
                    name: partial(self.call, CUDADriverError, name, do)
                    for name, do in {
                        "funcGetAttribute": self._attribute,
                        "funcSetAttribute": self._allow,
                        "launchKernel": self._launch,
                    }.items()
                },
            ),
            function=SimpleNamespace(Module=lambda: FakeModule(self)),
            Device=lambda index: SimpleNamespace(use=device.check),
            Stream=lambda non_blocking: FakeStream(self, non_blocking),
            Event=lambda: FakeEvent(self),
            get_elapsed_time=lambda begin, end: (
                1e3 * self.call(CUDARuntimeError, "eventElapsedTime", device.elapsed_s, begin.raw, end.raw)
            ),
        )

    def call(self, kind: Callable[[int], Exception], name: str, do: Any, *arguments: Any) -> Any:
        """What the runtime or the driver answers."""
        return asked(kind, self._answer, kind is CUDARuntimeError, name, do, arguments)

    def _answer(self, runtime: bool, name: str, do: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        with self.device.lock:
            if runtime:
                self._local.context = True
            elif not hasattr(self._local, "context"):
                raise CudaError(201)
            if status := self.refusals.pop(name, 0):
                if name == "streamEndCapture":  # takes the stream out of capture mode also where it fails
                    do(*arguments)
                self.device.refuse(status)
            return do(*arguments)

    def _watch(self, on: bool) -> None:
        self.watching = on

    def _memcpy(self, target: int, source: int, size: int, kind: int) -> None:
        self.device.copy(self.device.legacy, target, source, size, to_host=kind == 2)

    def _function(self, handle: int) -> FakeFunction:
        """A function whose module is unloaded is none any more."""
        found = self.functions[handle]() if 0 <= handle < len(self.functions) else None
        if found is None:
            raise CudaError(400)
        return found

    def _attribute(self, attribute: int, handle: int) -> int:
        self._function(handle).loaded = True
        return {1: self.static_shared}[attribute]

    def _allow(self, handle: int, attribute: int, value: int) -> None:
        if value > self.gpu.shared_bytes - self.static_shared:
            raise CudaError(1)
        self._function(handle).allowed = value
        self.allowed.append((attribute, value))

    # Wide because the driver's is.
    def _launch(
        self, handle: int, gx: int, gy: int, gz: int, bx: int, by: int, bz: int,
        shared: int, stream: int, parameters: int, extra: int,
    ) -> None:  # fmt: skip
        function = self._function(handle)
        queue = self.device.stream_at(stream)
        fits = 1 <= gx < 2**31 and 1 <= bx <= 1024 and (gy, gz, by, bz, extra) == (1, 1, 1, 1, 0)
        if not fits or self.static_shared + shared > max(USUAL_SHARED, self.static_shared + function.allowed):
            self.device.refuse(1)
        if function.code.get("registers", 32) * bx > REGISTERS:
            self.device.refuse(701)
        if queue.capture is not None and not function.loaded:
            self.device.refuse(900)  # lazy loading is not permitted then
        function.loaded = True
        cells = (ctypes.c_void_p * len(function.sizes)).from_address(parameters)
        # Values are taken now, as the driver takes them: the caller's memory may be gone at the launch.
        taken = tuple(map(ctypes.string_at, cells, function.sizes))
        launched = Launched(function.code, taken, compilers.Geometry(gx, bx, shared))
        self.device.enqueue(queue, Node(self, launched))

    def run_all(self, launches: Sequence[Launched]) -> float:
        """Launches of one kernel, one after the other; the seconds that they take."""
        return math.fsum(map(self.run, launches))

    def run(self, launched: Launched) -> float:
        name, values = launched.name, launched.values
        self.launched.append((name, values))
        if self.watching:
            self.profiled.append(name)
        if name == "gate":
            return float(values[0].value) / (1e3 * self.gpu.clock_khz)
        if name in SUPPORT:
            return PASS_S * float(values[2].value)
        layer = Layer.from_dims(dict(zip(DIMENSIONS, values[0], strict=True)))
        if str(layer.K) == os.environ.get("FAKE_GPU_FAULT_K"):
            self.device.fault()
        instances = values[1].value
        element = (
            ctypes.c_uint16 if "using T = unsigned short" in launched.code["constants"] else ctypes.c_float
        )
        operands = {
            "input": self.view(values[2].value, instances * layer.inputs, element),
            "weight": self.view(values[3].value, instances * layer.weights, element),
            "output": self.view(values[4].value, instances * layer.outputs, element),
        }
        if len(values) > len(VARIANT):
            operands["workspace"] = self.device.behind(values[5].value).view(np.float32)
        self.harness(launched, operands)
        return LAUNCH_S

    def view(self, pointer: int, elements: int, element: Any) -> np.ndarray[Any, Any]:
        """Device memory as an array."""
        kind = np.uint16 if element is ctypes.c_uint16 else np.float32
        return self.device.view(pointer, ctypes.sizeof(element) * elements).view(kind)

    def harness(self, launched: Launched, operands: Mapping[str, np.ndarray[Any, Any]]) -> Any:
        """Run the kernel; what it accessed."""
        code = launched.code
        kernel = host.build(code["source"], code["name"], code["constants"])
        return kernel.launch(list(launched.values), operands, launched.geometry, sectors=False)


class Node:
    """A launch in a stream or in a graph."""

    def __init__(self, cupy: FakeCupy, launched: Launched) -> None:
        self.cupy, self.launched = cupy, launched

    def __call__(self) -> float:
        return self.cupy.run_all([self.launched])


class FakeFunction:
    """cupy/cuda/function.pyx: holds its module, which is unloaded with it."""

    def __init__(self, cupy: FakeCupy, code: Mapping[str, Any]) -> None:
        self.code, self.loaded, self.allowed = code, False, 0
        self.sizes = [ctypes.sizeof(kind) for kind in parameters(code["name"])]
        self.ptr = len(cupy.functions)
        cupy.functions.append(weakref.ref(self))


class FakeModule:
    """cupy/cuda/function.pyx.

    A cubin runs on its own major architecture, from its minor on (CUDA C++ Programming Guide, "Binary
    compatibility"); what a newer toolkit than the driver's made is not known to it.
    """

    def __init__(self, cupy: FakeCupy) -> None:
        self._cupy = cupy
        self._code: Mapping[str, Any] = {}

    def load(self, image: bytes) -> None:
        self._cupy.call(CUDARuntimeError, "getDevice", lambda: None)  # runtime._ensure_context
        self._cupy.call(CUDADriverError, "moduleLoadData", self._load, image)

    def _load(self, image: bytes) -> None:
        gpu = self._cupy.gpu
        self._cupy.device.unsafe()
        if image.startswith(b".version"):
            raise CudaError(222)
        try:
            code = json.loads(image)
        except ValueError:
            raise CudaError(200) from None
        if code.get("cuda", gpu.cuda) > gpu.cuda:
            raise CudaError(200)
        arch = code.get("arch", gpu.arch)
        if arch // 10 != gpu.arch // 10 or arch > gpu.arch:
            raise CudaError(209)
        self._code = code

    def get_function(self, name: str) -> FakeFunction:
        return cast("FakeFunction", self._cupy.call(CUDADriverError, "moduleGetFunction", self._get, name))

    def _get(self, name: str) -> FakeFunction:
        if name != self._code.get("name"):
            raise CudaError(500)
        return FakeFunction(self._cupy, self._code)


class FakeStream:
    """cupy/cuda/stream.pyx; without a mode it captures in the relaxed one."""

    def __init__(self, cupy: FakeCupy, non_blocking: bool) -> None:
        assert non_blocking, "the legacy stream would wait for it"
        self._cupy = cupy
        self.raw: Stream = self._ask("streamCreateWithFlags", cupy.device.stream)
        self.ptr = self.raw.ptr

    def _ask(self, name: str, do: Callable[..., Any], *arguments: Any) -> Any:
        return self._cupy.call(CUDARuntimeError, name, do, *arguments)

    def begin_capture(self, mode: int = RELAXED) -> None:
        self._ask("streamBeginCapture", self._cupy.device.begin_capture, self.raw, mode)

    def end_capture(self) -> FakeGraph:
        nodes = self._ask("streamEndCapture", self._cupy.device.end_capture, self.raw)
        self._ask("graphInstantiate", self._cupy.device.spend, CAPTURE_S * len(nodes))
        self._cupy.captures += 1
        return FakeGraph(self._cupy, nodes)

    def synchronize(self) -> None:
        self._ask("streamSynchronize", self._cupy.device.synchronize, self.raw)
        time.sleep(1e-3)  # as long as the filler's launches take, so that its thread leaves others room


class FakeGraph:
    """cupy/cuda/graph.pyx."""

    def __init__(self, cupy: FakeCupy, nodes: Sequence[Node]) -> None:
        self._cupy = cupy
        self._runs = [
            [node.launched for node in run] for _, run in groupby(nodes, lambda node: id(node.launched.code))
        ]

    def launch(self, stream: FakeStream) -> None:
        self._cupy.call(CUDARuntimeError, "graphLaunch", self._launch, stream.raw)

    def _launch(self, stream: Stream) -> None:
        for run in self._runs:
            self._cupy.device.enqueue(stream, partial(self._cupy.run_all, run))

    def upload(self, stream: FakeStream) -> None:
        self._cupy.call(CUDARuntimeError, "graphUpload", self._cupy.device.check)


class FakeEvent:
    """cupy/cuda/stream.pyx."""

    def __init__(self, cupy: FakeCupy) -> None:
        self._cupy, self.raw = cupy, Event()

    def record(self, stream: FakeStream) -> None:
        self._cupy.call(CUDARuntimeError, "eventRecord", self._cupy.device.record, self.raw, stream.raw)

    def synchronize(self) -> None:
        self._cupy.call(CUDARuntimeError, "eventSynchronize", self._cupy.device.wait_for, self.raw)


class FakeGpuBackend(CudaBackend):
    """The backend on the stand-in; `cupy` and `compiler` tell what was asked of them."""

    def __init__(self, directory: Path) -> None:
        self.cupy, self.compiler = FakeCupy(), HostCompiler()
        cache = cuda_cache.KernelCache(self.compiler, directory)
        super().__init__(GPU, cuda_gpu.Context(self.cupy), cache)

    def prepare(self, case: Case) -> Prepared:
        """$FAKE_GPU_REFUSES names calls that fail for layers with so many outputs: `K call status`, …"""
        for one in filter(None, os.environ.get("FAKE_GPU_REFUSES", "").split(",")):
            k, name, status = one.split()
            if int(k) == case.layer.K:
                self.cupy.refusals[name] = int(status)
        return super().prepare(case)


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
