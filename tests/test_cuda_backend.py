"""The cuda backend without a GPU: everything around the silicon, kernels run by the harness in its place."""

from __future__ import annotations

import csv
import ctypes
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import fake_gpu
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dibench import anchors, architectures, backends, reference, schema, variants
from dibench.backends import cuda_buffers, cuda_cache, cuda_driver, cuda_gpu
from dibench.backends.cuda_cache import KernelCache, Source
from dibench.backends.cuda_gpu import MOST_NODES
from dibench.compilers import nvrtc
from dibench.errors import OutOfMemoryError, UserError
from dibench.layer import DIMENSIONS, Layer
from dibench.measure.settings import Settings
from dibench.plan import ANCHOR_LAYER, Case, Plan, load_plan, presets
from dibench.plan.boxes import default_box
from dibench.study.rows import select
from dibench.sweep.run import Sweep, run_sweep
from dibench.sweep.worker import case_from_json, case_to_json

STANDARD = Layer(N=1, C=3, H=5, W=4, K=4, R=3, S=3, pad_h=1, pad_w=1)
FC = Layer.fc(N=2, C=10, K=6)


def case_of(layer: Layer = FC, variant: str = "conv_output_stationary", **fields: Any) -> Case:
    box = {**default_box(variants.registry("cuda")[variant], layer), **fields.pop("knobs", {})}
    known = {knob: box.pop(knob) for knob in list(box) if knob in variants.KNOBS}
    return Case(layer=layer, backend="cuda", variant=variant, further=box.items(), **known, **fields)


@pytest.fixture
def gpu(tmp_path: Path) -> fake_gpu.FakeGpuBackend:
    return fake_gpu.FakeGpuBackend(tmp_path / "cache")


def replicas_launched(gpu: fake_gpu.FakeGpuBackend) -> list[int]:
    """Addresses of x in the order of launches."""
    return [values[2].value for name, values in gpu.cupy.launched if name not in fake_gpu.SUPPORT]


def test_a_case_is_prepared_launched_and_right(gpu: fake_gpu.FakeGpuBackend) -> None:
    prepared = gpu.prepare_layer(case_of(STANDARD, instances=2, seed=5))
    x, w = prepared.operands()
    y = prepared.compute()
    for i in range(2):
        np.testing.assert_allclose(y[i], reference.convolution(STANDARD, x[i], w[i]), rtol=1e-5, atol=1e-5)
    assert not np.array_equal(x[0], x[1]), "each instance has its own operands"
    assert prepared.counts == variants.registry("cuda")["conv_output_stationary"].counts_for(
        STANDARD, case_of(STANDARD).knobs
    )
    used = gpu.cupy._used()
    prepared.close()
    assert used - gpu.cupy._used() >= 4 * 2 * (STANDARD.inputs + STANDARD.weights + STANDARD.outputs)


@pytest.mark.parametrize("n", [1, 7, MOST_NODES, 2 * MOST_NODES + 3])
def test_so_many_launches_as_asked_and_the_time_of_those_alone(gpu: fake_gpu.FakeGpuBackend, n: int) -> None:
    gpu.cupy.run = lambda work: count(work)  # type: ignore[method-assign]
    launched = []

    def count(work: Any) -> None:
        launched.append(work[0]["name"])
        gpu.cupy.clock_s += 1.0 if work[0]["name"] == "gate" else 1e-6

    prepared = gpu.prepare_layer(case_of())
    launched.clear()
    assert prepared.launch(n) == pytest.approx(n * 1e-6), "what holds the stream open is not counted"
    assert launched == ["gate"] + ["conv_output_stationary"] * n
    captures = gpu.cupy.captures
    prepared.launch(n)
    assert gpu.cupy.captures == captures, "the second window captures nothing"


@given(
    used=st.integers(1000, 10**7),
    l2=st.integers(10**5, 10**6),
    windows=st.lists(st.integers(1, 3000), min_size=1, max_size=12),
)
@settings(deadline=None, max_examples=200)
def test_between_two_launches_on_a_replica_four_caches_of_others_pass(
    used: int, l2: int, windows: list[int]
) -> None:
    try:
        ring = cuda_buffers.ring(used, l2)
    except UserError:
        assume(False)
    seen: dict[int, int] = {}
    time = position = 0
    for n in windows:
        for replica in ((position + i) % ring.replicas for i in range(n)):
            if replica in seen and ring.replicas > 1:
                others = time - seen[replica] - 1
                assert (others + 1) * used >= cuda_buffers.COLD_L2S * l2
            seen[replica] = time
            time += 1
        position = ring.after((position + n) % ring.replicas, n)
    if ring.replicas == 1:
        assert used >= cuda_buffers.COLD_L2S * l2
    assert ring.replicas // ring.step <= 12, "few places to begin, so few graphs"


