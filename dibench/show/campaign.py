"""What a campaign shows: the state of its stages, what was left out, how to continue; its README."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dibench.numbers import count, duration_text, number, short, time_text
from dibench.schema import EXTERNAL, is_measured
from dibench.show.blocks import Block, Column, Headline, Note, Section, Sentence, Table, facts
from dibench.show.sources import source_meaning
from dibench.show.sweeps import by_status

if TYPE_CHECKING:
    from dibench.plan import Plan
    from dibench.plan.stages import Stages
    from dibench.study.findings.claims import Answers
    from dibench.sweep.campaign import CampaignGpu, Standing
    from dibench.sweep.parts import Joined
    from dibench.sweep.preflight import Checks
    from dibench.sweep.run import Summary

_FILES = (
    "`sweep.csv` has a row for each case (columns: `dibench/schema.py`), `visits.jsonl` what each visit "
    "found, `manifest.json` device, driver, versions and command lines, `selftest.json` what was checked "
    "before, `calibration.json` what the sensor resolves, `counters.csv`, where there is one, what the "
    "hardware counted. `python -m dibench fit sweep.csv --backend cuda --json fit.json` and `python -m "
    "dibench report .` make `fit.json` and `report.html`; `fit sweep.csv --twins`, `--lattice` and "
    "`generality sweep.csv` say more."
)


def plain_stages(
    standings: Sequence[Standing], visit_s: float, finished: Collection[str] = ()
) -> dict[str, Any]:
    """Where the stages stand and what is left, for programs.

    Args:
        standings: of all stages.
        visit_s: seconds of a visit.
        finished: ids of the cases that the next run finishes, for a dry run.
    """
    visits = sum(one.visits_left for one in standings)
    return {
        "stages": [
            {
                "stage": one.stage.name,
                "answers": one.stage.answers,
                "cases": len(one.stage.cases),
                "measured": one.done,
                "converged": one.ok,
                "visits_left": one.visits_left,
                "next_run": sum(case.case_id in finished for case in one.stage.cases),
            }
            for one in standings
        ],
        "cases_left": sum(len(one.stage.cases) - one.done for one in standings),
        "visits_left": visits,
        "left_s": visits * visit_s,
    }


def stage_table(
    standings: Sequence[Standing],
    planned: Mapping[str, tuple[str, ...]] | None = None,
    *,
    answers: bool = False,
) -> Table:
    """The state of the stages.

    Args:
        standings: of all stages.
        planned: minutes and cases of the next run by stage, for a dry run.
        answers: with what each of them answers, for a page.
    """
    names = ("cases", "measured", "converged", "visits left", *(("minutes", "next run") if planned else ()))
    asked = [Column("answers", text=True, wraps=True)] if answers else []
    rows = [
        (
            one.stage.name,
            *map(str, (len(one.stage.cases), one.done, one.ok, one.visits_left)),
            *(planned[one.stage.name] if planned else ()),
            *([one.stage.answers] if answers else ()),
        )
        for one in standings
    ]
    return Table("", [Column("stage", text=True), *map(Column, names), *asked], rows)


def forecast(
    standings: Sequence[Standing],
    plan: Plan,
    finished: Collection[str],
    *,
    visit_s: float,
    budget_s: float,
    measuring_s: float,
) -> list[Block]:
    """What a dry run shows.

    Args:
        standings: of all stages.
        plan: what is left.
        finished: ids of the cases that the next run finishes.
        visit_s: seconds of a visit.
        budget_s: of the next run.
        measuring_s: what checks before, and fit and report after, leave of it.
    """
    visits = sum(case.visits for case in plan.cases)
    planned = {
        one.stage.name: (
            str(round(one.visits_left * visit_s / 60)),
            str(sum(case.case_id in finished for case in one.stage.cases)),
        )
        for one in standings
    }
    runs = f"{number(visits * visit_s / measuring_s, '.0f')} runs of {time_text(budget_s)}"
    told = (
        f"{count(len(plan.cases), 'case')} are left, {count(visits, 'visit')} of about "
        f"{duration_text(visit_s)}: {duration_text(visits * visit_s)}, {runs}. "
        f"The next run measures for {time_text(measuring_s)} and finishes about {len(finished)} cases."
    )
    asked = facts("What each stage answers", *((one.stage.name, one.stage.answers) for one in standings))
    return [Sentence(told), stage_table(standings, planned), asked]


def beginning(gpu: CampaignGpu, earlier: Joined, left_out: Mapping[str, str]) -> Iterator[str]:
    """The card, what is resumed and what is not, and the stages that this machine cannot measure."""
    yield f"{gpu.name}, {gpu.uuid or 'no UUID'}, driver {gpu.driver or 'unknown'}"
    if earlier.parts:
        cards = earlier.cards
        rows, runs = count(len(earlier.rows), "row"), count(len(earlier.parts), "run")
        yield f"earlier   {rows} of {runs} on {count(len(cards), 'card')}"
        for variant, number in earlier.stale.items():
            yield f"earlier   {number} rows of {variant} are left out, measured again: its source has changed"
        if cards and gpu.uuid not in cards:
            yield "earlier   another card of the model: anchors and sentinels first; its gain is fitted"
    for stage, why in left_out.items():
        yield f"left out  stage {stage}: {why}"


def ending(found: Joined, summary: Summary, left_out: Sequence[str]) -> Table:
    """What this run measured, what all runs measured, and what was left out."""
    rows, cards = count(len(found.rows), "row"), count(len(found.cards), "card")
    return facts(
        "",
        ("this run", f"{count(summary.measured, 'case')}: {summary.ended}"),
        ("its table", by_status(summary.statuses) or "no rows"),
        ("together", f"{rows} of {cards}, sentinels included"),
        ("energy", source_meaning(summary.energy_source)),
        *(("left out", line) for line in left_out),
    )


def left_out(stages: Stages, checks: Checks) -> Iterator[str]:
    """What was not measured or not checked, and why."""
    yield from (f"stage {stage}: {why}" for stage, why in stages.left_out.items())
    yield from (f"kernel {name}: {why}" for name, why in checks.wrong.items())
    if checks.unchecked:
        yield f"selftest of {', '.join(checks.unchecked)}: no time; they are measured unchecked"
    if checks.not_calibrated:
        yield f"calibration: {checks.not_calibrated}"


def missing(standings: Iterable[Standing], visit_s: float) -> str:
    """How many visits are missing, and how long they take; empty if none is."""
    left = sum(one.visits_left for one in standings)
    are = "is" if left == 1 else "are"
    long = f"{duration_text(left * visit_s)} at {time_text(visit_s)}"
    return f"{count(left, 'visit')} {are} missing: {long}" if left else ""


def readme(
    found: Joined,
    standings: Sequence[Standing],
    fit: Answers | None,
    *,
    not_here: Iterable[str],
    again: str,
    made: str,
) -> Iterator[Block | Section]:
    """The README of a run or of a dataset: the card, the runs, the fit's answers, what is missing, the files.

    Args:
        found: the runs.
        standings: of the campaign's stages.
        fit: what `fit.json` answers; None where there is none.
        not_here: what was left out, and why.
        again: the command that measures what is missing.
        made: a sentence that says how the files were made.
    """
    manifest = found.parts[-1].manifest
    cards = f"{count(len(found.cards), 'card')} ({', '.join(found.cards)})"
    yield Headline(str(manifest["device"]["name"]))
    if is_measured(source := str(manifest["energy_source"])):
        yield Sentence(f"Measured on {cards}, by {_sensor(manifest)}. {_gain(manifest)}")
    else:
        yield Sentence(f"On {cards}; energy: {source_meaning(source)}.")
    yield _runs(found)
    yield Section("says", "says", "What it says", list(_answers(fit)))
    there: list[Block] = [stage_table(standings, answers=True)]
    there += [Note(f"Not here: {line}") for line in not_here]
    if left := missing(standings, found.visit_s):
        there.append(Sentence(f"{left}. To continue, on any card of this model: `{again}`"))
    yield Section("there", "there", "What is there, and what is missing", there)
    yield Section("files", "files", "Files", [Sentence(_FILES), Sentence(made)])


def _sensor(manifest: Mapping[str, Any]) -> str:
    """The sensor, how often its value moves, and the card's power without work."""
    meter, facts = manifest["meter"], manifest["meter"]["facts"]
    powers = (("idle", "idle_power_w"), ("active idle", "active_idle_power_w"), ("limit", "power_limit_w"))
    drawn = ", ".join(f"{what} {short(facts[name], 'W')}" for what, name in powers if facts.get(name))
    often = f", which moves every {short(meter['period_s'], 's')}" if meter.get("period_s") else ""
    source = str(manifest["energy_source"])
    sensor = f"the GPU's own {facts.get('estimator', 'power sensor')}"
    if source.startswith(EXTERNAL):
        sensor = "a sensor that dibench does not read itself"
    return f"{sensor} (`{source}`){often}" + (f"; {drawn}" if drawn else "")


