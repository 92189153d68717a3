"""Importing models: the largest network from ONNX under a second, 2 GB of external weights in under 300 MB.

`pytest benchmarks/test_model_speed.py --benchmark-only -o addopts=`; figures in docs/models.md.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
import onnx_files as files

from dibench import models, networks
from dibench.models.intensities import AlphaValues, drags, reuse_of

LARGEST = max(networks.names(), key=lambda name: len(networks.load(name)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 25 networks as ONNX files."""
    folder = tmp_path_factory.mktemp("onnx")
    for name in networks.names():
        files.from_table(folder / f"{name}.onnx", networks.load(name), weights=True)
    return folder


def test_largest_network_from_onnx(benchmark: Any, folder: Path) -> None:
    path = folder / f"{LARGEST}.onnx"
    model = benchmark(models.load, path)
    assert model.layers == networks.load(LARGEST)


def test_largest_network_from_onnx_with_the_start_of_the_program(benchmark: Any, folder: Path) -> None:
    command = [sys.executable, "-m", "dibench", "layers", str(folder / f"{LARGEST}.onnx"), "--csv"]

    def run() -> None:
        subprocess.run(command, check=True, capture_output=True)

    benchmark.pedantic(run, rounds=5, warmup_rounds=1)


def test_the_25_networks_from_onnx(benchmark: Any, folder: Path) -> None:
    def load_all() -> int:
        return sum(len(models.load(path).layers) for path in folder.glob("*.onnx"))

    assert benchmark(load_all) == sum(len(networks.load(name)) for name in networks.names())


def test_tables_and_intensities_of_1000_networks(benchmark: Any) -> None:
    alphas = AlphaValues(weighted=0.7, disjoint=0.3)

    def all_of_it() -> None:
        for number in range(1000):
            layers = models.load(networks.names()[number % 25], batch=1 + number // 25).layers
            for layer in layers:
                reuse_of([layer]).di(alphas)
            reuse_of(layers).di(alphas)
            drags(layers, alphas.weighted)

    begin = time.process_time()
    benchmark.pedantic(all_of_it, rounds=1)
    benchmark.extra_info["cpu_s"] = time.process_time() - begin


@pytest.mark.parametrize(
    ("make", "K", "most_mb"),
    [(files.with_external_weights, 2**14, 300), (files.with_embedded_weights, 2**12, 1200)],
    ids=["2 GB external", "0.5 GB embedded"],
)
def test_memory_of_a_large_model(benchmark: Any, tmp_path: Path, make: Any, K: int, most_mb: int) -> None:
    path = make(tmp_path / "huge.onnx", C=2**15, K=K)
    # Of itself VmHWM: on Linux ru_maxrss begins with the size of the process that started it, which is ours.
    code = (
        "import re, resource, sys; from dibench import models; models.load(sys.argv[1]); "
        "models.onnx._reader().close(); "
        "own = int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]); "
        "print(max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))"
    )

    def peak_mb() -> float:
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True
        )
        return int(done.stdout) / 1024

    peak = benchmark.pedantic(peak_mb, rounds=3)
    benchmark.extra_info["peak_mb"] = peak
    print(f"\nlargest resident size of a process: {peak:.0f} MB")
    assert peak < most_mb
