"""Several cards of one model as one: the gain from what both measured, and what one card would have said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from study_frames import energy_of, some_layers, table

from dibench.cli import main
from dibench.show.cards import gains_text
from dibench.study import fit, one_model
from dibench.study.questions import all_questions
from dibench.study.questions.twins import twins

DRAWS, GAIN = 199, 1.07
LAYERS = some_layers(160, seed=3)


def rows(
    uuid: str, begin: int, end: int, gain: float = 1.0, seed: int = 1, alpha: float = 0.3
) -> pd.DataFrame:
    """Some of the layers on a card; noise is 0.5%."""
    layers = LAYERS[begin:end]
    energy = gain * energy_of(layers, alpha=alpha, noise=0.005, seed=seed)
    frame = table(layers, energy, device_uuid=uuid, variant="conv_implicit_gemm")
    return frame.assign(case_id=[f"{uuid}-{number}" for number in range(begin, end)], power_w=300.0 * gain)


@pytest.fixture
def frame() -> pd.DataFrame:
    """The first card has 100 layers, the second the others, and ten that both have."""
    return pd.concat([rows("GPU-1", 0, 100), rows("GPU-2", 90, 160, GAIN, seed=2)], ignore_index=True)


@pytest.mark.slow
def test_the_card_of_a_row_is_known_beside_columns_beyond_the_contract(
    frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def pairs(rows: pd.DataFrame, *more: object, **chosen: object) -> None:
        asked.append("card" in rows)

    monkeypatch.setattr(all_questions, "twins", pairs)
    found = all_questions.of_cards(frame.assign(host="a", run="1"), draws=99)
    assert found.joined is not None and asked[0], "halves of twins are compared within one card"


def test_the_gain_is_found_and_taken_out(frame: pd.DataFrame) -> None:
    found = one_model(frame)
    assert found is not None and not found.cards_left_out
    first, second = found.gains
    assert (first.uuid, first.value, first.cases) == ("GPU-1", 1.0, 0)
    assert (second.uuid, second.cases) == ("GPU-2", 10)
    assert second.ci_low is not None and second.ci_high is not None and second.ci_low < GAIN < second.ci_high
    assert second.ci_high - second.ci_low < 0.03
    assert set(found.frame["device_uuid"]) == {"2 cards"} and set(found.frame["card"]) == {"GPU-1", "GPU-2"}
    of_second = found.frame["card"] == "GPU-2"
    assert found.frame["power_w"][of_second].to_numpy() == pytest.approx(300.0, rel=0.02)
    assert len(found.frame) == len(frame)
    together = fit(found.frame, draws=DRAWS).to_json()
    alpha = together["alpha"]["weighted"]
    assert alpha["ci_low"] < 0.3 < alpha["ci_high"] and together["rows_used"] == len(LAYERS)


def test_cards_that_cannot_be_compared_are_not_taken_for_one(frame: pd.DataFrame) -> None:
    assert one_model(frame[frame["device_uuid"] == "GPU-1"]) is None
    assert one_model(frame.assign(device=np.where(frame["device_uuid"] == "GPU-1", "a", "b"))) is None
    apart = pd.concat([rows("GPU-1", 0, 50), rows("GPU-2", 50, 90)], ignore_index=True)
    assert one_model(apart) is None
    repeated = pd.concat([rows("GPU-1", 0, 100), rows("GPU-2", 0, 60, GAIN, seed=2)], ignore_index=True)
    assert one_model(repeated) is None  # of 60 cases one card's row would stand for both
    failed = frame.assign(status=np.where(frame["device_uuid"] == "GPU-2", "failed", "ok"))
    assert one_model(failed) is None
    found = one_model(pd.concat([frame, rows("GPU-3", 5, 6)], ignore_index=True))
    assert found is not None and found.gains[-1].cases == 1 and found.gains[-1].ci_low is None
    more = pd.concat([frame, rows("GPU-4", 0, 1).assign(N=77)], ignore_index=True)
    found = one_model(more)
    assert found is not None and found.cards_left_out == ("GPU-4",)
    assert "GPU-4" not in set(found.frame["card"])


def test_a_card_whose_alpha_is_another_stays_out_and_is_named(frame: pd.DataFrame) -> None:
    other = rows("GPU-3", 60, 130, alpha=0.6, seed=3)
    few = rows("GPU-4", 0, 5, seed=4)
    found = one_model(pd.concat([frame, other, few], ignore_index=True))
    assert found is not None and found.cards_left_out == ("GPU-3",)
    assert [gain.uuid for gain in found.gains] == ["GPU-1", "GPU-2", "GPU-4"]
    before = {one.first: one for one in found.alpha_before}
    assert before["GPU-3"].alpha.value == pytest.approx(0.3, abs=0.05) and before["GPU-3"].significant
    assert not before["GPU-2"].significant and before["GPU-2"].p_holm is not None
    assert before["GPU-4"].p_holm is None, "five rows tell no α"
    said = gains_text(found)
    assert "Without GPU-3: its α differs by 0.3" in said and "p < 0.001 after Holm" in said
    assert "tested before joining: GPU-2 " in said and "GPU-4 not known, too few rows" in said
    alone = one_model(pd.concat([rows("GPU-1", 0, 100), other], ignore_index=True))
    assert alone is None, "nothing is left to join"


@pytest.mark.slow
def test_cards_of_one_alpha_are_kept_apart_no_more_often_than_promised() -> None:
    """100 pairs of cards of one α: more than ten refused have a probability below 2%."""
    refused = 0
    for seed in range(100):
        both = [rows("GPU-1", 0, 100, seed=2 * seed + 10), rows("GPU-2", 90, 160, seed=2 * seed + 11)]
        refused += one_model(pd.concat(both, ignore_index=True)) is None
    assert refused <= 10


def test_the_halves_of_a_pair_are_of_one_card() -> None:
    from dibench.layer import Layer
    from dibench.plan.shapes import twin

    one = Layer(N=32, C=512, H=32, W=32, K=512, R=1, S=1)
    other = twin(one)
    assert other is not None
    half = [table([layer], [0.1], variant="v", lanes="p", device_uuid="2 cards") for layer in (one, other)]
    same = pd.concat([part.assign(card="GPU-1") for part in half], ignore_index=True)
    torn = pd.concat([part.assign(card=f"GPU-{n}") for n, part in enumerate(half)], ignore_index=True)
    found = twins(same)
    assert found is not None and found.to_json()["responses"]
    assert twins(torn) is None


@pytest.mark.slow
def test_fit_shows_all_cards_as_one(
    frame: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sweep.csv"
    frame.to_csv(path, index=False)
    with pytest.raises(SystemExit) as ended:
        main(["fit", str(path), "--full", "--draws", str(DRAWS), "--json", str(tmp_path / "fit.json")])
    said = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    for words in ("Each card on its own", "All cards as one", "GPU-2 1.0", "from 10 cases", "By operator"):
        assert words in said
    figures = json.loads((tmp_path / "fit.json").read_text())
    assert len(figures["cards"]) == 2 and figures["rows_used"] == len(LAYERS)
    assert figures["gains"][1]["cases"] == 10 and "calibration" in figures, "predict takes it"
    with pytest.raises(SystemExit) as ended:
        main(["generality", str(path), "--subsets", "100"])
    assert ended.value.code == 0 and "All cards as one" in capsys.readouterr().out
