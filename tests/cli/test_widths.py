"""On terminals of 80, 100 and 120 columns nothing is wider, no name is cut and no number is broken."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path

import pytest
from every_verb import SEVERAL, verbs, write_tables
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from dibench import networks
from dibench.measure.calibration import Calibration
from dibench.numbers import short
from dibench.show import sensor
from dibench.show.blocks import Column, Table
from dibench.show.blocks import columns as columns_of
from dibench.show.terminal import show


def on_terminal(
    arguments: Sequence[str], columns: int, *, program: Sequence[str] = ("-m", "dibench")
) -> list[str]:
    """What a verb prints on a terminal of so many columns, without its colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    without = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, *program, *arguments]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=without | {"TERM": "xterm"})
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # its last writer has gone
            break
        if not part:
            break
        said += part
    os.close(ours)
    assert process.wait(timeout=60) == 0, said
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", said.decode()).splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 100, 120])
@pytest.mark.parametrize(
    "arguments",
    [("networks",), ("layers", "mobilenet_v2"), ("layers", "nasnet_a_mobile", "--full"), ("doctor",)],
)
def test_nothing_is_wider_than_the_terminal(arguments: Sequence[str], columns: int) -> None:
    lines = on_terminal(arguments, columns)
    assert max(map(len, lines)) <= columns
    assert not [line for line in lines if re.search(r"\w…", line)], "neither name nor number is cut"


@pytest.mark.slow
def test_every_layer_is_one_line_with_its_name_and_counts() -> None:
    lines = on_terminal(("layers", "resnet50", "--full"), 80)
    for layer in networks.load("resnet50"):
        name = layer.name.partition("/")[2]
        (line,) = (line for line in lines if line.split()[:1] == [name] and "→" in line)
        assert {layer.op, short(layer.macs)} <= set(line.split())


@pytest.mark.slow
def test_of_many_layers_a_screen_shows_those_that_matter_and_a_pipe_all() -> None:
    lines = on_terminal(("layers", "nasnet_a_mobile"), 80)
    assert len(lines) < 50 and lines[0].startswith("nasnet_a_mobile, batch 1: 568M MACs")
    assert "The 10 of 357 layers with most MACs; `--full` lists every one" in lines
    macs = [line.split()[-2] for line in lines if "→" in line]
    most = sorted((layer.macs for layer in networks.load("nasnet_a_mobile")), reverse=True)[:10]
    assert macs == [short(one) for one in most]
    command = [sys.executable, "-m", "dibench", "layers", "nasnet_a_mobile"]
    piped = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert piped.count("→") == 357


@pytest.mark.slow
def test_a_long_name_goes_on_in_the_next_line() -> None:
    lines = on_terminal(("layers", "nasnet_a_mobile", "--full"), 80)
    at = next(number for number, line in enumerate(lines) if line.startswith("cell_stem_0.comb_iter"))
    first = [line[:21].rstrip() for line in lines[at : at + 3]]
    assert "".join(first) == "cell_stem_0.comb_iter_0_left.separable_1.depthwise_conv2d"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tables(tmp_path_factory.mktemp("tables"))


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 100, 120])
def test_no_verb_is_wider_than_the_terminal(tables: Path, columns: int) -> None:
    asked = verbs(tables)
    lines = on_terminal([json.dumps(asked)], columns, program=("-c", SEVERAL))
    ended = [line for line in lines if line.startswith("status")]
    assert len(ended) == len(asked)
    assert {words[0] for words, status in zip(asked, ended, strict=True) if status != "status 0"} <= {
        "compare"
    }
    said = [line for line in lines if not line.startswith("$")]
    assert [line for line in said if len(line) > columns] == []
    assert not [line for line in said if re.search(r"\d…", line)], "no number is cut"
    head = next(line for line in lines if line.startswith("description"))
    assert "error" in head.split(), "how far a description is off answers"
    names = {layer.name.partition("/")[2] for layer in networks.load("mobilenet_v2")}
    shown = [line.split()[0] for line in lines if line.split()[:1] and line.split()[0] in names]
    assert len(shown) >= 8


