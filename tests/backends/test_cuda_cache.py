"""Compiled kernels: kept between sweeps, brought along, compiled ahead; which compiler makes them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import fake_gpu
import pytest

from dibench import kernels
from dibench.backends import cuda_cache, cuda_gpu
from dibench.backends.cuda import CudaBackend, gate_source
from dibench.backends.cuda_cache import KernelCache, Source
from dibench.errors import UserError
from dibench.kernels.compilers import nvrtc

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
    made = KernelCache(compiler, tmp_path)
    yield made, compiler, tmp_path
    made.close()


def test_a_kernel_brought_along_is_not_compiled_again_whatever_compiler_made_it(
    cache: tuple[KernelCache, CountingCompiler, Path], tmp_path: Path
) -> None:
    kernels, _, directory = cache
    first = kernels.binary(tiny())
    newer = CountingCompiler()
    newer.version = (99, 0)
    here = KernelCache(newer, tmp_path / "here", brought=directory)
    assert here.binary(tiny()) == first and not newer.compiled
    assert KernelCache(None, tmp_path / "here", brought=directory).binary(tiny()) == first
    assert not (tmp_path / "here").exists()


def test_a_driver_is_not_given_what_a_newer_compiler_made(tmp_path: Path) -> None:
    brought, here = tmp_path / "brought", tmp_path / "here"
    KernelCache(fake_gpu.HostCompiler((13, 0)), brought).binary(gate_source(90))
    with pytest.raises(
        UserError, match=r"of .*here that suit a driver for CUDA 12, and there is no compiler"
    ):
        KernelCache(None, here, brought=brought, cuda=12).binary(gate_source(90))
    older = attrs.evolve(fake_gpu.GPU, cuda=12)
    for cuda, names in ((13, []), (12, ["gate"])):
        compiler = fake_gpu.HostCompiler((12, 9))
        cache = KernelCache(compiler, here, brought=brought, cuda=cuda)
        gpu = older if cuda == 12 else fake_gpu.GPU
        CudaBackend(gpu, cuda_gpu.Context(fake_gpu.FakeCupy(gpu)), cache)
        assert compiler.compiled == names


def test_a_kernel_is_compiled_once_for_all_sweeps(cache: tuple[KernelCache, CountingCompiler, Path]) -> None:
    kernels, compiler, directory = cache
    first = kernels.binary(tiny())
    assert kernels.binary(tiny()) == first
    assert KernelCache(compiler, directory).binary(tiny()) == first
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
    KernelCache(newer, directory).binary(tiny())
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
    kernels = KernelCache(compiler, tmp_path / "file" / "cache")
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
    for path in (kernels.source_directory() / "cuda" / "support").glob("*.cu"):
        binary = nvrtc.compiler_for(arch).compile(path.read_text(), path.stem, {}, arch=arch)
        assert binary.spill_bytes == 0


@pytest.mark.parametrize("where", ["file", "directory"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_a_kernel_that_others_can_change_is_not_loaded(
    cache: tuple[KernelCache, CountingCompiler, Path], where: str, mode: int
) -> None:
    kernels, compiler, directory = cache
    kernels.binary(tiny())
    (entry,) = directory.iterdir()
    changed = entry if where == "file" else directory
    changed.chmod(changed.stat().st_mode | mode)
    with pytest.raises(UserError, match=rf"^{changed}: can be written by others.*chmod go-w"):
        kernels.binary(tiny())
    changed.chmod(changed.stat().st_mode & ~mode)
    assert kernels.binary(tiny()).cubin == tiny().text.encode() and compiler.compiled == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_kernel_of_another_user_is_not_loaded(
    cache: tuple[KernelCache, CountingCompiler, Path],
) -> None:
    kernels, _, directory = cache
    kernels.binary(tiny())
    (entry,) = directory.iterdir()
    os.chown(entry, 4711, -1)
    with pytest.raises(UserError, match=r"is another user's, .* \(got 'user id 4711'\)"):
        kernels.binary(tiny())


def test_kernels_that_were_brought_along_may_be_of_another_user_and_group(
    cache: tuple[KernelCache, CountingCompiler, Path], tmp_path: Path
) -> None:
    """They were unpacked on another machine; their directory was named by the user."""
    kernels, compiler, directory = cache
    kernels.binary(tiny())
    (entry,) = directory.iterdir()
    entry.chmod(0o664)
    if os.geteuid() == 0:
        os.chown(entry, 4711, -1)
    elsewhere = KernelCache(None, tmp_path / "none", brought=directory)
    assert elsewhere.binary(tiny()).cubin == tiny().text.encode() and compiler.compiled == 1
    entry.chmod(0o666)
    with pytest.raises(UserError, match="can be written by others"):
        elsewhere.binary(tiny())


def test_what_is_cached_can_be_loaded_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        KernelCache(CountingCompiler(), tmp_path / "a" / "b").binary(tiny())
        again = CountingCompiler()
        KernelCache(again, tmp_path / "a" / "b").binary(tiny())
    finally:
        os.umask(before)
    assert again.compiled == 0
