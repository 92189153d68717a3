"""`fit` opens with the answer, how sure it is and what to do next; then one table; the rest behind --full."""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
import pytest
from lattice_frames import table as lattice
from rich.console import Console
from study_frames import measured
from twin_frames import STANDARD
from twin_frames import measured as twins_of

from dibench.show.blocks import Table
from dibench.show.fit import blocks as in_full
from dibench.show.fit import brief
from dibench.show.fit_in_brief import blocks, descriptions
from dibench.show.noise import in_a_sentence, share_disturbed
from dibench.show.sources import noise_banner
from dibench.show.studies import Study
from dibench.show.terminal import show
from dibench.study.findings.all_findings import Findings
from dibench.study.findings.disturbed import too_wide
from dibench.study.questions.all_questions import of_table

DRAWS = 99


def found_of(frame: pd.DataFrame) -> Findings:
    return of_table(frame, draws=DRAWS)


def on_screen(found: Findings, width: int) -> str:
    written = io.StringIO()
    show(Console(file=written, width=width, force_terminal=True, color_system=None), brief(found, "mine.csv"))
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines())


def noisy(frame: pd.DataFrame, share: float) -> pd.DataFrame:
    """The same rows, of which this share says an interval too wide to count."""
    wide = np.arange(len(frame)) < share * len(frame)
    return frame.assign(
        energy_ci_j=frame["energy_j"] * np.where(wide, 0.3, 0.01),
        status=np.where(wide, "flagged", frame["status"]),
        reason=np.where(wide, "interval ±30%", ""),
    )


@pytest.fixture(scope="module")
def decided() -> Findings:
    return found_of(measured(200, alpha=0.2, noise=0.02))


def test_an_answer_is_three_sentences_and_a_table(decided: Findings) -> None:
    answer, sure, then, *tables = blocks(decided, "mine.csv")
    (table,) = tables
    assert len(table.rows) == 3
    assert answer.text.startswith("DI: a weight and an activation do not cost the same energy here")
    assert answer.tone == "good"
    low, high = map(float, re.findall(r"costs [\d.]+ \(([\d.]+) to ([\d.]+)\) times", sure.text)[0])
    assert low < 0.2 / 0.8 < high < 1, "α = 0.2 is a weight at a quarter of an activation's price"
    assert then.text.startswith("Next: `python -m dibench generality mine.csv`")


def test_no_two_columns_of_a_table_have_one_name(decided: Findings) -> None:
    told = [block for part in in_full(decided) for block in getattr(part, "blocks", [part])]
    tables = [block for block in told if isinstance(block, Table)]
    assert len(tables) > 2
    for table in tables:
        names = [column.name for column in table.columns if column.name]
        assert len(set(names)) == len(names), names


@pytest.mark.parametrize("width", [80, 100, 120])
def test_it_fits_a_terminal(decided: Findings, width: int) -> None:
    lines = on_screen(decided, width).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= 20
    assert re.search(r"^AI .*\d+%", "\n".join(lines), re.M), "numbers stay whole"


def test_what_the_rows_do_not_tell_is_not_told() -> None:
    found = found_of(measured(24, alpha=0.5, noise=0.2))
    answer, sure, then, *_ = blocks(found, "mine.csv")
    assert found.fit.verdict == "undecided"
    assert answer.text.startswith("Undecided: ") and answer.tone == "warn"
    assert "times as much" not in sure.text or "(" in sure.text
    assert "sweep networks" in then.text


def test_there_is_no_table_where_no_description_could_be_fitted() -> None:
    few, some = (found_of(measured(number, alpha=0.5, noise=0.2)) for number in (2, 24))
    assert len(blocks(few, "mine.csv")) == 3 and len(blocks(some, "mine.csv")) == 4
    assert descriptions(few.fit) == []


def test_time_is_not_taken_for_energy() -> None:
    rows = measured(90, alpha=0.3).assign(energy_source="none")
    rows = rows.assign(time_s=rows["energy_j"]).drop(columns=["energy_j"])
    answer, sure, *_ = blocks(found_of(rows), "mine.csv")
    assert "energy" not in answer.text
    assert "of measured time, without joules" in sure.text


def test_modelled_joules_are_a_check_of_the_program() -> None:
    rows = measured(90).assign(energy_source="model").drop(columns=["time_s"], errors="ignore")
    answer, *_ = blocks(found_of(rows), "mine.csv")
    assert answer.text.startswith("A check of the program, no evidence: ")
    assert answer.tone == "warn"


def test_noise_is_loud_where_it_is_most_of_the_rows() -> None:
    found = found_of(noisy(measured(120), 0.6))
    assert share_disturbed(found.fit) == pytest.approx(0.6, abs=0.01)
    _, sure, then, *_ = blocks(found, "mine.csv")
    assert "72 more are too noisy to count" in sure.text and sure.tone == "warn"
    assert then.text.startswith("Next: other work disturbed most rows")
    quiet = blocks(found_of(noisy(measured(120), 0.3)), "mine.csv")
    assert "disturbed" not in quiet[2].text


def test_what_is_too_noisy_to_count_is_layers_and_not_their_rows() -> None:
    """A second kernel's rows are too wide, too: they cost the fit no layer."""
    first = noisy(measured(120), 0.1)
    second = first.assign(variant="another", case_id=first["case_id"] + "-2", energy_j=2 * first["energy_j"])
    both = pd.concat([first, second.assign(energy_ci_j=second["energy_j"] * 0.3)], ignore_index=True)
    found = found_of(both)
    assert too_wide(found.fit.excluded) == 132
    assert "rests on 108 layers" in (said := blocks(found, "mine.csv")[1].text)
    assert ", 12 more are too noisy to count" in said


def test_the_page_counts_what_was_too_noisy_as_the_terminal_does() -> None:
    frame = noisy(measured(120), 0.6)
    banner = noise_banner([Study(frame, frame, {}, found_of(frame).fit)])
    assert banner is not None and banner.text.startswith("60% of the rows")
    few = noisy(measured(120), 0.3)
    assert noise_banner([Study(few, few, {}, found_of(few).fit)]) is None


@pytest.mark.parametrize(("flagged", "said"), [(3, True), (2, False), (0, False)])
def test_a_sweep_of_flagged_rows_says_so_in_a_sentence(flagged: int, said: bool) -> None:
    told = in_a_sentence({"ok": 2, "flagged": flagged, "failed": 9})
    assert bool(told) == said
    assert not said or ("60%" in told and "OMP_NUM_THREADS" in told)


def test_the_next_step_is_that_of_the_preset() -> None:
    rows = measured(60)
    pairs = pd.concat([rows, twins_of(STANDARD, noise=0.01)], ignore_index=True)
    twins = blocks(found_of(pairs), "tw.csv")
    assert "`python -m dibench fit tw.csv --twins`" in twins[2].text
    boxes = blocks(found_of(pd.concat([rows, lattice()], ignore_index=True)), "la.csv")
    assert "`python -m dibench fit la.csv --lattice`" in boxes[2].text
