"""The page of a table with several cards: all of them compared, the rest about the one with most rows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from test_study_devices import card

from dibench.report import write_report


def test_cards_are_compared_and_never_pooled(tmp_path: Path) -> None:
    both = pd.concat([card("a", 0.3), card("b", 0.3, gain=1.08, seed=2).iloc[:150]], ignore_index=True)
    both["ci_tick_j"], both["ci_spread_j"] = 0.003 * both["energy_j"], 0.004 * both["energy_j"]
    both["energy_ci_j"] = 0.005 * both["energy_j"]
    both.to_csv(tmp_path / "sweep.csv", index=False)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert "Do all cards say the same?" in html and ">all cards</text>" in html
    assert "a gain per card" in html and "×1.0" in html
    assert "It rests on 200 layers" in html, "the card with most rows, alone"
    assert "Error budget" in html and "0.5%" in html and "the sensor&#39;s gain" in html
