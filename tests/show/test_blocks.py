"""Blocks: the same words on a terminal and on a page; a narrow terminal leaves out columns, not digits."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from dibench.show import html, terminal
from dibench.show.blocks import Block, Cell, Figure, Headline, Note, Section, Sentence, Table, columns
from dibench.show.markdown import markdown
from dibench.show.svg import Drawn

RANKED = columns(
    "operator", "rows", "α", "says", text=["α", "says"], wraps=["says"], ranks={"rows": 2, "α": 1}
)
TABLE = Table(
    "What these [rows] say",
    RANKED,
    [
        [
            "standard",
            "123456",
            "0.31 (0.27 to 0.36)",
            Cell("differs, with a reason of several words", "good"),
        ],
        ["fc", "12", "above 0.20", "undecided"],
    ],
    note="In brackets 95%.",
)


def printed(*blocks: Headline | Sentence | Note | Table | Figure, width: int, is_terminal: bool) -> str:
    out = Console(file=io.StringIO(), width=width, force_terminal=is_terminal, no_color=True, highlight=False)
    terminal.show(out, blocks)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def never() -> Drawn | None:
    raise AssertionError("a terminal draws nothing")


@pytest.mark.parametrize(
    ("width", "shown"), [(90, "rows α says"), (54, "α says"), (34, "says"), (20, "says")]
)
def test_a_narrow_terminal_leaves_out_columns_by_rank_and_says_so(width: int, shown: str) -> None:
    text = " ".join(printed(TABLE, width=width, is_terminal=True).split())
    left_out = [name for name in ("rows", "α", "says") if name not in shown.split()]
    assert ("No room for: " in text) == bool(left_out)
    assert ("123456" in text) == ("rows" in shown)
    assert ("0.31 (0.27 to 0.36)" in text) == ("α" in shown)
    assert "standard" in text and "reason of several" in text


def test_a_file_gets_the_whole_table() -> None:
    lines = printed(TABLE, width=30, is_terminal=False).splitlines()
    assert lines[-2].split() == ["fc", "12", "above", "0.20", "undecided"]
    assert "123456  0.31 (0.27 to 0.36)  differs, with a reason of several words" in lines[-3]


def test_text_is_taken_as_it_is_but_for_strong_words_and_code() -> None:
    text = printed(Sentence("run `a[0] < b` **now**"), width=60, is_terminal=False)
    assert text == "run `a[0] < b` now\n"
    assert html.inline("run `a[0] < b` **now**") == "run <code>a[0] &lt; b</code> <strong>now</strong>"


def test_figures_are_drawn_by_the_page_alone_and_left_out_where_there_is_nothing_to_see() -> None:
    assert printed(Figure("f", "", never), Note("words"), width=60, is_terminal=False) == "words\n"
    svg = Drawn("<svg></svg>")
    svg.name = "f"
    drawn, empty = Figure("f", "", lambda: svg), Figure("e", "", lambda: None)
    asked = html.question(Section("s", "S", "Why?", [Sentence("lead"), empty, drawn, Note("small")]))
    assert [part.kind for part in asked.parts] == ["text", "figures", "text"]
    assert [shown.ident for shown in asked.figures] == ["figure-f"]
    only = html.question(Section("s", "S", "Why?", [empty]))
    assert not only.parts


def test_names_cannot_steer_the_terminal_nor_a_readme() -> None:
    name = "GPU\x1b]0;gone\x07 <script>alert(1)</script> ![x](http://tracker) ` <img src=x> ``` \u202e"
    told: list[Block] = [
        Headline(name),
        Sentence(name),
        Note(name),
        Table(name, columns(name, "b"), [[name, "1"]]),
    ]
    assert not set(terminal.text(told)) & set("\x1b\x07\u202e")
    written = markdown(told)
    assert "<" not in written and "![" not in written and "\x1b" not in written
    assert markdown([Sentence("`python -m dibench fit RUN <x>` of **two**")]) == (
        "`python -m dibench fit RUN <x>` of **two**\n"
    )


@pytest.mark.parametrize("text", ["`x``y` <b> `", "\\` <b> `", "`a` `<b>```", "` <b>"])
def test_what_only_looks_like_code_is_escaped(text: str) -> None:
    assert "<b>" not in markdown([Sentence(text)])
