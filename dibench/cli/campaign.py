"""`campaign`: everything that minutes on a GPU can tell, in one command that ends in time."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.cli.campaign_steps import Card
    from dibench.plan.campaign import Campaign
    from dibench.plan.stages import Stages
    from dibench.sweep.earlier import Earlier

_CHECK_S = 45.0
"""Of selftest and of calibration, at most; a sixth of a budget that is short."""


def campaign(
    out: Annotated[
        str, typer.Option(metavar="DIR", help="Directory of this run's files; what it holds is resumed.")
    ] = "",
    time_budget: Annotated[
        str, typer.Option(help="Of everything, opening the GPU to writing the report: 9m, 540s.")
    ] = "9m",
    closing: Annotated[
        str, typer.Option(help="What of the budget is kept for fit and report at the end.")
    ] = "25s",
    resume: Annotated[
        list[Path] | None,
        typer.Option(
            "--resume",
            metavar="FILE",
            help="sweep.csv of an earlier run, read only, or a directory of runs; may stand several times.",
        ),
    ] = None,
    kernels: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Kernels that --compile-only has made, brought along."),
    ] = None,
    stages: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Stages of your own, as dibench/presets/campaign.stages.toml."),
    ] = None,
    compile_only: Annotated[
        bool,
        typer.Option("--compile-only", help="Compile all kernels into --out, for --kernels; no GPU needed."),
    ] = False,
    arch: Annotated[int, typer.Option(help="Of --compile-only and --dry-run: 90 for sm_90.")] = 90,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show stages, cases and minutes; measure nothing.")
    ] = False,
    backend: Annotated[str, typer.Option(help="auto, cuda, or module:callable.")] = "auto",
    meter: Annotated[str, typer.Option(help="auto, nvml_counter, nvml_power, or module:callable.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of the random part of the order.")] = 1,
) -> None:
    """Measure on a GPU what tells most, within a time budget; the next run goes on where this one ended.

    Doctor, selftest, calibration; anchors; then twins, lattice, layers, boxes, the library beside our kernels
    and tensor cores in turns; then fit and report. Kill it at any time: what is measured is kept, and the
    same command goes on.

    [bold]python -m dibench campaign --time-budget 9m --out results/local/campaign/1[/bold]

    [bold]python -m dibench campaign --time-budget 9m --out results/local/campaign/2
    --resume results/local/campaign/1[/bold]

    [bold]python -m dibench publish results/local/campaign[/bold]   (into results/<card>/, to be committed)
    """
    begin = time.monotonic()
    from dibench.cli import campaign_kernels, campaign_steps, campaign_view
    from dibench.cli.options import duration_s
    from dibench.kernels import library
    from dibench.meters import check_name
    from dibench.plan.stages import load_stages

    if seed < 0:
        raise UserError("--seed", "must be 0 or more", seed)
    budget_s = duration_s("--time-budget", time_budget)
    closing_s = duration_s("--closing", closing)
    if closing_s > budget_s:
        raise UserError("--closing", "must be less than --time-budget", closing)
    check_name(meter)
    if not out and not dry_run:
        raise UserError("--out", "must name the directory of this run, such as results/local/campaign/1")
    if compile_only:
        campaign_kernels.compile_all(Path(out), load_stages(arch=arch, seed=seed, path=stages), arch)
        return
    if kernels is not None:
        campaign_kernels.bring(kernels)
    card = campaign_steps.card(backend, need=not dry_run)
    earlier = campaign_steps.earlier(resume or [], card, Path(out) if out else None)
    no_library = card.no_library if card else library.no_cudnn()
    found = load_stages(arch=card.arch if card else arch, seed=seed, no_library=no_library, path=stages)
    if dry_run:
        campaign_view.show_stages(_plan(card, earlier, found, seed), earlier, budget_s)
        return
    assert card is not None
    ended = _measured(
        Path(out), card, earlier, found, meter=meter, seed=seed, deadline=begin + budget_s,
        closing_s=closing_s, limit_s=min(_CHECK_S, budget_s / 6), again=_next_command(out, resume or []),
    )  # fmt: skip
    campaign_view.say(f"\ntook {time.monotonic() - begin:.0f} s")
    if ended == "interrupted":
        raise typer.Exit(130)


def _measured(
    out: Path,
    card: Card,
    earlier: Earlier,
    found: Stages,
    *,
    meter: str,
    seed: int,
    deadline: float,
    closing_s: float,
    limit_s: float,
    again: str,
) -> str:
    """The run from first to last; how it ended."""
    from dibench.cli import campaign_checks, campaign_kernels, campaign_readme, campaign_steps, campaign_view
    from dibench.files import explained
    from dibench.sweep.record import refuse_test_data

    refuse_test_data(out, "simulated" if card.simulated else "")  # before anything runs
    with explained(out):
        out.mkdir(parents=True, exist_ok=True)
    campaign_view.show_begin(card, earlier, found.left_out)
    if not card.simulated:
        campaign_kernels.check(found, card.arch)
    checks = campaign_checks.check(out, card, earlier, found, meter, limit_s)
    plan = _plan(card, earlier, found, seed, checks.wrong)
    summary, refusal = campaign_steps.measure(plan, card, meter, out, deadline - closing_s)
    rows = campaign_steps.all_rows(out, earlier)
    campaign_steps.close(out, rows, out / "manifest.json", deadline)
    campaign_view.show_end(plan, summary, rows, checks)
    campaign_view.show_next(plan, rows, again, campaign_steps.visit_s(out))
    campaign_readme.write_readme(out, plan, summary, rows, card, checks, again)
    if refusal is not None:
        raise refusal
    return summary.ended


def _plan(
    card: Card | None, earlier: Earlier, found: Stages, seed: int, wrong: Collection[str] = ()
) -> Campaign:
    from dibench.plan.campaign import plan_campaign

    cards = earlier.cards()
    another = card is not None and bool(cards) and card.uuid not in cards
    return plan_campaign(
        found,
        seed=seed,
        done=earlier.done(),
        without=wrong,
        again=another,
        first_order=earlier.last_order + 1,
    )


def _next_command(out: str, resume: list[Path]) -> str:
    """The same, with this run among what is resumed, into the next directory."""
    skip = False
    kept: list[str] = []
    for argument in sys.argv[1:]:
        if skip:
            skip = False
        elif argument in ("--out", "--resume"):
            skip = True
        elif not argument.startswith(("--out=", "--resume=")):
            kept.append(argument)
    folder = Path(out)
    number = int(folder.name) + 1 if folder.name.isdigit() else 0
    following = str(folder.with_name(str(number))) if number else f"{out.rstrip('/')}-next"
    earlier = [part for path in (*resume, folder) for part in ("--resume", str(path))]
    return shlex.join(["python", "-m", "dibench", *kept, "--out", following, *earlier])
