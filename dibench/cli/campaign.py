"""`campaign`: everything that minutes on a GPU can tell, in one command that ends in time."""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.cli.campaign_steps import Card
    from dibench.earlier import Earlier
    from dibench.stages import Campaign

_CHECK_S = 45.0


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

    [bold]python -m dibench campaign --time-budget 9m --out results/my-gpu/1[/bold]

    [bold]python -m dibench campaign --time-budget 9m --out results/my-gpu/2 --resume results/my-gpu/1[/bold]
    """
    begin = time.monotonic()
    from dibench.cli import campaign_steps, campaign_view
    from dibench.cli.sweep import duration_s
    from dibench.files import explained
    from dibench.meters import check_name

    if seed < 0:
        raise UserError("--seed", "must be 0 or more", seed)
    budget_s = duration_s("--time-budget", time_budget)
    closing_s = duration_s("--closing", closing)
    if closing_s > budget_s:
        raise UserError("--closing", "must be less than --time-budget", closing)
    check_name(meter)
    if not out and not dry_run:
        raise UserError("--out", "must name the directory of this run, such as results/my-gpu/1")
    if compile_only:
        _compile(Path(out), arch, seed)
        return
    if kernels is not None:
        os.environ["DIBENCH_KERNELS"] = str(_kernels(kernels))
    card = campaign_steps.card(backend, need=not dry_run)
    earlier = campaign_steps.earlier(resume or [], card, Path(out) if out else None)
    if dry_run:
        found = _plan(card, earlier, seed, arch)
        campaign_view.show_stages(found, earlier, budget_s)
        return
    assert card is not None
    folder, deadline = Path(out), begin + budget_s
    campaign_steps.refuse_test_data(folder, card)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    campaign_view.say(f"{card.name}, {card.uuid or 'no UUID'}, driver {card.driver}")
    campaign_view.show_earlier(earlier, card)
    limit_s = min(_CHECK_S, budget_s / 6)
    wrong = campaign_steps.check(folder, card, earlier, limit_s)
    found = _plan(card, earlier, seed, arch, wrong)
    summary = campaign_steps.measure(found, card, meter, folder, deadline - closing_s)
    rows = campaign_steps.close(folder, earlier, deadline)
    visit_s = campaign_steps.visit_s(folder)
    campaign_view.show_end(found, summary, rows, wrong, time.monotonic() - begin)
    again = _next_command(out, resume or [])
    campaign_view.show_next(found, rows, again, visit_s)
    campaign_view.write_readme(folder, found, summary, rows, card, again)
    if summary.ended == "interrupted":
        raise typer.Exit(130)


def _plan(card: Card | None, earlier: Earlier, seed: int, arch: int, wrong: tuple[str, ...] = ()) -> Campaign:
    from dibench.stages import load_stages, plan_campaign

    stages = load_stages(
        arch=card.arch if card else arch, seed=seed, peer=bool(card and card.peer), without=wrong
    )
    cards = earlier.cards()
    another = card is not None and bool(cards) and card.uuid not in cards
    return plan_campaign(
        stages, seed=seed, done=earlier.done(), again=another, first_order=earlier.last_order + 1
    )


def _kernels(directory: Path) -> Path:
    found = directory / "cuda" if (directory / "cuda").is_dir() else directory
    if not any(found.glob("*.bin")):
        raise UserError("--kernels", "must hold what campaign --compile-only made", str(directory))
    return found.resolve()


def _compile(out: Path, arch: int, seed: int) -> None:
    from dibench.cli.progress import time_text
    from dibench.files import explained
    from dibench.kernels_ahead import compile_ahead
    from dibench.stages import in_turns, load_stages, sentinel

    begin, last = time.monotonic(), 0.0
    cases = [sentinel(), *in_turns(load_stages(arch=arch, seed=seed, peer=True))]
    threads = max(1, len(os.sched_getaffinity(0)))
    total = 0
    with explained(out):
        (out / "cuda").mkdir(parents=True, exist_ok=True)
    for done in compile_ahead(cases, arch, out / "cuda", threads=threads):
        total = done.total
        if time.monotonic() - last > 5.0 or done.number == done.total:
            last = time.monotonic()
            typer.echo(f"[{done.number}/{done.total}] kernels for sm_{arch}", err=True)
    size = sum(path.stat().st_size for path in (out / "cuda").glob("*.bin")) / 2**20
    took = time_text(time.monotonic() - begin)
    typer.echo(f"{total} kernels for sm_{arch} in {out}, {size:.1f} MiB, {took}")
    typer.echo(
        f"On the machine with the GPU: python -m dibench campaign --kernels {shlex.quote(str(out))} --out …"
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
