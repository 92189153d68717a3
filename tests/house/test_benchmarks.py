"""`pytest benchmarks/ --benchmark-autosave` as a user types it: what is saved and can be compared."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import environment

from benchmarks import scale, scale_tables
from dibench.layer import DIMENSIONS, Layer
from dibench.networks import find
from dibench.schema import NAMES
from dibench.table import load

ROOT = Path(__file__).parents[2]
EFFECTIVE = ("macs_executed", "weight_reads", "input_reads", "output_reads", "output_writes")
RATES = ("gflop_per_s", "gb_per_s", "effective_gb_per_s")


@pytest.mark.slow
def test_variants_of_a_layer_are_one_group_with_what_they_do_and_cost(tmp_path: Path) -> None:
    quick = ("--benchmark-autosave", "--op=fc", "--by-layer=1", "--seconds=0.001")
    command = [sys.executable, "-m", "pytest", "benchmarks/test_variants_by_layer.py", *quick]
    done = subprocess.run(
        [*command, f"--benchmark-storage={tmp_path}"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    out = done.stdout
    assert done.returncode == 0, out + done.stderr
    (saved,) = tmp_path.rglob("*.json")
    benchmarks = json.loads(saved.read_text())["benchmarks"]
    (layer,) = {one["group"] for one in benchmarks}
    shape: Layer = find(layer)
    assert f"benchmark '{layer}'" in out and len(benchmarks) >= 4
    accesses = set()
    for one in benchmarks:
        info = one["extra_info"]
        assert (info["macs"], info["op"]) == (shape.macs, "fc")
        assert info["ai"] == pytest.approx(shape.ai)
        assert info["alpha"] == 0.4 and info["di_weighted"] != info["di_disjoint"]
        assert info["gflop_per_s"] == pytest.approx(2e-9 * shape.macs / one["stats"]["min"])
        assert all(info[rate] > 0 for rate in RATES)
        accesses.add(tuple(info[name] for name in EFFECTIVE))
        assert ("energy_j" in info) == (info["energy_source"] != "none")
    assert len(accesses) > 2, "variants differ in what they access"
    table = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", f"--storage={tmp_path}", "compare", "--group-by=group"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert layer in table and "conv_output_stationary" in table


def bench(storage: Path, limit_s: int, *options: str) -> subprocess.CompletedProcess[str]:
    """`make bench-quick`, which may take so many seconds."""
    return subprocess.run(
        ["bash", "scripts/bench.sh", "--quick", *options],
        cwd=ROOT,
        env={
            **environment(),
            "PY": sys.executable,
            "BENCH_STORAGE": str(storage),
            "BENCH_LIMIT_S": str(limit_s),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_bench_without_time_says_what_it_left_out(tmp_path: Path) -> None:
    done = bench(tmp_path, 2)
    assert done.returncode == 1
    assert done.stdout.startswith("2 files of benchmarks: under two minutes")
    assert done.stdout.count("left out, the time is used up") == 2


@pytest.mark.slow
def test_a_quick_bench_saves_after_each_file_and_says_how_long_it_took(tmp_path: Path) -> None:
    done = bench(tmp_path, 110, "--op=fc")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(tmp_path.rglob("*.json"))) == 2
    again = bench(tmp_path, 2)
    assert " s here last time. Ctrl-C keeps what is saved." in again.stdout.splitlines()[0]


def run_of(rows: int, seconds: float, peak_mb: float, name: str = "fit") -> scale.Run:
    return scale.Run(name, "dibench", rows, 0, seconds, seconds, peak_mb)


def test_what_grows_faster_than_rows_or_takes_over_4_gb_is_named(tmp_path: Path) -> None:
    linear = [run_of(20_000, 8, 270), run_of(200_000, 62, 600)]
    assert [scale.doubts(linear, one) for one in linear] == ["", ""]
    assert scale.power(linear, linear[1], "seconds") == pytest.approx(0.889, abs=0.001)
    square = [run_of(20_000, 1, 270, "merge"), run_of(200_000, 100, 5_000, "merge")]
    assert scale.doubts([*linear, *square], square[1]) == "superlinear, over 4 GB"
    scale.write(tmp_path, [*linear, *square])
    assert scale.read(tmp_path) == [*linear, *square], "and goes on from there the next time"
    assert (
        "| merge | dibench | 200,000 | 0 | 100 | 100 | n^2.00 | 5,000 |"
        in (tmp_path / "scale.md").read_text()
    )


def test_tables_to_scale_are_tables_of_the_contract(tmp_path: Path) -> None:
    layers = [find("resnet50/layer1.0.conv2"), find("mobilenet_v2/features.2.conv.1.0")]
    rows = [
        {
            **dict.fromkeys(NAMES, ""),
            **{name: str(cell) for name, cell in layer.dims.items()},
            "op": layer.op, "case_id": f"c{number}", "dtype": "fp32", "status": "ok", "energy_source": "none",
            "macs": str(layer.macs), "time_s": "0.001",
        }
        for number, layer in enumerate(layers)
    ]  # fmt: skip
    manifest: dict[str, Any] = {"identity": {}, "plan": {}, "meter": {}}
    base = scale_tables.Base(manifest, tuple(rows), {"c0": ('{"case_id": "c0"}',), "c1": ()})
    scale_tables.make_sweep(base, tmp_path, 40, distinct=True, shard="2/2", visits=True)
    made = load(tmp_path)
    assert len(made) == 40 == made["case_id"].nunique() == len(made.groupby(list(DIMENSIONS)))
    assert list(made["order"]) == list(range(2, 82, 2))
    assert (tmp_path / "visits.jsonl").read_text().count(made["case_id"][2]) == 1
