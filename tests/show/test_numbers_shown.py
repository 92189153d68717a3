"""Numbers on screen and page: digits that mean something, one unit, one rule for α, none that is disowned."""

from __future__ import annotations

import re
from itertools import product

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lattice_frames import table as lattice_of
from study_frames import measured

from dibench.intensity import OPERATORS
from dibench.numbers import UNKNOWN, bracketed, interval, span
from dibench.show import fit_tables, lattice
from dibench.show.alpha import alpha_lines
from dibench.show.fit import in_a_line
from dibench.show.studies import Study
from dibench.show.verdict import alpha_text, section
from dibench.study.findings.estimate import Estimate
from dibench.study.findings.ladder import Fit, WeightedOnly
from dibench.study.questions.all_questions import of_table
from dibench.study.questions.lattice import lattice as study_lattice

FINITE = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False, allow_subnormal=False)


@pytest.fixture(scope="module")
def found() -> Fit:
    return of_table(measured(200, alpha=0.2, noise=0.02), draws=99).fit


@given(FINITE, FINITE)
def test_the_ends_of_an_interval_never_look_alike(first: float, second: float) -> None:
    low, high = sorted((first, second))
    for text in (
        bracketed((low + high) / 2, low, high),
        interval(Estimate((low + high) / 2, low, high)),
        span(low, high),
    ):
        ends = re.search(r"\(?([^ (]+(?: · \S+)?) to ([^)]+?)\)?$", text)
        assert ends is None or ends[1] != ends[2], text


@given(FINITE, st.floats(min_value=0.01, max_value=1e4))
def test_a_value_and_its_ends_have_as_many_decimals(middle: float, half: float) -> None:
    text = bracketed(middle, middle - half, middle + half)
    if "·" not in text and half > 1e-5 * (abs(middle) + half):
        decimals = {len(one.partition(".")[2]) for one in re.findall(r"[\d.]+", text)}
        assert len(decimals) == 1, text


def test_screen_page_and_json_say_the_same_of_every_operator_whatever_its_verdict(found: Fit) -> None:
    """Of every operator with every verdict, reliable or not, α known, bounded on one side or not known."""
    alphas = [Estimate(0.01, 0.0, 0.05), Estimate(0.4, None, 0.7), Estimate(None, None, None)]
    pattern = next(iter(found.by_operator.values()))
    cases = product(("DI", "AI", "undecided", "not adequate"), (True, False), alphas)
    for verdict, reliable, alpha in cases:
        own = attrs.evolve(
            pattern,
            verdict=verdict,
            reliable=reliable,
            alpha=WeightedOnly(attrs.evolve(pattern.alpha.weighted, **attrs.asdict(alpha))),
        )
        fit = attrs.evolve(found, by_operator=dict.fromkeys(OPERATORS, own))
        table = fit_tables.by_operator(fit)
        at = [column.name for column in table.columns].index("α (95%)")
        on_screen = {str(row[0]): row[at] for row in table.rows}
        drawn = {line.op: line for line in alpha_lines([Study(fit.used, fit.used, {}, fit)], None)}
        for op, told in fit.to_json()["by_operator"].items():
            shown = drawn[op]
            assert on_screen[op] == alpha_text(shown.found, reliable=shown.reliable)
            assert str(on_screen[op]).startswith(interval(shown.found))
            assert (told["alpha"]["weighted"]["value"] is None) == (on_screen[op] == "not determined")
            assert told["reliable"] == shown.reliable
            if told["alpha"]["weighted"]["value"] is not None:
                assert ("unreliable" in str(on_screen[op])) != told["reliable"]


def test_an_unreliable_alpha_is_marked_wherever_it_stands(found: Fit) -> None:
    doubtful = attrs.evolve(found, reliable=False)
    assert in_a_line(doubtful).endswith(", unreliable") and "unreliable" not in in_a_line(found)
    assert any("Not to be relied on" in str(block) for block in section(doubtful).blocks)


def test_coefficients_that_are_compared_have_one_unit(found: Fit) -> None:
    prefixes = set()
    for apart in (False, True):
        for term, unit, *_ in fit_tables.coefficients(found, apart=apart).rows:
            if term not in ("e_launch", "power"):
                prefixes.add(str(unit).partition("/")[0])
    assert len(prefixes) == 1 and len({str(row[1]) for row in fit_tables.coefficients(found).rows}) > 2


def test_what_a_lattice_disowns_is_no_number() -> None:
    found = study_lattice(lattice_of())
    assert found is not None
    one = found.lattices[0]
    told = [str(cell) for cell in lattice.table(found).rows[0]]
    doubtful = attrs.evolve(found, lattices=(attrs.evolve(one, reason="it hides in the slopes"),))
    cells = [cell.text for cell in lattice.table(doubtful).rows[0] if not isinstance(cell, str)]
    assert cells[:6] == [re.search(r"text='(.*?)'", cell)[1] for cell in told[:6]]  # type: ignore[index]
    assert set(cells[6:]) == {UNKNOWN}
    said = " ".join(str(block) for block in lattice.section(doubtful).blocks)
    assert "no costs are shown, as it hides in the slopes" in said
    below = {
        name: attrs.evolve(slope, value=-11895.0) if name.startswith("mac/") else slope
        for name, slope in one.coefficients.items()
    }
    table = lattice.table(attrs.evolve(found, lattices=(attrs.evolve(one, coefficients=below),)))
    assert "11895" not in str(table.rows)
