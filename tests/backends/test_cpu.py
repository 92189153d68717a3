"""The CPU backend and its extension: operands, device, peaks, refusals, and memory that is never overrun."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest
from references import ROOT, build, legal_knobs, operands

from dibench import _cpu, kernels
from dibench.backends import open_backend, openmp
from dibench.backends.cpu import CpuBackend, cache_bytes
from dibench.backends.operands import operand
from dibench.check.reference import convolution
from dibench.errors import UserError
from dibench.kernels import registry
from dibench.layer import Layer
from dibench.plan import Case
from dibench.schema import DISTRIBUTIONS

LAYER = Layer(N=1, C=4, H=6, W=6, K=4, R=3, S=3, pad_h=1, pad_w=1)
BOX = (4, 2, 2, 3, 0)
NO_KNOBS = dict.fromkeys(("tile_p", "tile_k", "tile_c", "taps", "window"))


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
    assert threads_of("os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})")[:2] == (1, 1)


def threads_of(first: str = "", **variables: str) -> tuple[int, int, bool]:
    """How many a new process measures with, on how many CPUs, and whether they are bound."""
    code = (
        f"import os; {first or None}; from dibench.backends.cpu import CpuBackend; CpuBackend();"
        "facts = CpuBackend().device().facts;"
        "print((facts['threads'], facts['thread_cpus'], facts['threads_bound']))"
    )
    env = processes.environment(**variables)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    found: tuple[int, int, bool] = ast.literal_eval(done.stdout)
    return found


CORES = len(os.sched_getaffinity(0))
ONE = str(min(os.sched_getaffinity(0)))
two_cores = pytest.mark.skipif(CORES < 2, reason="needs two cores")


def test_an_interrupt_while_openmp_is_asked_ends_the_program(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """ctypes would print the exception of a function that C calls, and go on."""

    def interrupted(pid: int) -> set[int]:
        if threading.current_thread() is threading.main_thread():
            signal.raise_signal(signal.SIGINT)
        return {0}

    with monkeypatch.context() as patched:
        patched.setattr(os, "sched_getaffinity", interrupted)
        with pytest.raises(KeyboardInterrupt):
            openmp.team(Path(_cpu.__file__), 1)
    assert capfd.readouterr().err == ""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert openmp.team(Path(_cpu.__file__), 1).threads == 1


@two_cores
def test_what_openmp_leaves_is_what_is_recorded() -> None:
    assert threads_of() == (CORES, CORES, False)
    assert threads_of(OMP_THREAD_LIMIT="1") == (1, CORES, False)
    assert threads_of(OMP_PROC_BIND="true") == (CORES, CORES, True)
    assert threads_of(OMP_PLACES=f"{{{ONE}}},{{{ONE}}}")[1:] == (1, True), "all on one core"


DYNAMIC = """
import os
from dibench.backends.cpu import extension
from references import operands
from dibench.layer import Layer
cpu, layer = extension(), Layer(N=1, C=4, H=6, W=6, K=4, R=3, S=3, pad_h=1, pad_w=1)
before = len(os.listdir("/proc/self/task"))
cpu.launch("conv_no_reuse", cpu.isas()[0], layer.shape, (0,) * 5, *operands(layer, 1, 0), 64)
print(len(os.listdir("/proc/self/task")) - before)
"""


def test_a_launch_has_as_many_threads_as_were_asked_for_whatever_the_load() -> None:
    command, env = [sys.executable, "-c", DYNAMIC], processes.environment(OMP_DYNAMIC="true")
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert done.stdout == "63\n", "OMP_DYNAMIC would leave as many as there are idle cores"


LOSES_CORES = """
import os
from dibench.backends.cpu import CpuBackend
from dibench.errors import UserError
from dibench.layer import Layer
from dibench.plan import Case
backend = CpuBackend()
case = Case(layer=Layer.fc(1, 8, 8), backend="cpu", variant="fc_dot")
backend.prepare(case)
for task in os.listdir("/proc/self/task"):
    os.sched_setaffinity(int(task), {min(os.sched_getaffinity(0))})
try:
    backend.prepare(case)
except UserError as error:
    print(error)
