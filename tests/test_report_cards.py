"""The page of a table with several cards: each compared with the others, then all of them as one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from test_study_devices import card

from dibench.report import write_report


def test_cards_are_compared_and_joined_by_what_they_share(tmp_path: Path) -> None:
    both = pd.concat([card("a", 0.3), card("b", 0.3, gain=1.08, seed=2).iloc[:150]], ignore_index=True)
    both["ci_tick_j"], both["ci_spread_j"] = 0.003 * both["energy_j"], 0.004 * both["energy_j"]
    both["energy_ci_j"] = 0.005 * both["energy_j"]
    both.to_csv(tmp_path / "sweep.csv", index=False)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert "Do all cards say the same?" in html and ">all cards</text>" in html
    assert "takes all cards as one" in html and "from 150 cases" in html and "×1.0" in html
    assert "It rests on 200 layers" in html, "each once"
    assert "Error budget" in html and "0.5%" in html and "the sensor&#39;s gain" in html
