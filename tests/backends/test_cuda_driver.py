"""Is there a GPU, and what opens it: the driver, in whose place a small library answers, and CuPy."""

from __future__ import annotations

from pathlib import Path

import attrs
import fake_gpu
import pytest
from cuda_errors import ERRORS
from fake_driver import driver

from dibench import backends
from dibench.backends import cuda_driver, cuda_gpu
from dibench.errors import UserError


def test_the_driver_is_asked_without_cupy(tmp_path: Path) -> None:
    gpu = cuda_driver.first_gpu(driver(tmp_path))
    assert isinstance(gpu, cuda_driver.Gpu)
    assert (gpu.name, gpu.arch, gpu.sms, gpu.cuda, gpu.cuda_version) == ("NVIDIA Test", 90, 132, 12, "12.8")
    assert gpu.uuid == "GPU-00102030-4050-6070-8090-a0b0c0d0e0f0", "bytes of 0 included"
    assert (gpu.l2_bytes, gpu.memory_bytes, gpu.ecc) == (38, 2**37, True)
    partition = cuda_driver.first_gpu(driver(tmp_path, mig=1))
    assert isinstance(partition, cuda_driver.Gpu)
    assert partition.uuid.startswith("MIG-")


def test_the_drivers_release_is_its_modules_or_nvmls(tmp_path: Path) -> None:
    module = tmp_path / "version"
    module.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64 570.86.15  Release Build\nGCC\n"
    )
    assert cuda_driver.driver_version(module, "nowhere.so") == "570.86.15"
    for text in ("", "NVRM version: none"):
        module.write_text(text)
        assert cuda_driver.driver_version(module, driver(tmp_path)) == "580.159.04"
        assert cuda_driver.driver_version(module, "nowhere.so") == ""
    assert cuda_driver.driver_version(tmp_path / "none", driver(tmp_path, init=9)) == ""


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

    old = fake_gpu.FakeCupy()
    old.refusals["free"] = 35  # cudaErrorInsufficientDriver
    monkeypatch.setattr(cuda_driver, "gpu", lambda: fake_gpu.GPU)
    monkeypatch.setattr(cuda_gpu, "import_cupy", lambda gpu: old)
    with pytest.raises(
        UserError, match=r"Test GPU cannot be used .*InsufficientDriver.*pip install 'cupy-cuda13x>=.* fits"
    ):
        backends.open_backend("cuda")
    monkeypatch.undo()
    monkeypatch.setattr(cuda_gpu, "find_spec", lambda name: None)
    for gpu, extra in ((fake_gpu.GPU, "cuda13"), (attrs.evolve(fake_gpu.GPU, arch=61), "cuda12")):
        with pytest.raises(UserError, match=rf"--backend: needs CuPy: pip install 'cupy-{extra}x>="):
            cuda_gpu.import_cupy(gpu)


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
    for status in ERRORS:
        real, ours = cupy.cuda.runtime.CUDARuntimeError(status), fake_gpu.CUDARuntimeError(status)
        assert (real.status, str(real)) == (ours.status, str(ours))
