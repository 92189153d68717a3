"""Calibration on a replayed GPU: it finds what the card was made of, keeps it, and says what to do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import attrs
import numpy as np
import pytest
from replay import DESKTOP, HOPPER, PASCAL, Card
from visit_rig import LOAD, Prepared, Rig

from dibench.cli import main
from dibench.errors import UserError
from dibench.intervals import VariancePart, t_975
from dibench.measure import budget, calibration
from dibench.measure.calibration import LONG, SHORT, Calibration, calibrate, half_widths, kept_pool, noise
from dibench.show.sensor import noise_figure


def on(card: Card, effort: calibration.Effort = SHORT) -> tuple[Calibration, float]:
    rig = Rig(card)
    found = calibrate(rig.meter, rig.gpu.busy, Prepared(rig.gpu, LOAD), driver="570.1", effort=effort)
    return found, rig.clock.now()


@pytest.mark.parametrize("card", [HOPPER, DESKTOP, PASCAL], ids=lambda card: str(card.name))
def test_it_finds_what_the_card_was_made_of_in_43_seconds(card: Card) -> None:
    card = attrs.evolve(card, limit_w=700.0)
    found, seconds = on(card)
    assert seconds == pytest.approx(43, abs=2), "as `calibrate --help` says"
    assert found.meter["power_period_s"] == pytest.approx(card.power_s, rel=0.02)
    assert found.meter["counter_period_s"] == (card.counter_s and pytest.approx(card.counter_s, rel=0.02))
    assert found.idle_power_w == pytest.approx(card.idle_w, rel=0.1)
    assert found.active_idle_power_w == pytest.approx(card.active_idle_w, rel=0.1)
    assert found.device_uuid == "GPU-simulated-0" and found.driver == "570.1"
    assert 0.001 <= found.between < 0.01 and found.visits in (1, 2, 3, 5, 9)


def test_when_time_is_up_it_keeps_what_it_found() -> None:
    """A card that settles late took 48 s of the 45 that a campaign gives, and all was lost."""
    rig = Rig(HOPPER)
    prepared, begin = Prepared(rig.gpu, LOAD), rig.clock.now()
    until_s = begin + 14.0
    found = calibrate(
        rig.meter, rig.gpu.busy, prepared, driver="570.1", effort=calibration.BRIEF, until_s=until_s
    )
    assert rig.clock.now() <= until_s
    assert "time was up after 1 of 3 visits" in found.notes
    assert found.between_df == budget.BETWEEN.df and found.visits in (1, 2, 3, 5, 9), (
        "one visit shows no spread"
    )
    assert found.noise and found.active_idle_power_w == pytest.approx(HOPPER.active_idle_w, rel=0.1)


@pytest.mark.parametrize(("source", "visits"), [("auto", 3), ("nvml_counter", 0)])
def test_ticks_of_two_seconds_leave_a_brief_one_within_its_time(source: str, visits: int) -> None:
    """It took 92 s of 45. By the counter, where that is asked for, a window alone takes 13 s."""
    rig = Rig(attrs.evolve(DESKTOP, counter_s=2.0), source=source)
    found = calibrate(
        rig.meter,
        rig.gpu.busy,
        Prepared(rig.gpu, LOAD),
        driver="570.1",
        effort=calibration.BRIEF,
        until_s=45.0,
    )
    assert rig.clock.now() <= 45.0 and (f"time was up after {visits} of 3 visits" in found.notes) == (
        visits < 3
    )
    assert bool(found.noise) == (visits == 3), found.notes
    assert found.idle_power_w == pytest.approx(50.0, rel=0.1)
    assert found.active_idle_power_w == pytest.approx(75.0, rel=0.1)


def test_a_brief_one_takes_33_seconds() -> None:
    assert on(HOPPER, calibration.BRIEF)[1] == pytest.approx(33, abs=2), "as `calibrate --help` says"


def test_longer_calibration_knows_the_noise_better() -> None:
    card = attrs.evolve(HOPPER, ripple=0.01, rho=0.0, between=0.004)
    found, _ = on(card, LONG)
    for length_s, steps in (("0.2", 2), ("0.5", 5), ("1", 10)):
        assert found.noise[length_s] == pytest.approx(0.01 / np.sqrt(steps), rel=0.35)
    assert found.between == pytest.approx(0.004, rel=0.4)
    assert found.pool.df == found.between_df == budget.BETWEEN.df + LONG.visits - 1


def test_more_visits_make_narrower_intervals() -> None:
    visit = budget.VisitJoules(1.0, VariancePart(9e-6, 20.0), 0.0, 60.0)
    widths = half_widths([visit], VariancePart(16e-6, 30.0))
    assert widths[1] == pytest.approx(t_975(30.0) * 0.005)
    assert widths[9] == pytest.approx(widths[1] / 3)
    assert half_widths([], VariancePart(1.0)) == {}


def test_noise_needs_four_windows() -> None:
    assert set(noise([1.0, 2.0] * 8, 0.1)) == {0.2}
    assert noise([], 0.1) == {}


def test_it_is_kept_and_the_next_pool_begins_with_it(tmp_path: Path) -> None:
    found, _ = on(HOPPER)
    path = tmp_path / "below" / "gpu.json"
    assert kept_pool(path) == budget.BETWEEN
    calibration.write(found, path)
    assert kept_pool(path) == found.pool
    assert json.loads(path.read_text())["meter"]["estimator"] == "energy counter"
    path.write_text("{}")
    with pytest.raises(UserError, match="is not a calibration: delete it"):
        kept_pool(path)


def test_the_figure_is_a_file_that_says_its_numbers() -> None:
    svg = noise_figure({0.2: 0.007, 1.0: 0.003, 2.0: 0.0021}, 0.004)
    root = ElementTree.fromstring(svg)
    text = " ".join(root.itertext())
    assert "0.7% at 0.2 s, 0.3% at 1 s" in text and "a visit adds 0.4%" in text


@pytest.mark.parametrize(
    ("line", "message"), [("--meter rapl", "only a sensor has noise"), ("", "needs an NVIDIA GPU")]
)
def test_refusals_are_one_line(
    line: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dibench.backends.cuda_driver.gpu", lambda: "there is no NVIDIA driver")
    with pytest.raises(SystemExit) as ended:
        main(["calibrate", *line.split()])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and message in said and said.count("\n") == 1


def test_the_verb_shows_keeps_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = on(HOPPER)
    monkeypatch.setenv("DIBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(sys.modules["dibench.cli.calibrate"], "_on_this_gpu", lambda *how: found)
    with pytest.raises(SystemExit):
        main(["calibrate"])
    brief = capsys.readouterr().out
    assert (
        len(brief.splitlines()) <= 16 and "\nHow sure: " in brief and "\nNext: `python -m dibench " in brief
    )
    with pytest.raises(SystemExit):
        main(["calibrate", "--full"])
    said = capsys.readouterr().out
    assert (
        "joules by" in said
        and "moves every 100 ms" in said
        and "a visit adds" in said
        and "% of a CPU core" in said
    )
    kept = tmp_path / "calibration"
    assert sorted(path.suffix for path in kept.iterdir()) == [".json", ".svg"]
    with pytest.raises(SystemExit):
        main(["calibrate", "--json"])
    assert json.loads(capsys.readouterr().out)["visits"] == found.visits
