"""The harness that runs CUDA kernels on the CPU: it finds what is wrong with a kernel, and names it."""

from __future__ import annotations

import subprocess
import sys

import processes
import pytest
from smooth_kernel import SMOOTH, TILE, TILES, N, smooth

from dibench.backends import host

ORDERS = [(threads, blocks) for threads in (False, True) for blocks in (False, True)]


def mutant(before: str, after: str) -> str:
    assert SMOOTH.count(before) == 1
    return SMOOTH.replace(before, after)


@pytest.mark.parametrize(("threads", "blocks"), ORDERS)
def test_a_right_kernel_is_right_in_every_order(threads: bool, blocks: bool) -> None:
    right, counts = smooth(SMOOTH, threads=threads, blocks=blocks, passes=2)
    assert right
    assert list(counts.global_reads) == [2 * 3 * N, 2 * TILES * (TILE + 2), 0]
    assert (counts.output_writes, counts.macs_executed) == (N, 2 * 3 * N)


def test_sectors_of_a_warp_request() -> None:
    _, counts = smooth(SMOOTH)
    warps = TILES * TILE // 32
    # Every lane reads the same weight: one sector. 32 inputs in a row: 4 sectors; the two of the halo: 1.
    assert list(counts.sectors) == [3 * warps, 4 * warps + TILES, 4 * warps]


@pytest.mark.parametrize("which", ["complete", "no longer needed"])
def test_deleted_barrier_gives_wrong_numbers(which: str) -> None:
    source = mutant(f"__syncthreads();  // the tile is {which}", ";")
    assert not all(smooth(source, threads=threads, passes=2)[0] for threads in (False, True))


def test_tile_one_too_long_leaves_its_operand() -> None:
    source = mutant("i < TILE + 2; i += TILE", "i < TILE + 3; i += TILE").replace(
        "tile[TILE + 2]", "tile[TILE + 3]"
    )
    with pytest.raises(
        host.KernelError, match=r"out of bounds: block \(2,0,0\) thread \(2,0,0\) .*input at smooth"
    ):
        smooth(source)


def test_tile_one_too_short_computes_with_the_poison() -> None:
    right, _ = smooth(mutant("i < TILE + 2; i += TILE", "i < TILE + 1; i += TILE"))
    assert not right


def test_divergent_barrier_is_named() -> None:
    source = mutant(
        "__syncthreads();  // the tile is complete",
        "if (threadIdx.x < 32) { __syncthreads(); } else {\n __syncthreads(); }",
    )
    message = r"block \(0,0,0\) thread \(32,0,0\) waits at smooth.cu:13, thread \(0,0,0\) at smooth.cu:12"
    with pytest.raises(host.KernelError, match=message):
        smooth(source)


def test_a_barrier_that_some_threads_pass_by_is_named() -> None:
    source = mutant("__syncthreads();  // the tile is complete", "if (threadIdx.x < 32) __syncthreads();")
    with pytest.raises(host.KernelError, match="barrier divergence"):
        smooth(source)


@pytest.mark.parametrize(("threads", "blocks"), ORDERS)
def test_two_blocks_on_one_output_are_a_race(threads: bool, blocks: bool) -> None:
    source = mutant("y + first + threadIdx.x", "y + first / 2 + threadIdx.x")
    with pytest.raises(host.KernelError, match=r"race: .* output element .* and so has another block"):
        smooth(source, threads=threads, blocks=blocks)


def test_two_threads_on_one_output_between_barriers_are_a_race() -> None:
    source = mutant("y + first + threadIdx.x", "y + first + threadIdx.x / 2")
    with pytest.raises(host.KernelError, match=r"race: block \(0,0,0\) thread \(1,0,0\) .* so has thread 0"):
        smooth(source)


def test_a_forgotten_output_stays_poisoned() -> None:
    right, _ = smooth(mutant("  put_output", "  if (threadIdx.x > 0) put_output"))
    assert not right


def test_misaligned_vector_access_is_named() -> None:
    source = mutant("fetch_weight(w + s)", "fetch_weight((const float2*)(w + s)).x")
    with pytest.raises(host.KernelError, match=r"misaligned|out of bounds"):
        smooth(source)


def test_a_kernel_that_does_not_compile_says_why() -> None:
    with pytest.raises(host.HostCompileError, match=r"smooth.cu:.*undeclared_name"):
        smooth(mutant("float sum = 0.0f;", "float sum = undeclared_name;"))


# ---- sanitizers: in their own process, which must preload their run-time library -----------------------

SANITIZED = """
import sys
import smooth_kernel
from dibench.backends import host
host.build = lambda *a, _build=host.build, **k: _build(*a, **k, sanitize=True)
source = sys.stdin.read()
print("right" if smooth_kernel.smooth(source)[0] else "wrong")
"""


def sanitized(source: str) -> subprocess.CompletedProcess[str]:
    """The kernel run under AddressSanitizer and UndefinedBehaviorSanitizer."""
    return subprocess.run(
        [sys.executable, "-c", SANITIZED],
        input=source,
        capture_output=True,
        text=True,
        check=False,
        env=processes.sanitized(),
    )


def test_sanitizers_pass_a_right_kernel() -> None:
    done = sanitized(SMOOTH)
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stderr


def test_overrun_of_shared_memory_through_a_helper_is_caught() -> None:
    # The last store lands just behind the array, where only red zones can tell.
    source = mutant("float tile[TILE + 2]", "float tile[TILE + 1]")
    done = sanitized(source)
    assert done.returncode != 0
    assert "global-buffer-overflow" in done.stderr
    assert "tile" in done.stderr


def test_undefined_behaviour_is_caught() -> None:
    done = sanitized(mutant("float sum = 0.0f;", "float sum = (float)(1 << threadIdx.x) * 0.0f;"))
    assert done.returncode != 0
    assert "shift exponent 32 is too large" in done.stderr
