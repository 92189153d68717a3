"""The curve of choices, its sentence and its table: every choice is there, and none is made more of."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from dibench.show import choices
from dibench.study.findings.choices import Choices, ReasonableChoice
from dibench.study.findings.estimate import Alpha, AlphaByFamily


def choice(*changes: str, alpha: float | None = 0.3, verdict: str = "undecided") -> ReasonableChoice:
    low, high = (None, None) if alpha is None else (alpha - 0.1, alpha + 0.1)
    unbounded = alpha is None
    by_family = AlphaByFamily(alpha, low, None, True, "family", 9, 6.2)
    return ReasonableChoice(
        changes, 120, "energy_j", Alpha(alpha, low, high, unbounded), by_family, verdict, "because"
    )


def found(*made: ReasonableChoice, too_few: tuple[str, ...] = (), at_most: int | None = None) -> Choices:
    often = Counter({"DI": 0, "AI": 0, "undecided": 0})
    often.update(one.verdict for one in made)
    changes = dict.fromkeys(change for one in made for change in one.changes)
    return Choices(dict(often.most_common()), tuple(changes), made, too_few, at_most)


ALIKE = tuple(
    choice(*changes) for changes in ((), ("fp32",), ("without vgg",), ("fp32", "convolutions only"))
)


def test_one_answer_under_all_choices_is_one_sentence() -> None:
    said = choices.sentence(found(*ALIKE))
    assert said == "All 4 reasonable choices of rows, response and terms say the same: undecided."
    missed = choices.sentence(found(*(choice(str(n), verdict="not adequate") for n in range(5))))
    assert missed.endswith("say the same: the model misses.")


def test_few_that_say_otherwise_are_named_with_their_alpha() -> None:
    one = choice("fp32", "without launch-bound rows", alpha=0.96, verdict="DI")
    said = choices.sentence(found(*ALIKE, one))
    assert said == (
        "Of 5 reasonable choices of rows, response and terms: undecided in 4, DI in 1, AI in none; "
        "the one that says DI: fp32, without launch-bound rows, α 0.96 (0.86 to 1.06)."
    )
    two = choice("without alexnet", alpha=0.5, verdict="AI"), choice("tf32", alpha=None, verdict="AI")
    assert choices.sentence(found(*ALIKE, *two)).endswith(
        "those that say AI: without alexnet, α 0.50 (0.40 to 0.60); tf32, α not determined."
    )
    fit = found(*(choice(str(n), verdict="DI") for n in range(4)), choice())
    assert choices.sentence(fit).endswith("the one that is undecided: as fitted, α 0.30 (0.20 to 0.40).")


@pytest.mark.parametrize(
    ("shared", "end"),
    [
        (("gross energy",), "all that say DI have in common, and no other has: gross energy."),
        (("fp32",), "all that say DI have in common: fp32."),
        ((), "those that say DI have nothing in common."),
    ],
)  # fmt: skip
def test_of_many_that_say_otherwise_it_says_what_they_share(shared: tuple[str, ...], end: str) -> None:
    others = [choice(*shared, f"without {name}", verdict="DI") for name in "abcd"]
    assert choices.sentence(found(*ALIKE, choice("x"), *others)).endswith(end)


def test_the_table_has_every_choice_the_fit_in_bold_and_what_was_left_out() -> None:
    table = choices.table(found(*ALIKE, too_few=("tf32, convolutions only",), at_most=5000))
    assert [row[0] for row in table.rows] == ["as fitted", "fp32", "without vgg", "fp32, convolutions only"]
    assert table.best_rows == {0}
    assert table.rows[0][1:] == ["120", "0.30 (0.20 to 0.40)", "above 0.20", "undecided: because"]
    assert "Of a choice with more rows, 5,000 taken at random are judged." in table.note
    assert "Left out, as too few rows are left: tf32, convolutions only." in table.note


def places(line: Any) -> list[tuple[float, float]]:
    """Of a line that Matplotlib drew."""
    return list(zip(line.get_xdata(), line.get_ydata(), strict=True))


def test_the_curve_marks_each_choice_above_and_what_it_changes_below() -> None:
    made = [
        choice("without vgg", alpha=-2.0), choice(alpha=0.3), choice("fp32", alpha=0.5, verdict="AI"),
        choice("fp32", "without vgg", alpha=0.9, verdict="DI"),
        choice("fp32", "convolutions only", alpha=None, verdict="not adequate"),
    ]  # fmt: skip
    drawn = choices.figure(found(*made)).draw()
    assert drawn is not None and drawn.name == "choices"
    above, below = drawn.figure.axes
    marks = [line for line in above.lines if line.get_marker() not in ("None", "")]
    assert [places(line) for line in marks] == [[(1, 0.3)], [(2, 0.5)], [(3, 0.9)]]
    assert above.get_ylim() == (-0.5, 1.05), "no interval beyond the scale stretches it"
    names = [text.get_text() for text in below.texts]
    assert names == ["without vgg", "fp32", "convolutions only"]
    dots = {
        (column, names[int(row)])
        for line in below.lines
        if line.get_linestyle() == "None"
        for column, row in places(line)
    }
    assert dots == {(column, change) for column, one in enumerate(made) for change in one.changes}
    assert "fp32, convolutions only: not adequate, not determined" in drawn


def test_the_caption_explains_the_marks_that_are_there_and_no_other() -> None:
    lines = " ".join(choices.figure(found(*ALIKE)).lines)
    assert "Hollow: undecided." in lines and "AI" not in lines and "Without a mark" not in lines
    lines = " ".join(choices.figure(found(choice("a", verdict="DI"), choice(alpha=None, verdict="AI"))).lines)
    assert "DI, square: AI." in lines and "Without a mark" in lines


def test_a_curve_on_which_no_alpha_is_bounded_is_left_out() -> None:
    assert choices.curve(found(choice(alpha=None), choice("without vgg", alpha=None)), "choices") is None
