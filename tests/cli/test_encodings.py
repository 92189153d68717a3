"""Terminals whose encoding is not UTF-8 get plain characters, programs get UTF-8, and nobody a traceback."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from every_verb import SEVERAL, verbs, write_tables
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from dibench.show.blocks import Block, Headline, Note, Sentence, Table, columns
from dibench.show.characters import HANDLER, plain
from dibench.show.terminal import show

NO_UTF8 = {"PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
"""Without Python's own remedy against the C locale."""


def dibench(*arguments: str, encoding: str) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "dibench", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, timeout=120)


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_names_of_files_and_networks_cannot_steer_the_terminal(encoding: str, tmp_path: Path) -> None:
    name = "a\x1b]0;taken\x07\x9b2J\x7f"
    (tmp_path / f"{name}.csv").write_text(f"name,N,C,H,W,K,R,S\n{name},1,8,8,8,8,3,3\n", encoding="utf-8")
    for file, status in ((tmp_path / f"{name}.csv", 0), (tmp_path / f"{name}.onnx", 2), (name, 2)):
        done = dibench("layers", str(file), encoding=encoding)
        said = (done.stdout + done.stderr).decode(encoding)
        assert (done.returncode, "]0;taken" in said) == (status, True)
        assert not set(said) & set("\x1b\x07\x9b\x7f")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_a_table_is_written_in_what_the_terminal_has(encoding: str) -> None:
    done = dibench("layers", "resnet50", encoding=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    said = done.stdout.decode(encoding)
    times = "x" if encoding in ("ascii", "cp437") else "×"
    assert f"3{times}224{times}224 -> 64{times}112{times}112" in said
    assert "?" not in said


def test_a_mistake_is_one_line_in_ascii() -> None:
    done = dibench("layers", "größe²", encoding="ascii")
    assert done.returncode == 2
    assert done.stderr.decode("ascii").count("\n") == 1
    assert "(got 'grosse^2')" in done.stderr.decode("ascii")


@pytest.mark.slow
@pytest.mark.parametrize("locale", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", **NO_UTF8}])
def test_every_verb_is_readable_in_ascii(locale: dict[str, str], tmp_path: Path) -> None:
    asked = verbs(write_tables(tmp_path))
    command = [sys.executable, "-c", SEVERAL, json.dumps(asked)]
    done = subprocess.run(command, env=os.environ | locale, capture_output=True, timeout=200)
    said = done.stdout.decode("ascii")
    assert said.count("\nstatus ") == len(asked) and "Traceback" not in done.stderr.decode("ascii")
    assert not re.search(r"\?(?!\n)|\W\?|\\u|\\x", said), "only questions end with a question mark"


@pytest.mark.parametrize("arguments", [("layers", "alexnet", "--json"), ("networks", "alexnet", "--csv")])
def test_data_for_programs_do_not_depend_on_the_terminal(arguments: tuple[str, ...]) -> None:
    plainly, usual = (dibench(*arguments, encoding=encoding) for encoding in ("ascii", "utf-8"))
    assert plainly.returncode == 0
    assert plainly.stdout == usual.stdout
    if "--json" in arguments:
        assert json.loads(usual.stdout)["model"] == "alexnet"


def shown(encoding: str) -> list[str]:
    table = Table(
        "α against ±",
        columns("operator", "σ", "says", text=["says"]),
        [["standard", "1.0 ± 0.5", "≥ 2 µs"], ["fc", "10⁻¹² J", "Größe"]],
    )
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors=HANDLER)
    blocks: list[Block] = [Headline("α is 0.5"), table, Sentence("e₀ ≥ 1"), Note("½ → 2")]
    show(Console(file=stream, width=100, force_terminal=True, color_system=None), blocks)
    stream.flush()
    return raw.getvalue().decode(encoding).splitlines()


def test_columns_stay_under_their_heads() -> None:
    """`±` becomes two characters: the table is laid out with them."""
    lines = [line.rstrip() for line in shown("ascii")]
    assert lines[0] == "alpha is 0.5"
    head, first, second = lines[lines.index("alpha against +-") + 1 :][:3]
    at = head.index("says")
    assert (first[at:], second[at:]) == (">= 2 us", "Grosse")
    assert lines[-2:] == ["e0 >= 1", "1/2 -> 2"]


def test_what_an_encoding_has_stays() -> None:
    assert "1.0 ± 0.5" in "\n".join(shown("latin-1"))
    assert shown("utf-8")[0] == "α is 0.5"


@given(st.text(), st.sampled_from(["ascii", "latin-1", "cp1252", "cp437"]))
def test_any_text_can_be_written(text: str, encoding: str) -> None:
    written = plain(text, encoding)
    assert written.encode(encoding).decode(encoding) == written
    kept = [ch for ch in text if ch.isascii()]
    assert [ch for ch in kept if ch not in written] == [], "what is plain already stays"


def test_no_two_greek_letters_are_written_alike() -> None:
    letters = [chr(code) for code in range(0x3B1, 0x3CA)]
    written = sorted(plain(letter, "ascii") for letter in letters if letter not in "μς")
    assert all(one != other for one, other in pairwise(written))