def test_cold_launches_go_around_copies_of_the_operands(gpu: fake_gpu.FakeGpuBackend) -> None:
    layer = Layer.fc(N=4, C=200, K=20)  # 19.5 KB, of a cache of 64 KiB
    warm, cold = gpu.prepare_layer(case_of(layer)), gpu.prepare_layer(case_of(layer, cold=True))
    gpu.cupy.launched.clear()
    warm.launch(5)
    assert len(set(replicas_launched(gpu))) == 1
    gpu.cupy.launched.clear()
    cold.launch(cold.ring.replicas)
    addresses = replicas_launched(gpu)
    assert len(set(addresses)) == cold.ring.replicas >= 4 * 2**16 / 19520
    kind = ctypes.c_float * layer.inputs
    first, last = (kind.from_address(address) for address in (addresses[0], addresses[-1]))
    assert list(first) == list(last), "replicas hold the same values"


def test_the_profiler_sees_one_launch_after_the_operands_are_in_place(gpu: fake_gpu.FakeGpuBackend) -> None:
    prepared = gpu.prepare_layer(case_of(Layer.fc(N=4, C=200, K=20), cold=True))
    prepared.launch_profiled()
    assert gpu.cupy.profiled == ["conv_output_stationary"]
    before = replicas_launched(gpu)[:-1]
    assert len(set(before)) == prepared.ring.replicas


def test_so_few_operands_that_no_number_of_copies_is_cold(gpu: fake_gpu.FakeGpuBackend) -> None:
    gpu.gpu = attrs.evolve(gpu.gpu, l2_bytes=2**26)
    with pytest.raises(UserError, match=r"cold: needs operands of at least 43691 bytes .* more instances"):
        gpu.prepare_layer(case_of(cold=True))


def test_too_little_memory_says_what_was_asked_and_what_is_free(gpu: fake_gpu.FakeGpuBackend) -> None:
    large = Layer.fc(N=1, C=2**12, K=2**13)
    with pytest.raises(
        OutOfMemoryError,
        match=rf"layer: asks for {4 * (2**25 + 2**12 + 2**13)} bytes .*, \d+ of {2**26} are free",
    ):
        gpu.prepare_layer(case_of(large))
    gpu.prepare_layer(case_of()).close()


def test_shares_of_the_gpu_get_one_block_to_a_multiprocessor(gpu: fake_gpu.FakeGpuBackend) -> None:
    layer = Layer.fc(N=64, C=4, K=512)
    variant = variants.registry("cuda")["conv_no_reuse"]
    blocks = {
        share: gpu.geometry(variant, case_of(layer, "conv_no_reuse", sms=share, knobs={"warps": 1})).grid
        for share in ("all", "whole", "half", "quarter")
    }
    assert blocks == {"all": 64 * 512 // 32, "whole": 8, "half": 4, "quarter": 2}
    prepared = gpu.prepare_layer(case_of(layer, "conv_no_reuse", sms="half"))
    assert prepared.cells == {"sms": 4}


def test_what_the_device_cannot_run_is_refused_with_limit_and_value(gpu: fake_gpu.FakeGpuBackend) -> None:
    with pytest.raises(UserError, match=r"dtype: must be one of fp32 \(got 'fp16'\)"):
        gpu.prepare_layer(case_of(dtype="fp16"))
    with pytest.raises(UserError, match=r"variant: must be one of .*conv_no_reuse.* \(got 'conv_magic'\)"):
        gpu.prepare(attrs.evolve(case_of(), variant="conv_magic"))
    with pytest.raises(UserError, match=r"tile_p: must be one of 1, 2, 4, 8 \(got 3\)"):
        gpu.prepare(attrs.evolve(case_of(), tile_p=3))
    compiled = gpu.compiler.compile
    gpu.compiler.compile = lambda *a, **k: attrs.evolve(compiled(*a, **k), spill_bytes=64)  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"registers: must suffice without spilling on sm_90.* \(got 64\)"):
        gpu.prepare_layer(case_of(STANDARD))
    gpu.compiler.compile = lambda *a, **k: attrs.evolve(compiled(*a, **k), shared_bytes=300_000)  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"shared memory: must be at most 232448 bytes .* \(got 300000\)"):
        gpu.prepare_layer(case_of(Layer.fc(N=1, C=3, K=2)))


