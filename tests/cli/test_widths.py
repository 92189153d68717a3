"""On terminals of 80, 100 and 120 columns nothing is wider, no name is cut and no number is broken."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence

import pytest

from dibench import networks
from dibench.numbers import short


def on_terminal(arguments: Sequence[str], columns: int) -> list[str]:
    """What a verb prints on a terminal of so many columns, without its colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    without = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "dibench", *arguments]
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
    "arguments", [("networks",), ("layers", "mobilenet_v2"), ("layers", "nasnet_a_mobile"), ("doctor",)]
)
def test_nothing_is_wider_than_the_terminal(arguments: Sequence[str], columns: int) -> None:
    lines = on_terminal(arguments, columns)
    assert max(map(len, lines)) <= columns
    assert not [line for line in lines if re.search(r"\w…", line)], "neither name nor number is cut"


@pytest.mark.slow
def test_every_layer_is_one_line_with_its_name_and_counts() -> None:
    lines = on_terminal(("layers", "resnet50"), 80)
    for layer in networks.load("resnet50"):
        name = layer.name.partition("/")[2]
        (line,) = (line for line in lines if line.split()[:1] == [name] and "→" in line)
        assert {layer.op, short(layer.macs)} <= set(line.split())


@pytest.mark.slow
def test_a_long_name_goes_on_in_the_next_line() -> None:
    lines = on_terminal(("layers", "nasnet_a_mobile"), 80)
    at = next(number for number, line in enumerate(lines) if line.startswith("cell_stem_0.comb_iter"))
    first = [line[:21].rstrip() for line in lines[at : at + 3]]
    assert "".join(first) == "cell_stem_0.comb_iter_0_left.separable_1.depthwise_conv2d"
