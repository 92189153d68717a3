"""scripts/write_evidence.py on a made-up source: what the page and README say follows from its fits."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from study_frames import energy_of, some_layers, table

ROOT = Path(__file__).parents[2]
SOURCE = '''
"""A made-up source whose rows are a table of the contract."""
import attrs
from dibench.datasets import gpu_layers
from dibench.table import read_rows

def read(root, ledger):
    for row in read_rows(root / "rows.csv"):
        ledger.lines += 1
        ledger.used += 1
        yield row

SOURCE = attrs.evolve(gpu_layers.SOURCE, name="made-up", title="A made-up source", read=read)
'''


def written(folder: Path, *sources: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "write_evidence.py"), *sources, "--root", str(folder)],
        cwd=folder, env={"PYTHONPATH": f"{ROOT}:{folder}"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
def test_the_page_says_what_the_fits_say(tmp_path: Path) -> None:
    (tmp_path / "made_up.py").write_text(SOURCE)
    (tmp_path / "docs" / "figures").mkdir(parents=True)
    layers = some_layers(250, seed=1)
    rows = table(layers, energy_of(layers, alpha=0.8, noise=0.02)).assign(
        device="A card", energy_source="external:bench", data="normal", backend="torch", variant="library"
    )
    rows.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "README.md").write_text("before\n<!-- evidence -->\nold\n<!-- end of evidence -->\nafter\n")
    done = written(tmp_path, f"made_up:SOURCE={tmp_path}")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "docs" / "evidence.md").read_text(encoding="utf-8")
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    told = re.search(r"\| A card, fp32 \| 250 \| \S+ \((\S+) to (\S+)\) \| .*? \| data type matters \|", page)
    assert told and float(told[1]) < 0.8 < float(told[2]), page[:3000]
    assert (
        "Of 1 fit to joules that others measured on real silicon, 1 says DI, none says AI"
        in readme.replace("\n", " ")
    )
    assert "old" not in readme and readme.startswith("before\n") and readme.endswith("after\n")
    (figure,) = re.findall(r"!\[.*?\]\((figures/.*?\.svg)\)", page)
    assert (tmp_path / "docs" / figure).read_text(encoding="utf-8").startswith("<svg")
    assert re.search(r"From: \[A made-up source\]\(https://\S+\), commit \w{12}\.", page)


def test_what_is_no_clone_is_refused(tmp_path: Path) -> None:
    done = written(tmp_path, "gpu-layers")
    assert done.returncode == 2 and "must be SOURCE=CLONE, got gpu-layers" in done.stderr
    done = written(tmp_path, f"gpu-layers={tmp_path}")
    assert done.returncode == 2 and "Traceback" not in done.stderr