@pytest.mark.parametrize(
    ("static", "dynamic", "allowed"),
    [(0, 49152, []), (0, 49153, [(8, 49153)]), (32768, 16384, []), (32768, 16385, [(8, 16385)])],
)
def test_more_shared_memory_than_usual_is_asked_for(
    gpu: fake_gpu.FakeGpuBackend, static: int, dynamic: int, allowed: list[tuple[int, int]]
) -> None:
    """Static and dynamic memory share the 48 KiB that a block gets unasked."""
    gpu.cupy.static_shared = static
    device = cuda_gpu.Device(gpu.cupy)
    device.load(json.dumps({"name": "kernel"}).encode(), "kernel", dynamic)
    assert gpu.cupy.allowed == allowed


def test_peaks_are_work_over_time(gpu: fake_gpu.FakeGpuBackend) -> None:
    peaks = gpu.peaks()
    # The stand-in takes 1 ms for a pass: 64 multiply-adds of each thread of 8 x 8 blocks, or the buffer.
    assert peaks["mac_per_s"] == pytest.approx(8 * 8 * 256 * 64 / fake_gpu.PASS_S)
    (_, elements, _) = dict(gpu.cupy.launched)["anchor_dram_read"]
    assert peaks["bytes_per_s"] == pytest.approx(4 * elements.value / fake_gpu.PASS_S)
    assert 4 * elements.value == fake_gpu.MEMORY // 2, "as much as is there, where that is little"
    assert gpu.cupy._used() == 0


def test_the_gpu_is_kept_busy_while_the_host_prepares(gpu: fake_gpu.FakeGpuBackend) -> None:
    with gpu.busy():
        pass
    before = len(gpu.cupy.launched)
    ran = threading.Event()
    run = gpu.cupy.run

    def run_and_tell(work: Any) -> None:
        run(work)
        ran.set()

    gpu.cupy.run = run_and_tell  # type: ignore[method-assign]
    with gpu.busy():
        assert ran.wait(10)
    assert len(gpu.cupy.launched) > before


def test_between_cases_the_filler_runs_and_during_them_it_does_not(gpu: fake_gpu.FakeGpuBackend) -> None:
    prepared = gpu.prepare_layer(case_of())
    assert "anchor_fma" in [name for name, _ in gpu.cupy.launched], "while operands are drawn and copied"
    gpu.cupy.launched.clear()
    prepared.launch(3)
    assert "anchor_fma" not in [name for name, _ in gpu.cupy.launched]


def test_device_says_what_it_is(gpu: fake_gpu.FakeGpuBackend) -> None:
    device = gpu.device()
    assert (device.name, device.uuid) == (fake_gpu.GPU.name, fake_gpu.GPU.uuid)
    facts = device.facts
    assert (facts["sms"], facts["l2_bytes"], facts["cuda"], facts["compute_capability"]) == (
        8,
        2**16,
        "13.0",
        "9.0",
    )
    assert facts["compiler"] == "NVRTC 13.5"


# A sweep: the worker, its rows, its successors.


