"""Layers are counted once: every number of them on screen, page and in JSON is that one, or is named."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pandas as pd
import pytest
from study_frames import measured

from dibench.layer import DIMENSIONS
from dibench.show.fit import blocks
from dibench.show.terminal import text
from dibench.study.questions.all_questions import of_table
from dibench.table import read_csv

NAMED = (
    r"^ in the table; left out",  # where the others stayed
    r"^ held out by family",
    r"^ of 25 networks",  # behind the measured ones, in a figure
)
"""What may follow a number of layers that is not the number in the fit."""


def other_counts(told: str, used: int) -> list[str]:
    """Numbers of layers in a text that are neither `used` nor named."""
    found = []
    for match in re.finditer(r"([\d,]+) (?:different |distinct |held-out )?layers?\b", told):
        after = told[match.end() : match.end() + 40]
        rule = told[: match.start()].endswith("fewer than ")
        named = rule or "held-out" in match[0] or any(re.search(one, after) for one in NAMED)
        if int(match[1].replace(",", "")) != used and not named:
            found.append(told[max(0, match.start() - 30) : match.end() + 30])
    return found


def test_layers_are_those_of_the_fit_and_those_that_a_rule_left_out() -> None:
    """Against pandas: failed rows, a slower kernel of some layers, and a kernel that alone ran others."""
    frame = measured(120)
    again = frame.iloc[:20].assign(variant="slow", time_s=frame["time_s"].iloc[:20] * 9)
    alone = measured(150, seed=7).iloc[120:].assign(variant="slow")
    table = pd.concat([frame, again, alone], ignore_index=True)
    table.loc[5:9, "status"] = "failed"
    fit = of_table(table, draws=99).fit
    told = fit.to_json()["layers"]
    distinct = table.drop_duplicates(list(DIMENSIONS))
    assert told["in_table"] == len(distinct)
    used = fit.used.drop_duplicates(list(DIMENSIONS))
    assert told["used"] == len(used) == fit.rows_used
    assert told["in_table"] == told["used"] + sum(told["left_out"].values())
    assert set(told["left_out"]) <= set(fit.excluded) and told["left_out"]
    assert all(layers <= fit.excluded[rule] for rule, layers in told["left_out"].items())
    screen = text(blocks(of_table(table, draws=99)))
    assert f"It rests on {fit.layers.text()}." in " ".join(screen.split())
    assert other_counts(" ".join(screen.split()), fit.rows_used) == []


def test_another_number_of_layers_would_be_found() -> None:
    assert other_counts("564 layers; 90 layers under 50 µs; 516 layers held out by family", 564)
    assert not other_counts("564 layers of 25 networks; 516 layers held out by family", 564)


@pytest.mark.parametrize("which", ["report_of_a_processor", "report_of_a_campaign"])
@pytest.mark.slow
def test_a_page_has_one_count_of_layers(which: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(which)
    page = (folder / "report.html").read_text(encoding="utf-8")
    table = read_csv(folder / "sweep.csv")
    fit = of_table(table, draws=99).fit
    told = " ".join(html.unescape(re.sub(r"<style.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)).split())
    assert other_counts(told, fit.layers.used) == []
    assert f"What {fit.layers.used} layers cost" in told and fit.layers.text() in told
    by_operator = re.search(r"What was measured, by operator.*?</table>", page, re.DOTALL)
    assert by_operator is not None
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in by_operator[0].split("<tr>")]
    assert sum(int(row[1].replace(",", "")) for row in cells if row) == fit.layers.used
