"""docs/extending.md does what it says: its kernel variants and its meter, each one file elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_cases import check
from fake_backend import plan_of, sweep_of
from header_counts import compare
from references import box, load_extension, operands

from dibench import files, kernels
from dibench.check.reference import allowance, convolution
from dibench.layer import Layer
from dibench.plan import load_plan
from dibench.sweep.run import run_sweep
from dibench.table import read_csv

ROOT = Path(__file__).parents[2]
PLAN = """
[plan]
[[layers]]
layers = ["N=3,C=40,H=1,W=1,K=17,R=1,S=1"]
[[kernels]]
variants = ["fc_plain"]
"""


def example(language: str) -> str:
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8").partition("## A dataset")[0]
    (found,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return str(found)


def test_a_kernel_variant_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = tmp_path / "csrc"
    shutil.copytree(ROOT / "csrc", sources)
    (sources / "cuda" / "fc_plain.cu").write_text(example("cuda"))
    for module in ("kernels", "backends.host", "kernels.compilers"):
        monkeypatch.setattr(f"dibench.{module}.source_directory", lambda: sources)
    registry = kernels.registry.__wrapped__("cuda")  # not the remembered one
    variant = registry["fc_plain"]
    layer = Layer.fc(N=3, C=40, K=17)
    for knobs in ({"warps": 1}, {"warps": 4}):
        check(variant, layer, knobs, instances=2)
        check(variant, layer, knobs, instances=2, reverse_threads=True, reverse_blocks=True, sms=1)
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    plan = load_plan(path, backend="cuda", arch=90, registry=registry)
    assert "fc_plain" in {case.variant for case in plan.cases}


AROUND = ("load_weight(w + i * l.C + c)", "w[i * l.C + c]")
"""An accessor of the page's CPU variant, and the same read without it."""


@pytest.fixture(scope="module")
def cpu_variants(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The page's CPU variant, another that reads around an accessor, and their counting build."""
    root = tmp_path_factory.mktemp("cpu")
    sources = root / "csrc" / "cpu"
    sources.mkdir(parents=True)
    for path in (ROOT / "csrc" / "cpu").iterdir():
        if path.suffix in (".h", ".cc"):
            shutil.copy(path, sources)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root)
    right = example("cpp")
    assert AROUND[0] in right
    (sources / "fc_plain.cpp").write_text(right)
    (sources / "fc_around.cpp").write_text(right.replace(*AROUND).replace("fc_plain", "fc_around"))
    command = [sys.executable, "setup.py", "-q", "build_ext", "--flavour", "count"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (library,) = (root / "build" / "cpu" / "count").glob("_cpu*.so")
    return sources, load_extension(library)


@pytest.mark.slow
def test_a_cpu_variant_is_one_file(cpu_variants: tuple[Path, Any]) -> None:
    sources, built = cpu_variants
    variant, layer = kernels.read_variant(sources / "fc_plain.cpp", "cpu"), Layer.fc(N=3, C=40, K=17)
    for isa in built.isas():
        for knobs in ({"tile_k": 1}, {"tile_k": 4}):
            x, w, y = operands(layer, 1, 7)
            executed = built.counts("fc_plain", isa, layer.shape, box(knobs), x, w, y, 2)
            compare("cpu", variant.counts_for(layer, knobs, built.vector_lanes(isa), 2), executed)
            assert (np.abs(y[0] - convolution(layer, x[0], w[0])) <= allowance(layer, x[0], w[0])).all()


@pytest.mark.slow
def test_a_read_around_the_accessors_is_found_and_the_accessor_named(cpu_variants: tuple[Path, Any]) -> None:
    sources, built = cpu_variants
    variant, layer = kernels.read_variant(sources / "fc_around.cpp", "cpu"), Layer.fc(N=3, C=40, K=17)
    x, w, y = operands(layer, 1, 7)
    executed = built.counts("fc_around", built.isas()[0], layer.shape, box({"tile_k": 4}), x, w, y, 1)
    with pytest.raises(AssertionError) as failed:
        compare("cpu", variant.counts_for(layer, {"tile_k": 4}, 4, 1), executed, "fc_around")
    assert str(failed.value).splitlines()[:2] == [
        "fc_around",
        "weight_reads: the header says 2040, the accessors counted 0. A plain access to memory or plain "
        "arithmetic is not counted: use load_weight or load_weights for it. Where the kernel does, "
        "counts.weight_reads says too much.",
    ]


def test_a_cuda_variant_that_reads_around_an_accessor_is_told_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = tmp_path / "csrc"
    shutil.copytree(ROOT / "csrc", sources)
    around = example("cuda").replace("fetch_weight(w_row + c, inside)", "(inside ? w_row[c] : 0.0f)")
    assert around != example("cuda")
    (sources / "cuda" / "fc_plain.cu").write_text(around)
    for module in ("kernels", "backends.host", "kernels.compilers"):
        monkeypatch.setattr(f"dibench.{module}.source_directory", lambda: sources)
    variant = kernels.registry.__wrapped__("cuda")["fc_plain"]
    with pytest.raises(AssertionError, match="use load_weight, or fetch_weight in a fast variant"):
        check(variant, Layer.fc(N=3, C=40, K=17), {"warps": 1})


def test_the_plan_of_the_page_is_a_plan(tmp_path: Path, cpu_variants: tuple[Path, Any]) -> None:
    variant = kernels.read_variant(cpu_variants[0] / "fc_plain.cpp", "cpu")
    path = tmp_path / "fc.toml"
    path.write_text(example("toml"))
    registry = {**kernels.registry("cpu"), "fc_plain": variant}
    plan = load_plan(path, backend="cpu", registry=registry)
    found = {(case.variant, case.knobs.get("tile_k")) for case in plan.cases if not case.sentinel}
    assert found == {("fc_plain", 1), ("fc_plain", 4), ("fc_dot", None)}


DRIVER = """
import time

def joules():
    return 42.0 * time.perf_counter()
"""


def test_a_meter_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_meter.py").write_text(example("python"))
    (tmp_path / "my_instrument.py").write_text(DRIVER)
    monkeypatch.syspath_prepend(str(tmp_path))
    out = tmp_path / "out"
    run_sweep(sweep_of([], plan=plan_of(["slow", "slow"]), meter="my_meter:meter"), out)
    frame = read_csv(out / "sweep.csv")
    assert len(frame) == 2 and (frame["energy_j"] > 0).all()
    assert set(frame["energy_source"]) == {"external:wall-meter"}
    assert set(frame["gain_accuracy_pct"]) == {0.5}
    manifest = files.read_json_object(out / "manifest.json")
    assert manifest is not None and manifest["meter"]["facts"] == {"instrument": "wall meter, class 0.5"}
    assert manifest["meter"]["gain_accuracy_pct"] == 0.5
