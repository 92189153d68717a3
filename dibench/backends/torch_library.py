"""PyTorch's library as a backend: the layers of a plan through oneDNN or cuDNN, in the same windows and rows.

Without dibench users would measure this. `instances` copies of a layer run one after the other in a launch
(ours run side by side where the device has room). `cold` launches take sets of copies in turn, more than four
last-level caches hold, so no launch finds its operands there.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dibench.backends import cpu as host
from dibench.backends import openmp
from dibench.backends.base import Device
from dibench.backends.cuda_gpu import FILL_AGAIN_S
from dibench.backends.torch_gpu import explained
from dibench.background import in_background
from dibench.errors import UserError
from dibench.extras import pip_install
from dibench.intensity import operand_bytes
from dibench.kernels import library
from dibench.schema import pack_knobs

if TYPE_CHECKING:
    from dibench.backends.base import Prepared
    from dibench.backends.torch import TorchLayer
    from dibench.backends.torch_gpu import TorchGpuLayer
    from dibench.plan import Case

_PEAK_SIZE = 2048
_PEAK_BYTES = 2**28
_PEAK_TRIES = 5
_CACHES = 4  # last-level caches' worth of traffic between two launches of one set
_MOST_SETS = 4096


class TorchBackend:
    """PyTorch's convolutions and products on its first GPU, or on the CPU where it sees none."""

    name = "torch"

    def __init__(self, torch: Any, *, on_gpu: bool) -> None:
        self._torch = torch
        self._on_gpu = on_gpu
        self.library = library.CUDNN if on_gpu else library.ONEDNN
        if not on_gpu:
            self._computes = Path(torch._C.__file__)  # with the OpenMP of all that it is linked to
            self._team = openmp.team(self._computes)
            torch.set_num_threads(self._team.threads)

    @classmethod
    def open(cls) -> TorchBackend:
        """The backend of this installation.

        Raises:
            UserError: PyTorch is not installed.
        """
        try:
            import torch
        except ImportError:
            rule = f"needs PyTorch: {pip_install('torch')}"
            raise UserError("--backend", rule, "torch") from None
        return cls(torch, on_gpu=torch.cuda.is_available())

    def device(self) -> Device:
        """The GPU as PyTorch names it, or the processor as the CPU's backend does."""
        torch = self._torch
        facts: dict[str, Any] = {"torch": torch.__version__, "library": self.library.name}
        if not self._on_gpu:
            facts |= {**self._team.facts(), "torch_isa": torch.backends.cpu.get_cpu_capability()}
            return Device(host.model_name(), host.uuid(), facts)
        found = torch.cuda.get_device_properties(0)
        facts |= {"cudnn": torch.backends.cudnn.version(), "cuda": torch.version.cuda}
        uuid = getattr(found, "uuid", None)
        return Device(found.name, f"GPU-{uuid}" if uuid else "", facts)

    def peaks(self) -> Mapping[str, float]:
        """MAC/s of a large matrix product and B/s of summing a large array, the best of some tries."""
        torch, place = self._torch, "cuda" if self._on_gpu else "cpu"
        a = torch.ones((_PEAK_SIZE, _PEAK_SIZE), device=place)
        long = torch.ones(_PEAK_BYTES // 4, device=place)
        return {
            "mac_per_s": _PEAK_SIZE**3 / self._best_s(lambda: a @ a),
            "bytes_per_s": _PEAK_BYTES / self._best_s(long.sum),
        }

    def _best_s(self, work: Callable[[], Any]) -> float:
        seconds = []
        for _ in range(_PEAK_TRIES):
            self._wait()
            begin = time.perf_counter()
            work()
            self._wait()
            seconds.append(time.perf_counter() - begin)
        return min(seconds)

    def _wait(self) -> None:
        if self._on_gpu:
            self._torch.cuda.synchronize()

    def prepare(self, case: Case) -> Prepared:
        """Operands of a case in place.

        Raises:
            UserError: the library has no such variant, knob or data type, or memory does not suffice.
            OutOfMemoryError: the GPU has too little memory.
            DeviceError: the GPU refused; DeviceFaultError: it is lost.
        """
        if case.network and (case.cold or case.instances > 1):
            raise UserError("network", "runs warm and alone: cold and instances are for layers", case.network)
        sets = self._sets(case)
        self._check(case, sets)
        made = self._made(case, sets)
        made.cells = {"knobs": self._knobs(case)}
        return made

    def _made(self, case: Case, sets: int) -> TorchLayer | TorchGpuLayer:
        """The case's layer or network, with PyTorch's errors as those that a sweep knows."""

        def make() -> TorchLayer | TorchGpuLayer:
            return self._network(case) if case.network else self._layer(case, sets)

        try:
            return explained(self._torch, make) if self._on_gpu else make()
        except RuntimeError as error:
            text = " ".join(str(error).split())[:200]
            raise UserError("layer", f"is refused by PyTorch: {text}", case.layer) from None

    def _layer(self, case: Case, sets: int) -> TorchLayer | TorchGpuLayer:
        knobs = case.knobs
        common: dict[str, Any] = {
            "data": case.data,
            "seed": case.seed,
            "dtype": case.dtype,
            "instances": case.instances,
            "sets": sets,
            "channels_last": knobs["format"] == "nhwc",
        }
        if self._on_gpu:
            from dibench.backends.torch_gpu import TorchGpuLayer

            return TorchGpuLayer(case.layer, **common, benchmark=bool(knobs["benchmark"]))
        from dibench.backends.torch import TorchLayer

        return TorchLayer(case.layer, threads=self._team.threads, **common)

    def _network(self, case: Case) -> TorchLayer | TorchGpuLayer:
        from dibench.backends.torch_network import TorchGpuNetwork, TorchNetwork

        if self._on_gpu:
            return TorchGpuNetwork(self._torch, case)
        return TorchNetwork(self._torch, case, self._team.threads)

    def _check(self, case: Case, sets: int) -> None:
        if case.variant != self.library.name:
            rule = f"must be {self.library.name}: what PyTorch has on this device"
            raise UserError("variant", rule, case.variant)
        if case.dtype not in self.library.dtypes:
            raise UserError("dtype", "must be one of " + ", ".join(self.library.dtypes), case.dtype)
        if set(case.knobs) != set(self.library.knobs):
            raise UserError("knobs", "must be " + ", ".join(self.library.knobs), ", ".join(case.knobs))
        if case.sms != "all":
            raise UserError("sms", "must be all: a library chooses its blocks itself", case.sms)
        if not self._on_gpu:
            openmp.check_unchanged(self._computes, self._team)
            # What the library allocates beside is at most three copies of the inputs.
            scratch = operand_bytes(3 * case.layer.inputs, case.dtype)
            host.check_memory(case.layer, case.instances * sets, scratch, case.dtype)

    def _sets(self, case: Case) -> int:
        """Sets of copies that launches take in turn."""
        if not case.cold:
            return 1
        cache = (
            int(self._torch.cuda.get_device_properties(0).L2_cache_size)
            if self._on_gpu
            else host.last_level_cache_bytes()
        )
        layer = case.layer
        touched = int(operand_bytes(case.instances * (layer.weights + layer.activations), case.dtype))
        return min(math.ceil(_CACHES * cache / touched) + 1, _MOST_SETS)

    def _knobs(self, case: Case) -> str:
        """The cell `knobs`: everything that was in force."""
        return pack_knobs({**case.knobs, "tf32": int(case.dtype == "tf32"), **case.launch_knobs})

    def busy(self) -> AbstractContextManager[None]:
        """Keep a GPU multiplying matrices from another stream; nothing on a CPU."""
        return self._filler() if self._on_gpu else nullcontext()

    @contextlib.contextmanager
    def _filler(self) -> Iterator[None]:
        torch = self._torch

        def work(stop: threading.Event) -> None:
            while not stop.is_set():
                with contextlib.suppress(Exception):  # a lost device shows in the measuring thread
                    stream = torch.cuda.Stream()
                    with torch.cuda.stream(stream):  # which would not wait for operands made on another
                        a = torch.ones((_PEAK_SIZE, _PEAK_SIZE), device="cuda")
                        while not stop.is_set():
                            for _ in range(4):
                                a @ a
                            stream.synchronize()
                stop.wait(FILL_AGAIN_S)

        with in_background("filler", work):
            yield

    def prefetch(self, cases: Sequence[Case]) -> None:
        """Nothing: the library is compiled already."""
