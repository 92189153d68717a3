"""docs/extending.md does what it says: its kernel variant and its meter, each one file elsewhere."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from cuda_cases import check
from fake_backend import plan_of, sweep_of

from dibench import files, kernels
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