def rows_of(out: Path) -> dict[str, dict[str, str]]:
    with (out / "sweep.csv").open(encoding="utf-8", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_a_sweep_on_the_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GPU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_GPU_FAULT_K", "13")
    cases = [
        case_of(FC.renamed("right"), sms="half", cold=True),
        case_of(Layer.fc(N=2, C=10, K=13, name="faults")),
        case_of(Layer.fc(N=1, C=2**12, K=2**13, name="too large")),
        attrs.evolve(case_of(FC.renamed("refused")), tile_p=3),
        case_of(Layer.fc(N=2, C=11, K=7, name="after"), "conv_no_reuse"),
    ]
    cases = [attrs.evolve(case, order=order) for order, case in enumerate(cases, start=1)]
    registry = variants.registry("cuda")
    sweep = Sweep(
        plan=Plan("test", "", "cuda", tuple(cases), 1, "a" * 64, {}),
        backend="fake_gpu:backend",
        meter="model",
        settings=Settings(target=0.5, case_budget_s=5.0, warm_up_s=0.0, window_s=1e-3),
        sources_sha="b" * 64,
        stationarity=lambda variant: registry[variant].stationarity,
    )
    summary = run_sweep(sweep, tmp_path / "out")
    assert summary.ended == "complete"
    rows = rows_of(tmp_path / "out")
    outcome = {name: (row["status"], row["reason"]) for name, row in rows.items()}
    assert outcome["right"] == ("ok", "")
    assert outcome["after"] == ("ok", ""), "a fresh worker measured it"
    status, reason = outcome["faults"]
    assert status == "failed" and "exit status 1: CUDA, run: cudaErrorIllegalAddress" in reason
    status, reason = outcome["too large"]
    assert status == "failed" and "bytes of device memory" in reason and "are free" in reason
    status, reason = outcome["refused"]
    assert (status, reason) == (
        "skipped",
        "conv_output_stationary: tile_p: must be one of 1, 2, 4, 8 (got 3)",
    )
    right = rows["right"]
    assert (right["sms"], right["lanes"], right["device_uuid"]) == ("1", "p", fake_gpu.GPU.uuid)
    assert right["knobs"].split(";")[-2:] == ["sms=half", "cold=1"]
    assert float(right["time_s"]) == pytest.approx(fake_gpu.LAUNCH_S)


def test_a_sweep_tells_the_backend_what_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fake_backend import sweep_of

    log = tmp_path / "log"
    monkeypatch.setenv("FAKE_PREFETCH", str(log))
    run_sweep(sweep_of(["a", "b", "c"]), tmp_path / "out")
    assert log.read_text().splitlines() == ["b c", "c", ""]


def test_a_case_travels_to_the_worker_and_back() -> None:
    case = case_of(STANDARD, sms="quarter", cold=True, instances=3)
    assert case_from_json(json.loads(json.dumps(case_to_json(case)))) == case
    assert {"lanes", "cache", "warps"} <= set(case.knobs)


def test_launch_settings_make_different_cases_and_leave_the_usual_ids_alone() -> None:
    ids = {
        case_of(FC, **fields).case_id for fields in ({}, {"sms": "half"}, {"cold": True}, {"instances": 2})
    }
    assert len(ids) == 4
    assert '"cold"' not in case_of().key and '"sms"' not in case_of().key


# Plans for a GPU.


@pytest.mark.parametrize("name", presets())
@pytest.mark.parametrize("arch", [61, 90])
def test_every_case_of_a_preset_fits_the_gpu_it_is_planned_for(name: str, arch: int) -> None:
    plan = load_plan(name, backend="cuda", arch=arch)
    registry = variants.registry("cuda")
    for case in plan.cases:
        if case.anchor:
            continue
        registry[case.variant].check(case.layer, case.knobs)
        architectures.check(registry[case.variant], case.layer, case.knobs, case.instances, arch)
    kinds = {
        (case.layer.op, registry[case.variant].fast or registry[case.variant].stationarity)
        for case in plan.cases
        if not case.anchor
    }
    if name in ("smoke", "default"):
        for op in variants.OPERATORS:
            assert {kind for known, kind in kinds if known == op} == {True, *variants.STATIONARITIES}


def test_what_no_gpu_can_hold_is_left_out_of_a_plan_with_limit_and_value(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(
        '[plan]\nsms = ["whole", "quarter"]\ncold = [false, true]\n'
        '[[layers]]\nlayers = ["N=1,C=8,H=7,W=7,K=8,R=1,S=1", "N=64,C=4096,H=96,W=96,K=8,R=1,S=1"]\n'
        '[[kernels]]\nvariants = ["conv_no_reuse"]\nlanes = ["p", "k"]\nwarps = 4\n'
    )
    planned = load_plan(plan, backend="cuda", arch=90)
    cases = [case for case in planned.cases if not case.sentinel]
    assert {(case.sms, case.cold, case.knobs["lanes"], case.knobs["warps"]) for case in cases} == {
        (sms, cold, lanes, 4) for sms in ("whole", "quarter") for cold in (False, True) for lanes in "pk"
    }
    assert planned.dropped == {f"conv_no_reuse: inputs: must be fewer than 2^31 = {2**31} elements": 2}
    with pytest.raises(UserError, match=r"sms: is for backends with multiprocessors, not for cpu"):
        load_plan(plan, backend="cpu")
    plan.write_text(plan.read_text().replace("warps = 4", "warps = 5"))
    with pytest.raises(UserError, match=r"warps: no case can use this value: .* must be one of .*\(got 5\)"):
        load_plan(plan, backend="cuda")
    plan.write_text('[[layers]]\nlayers = ["N=1,C=8,H=7,W=7,K=8,R=1,S=1"]\n')
    plan.write_text(plan.read_text() + '[[kernels]]\nvariants = ["conv_tensor_half"]\n')
    with pytest.raises(UserError, match=r"dtype: must be one of bf16, fp16 \(got 'fp32'\)"):
        load_plan(plan, backend="cuda")


def test_limits_of_an_architecture_are_named(tmp_path: Path) -> None:
    header = (variants.source_directory() / "cuda" / "conv_no_reuse.cu").read_text()
    source = tmp_path / "hungry.cu"

    def refused(on: int, **changes: str) -> str:
        text = header
        for field, value in changes.items():
            text = re.sub(rf"^{field} *= .*$", f'{field} = "{value}"', text, count=1, flags=re.MULTILINE)
        source.write_text(text)
        hungry = variants.read_variant(source, "cuda")
        with pytest.raises(UserError) as refusal:
            architectures.check(hungry, FC, {"lanes": "p", "cache": "ca", "warps": 8}, arch=on)
        return str(refusal.value)

    assert refused(90, shared="300000") == (
        "hungry: shared memory: must be at most 232448 bytes on sm_90 (got 300000)"
    )
    assert "at most 101376 bytes on sm_89 (got 150000)" in refused(89, shared="150000")
    assert refused(90, block="128 * warps + 32") == (
        "hungry: threads of a block: must be at most 1024 on sm_90 (got 1056)"
    )
    assert refused(90, grid="16777216") == (
        "hungry: threads of a launch: must be at most 2147483648 on sm_90 (got 4294967296)"
    )
    assert refused(75, arch=">=80") == "hungry: arch: must be at least sm_80 (got 'sm_75')"


# The cache of compiled kernels.

TINY = 'extern "C" __global__ void tiny(float* x) { x[threadIdx.x] = VALUE; }'


def tiny(value: int = 1, arch: int = 90) -> Source:
    return Source("tiny", f"#define VALUE {value}\n{TINY}", {}, arch)


class CountingCompiler:
    """NVRTC, counted."""

    def __init__(self, version: tuple[int, int] = (13, 5)) -> None:
        self.version, self.compiled = version, 0
        self.hold: threading.Event | None = None

    def compile(self, source: str, name: str, headers: Any, *, arch: int) -> nvrtc.Binary:
        if self.hold is not None:
            assert self.hold.wait(10)
        self.compiled += 1
        return nvrtc.Binary(name, arch, source.encode(), 8, 0, 0, 0, "log")


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[tuple[KernelCache, CountingCompiler, Path]]:
    compiler = CountingCompiler()
    made = KernelCache(compiler, tmp_path)  # type: ignore[arg-type]
    yield made, compiler, tmp_path
    made.close()


def test_a_kernel_brought_along_is_not_compiled_again_whatever_compiler_made_it(
    cache: tuple[KernelCache, CountingCompiler, Path], tmp_path: Path
) -> None:
    kernels, _, directory = cache
    first = kernels.binary(tiny())
    newer = CountingCompiler()
    newer.version = (99, 0)
    here = KernelCache(newer, tmp_path / "here", brought=directory)  # type: ignore[arg-type]
    assert here.binary(tiny()) == first and not newer.compiled
    assert KernelCache(None, tmp_path / "here", brought=directory).binary(tiny()) == first
    assert not (tmp_path / "here").exists()


def test_a_kernel_is_compiled_once_for_all_sweeps(cache: tuple[KernelCache, CountingCompiler, Path]) -> None:
    kernels, compiler, directory = cache
    first = kernels.binary(tiny())
    assert kernels.binary(tiny()) == first
    assert KernelCache(compiler, directory).binary(tiny()) == first  # type: ignore[arg-type]
    assert compiler.compiled == 1


def test_source_constants_architecture_and_compiler_make_an_entry(
    cache: tuple[KernelCache, CountingCompiler, Path],
) -> None:
    kernels, compiler, directory = cache
    with_header = attrs.evolve(tiny(), headers={"constants.cuh": "constexpr int tile_p = 2;"})
    other_header = attrs.evolve(tiny(), headers={"constants.cuh": "constexpr int tile_p = 4;"})
    for source in (tiny(), tiny(2), tiny(arch=80), with_header, other_header):
        kernels.binary(source)
    assert compiler.compiled == 5
    newer = CountingCompiler((13, 6))
    KernelCache(newer, directory).binary(tiny())  # type: ignore[arg-type]
    assert newer.compiled == 1
    assert len(list(directory.iterdir())) == 6


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other"])
def test_a_damaged_entry_is_compiled_again(
    cache: tuple[KernelCache, CountingCompiler, Path], damage: str
) -> None:
    kernels, compiler, directory = cache
    whole = kernels.binary(tiny())
    (entry,) = directory.iterdir()
    content = entry.read_bytes()
    entry.write_bytes(
        {"cut": content[:-5], "flip": content[:-1] + b"?", "empty": b"", "other": b"\x7fELF" + content}[
            damage
        ]
    )
    assert kernels.binary(tiny()) == whole
    assert compiler.compiled == 2
    assert entry.read_bytes() == content, "and the entry is whole again"


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    compiler = CountingCompiler()
    kernels = KernelCache(compiler, tmp_path / "file" / "cache")  # type: ignore[arg-type]
    assert kernels.binary(tiny()).cubin
    assert kernels.binary(tiny()).cubin
    assert compiler.compiled == 2


def test_kernels_compiled_elsewhere_serve_where_there_is_no_compiler(
    cache: tuple[KernelCache, CountingCompiler, Path],
) -> None:
    kernels, _, directory = cache
    made = kernels.binary(tiny())
    without = KernelCache(None, directory)
    assert without.binary(tiny()) == made
    with pytest.raises(
        UserError, match=r"kernel: is not among the compiled kernels of .*pip install .*'tiny'"
    ):
        without.binary(tiny(2))


def test_next_kernels_compile_in_the_background(cache: tuple[KernelCache, CountingCompiler, Path]) -> None:
    kernels, compiler, _ = cache
    compiler.hold = threading.Event()
    kernels.prefetch([tiny(1), tiny(2), tiny(1)])  # returns at once
    assert compiler.compiled == 0
    compiler.hold.set()
    kernels.binary(tiny(1))
    kernels.binary(tiny(2))
    assert compiler.compiled == 2, "each once, whether the background or the asker came first"


def test_operands_drawn_ahead_are_those_drawn_when_asked() -> None:
    cases = [Case(layer=Layer.fc(2, 8, k), backend="cuda", variant="v", instances=2) for k in (3, 4, 5, 6)]
    ahead, when_asked = cuda_buffers.Operands(), cuda_buffers.Operands()
    for index, case in enumerate(cases):
        for later in cases[index + 1 : index + 2]:
            ahead.draw_ahead(later)
        for drawn, expected in zip(ahead.of(case), when_asked.of(case), strict=True):
            np.testing.assert_array_equal(drawn, expected)
    for case in cases:  # nobody comes for them: they are let go
        ahead.draw_ahead(case)
    assert len(ahead._ahead) == 2


def test_nvrtc_fills_the_cache(tmp_path: Path) -> None:
    kernels = KernelCache(nvrtc.compiler(13), tmp_path)
    binary = kernels.binary(tiny())
    assert binary.cubin.startswith(b"\x7fELF") and binary.registers > 0
    assert KernelCache(None, tmp_path).binary(tiny()) == binary
    with pytest.raises(nvrtc.CompileError, match="VALUEE"):
        kernels.binary(Source("tiny", TINY.replace("VALUE", "VALUEE"), {}, 90))


def test_the_compiler_suits_driver_and_architecture() -> None:
    majors = {(90, 13): 13, (90, 12): 12, (61, 12): 12, (61, 13): 12, (120, 13): 13}
    assert {key: cuda_cache.choose_compiler(*key).version[0] for key in majors} == majors
    with pytest.raises(
        UserError, match=r"nvrtc: needs a compiler for sm_90 .* CUDA 11: pip install nvidia-cuda-nvrtc-cu12"
    ):
        cuda_cache.choose_compiler(90, 11)


@pytest.mark.parametrize("arch", [60, 75, 90, 120])
def test_support_kernels_compile(arch: int) -> None:
    for path in (variants.source_directory() / "cuda" / "support").glob("*.cu"):
        binary = nvrtc.compiler_for(arch).compile(path.read_text(), path.stem, {}, arch=arch)
        assert binary.spill_bytes == 0


# The driver, in place of which a small library answers.

DRIVER = r"""
#include <string.h>
int cuInit(unsigned flags) { return INIT; }
int cuGetErrorName(int e, const char** s) { *s = "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"; return 0; }
int cuDeviceGetCount(int* n) { *n = COUNT; return 0; }
int cuDriverGetVersion(int* v) { *v = 12080; return 0; }
int cuDeviceGetName(char* s, int n, int d) { strncpy(s, "NVIDIA Test", n); return 0; }
int cuDeviceTotalMem_v2(unsigned long* b, int d) { *b = 1ul << 37; return 0; }
int cuDeviceGetUuid(char* u, int d) { for (int i = 0; i < 16; ++i) u[i] = i ? 16 * i : 0; return 0; }
int cuDeviceGetUuid_v2(char* u, int d) { cuDeviceGetUuid(u, d); u[15] ^= MIG; return 0; }
int cuDeviceGetAttribute(int* v, int a, int d) {
  switch (a) { case 75: *v = 9; break; case 76: *v = 0; break; case 16: *v = 132; break; default: *v = a; }
  return 0;
}
"""


def driver(tmp_path: Path, init: int = 0, count: int = 1, mig: int = 0) -> str:
    source, library = tmp_path / "driver.c", tmp_path / f"libcuda-{init}-{count}-{mig}.so"
    source.write_text(DRIVER)
    flags = [f"-DINIT={init}", f"-DCOUNT={count}", f"-DMIG={mig}", "-shared", "-fPIC", "-w"]
    subprocess.run(["gcc", *flags, str(source), "-o", str(library)], check=True)
    return str(library)


def test_the_driver_is_asked_without_cupy(tmp_path: Path) -> None:
    gpu = cuda_driver.first_gpu(driver(tmp_path))
    assert isinstance(gpu, cuda_driver.Gpu)
    assert (gpu.name, gpu.arch, gpu.sms, gpu.cuda, gpu.cuda_version) == ("NVIDIA Test", 90, 132, 12, "12.8")
    assert gpu.uuid == "GPU-00102030-4050-6070-8090-a0b0c0d0e0f0", "bytes of 0 included"
    assert (gpu.l2_bytes, gpu.memory_bytes, gpu.ecc) == (38, 2**37, True)
    partition = cuda_driver.first_gpu(driver(tmp_path, mig=1))
    assert isinstance(partition, cuda_driver.Gpu)
    assert partition.uuid.startswith("MIG-")


def test_why_there_is_no_gpu(tmp_path: Path) -> None:
    assert "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" in str(cuda_driver.first_gpu(driver(tmp_path, init=803)))
    assert "sees no device" in str(cuda_driver.first_gpu(driver(tmp_path, count=0)))
    assert "no NVIDIA driver" in str(cuda_driver.first_gpu("libcuda-that-is-not-there.so.1"))


def test_auto_is_cuda_only_where_driver_and_cupy_are(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    found = importlib.util.find_spec
    for cupy in (True, False):
        for gpu in (fake_gpu.GPU, "no driver"):
            monkeypatch.setattr(
                importlib.util,
                "find_spec",
                lambda name, cupy=cupy: cupy or None if name == "cupy" else found(name),
            )
            monkeypatch.setattr(cuda_driver, "gpu", lambda gpu=gpu: gpu)
            assert backends.resolve("auto") == ("cuda" if cupy and gpu is fake_gpu.GPU else "cpu")


def test_asking_for_cuda_without_a_gpu_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "gpu", lambda: "there is no NVIDIA driver")
    with pytest.raises(
        UserError, match=r"--backend: there is no NVIDIA driver: nvidia-smi must work.*'cuda'"
    ):
        backends.open_backend("cuda")
    monkeypatch.setattr(cuda_gpu, "find_spec", lambda name: None)

    class OldDriver(fake_gpu.FakeCupy):
        def _free(self, pointer: int) -> None:
            raise fake_gpu.CUDARuntimeError(35, "cudaErrorInsufficientDriver: too old")

    monkeypatch.setattr(cuda_driver, "gpu", lambda: fake_gpu.GPU)
    monkeypatch.setattr(cuda_gpu, "import_cupy", lambda gpu: OldDriver())
    with pytest.raises(
        UserError, match=r"Test GPU cannot be used .*InsufficientDriver.*dibench\[cuda13\]' fits"
    ):
        backends.open_backend("cuda")
    monkeypatch.undo()
    monkeypatch.setattr(cuda_gpu, "find_spec", lambda name: None)
    for gpu, extra in ((fake_gpu.GPU, "cuda13"), (attrs.evolve(fake_gpu.GPU, arch=61), "cuda12")):
        with pytest.raises(UserError, match=rf"--backend: needs CuPy: pip install 'dibench\[{extra}\]'"):
            cuda_gpu.import_cupy(gpu)


def test_sixteen_bit_elements_are_rounded_to_nearest() -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal(10_000).astype(np.float32)
    halves = cuda_buffers.as_values(cuda_buffers.as_elements(values, "fp16"), "fp16")
    assert np.array_equal(halves, values.astype(np.float16))
    rounded = cuda_buffers.as_values(cuda_buffers.as_elements(values, "bf16"), "bf16")
    assert np.all(np.abs(rounded - values) <= np.abs(values) * 2.0**-8)
    torch = pytest.importorskip("torch")
    assert np.array_equal(rounded, torch.from_numpy(values).bfloat16().float().numpy())


def test_cupy_has_what_we_ask_of_it(gpu: fake_gpu.FakeGpuBackend) -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    for area in ("runtime", "driver"):
        for name in vars(getattr(gpu.cupy.cuda, area)):
            assert hasattr(getattr(cupy.cuda, area), name), f"{area}.{name}"
    for name in ("Device", "Stream", "Event", "get_elapsed_time"):
        assert hasattr(cupy.cuda, name)
    for name in ("load", "get_function"):
        assert hasattr(cupy.cuda.function.Module, name)
    for name in ("begin_capture", "end_capture", "synchronize"):
        assert hasattr(cupy.cuda.Stream, name)
    for name in ("launch", "upload"):
        assert hasattr(cupy.cuda.Graph, name)
    assert hasattr(cupy.cuda.function.Function, "ptr")


# Anchors as cases.

ANCHOR_PLAN = """
[plan]
anchors = "all"
sms     = ["whole", "quarter"]
sentinel = "N=2,C=10,H=1,W=1,K=6,R=1,S=1"
[[layers]]
layers = "N=2,C=10,H=1,W=1,K=7,R=1,S=1"
[[kernels]]
variants = "conv_no_reuse"
"""


def anchor_plan(tmp_path: Path, text: str = ANCHOR_PLAN, backend: str = "cuda") -> Plan:
    path = tmp_path / "anchors.toml"
    path.write_text(text)
    return load_plan(path, backend=backend)


def test_anchors_are_cases_of_a_plan_on_each_share(tmp_path: Path) -> None:
    plan = anchor_plan(tmp_path)
    pinned = [case for case in plan.cases if case.anchor]
    assert {(case.variant, case.sms) for case in pinned} == {
        (name, sms) for name in anchors.registry() for sms in ("whole", "quarter")
    }
    assert all(case.op == "anchor" and '"layer":{}' in case.key for case in pinned)
    assert len({case.case_id for case in plan.cases}) == len(plan.cases)
    assert case_from_json(json.loads(json.dumps(case_to_json(pinned[0])))) == pinned[0]
    one = anchor_plan(tmp_path, ANCHOR_PLAN.replace('"all"', '"anchor_l2"'))
    assert {case.variant for case in one.cases if case.anchor} == {"anchor_l2"}
    with pytest.raises(UserError, match=r"\[plan\]: anchors: must be one of all, anchor_dram_read"):
        anchor_plan(tmp_path, ANCHOR_PLAN.replace('"all"', '"anchor_l3"'))
    text = ANCHOR_PLAN.replace('sms     = ["whole", "quarter"]\n', "").replace("conv_no_reuse", "fc_dot")
    with pytest.raises(UserError, match=r"\[plan\]: anchors: is for the GPU's kernels, not for cpu"):
        anchor_plan(tmp_path, text, "cpu")


def test_anchors_become_rows_that_count_as_their_headers_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_GPU_CACHE", str(tmp_path / "cache"))
    registry = variants.registry("cuda")
    plan = anchor_plan(tmp_path)
    sweep = Sweep(
        plan=plan,
        backend="fake_gpu:backend",
        meter="model",
        settings=Settings(target=0.5, case_budget_s=5.0, warm_up_s=0.0, window_s=1e-3),
        sources_sha="b" * 64,
        stationarity=lambda variant: registry[variant].stationarity if variant in registry else "",
    )
    assert run_sweep(sweep, tmp_path / "out").ended == "complete"
    frame = schema.read_csv(tmp_path / "out" / "sweep.csv")
    rows = frame[frame["op"] == "anchor"]
    assert set(rows["status"]) <= {"ok", "flagged"} and len(rows) == 2 * len(anchors.registry())
    assert rows[list(DIMENSIONS)].isna().all(axis=None)
    for row in rows.to_dict("records"):
        anchor = anchors.registry()[row["variant"]]
        blocks = {"sms=whole": fake_gpu.GPU.sms, "sms=quarter": fake_gpu.GPU.sms // 4}[row["knobs"]]
        elements, _ = anchor.launch_size(blocks=blocks, l2_bytes=fake_gpu.GPU.l2_bytes)
        counted = anchor.counts_for(blocks=blocks, elements=elements, passes=anchor.passes)
        assert row["sms"] == blocks
        found = [row[name] for name in ("macs_executed", "input_reads", "output_writes")]
        assert found == [counted[name] for name in anchors.COUNTS]
        assert row["time_s"] == pytest.approx(anchor.passes * fake_gpu.PASS_S)
    left_out = select(frame, modelled=True).excluded
    assert left_out["anchor, no layer"] == len(rows)


def test_an_anchors_buffer_is_filled_and_given_back(gpu: fake_gpu.FakeGpuBackend) -> None:
    case = Case(layer=ANCHOR_LAYER, backend="cuda", variant="anchor_l1", sms="half")
    prepared = gpu.prepare(case)
    buffer = list(gpu.cupy.memory.values())[-1].view(np.float32)
    assert len(buffer) == 4 * 4096, "a row for each block"
    assert np.unique(buffer).size > 0.9 * buffer.size, "no zeros: the bits that move are part of the energy"
    seconds = prepared.launch(3)
    assert seconds == pytest.approx(3 * anchors.registry()["anchor_l1"].passes * fake_gpu.PASS_S)
    held = len(gpu.cupy.memory)
    prepared.close()
    assert len(gpu.cupy.memory) == held - 1