"""


@two_cores
def test_a_case_is_refused_once_the_process_has_lost_a_core() -> None:
    command = [sys.executable, "-c", LOSES_CORES]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.startswith(f"threads: must be {CORES} on {CORES} CPUs, as when the device was opened")


def test_peaks_are_at_least_what_a_kernel_reaches() -> None:
    peaks = CpuBackend().peaks()
    prepared = CpuBackend().prepare(case())
    reached = LAYER.macs / min(prepared.launch(1) for _ in range(5))
    assert peaks["mac_per_s"] > reached
    assert peaks["bytes_per_s"] > 1e8
    prepared = CpuBackend().prepare(case(**legal_knobs(registry("cpu")["conv_output_stationary"], LAYER)[-1]))
    assert LAYER.macs / min(prepared.launch(1) for _ in range(5)) < peaks["scalar_mac_per_s"]
    assert peaks["scalar_mac_per_s"] < peaks["mac_per_s"]
    levels = cache_bytes()
    assert {f"l{level}_bytes_per_s" for level in levels} <= peaks.keys()
    assert all(peaks[f"l{level}_bytes"] >= size for level, (size, _) in levels.items())


def test_caches_are_read_as_linux_describes_them(tmp_path: Path) -> None:
    described = [
        ("1", "Data", "32K", "1"),
        ("1", "Instruction", "32K", "1"),
        ("3", "Unified", "36608K", "ff,00000003"),
    ]
    for number, values in enumerate(described):
        index = tmp_path / f"index{number}"
        index.mkdir()
        for name, value in zip(("level", "type", "size", "shared_cpu_map"), values, strict=True):
            (index / name).write_text(value + "\n", encoding="utf-8")
    assert cache_bytes(tmp_path) == {1: (32 * 1024, 1), 3: (36608 * 1024, 10)}
    assert not cache_bytes(tmp_path / "none")


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
    "products beyond 64 bits": (
        {"layer": (2**31 - 1,) * 9 + (1, 1, 0, 0, 1, 1, 1)},
        "layer: its padded image",
    ),
    "strides beyond any memory": (
        {"layer": (1, 1, 1, 1, 1, 3, 3, 2, 2, 2**31 - 1, 2**31 - 1, 0, 0, 1, 1, 1)},
        "layer: its padded image must be of at most 2[*][*]44 elements",
    ),
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


OF_EACH_OPERATOR = {
    "fc": Layer.fc(2, 6, 6),
    "pointwise": Layer(N=1, C=6, H=4, W=4, K=6, R=1, S=1),
    "standard": LAYER,
    "depthwise": Layer(N=1, C=6, H=4, W=4, K=6, R=3, S=3, pad_h=1, pad_w=1, groups=6),
    "grouped": Layer(N=1, C=6, H=4, W=4, K=6, R=1, S=1, groups=2),
}


@pytest.mark.parametrize("name", [variant.name for variant in registry("cpu").values()])
def test_an_entry_refuses_the_operators_that_its_header_does_not_name(name: str) -> None:
    for op, layer in OF_EACH_OPERATOR.items():
        assert layer.op == op
        if op not in registry("cpu")[name].ops:
            x, w, y = operands(layer, 1, 0)
            with pytest.raises(ValueError, match=rf"layer: {name} runs .*\(got {op}\)"):
                _cpu.launch(name, _cpu.isas()[0], layer.shape, (0,) * 5, x, w, y)
            assert np.isnan(y).all(), "nothing was computed"


def test_a_fully_connected_layer_beside_its_padding_is_refused() -> None:
    layer = Layer(N=1, C=2, H=1, W=1, K=2, R=1, S=1, P=1, Q=1, stride_h=2, stride_w=2, pad_h=1, pad_w=1)
    assert layer.op == "fc"
    with pytest.raises(UserError, match="pad_h"):
        CpuBackend().prepare(case(layer=layer, variant="fc_dot", **NO_KNOBS))
    with pytest.raises(ValueError, match="fc_dot has no kernel for these knobs and this layer"):
        _cpu.launch("fc_dot", _cpu.isas()[0], layer.shape, (0,) * 5, *operands(layer, 1, 0))


def test_strides_near_2_to_the_31_take_no_longer_than_others() -> None:
    layer = Layer(
        N=1, C=2, H=5, W=5, K=2, R=3, S=3, P=1, Q=5, stride_h=2**31 - 1, stride_w=1, pad_w=1, groups=2
    )
    x, w, y = operands(layer, 1, 0)
    start = time.perf_counter()
    _cpu.launch("depthwise_row_stencil", _cpu.isas()[0], layer.shape, (0,) * 5, x, w, y)
    assert time.perf_counter() - start < 1
    np.testing.assert_allclose(y[0], convolution(layer, x[0], w[0]), atol=1e-5)


def test_scratch_beyond_memory_is_refused_before_it_is_allocated() -> None:
    layer = Layer(
        N=1,
        C=64,
        H=9,
        W=9,
        K=2,
        R=2,
        S=2,
        P=2,
        Q=2,
        stride_h=8,
        stride_w=8,
        pad_h=9,
        pad_w=9,
        dil_h=2**18,
        dil_w=2**17,
    )
    wanted = _cpu.scratch_bytes("standard_implicit_gemm", _cpu.isas()[0], layer.shape, 1)
    assert wanted > 4 * 64 * 2**35
    with pytest.raises(UserError, match=r"layer: needs .*TB of memory"):
        CpuBackend().prepare(case(layer=layer, variant="standard_implicit_gemm", **NO_KNOBS))


AFTER_A_FORK = """
import os, signal
from dibench.backends.cpu import CpuBackend
from dibench.layer import Layer
from dibench.plan import Case
layer = Layer(N=1, C=4, H=6, W=6, K=4, R=3, S=3, pad_h=1, pad_w=1)
prepared = CpuBackend(threads=2).prepare(Case(layer=layer, backend="cpu", variant="conv_no_reuse"))
prepared.launch(1)
first = prepared.y.copy()
for _ in range(3):
    child = os.fork()
    signal.alarm(20)
    prepared.y.fill(7)
    prepared.launch(1)
    assert (prepared.y == first).all()
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
print("both sides ran")
"""


def test_a_child_that_was_forked_after_a_launch_launches_as_well() -> None:
    command = [sys.executable, "-c", AFTER_A_FORK]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    assert done.stdout == "both sides ran\n", done.stderr


@lru_cache
def sanitized_build() -> Path:
    return build("sanitize", *processes.sanitized_isa(_cpu.isas()[-1]))


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


def test_layers_whose_dimensions_do_not_belong_together_are_refused_or_computed() -> None:
    done = sanitized("inconsistent", "20", "500", "calls")
    assert done.returncode == 0, done.stdout[-300:] + done.stderr[:3000]


def test_the_sanitizers_would_have_spoken() -> None:
    done = sanitized("overrun")
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr


def test_an_extension_of_other_sources_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows would be told to be of kernels that did not run, or each case would fail by itself."""
    assert _cpu.sources == kernels.extension_sha()
    for sources in ("0" * 64, None):  # None: of a build that knows no such name
        with monkeypatch.context() as patched:
            patched.delattr(_cpu, "sources") if sources is None else patched.setattr(_cpu, "sources", sources)
            with pytest.raises(UserError, match=r"`python setup\.py build_ext --inplace` builds them anew"):
                CpuBackend()
