"""What a row of a table takes in memory, so that a million of them fit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from fake_backend import row
from processes import environment

from dibench.table import HEADER, line_of

SMALL, LARGE = 9_000, 19_000
"""Rows: both more than a block, which is read as text at once."""

MEASURE = """
import json, sys
from pathlib import Path
from dibench.study.use.compare import compare
from dibench.study.use.compare_rows import COLUMNS
from dibench.table import load, read_csv

def peak(work):
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark begins anew
    done = work()
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return done, 1024 * int(line.split()[1])

found = []
for table in sys.argv[1:]:
    _, loading = peak(lambda: load(table))
    _, comparing = peak(lambda: compare(*[read_csv(table, COLUMNS) for _ in "ab"]))
    found.append((loading, comparing))
print(json.dumps(found))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's marks of memory")
def test_a_row_takes_so_much_memory(tmp_path: Path) -> None:
    """docs/scale.md says how much a million rows take."""
    one = attrs.evolve(row(), time_ci_s=0.001, name="resnet50/layer1.0.conv2", knobs="taps=3;cold=1")
    for rows in (SMALL, LARGE):
        with (tmp_path / f"{rows}.csv").open("wb") as file:
            file.write(HEADER)
            for number in range(rows):
                own = {"case_id": f"case{number}", "order": number, "time_s": 0.1 + number * 1e-7}
                file.write(line_of(attrs.evolve(one, **own)))
    tables = [str(tmp_path / f"{rows}.csv") for rows in (SMALL, LARGE)]
    told = subprocess.run(
        [sys.executable, "-c", MEASURE, *tables],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    small, large = json.loads(told)
    loading, comparing = ((b - a) / (LARGE - SMALL) for a, b in zip(small, large, strict=True))
    assert loading < 1_500, "bytes a row of a frame"
    assert comparing < 2_500, "bytes a row of both sides"