def in_lines(table: Table, width: int) -> list[str]:
    with Path(os.devnull).open("w") as nowhere:
        out = Console(file=nowhere, width=width, force_terminal=True, record=True, highlight=False)
        show(out, [table])
    return [line.rstrip() for line in out.export_text().splitlines()]


@pytest.mark.parametrize("width", [80, 100])
def test_words_take_more_lines_where_no_column_is_left_to_leave_out(width: int) -> None:
    head = columns_of(
        "change", "where", "saves", "but", text=("where", "saves", "but"), wraps=("where", "but")
    )
    rows = [
        [
            "depthwise-separable → split",
            "layer3.1.conv2 (5×)",
            "12.8 ms (−10.1 to 19.7)",
            "may save nothing,",
        ],
        ["groups → 32", "wherever it fits", "9.8 ms (−0.1 to 19.7)", "may save nothing, extrapolated"],
    ]
    lines = in_lines(Table("", head, rows), width)
    assert max(map(len, lines)) <= width
    words = {word for row in rows for cell in row for word in cell.split()}
    assert words <= {word for line in lines for word in line.split()}, "no word is cut"


_NUMBERS = st.from_regex(r"[1-9]\d{0,2}\.\d{1,3}%", fullmatch=True)
_SAYING = st.lists(st.text("abcde", min_size=1, max_size=9), min_size=1, max_size=6).map(" ".join)


@given(
    rows=st.lists(st.tuples(_SAYING, _NUMBERS, _SAYING, _NUMBERS, _SAYING), min_size=1, max_size=4),
    wraps=st.sets(st.integers(0, 4)),
    width=st.integers(51, 120),
)
@settings(deadline=None, max_examples=60)
def test_a_table_of_words_and_numbers_always_fits(
    rows: list[tuple[str, ...]], wraps: set[int], width: int
) -> None:
    """Five columns of words of 9 letters and numbers of 8 need 51 characters with their gaps, no more."""
    head = tuple(
        Column(f"head {n}", text=n % 2 == 0, wraps=n in wraps and n % 2 == 0) for n in range(len(rows[0]))
    )
    lines = in_lines(Table("", head, rows), width)
    assert max(map(len, lines)) <= width
    words = sorted(word for row in rows for cell in row for word in cell.split())
    shown = sorted(word for line in lines for word in line.split())
    assert shown == sorted([*words, *(word for column in head for word in column.name.split())])


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_calibrate_says_its_answer_in_three_sentences_and_a_table(columns: int) -> None:
    found = Calibration(
        device_uuid="GPU-0",
        driver="570.1",
        meter={
            "gpu": "NVIDIA H100 80GB HBM3", "estimator": "nvml_counter", "counter_period_s": 0.1,
            "power_period_s": 0.1, "reading": "the counter's ticks",
        },
        idle_power_w=70.0, idle_ci_w=1.0, active_idle_power_w=120.0, active_idle_ci_w=2.0,
        noise={"0.2": 0.02, "1": 0.008}, between=0.004, between_df=9.0,
        half_width={"1": 0.021, "2": 0.0148, "3": 0.012, "5": 0.0094, "9": 0.007}, visits=5,
        notes=("time was up after 3 of 4 visits", "another"),
    )  # fmt: skip
    with Path(os.devnull).open("w") as nowhere:
        out = Console(file=nowhere, width=columns, force_terminal=True, record=True, highlight=False)
        show(out, sensor.brief(found, Path("/home/somebody/.cache/dibench/calibration/GPU-0-570.1.json")))
    lines = [line.rstrip() for line in out.export_text().splitlines()]
    assert max(map(len, lines)) <= columns
    text = " ".join(" ".join(lines).split())
    assert text.startswith("5 visits to a case tell its energy on NVIDIA H100 80GB HBM3 to ±0.94% (95%).")
    assert "but time was up after 3 of 4 visits, and 1 more remark." in text
    assert "Next: `python -m dibench sweep default --visits 5 --out results/local/gpu`." in text
    assert [line.split() for line in lines if line.startswith(("1 ", "9 "))] == [
        ["1", "±2.1%"],
        ["9", "±0.7%"],
    ]
