"""A laboratory's own meter: refused before the first case if its rows could not be read, else used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_backend import plan_of, sweep_of
from processes import environment

from dibench.errors import UserError
from dibench.meters import open_meter
from dibench.sweep.run import run_sweep
from dibench.table import read_csv

METER = """
from types import SimpleNamespace
from dibench.meters import Reading

def window(run, counts, launches):
    return Reading(run(), launches * (1e-6 + 3e-12 * counts["macs_executed"]))

def meter():
    fields = dict(source="external:wall-meter", has_variance=True, period_s=0.0005, facts={}, window=window)
    fields.update(CHANGES)
    return SimpleNamespace(**{name: value for name, value in fields.items() if value is not Ellipsis})
"""
LABEL = (
    "source: must be one of nvml_counter, nvml_power, rapl, zeus, model, simulated, none, or external: and a "
    "sensor's name of 1 to 40 letters a-z, digits, _ - and . (got {})"
)


def written(place: Path, name: str, changes: str) -> str:
    (place / f"{name}.py").write_text(f"CHANGES = dict({changes})\n{METER}")
    return f"{name}:meter"


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("spaced", "source='wall meter'", LABEL.format("'wall meter'")),
        ("unmarked", "source='yokogawa'", LABEL.format("'yokogawa'")),
        ("upper", "source='external:Yokogawa'", LABEL.format("'external:Yokogawa'")),
        ("nameless", "source='external:'", LABEL.format("'external:'")),
        ("sourceless", "source=...", "source: must be there, as docs/extending.md shows"),
        ("none", "source=None", "source: must be text (got None)"),
        ("blind", "window=...", "window: must be there"),
        ("still", "window=3", "window: must be a method (got 3)"),
        ("never", "period_s=-1", "period_s: must be seconds, or None (got -1)"),
        (
            "vague",
            "gain_accuracy_pct=250",
            "gain_accuracy_pct: must be a percentage from 0 to below 100, or None",
        ),
        ("wordy", "gain_accuracy_pct='1%'", "gain_accuracy_pct: must be a percentage"),
        ("unsure", "gain_accuracy_pct=True", "gain_accuracy_pct: must be a percentage"),
        ("private", "facts={'port': object()}", "facts: must be a mapping that JSON can hold"),
    ],
)
def test_what_no_table_could_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, changes: str, message: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    where = written(tmp_path, name, changes)
    with pytest.raises(UserError) as caught:
        open_meter(where, "cpu")
    assert str(caught.value).startswith(f"{where}: {message}")


def test_a_wrong_label_ends_the_sweep_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ran all night, and `fit` refused the table."""
    monkeypatch.syspath_prepend(str(tmp_path))
    out = tmp_path / "out"
    wrong = written(tmp_path, "at_the_start", "source='wall meter'")
    with pytest.raises(UserError, match="at_the_start:meter: source: must be one of"):
        run_sweep(sweep_of([], plan=plan_of(["slow"]), meter=wrong), out)
    assert not out.exists()
    broken = written(tmp_path, "no_port", "")
    (tmp_path / "no_port.py").write_text("def meter():\n    raise OSError('no /dev/ttyUSB0')\n")
    with pytest.raises(
        UserError, match=r"--meter: cannot be opened: OSError: no /dev/ttyUSB0 \(got 'no_port:m"
    ):
        run_sweep(sweep_of([], plan=plan_of(["slow"]), meter=broken), out)
    assert not out.exists()


def dibench(place: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "dibench", *arguments],
        cwd=place, env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, " ".join((done.stdout + done.stderr).split())


SHAPES = [
    f"N=1,C={c},H={h},W={h},K={k},R=3,S=3,pad_h=1,pad_w=1" for c in (8, 32) for k in (8, 32) for h in (6, 14)
]
PLAN = f"""
[plan]
[[layers]]
layers = {json.dumps(SHAPES)}
[[kernels]]
variants = ["standard_implicit_gemm", "conv_no_reuse"]
"""


@pytest.mark.slow
def test_one_is_used_from_sweep_to_report_under_its_own_label(tmp_path: Path) -> None:
    """Real kernels, real processes, as docs/extending.md says."""
    (tmp_path / "plan.toml").write_text(PLAN)
    meter = written(tmp_path, "my_meter", "gain_accuracy_pct=2.5")
    options = ["--backend", "cpu", "--meter", meter, "--case-budget", "0.05s", "--target", "50"]
    status, told = dibench(tmp_path, "sweep", "plan.toml", *options, "--out", "out")
    assert status == 0 and "measured by wall-meter, a sensor that dibench does not read itself" in told
    frame = read_csv(tmp_path / "out" / "sweep.csv")
    assert set(frame["energy_source"]) == {"external:wall-meter"} and set(frame["gain_accuracy_pct"]) == {2.5}
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["energy_source"] == manifest["meter"]["source"] == "external:wall-meter"
    assert manifest["meter"]["gain_accuracy_pct"] == 2.5

    status, told = dibench(tmp_path, "fit", "out", "--draws", "99")
    assert status == 0 and "layers of energy measured by wall-meter" in " ".join(told.split())
    status, told = dibench(tmp_path, "fit", "out", "--full", "--draws", "99", "--json", "fit.json")
    assert status == 0 and told.startswith(
        "Measured energy (energy_j, external:wall-meter), gain ±2.5% (declared"
    )
    found: dict[str, Any] = json.loads((tmp_path / "fit.json").read_text())
    assert found["evidence"] and found["gain_accuracy"] == 0.025
    status, told = dibench(tmp_path, "predict", "vgg16", "--full", "--fit", "fit.json", "--model", "macs")
    assert (
        status == 0
        and "external:wall-meter" in told
        and "declared good to ±2.5% and was not measured" in told
    )
    frame.assign(energy_j=1.01 * frame["energy_j"]).to_csv(tmp_path / "other.csv", index=False)
    status, told = dibench(tmp_path, "compare", "out", "other.csv", "--fail-above", "1000%")
    assert "energy (external:wall-meter)" in told
    status, _ = dibench(tmp_path, "report", "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert status == 0 and "measured by wall-meter, a sensor that dibench does not read itself" in page
    assert "declared, not measured by dibench" in page and "not evidence" not in page

    table = tmp_path / "out" / "sweep.csv"
    table.write_text(table.read_text().replace("external:wall-meter", "wall meter", 1))
    status, told = dibench(tmp_path, "fit", "out")
    assert (status, told) == (2, f"dibench: out/sweep.csv: line 2: energy_{LABEL.format(repr('wall meter'))}")
