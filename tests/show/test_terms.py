"""Every term of the glossary that stands on a screen or a page is told there once, where it first stands."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Run
from study_frames import measured

from dibench.kernels import registry
from dibench.show import compared, fit, kernels, lattice, twins
from dibench.show.blocks import Block, Column, Figure, Note, Section, Sentence, Table
from dibench.show.terms import TERMS, Teller, explained, texts
from dibench.study.questions.all_questions import of_table
from dibench.study.use.compare import compare

LINES = {term.line for term in TERMS}


def flat(told: list[Block | Section]) -> list[Block]:
    """Blocks in reading order."""
    found: list[Block] = []
    for one in told:
        if isinstance(one, Section):
            found += [*one.blocks, *(block for own in one.cards.values() for block in own)]
        else:
            found.append(one)
    return found


def is_line(block: Block) -> bool:
    return isinstance(block, Note) and block.text in LINES


def faults(told: list[Block]) -> list[str]:
    """Terms that are not told, told twice, told without need, or told too late or too early."""
    found = []
    for term in TERMS:
        first = next((at for at, block in enumerate(told) if term.stands_in(texts(block))), None)
        lines = [at for at, block in enumerate(told) if is_line(block) and term.line in texts(block)]
        if first is None:
            continue
        if len(lines) != 1:
            found.append(f"{term.name}: {len(lines)} lines")
            continue
        between = told[first + 1 : lines[0]]
        if lines[0] < first or not all(is_line(block) or isinstance(block, Figure) for block in between):
            found.append(f"{term.name}: first at {first}, told at {lines[0]}")
    return found


def whole_fit() -> list[Block | Section]:
    return fit.blocks(of_table(measured(150, alpha=0.2, noise=0.02), draws=99))


def comparison() -> list[Block | Section]:
    frame = measured(40)
    slower = frame.assign(energy_j=frame["energy_j"] * 1.1)
    return [*compared.blocks(compare(frame, slower))]


def variants() -> list[Block | Section]:
    return [*kernels.family("cuda", list(registry("cuda").values()))]


def sections() -> list[Block | Section]:
    return [twins.section(None), lattice.section(None)]


@pytest.mark.parametrize("screen", [whole_fit, comparison, variants, sections])
def test_each_term_of_a_screen_is_told_once_where_it_first_stands(
    screen: Callable[[], list[Block | Section]],
) -> None:
    plain = screen()
    told = flat(explained(plain))
    assert faults(told) == []
    assert [block for block in told if not is_line(block)] == flat(plain), "nothing else is changed"
    if screen is whole_fit:
        assert {"AI", "DI", "α", "ΔAICc", "effective", "e₀", "R²"} <= {
            block.text.partition(":")[0] for block in told if isinstance(block, Note)
        }


def test_a_term_that_is_told_late_twice_or_not_at_all_would_be_found() -> None:
    ai, mac, activation = (
        next(one for one in TERMS if one.name == name) for name in ("AI", "MAC", "activation")
    )
    lines: list[Block] = [Note(one.line) for one in (mac, activation, ai)]
    right: list[Block] = [Sentence("AI."), *lines]
    assert faults(right) == []
    assert faults([Sentence("AI.")]) and faults([*right, lines[-1]])
    assert faults([Sentence("AI."), Sentence("between"), *lines])


def test_a_short_term_is_a_column_and_no_letter_of_a_text() -> None:
    (r,) = (term for term in TERMS if term.name == "r")
    assert r.stands_in(texts(Table("", [Column("model"), Column("r")], []))) and not r.stands_in(["R × r"])
    drawn = Figure("f", "Against AI", lambda: None)
    told = Teller().blocks([drawn, drawn, Sentence("after")])
    assert told[:2] == [drawn, drawn] and is_line(told[2]), "figures stay side by side"


@pytest.mark.slow
@pytest.mark.parametrize("which", ["report_of_a_processor", "report_of_a_campaign", "report_of_two_cards"])
def test_each_term_of_a_page_is_told_once(which: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(which)
    page = (folder / "report.html").read_text(encoding="utf-8")
    page = page[page.index("<main>") : page.index('<section id="method">')]
    page = re.sub(r"<svg.*?</svg>|<style.*?</style>", "", page, flags=re.DOTALL)
    paragraphs = [html.unescape(re.sub("<[^>]+>", "", one)) for one in re.findall(r"<p[^>]*>(.*?)</p>", page)]
    for term in TERMS:
        first = next((at for at, text in enumerate(paragraphs) if term.stands_in([text])), None)
        told = [at for at, text in enumerate(paragraphs) if text == term.line]
        assert len(told) <= 1, term.name
        if first is not None and not term.head:
            assert len(told) == 1, f"{term.name} is not told: {paragraphs[first]}"


@pytest.mark.slow
def test_full_screens_of_predictions_tell_their_terms(run: Run, tmp_path: Path) -> None:
    table, found = tmp_path / "sweep.csv", tmp_path / "fit.json"
    measured(150).to_csv(table, index=False)
    assert run("fit", table, "--draws", "99", "--json", found)[0] == 0
    for verb in ("predict", "explain"):
        status, out, _ = run(verb, "resnet50", "--fit", found, "--full")
        said = " ".join(out.split())
        assert status == 0 and "MAC: a multiplication and an addition, the unit of a layer's work." in said
        assert all(said.count(term.line) <= 1 for term in TERMS)
        assert "the unit of a layer's work" not in run(verb, "resnet50", "--fit", found)[1]
