"""The CPU backend and its extension: operands, device, peaks, refusals, and memory that is never overrun."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest
from references import ROOT, build, operands

from dibench import _cpu
from dibench.backends import open_backend
from dibench.backends.cpu import CpuBackend
from dibench.backends.operands import operand
from dibench.check.reference import convolution
from dibench.errors import UserError
from dibench.layer import Layer
from dibench.plan import Case
from dibench.schema import DISTRIBUTIONS

LAYER = Layer(N=1, C=4, H=6, W=6, K=4, R=3, S=3, pad_h=1, pad_w=1)
BOX = (4, 2, 2, 3, 0)


def case(**changes: Any) -> Case:
    knobs = {"tile_p": 4, "tile_k": 2, "tile_c": 2, "taps": 3, "window": 0}
    fields = {"layer": LAYER, "backend": "cpu", "variant": "conv_output_stationary", **knobs}
    return Case(**{**fields, **changes})


def test_a_prepared_case_computes_its_layer_and_knows_its_counts() -> None:
    prepared = CpuBackend().prepare(case(instances=3))
    assert prepared.launch(2) > 0
    for i in range(3):
        np.testing.assert_allclose(prepared.y[i], convolution(LAYER, prepared.x[i], prepared.w[i]), atol=1e-4)
    assert prepared.counts["macs_executed"] == 4 * 4 * (5 * 3 + 1) ** 2  # 6 outputs and 3 taps a side less 2
    assert prepared.x.ctypes.data % 64 == prepared.y.ctypes.data % 64 == 0
    assert not np.array_equal(prepared.x[0], prepared.x[1])
    prepared.close()
    assert prepared.x.nbytes == prepared.y.nbytes == 0


@pytest.mark.parametrize("data", DISTRIBUTIONS)
def test_operand_values_follow_from_distribution_and_seed(data: str) -> None:
    values = operand((50, 1000), data, 7, 0)
    np.testing.assert_array_equal(values, operand((50, 1000), data, 7, 0))
    if data != "zeros":
        assert not np.array_equal(values, operand((50, 1000), data, 8, 0))
        assert not np.array_equal(values, operand((50, 1000), data, 7, 1))
    mean, spread = {"uniform": (0, 3**-0.5), "normal": (0, 1), "zeros": (0, 0), "low_toggle": (1, 0)}[data]
    # 50,000 draws: five standard errors of the mean are 0.022 standard deviations.
    assert abs(float(values.mean(dtype=np.float64)) - mean) < 0.03
    assert abs(float(values.std(dtype=np.float64)) - spread) < 0.03
    if data == "low_toggle":
        assert {int(bits) for bits in np.unique(values.view(np.uint32))} == {0x3F800000, 0x3F800001}


def test_unknown_data_backend_variant_and_dtype_are_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"data: must be one of uniform, normal.*got 'gauss'"):
        operand((1,), "gauss", 1, 0)
    with pytest.raises(UserError, match=r"--backend: must be one of auto, cuda, cpu.*got 'tpu'"):
        open_backend("tpu")
    with pytest.raises(UserError, match=r"variant: must be one of .*conv_no_reuse.*got 'conv_magic'"):
        CpuBackend().prepare(case(variant="conv_magic"))
    with pytest.raises(UserError, match=r"dtype.*got 'fp16'"):
        CpuBackend().prepare(case(dtype="fp16"))
    with pytest.raises(UserError, match=r"tile_p: must be one of 1, 2, 4, 8 \(got 3\)"):
        CpuBackend().prepare(case(tile_p=3))


def test_a_layer_beyond_memory_is_refused_before_it_is_allocated() -> None:
    with pytest.raises(UserError, match=r"instances: needs .*B of memory"):
        CpuBackend().prepare(case(instances=2**40))


def test_threads_of_a_kernel_wait_asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT")
    assert open_backend("cpu").device().facts["openmp_spin_count"] == "1000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert open_backend("cpu").device().facts["openmp_spin_count"] == "7", "the user's own is kept"


def test_the_device_is_this_machine() -> None:
    backend = CpuBackend()
    device = backend.device()
    assert device.name and device == CpuBackend().device()
    assert device.facts["isa"] == _cpu.isas()[-1]
    assert device.facts["threads"] == len(os.sched_getaffinity(0))
    assert device.facts["lanes"] == _cpu.vector_lanes(_cpu.isas()[-1]) in (4, 8, 16)


def test_threads_follow_the_affinity_of_the_process() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from dibench.backends.cpu import CpuBackend; print(CpuBackend().threads)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "1"


def test_peaks_are_at_least_what_a_kernel_reaches() -> None:
    peaks = CpuBackend().peaks()
    prepared = CpuBackend().prepare(case())
    reached = LAYER.macs / min(prepared.launch(1) for _ in range(5))
    assert peaks["mac_per_s"] > reached
    assert peaks["bytes_per_s"] > 1e8


def arguments(**changes: Any) -> dict[str, Any]:
    x, w, y = operands(LAYER, 1, 0)
    fields = {"variant": "conv_output_stationary", "isa": _cpu.isas()[0], "layer": LAYER.shape, "box": BOX}
    return {**fields, "x": x, "w": w, "y": y, "threads": 1, "launches": 1, **changes}


def changed(index: int, value: Any) -> tuple[Any, ...]:
    return (*LAYER.shape[:index], value, *LAYER.shape[index + 1 :])


def read_only(shape: tuple[int, ...]) -> Any:
    array = np.zeros(shape, np.float32)
    array.flags.writeable = False
    return array


X, W, Y = (array.shape for array in operands(LAYER, 1, 0))
SHARED = np.zeros(1000, np.float32)
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown variant": ({"variant": "nothing"}, "variant: no such kernel"),
    "unknown instruction set": ({"isa": "x86-64-v9"}, "isa: this machine runs"),
    "negative size": ({"layer": changed(0, -1)}, "N: must be from 1"),
    "zero stride": ({"layer": changed(9, 0)}, "stride_h: must be from 1"),
    "negative padding": ({"layer": changed(11, -1)}, "pad_h: must be from 0"),
    "beyond 31 bits": ({"layer": changed(1, 2**31)}, "C: must be from 1 to 2147483647"),
    "beyond 64 bits": ({"layer": changed(1, 2**70)}, "C: must be from 1 to 2147483647"),
    "products beyond 64 bits": ({"layer": (2**31 - 1,) * 9 + (1, 1, 0, 0, 1, 1, 1)}, "x: must be of shape"),
    "fifteen dimensions": ({"layer": LAYER.shape[:15]}, "layer: must be 16"),
    "groups that do not divide": ({"layer": changed(15, 3)}, "groups: must divide"),
    "negative knob": ({"box": (-1, 2, 2, 3, 0)}, "tile_p: must be from 0"),
    "a knob without kernel": ({"box": (3, 2, 2, 3, 0)}, "box: conv_output_stationary has no kernel"),
    "no knobs": ({"box": (0,) * 5}, "box: conv_output_stationary has no kernel"),
    "channels in chunks of none": ({"box": (4, 2, 0, 3, 0)}, "box: conv_output_stationary has no kernel"),
    "taps that divide nothing": ({"box": (4, 2, 2, 2, 0)}, "box: conv_output_stationary has no kernel"),
    "float64": ({"x": np.zeros(X)}, "x: must be float32"),
    "int32": ({"w": np.zeros(W, np.int32)}, "w: must be float32"),
    "big-endian": ({"x": np.zeros(X, ">f4")}, "x: must be float32"),
    "other shape": ({"y": np.zeros((*Y[:-1], Y[-1] + 1), np.float32)}, "y: must be of shape"),
    "no instance dimension": ({"x": np.zeros(X[1:], np.float32)}, "x: must be of shape"),
    "no instances": ({"x": np.zeros((0, *X[1:]), np.float32)}, "x: must be of shape"),
    "unequal instances": ({"x": np.zeros((2, *X[1:]), np.float32)}, "same number of instances"),
    "not contiguous": (
        {"x": np.zeros((*X[:-1], 2 * X[-1]), np.float32)[..., ::2]},
        "x: must be C-contiguous",
    ),
    "broadcast": ({"x": np.broadcast_to(np.float32(1), X)}, "x: must be C-contiguous"),
    "read-only output": ({"y": read_only(Y)}, "y: must be writeable"),
    "unaligned": (
        {"w": np.zeros(4 * 144 + 1, np.uint8)[1:].view(np.float32).reshape(W)},
        "w: must be aligned",
    ),
    "overlap": ({"x": SHARED[:144].reshape(X), "y": SHARED[100:244].reshape(Y)}, "y: must not overlap"),
    "no threads": ({"threads": 0}, "threads: must be from 1"),
    "no launches": ({"launches": 0}, "launches: must be at least 1"),
}


@pytest.mark.parametrize("what", BAD)
def test_the_extension_refuses(what: str) -> None:
    changes, message = BAD[what]
    with pytest.raises(ValueError, match=message):
        _cpu.launch(**arguments(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"x": [1.0]},
        {"y": None},
        {"layer": 3},
        {"layer": changed(0, 1.5)},
        {"box": "12345"},
        {"threads": 2**40},
    ],
)
def test_the_extension_refuses_other_types(changes: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        _cpu.launch(**arguments(**changes))


def test_other_python_threads_run_during_a_launch() -> None:
    layer = Layer(N=1, C=64, H=28, W=28, K=64, R=3, S=3, pad_h=1, pad_w=1)
    x, w, y = operands(layer, 1, 0)
    seen: list[int] = []
    done = threading.Event()

    def count() -> None:
        while not done.wait(0.001):
            seen.append(1)

    counter = threading.Thread(target=count)
    counter.start()
    before = len(seen)
    _cpu.launch("conv_no_reuse", _cpu.isas()[0], layer.shape, (0,) * 5, x, w, y, 1, 20)
    during = len(seen) - before
    done.set()
    counter.join()
    assert during > 1


@lru_cache
def sanitized_build() -> Path:
    isa = {"x86-64-v4": "v3", "x86-64-v3": "v3", "x86-64-v2": "v2"}.get(_cpu.isas()[-1], "base")
    return build("sanitize", "--isas", isa)


def sanitized(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        str(ROOT / "tests" / "support" / "sanitized.py"),
        str(sanitized_build()),
        *arguments,
    ]
    env = processes.sanitized(PYTHONMALLOC="malloc")
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_kernels_stay_inside_their_operands_and_the_language() -> None:
    done = sanitized()
    assert done.returncode == 0, done.stdout + done.stderr[:3000]


def test_hostile_arguments_are_an_exception_each_and_never_a_crash() -> None:
    done = sanitized("hostile", "300")
    assert done.returncode == 0, done.stdout + done.stderr[:3000]


def test_the_sanitizers_would_have_spoken() -> None:
    done = sanitized("overrun")
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
