"""Rows of several cards: each on its own, together with a gain per card, α between them. Known truth."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from study_frames import card

import dibench
from dibench.show.alpha import alpha_lines
from dibench.study import cards_in
from dibench.study.findings.all_findings import Several
from dibench.study.ladder.models import data_of
from dibench.study.questions.devices import card_ladders, compare, difference_of

DRAWS = 199


def both(*cards: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(cards, ignore_index=True)


def test_a_gain_per_card_is_found_and_alpha_is_common() -> None:
    cards = card_ladders(both(card("a", 0.3), card("b", 0.3, gain=1.08, seed=2)), draws=DRAWS)
    found = compare(cards)
    assert [one.uuid for one in cards] == ["a", "b"] and found.joint is not None
    assert found.joint.rows == 400 and found.joint.gains[0].value == 1.0
    gain, alpha = found.joint.gains[1], found.joint.alpha
    assert gain.ci_low is not None and gain.ci_high is not None and gain.ci_low < 1.08 < gain.ci_high
    assert gain.ci_high - gain.ci_low < 0.05
    assert alpha.ci_low is not None and alpha.ci_high is not None and alpha.ci_low < 0.3 < alpha.ci_high
    (difference,) = found.differences
    assert difference.alpha.ci_low is not None and difference.alpha.ci_high is not None
    assert difference.alpha.ci_low < 0 < difference.alpha.ci_high and not difference.significant
    (line,) = alpha_lines([], Several(None, (), found, None))
    assert line.found == alpha, "the figure of α shows the joint one"


@pytest.mark.slow
def test_cards_that_differ_are_told_apart() -> None:
    found = compare(
        card_ladders(both(card("a", 0.2, noise=0.03), card("b", 0.6, seed=2, noise=0.03)), draws=DRAWS)
    )
    (difference,) = found.differences
    assert found.joint is None and found.why_not_joint.startswith("α differs significantly between ")
    assert difference.significant and difference.p_holm == difference.p_value
    assert difference.alpha.value == pytest.approx(-0.4, abs=0.1)
    assert difference.alpha.ci_high is not None and difference.alpha.ci_high < 0


@pytest.mark.slow
def test_what_layers_have_in_common_on_both_cards_cancels() -> None:
    """The same errors on both: α differs by nothing, and the interval of the difference knows it."""
    found = compare(card_ladders(both(card("a", 0.3, noise=0.2), card("b", 0.3, noise=0.2)), draws=DRAWS))
    (difference,) = found.differences
    assert difference.alpha.value == pytest.approx(0.0, abs=1e-9)
    assert difference.alpha.ci_high == pytest.approx(0.0, abs=1e-6)


@pytest.mark.slow
def test_the_difference_covers_zero_as_often_as_it_says() -> None:
    """60 replications at 95%: fewer than 52 covered have probability below 0.6%."""
    covered = 0
    for seed in range(60):
        one, other = (
            data_of(card("", 0.4, seed=2 * seed + which, noise=0.1), "energy_j") for which in (0, 1)
        )
        found = difference_of("a", "b", one, other)
        apart = found.alpha
        assert apart.ci_low is not None and apart.ci_high is not None and found.p_value is not None
        covered += apart.ci_low <= 0 <= apart.ci_high
        assert (found.p_value >= 0.05) == (apart.ci_low <= 0 <= apart.ci_high)
    assert covered >= 52


@pytest.mark.slow
def test_rows_that_explain_different_things_are_not_joined() -> None:
    timed = card("b", 0.3).assign(energy_source="none", energy_j=np.nan)
    found = compare(card_ladders(both(card("a", 0.3), timed), draws=99))
    assert found.joint is None and "time_s" in found.why_not_joint
    broken = card("b", 0.3).assign(status="failed")
    cards = card_ladders(both(card("a", 0.3), broken), draws=99)
    found = compare(cards)
    assert cards[1].ladder is None and "failed" in cards[1].why_not
    assert found.why_not_joint == "fewer than two cards can be fitted"


@pytest.mark.slow
def test_the_command_shows_every_card_and_writes_all(tmp_path: Path) -> None:
    for name, frame in (
        ("a", card("a", 0.3)),
        ("b", card("b", 0.3, gain=1.05, seed=2).assign(device="other")),
    ):
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    command = [sys.executable, "-m", "dibench", "fit", str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]

    def run(*options: str) -> str:
        whole = [*command, "--draws", "99", *options]
        return subprocess.run(whole, capture_output=True, text=True, check=True).stdout

    assert "Next: one card by itself, `python -m dibench fit" in run()
    out = run("--full", "--json", str(tmp_path / "fit.json"))
    assert "a gain per card" in out and "less that of" in out
    assert re.findall(r"^(card \(a\)|other \(b\))\nclaim ", out, re.M) == ["card (a)", "other (b)"]
    figures = json.loads((tmp_path / "fit.json").read_text())
    assert len(figures["cards"]) == 2 and figures["cards"][0]["fit"]["verdict"]
    assert all(
        len(card["fit"]["claims"]) == 4 and "ranked" in card["fit"]["networks"] for card in figures["cards"]
    )
    told = run("--twins")
    assert told.count("exact twins in these rows") == 1, "what all cards say stands once"
    assert "Each card on its own" not in run("--device", "card")


@pytest.mark.slow
def test_from_a_notebook(tmp_path: Path) -> None:
    path = tmp_path / "sweep.csv"
    card("a", 0.3).to_csv(path, index=False)
    frame = dibench.load(path)
    assert frame.equals(dibench.load(tmp_path)), "a sweep's directory is its table"
    assert len(dibench.load(path, path)) == 2 * len(frame) and len(cards_in(frame)) == 1
    found = dibench.fit(frame, draws=DRAWS)
    text = found.full().summary()
    assert f": {found.verdict}, α " in repr(found) and len(repr(found)) < 80
    assert found.verdict in text and "DI weighted" in text and "held out" in text
    assert {"predicted_ai", "held_out_di_weighted"} <= set(found.to_frame().columns)
    figure = found.plot()
    assert len(figure.axes) == 2 and all(axes.get_title() for axes in figure.axes)
    assert figure.axes[0].get_xlabel().startswith("measured energy (")
    assert set(figure.axes[0].get_legend_handles_labels()[1]) == {*found.to_frame()["op"], "as measured"}
    simulated = dibench.fit(frame.assign(energy_source="simulated"), draws=DRAWS).plot()
    assert simulated.axes[0].get_xlabel().startswith("simulated energy (")
    figure.savefig(tmp_path / "fit.png")


def test_the_package_alone_imports_nothing_heavy() -> None:
    heavy = ("numpy", "pandas", "scipy", "matplotlib")
    code = f"import dibench, sys; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