def _gain(manifest: Mapping[str, Any]) -> str:
    """What no interval of a row contains."""
    accuracy = manifest["meter"].get("gain_accuracy_pct")
    declared = (
        "no accuracy is declared for it" if accuracy is None else f"it is declared good to ±{accuracy:g}%"
    )
    return (
        "The sensor's gain is the same factor in all rows of a card and in no interval of a row; "
        f"{declared}, and dibench has not measured it."
    )


def _runs(found: Joined) -> Table:
    """A row for every start of the program."""
    names = ("run (UTC)", "until", "card", "driver", "rows", "ended", "source revision")
    rows = []
    for one in found.sessions:
        told = {"ended": one.get("ended") or "killed", "card": ", ".join(one["device_uuids"])}
        told["source_revision"] = str(one.get("source_revision") or "")[:12]
        keys = ("started_at", "ended_at", "card", "driver", "rows", "ended", "source_revision")
        cells = ({**one, **told}.get(key) for key in keys)
        rows.append(["" if cell is None else str(cell) for cell in cells])
    return Table("", [Column(name, text=True) for name in names], rows)


def _answers(fit: Answers | None) -> Iterator[Block]:
    """The fit's verdict and its answers to the claims; there are none if cards cannot be joined."""
    if fit is None:
        yield Sentence("There is no fit yet.")
    elif not fit.verdict_text:
        yield Sentence("The cards cannot be taken for one: `fit.json` says what each of them says.")
    else:
        yield Sentence(f"{fit.basis} {fit.verdict_text}")
        for one in fit.claims:
            yield Note(f"**{one.name}: {one.answer}.** {one.number or one.why}")
