"""`campaign`: as much as minutes on a GPU can tell, in one command that ends in time."""

from __future__ import annotations

import shlex
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
import typer

from dibench.cli import interruption, progress
from dibench.cli.options import Json, check_json, duration_s, grouped
from dibench.cli.output import STANDARD_OUTPUT, answer, say
from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.plan import Plan
    from dibench.plan.stages import Stages
    from dibench.sweep.campaign import Campaign
    from dibench.sweep.parts import Joined

_CHECK_S = 45.0
"""Of selftest and of calibration, at most; a sixth of a budget that is short."""
_BEFORE_S, _CLOSING_S = 100.0, 25.0
"""What a dry run assumes of a first run: checks, and fit and report at the end."""


@attrs.frozen(kw_only=True)
class Options:
    """What the command line says."""

    out: Annotated[
        str, typer.Option(metavar="DIR", help="Directory of this run's files; an existing one is resumed.")
    ] = ""
    time_budget: Annotated[
        str, typer.Option(help="Time for everything, from opening the GPU to the report: 9m, 540s.")
    ] = "9m"
    closing: Annotated[str, typer.Option(help="How much of the budget is kept for fit and report.")] = "25s"
    resume: Annotated[
        list[Path] | None,
        typer.Option(
            "--resume",
            metavar="FILE",
            help="sweep.csv of an earlier run, read only, or a directory of runs; may be repeated.",
        ),
    ] = None
    kernels: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Kernels made by --compile-only, such as on another machine."),
    ] = None
    stages: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Your own stages, in the format of dibench/presets/campaign.stages.toml."
        ),
    ] = None
    compile_only: Annotated[
        bool,
        typer.Option("--compile-only", help="Compile all kernels into --out, for --kernels; no GPU needed."),
    ] = False
    arch: Annotated[int, typer.Option(help="For --compile-only and --dry-run: 90 for sm_90.")] = 90
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show stages, cases and minutes; measure nothing.")
    ] = False
    backend: Annotated[str, typer.Option(help="auto, cuda, or module:callable.")] = "auto"
    meter: Annotated[str, typer.Option(help="auto, nvml_counter, nvml_power, or module:callable.")] = "auto"
    seed: Annotated[int, typer.Option(help="Seed of the random part of the order.")] = 1
    json_file: Json = None


@grouped
def campaign(options: Options) -> None:
    """Measure on a GPU what tells most, within a time budget; the next run continues where this one ended.

    Doctor, selftest, calibration; anchors; then twins, lattice, layers, boxes, the library beside our kernels
    and tensor cores in turns; then fit and report. Kill it at any time: what is measured is kept, and the
    same command resumes.

    [bold]python -m dibench campaign --time-budget 9m --out results/local/campaign/1[/bold]

    [bold]python -m dibench campaign --time-budget 9m --out results/local/campaign/2
    --resume results/local/campaign/1[/bold]

    [bold]python -m dibench publish results/local/campaign[/bold]   (into results/<card>/, to be committed)
    """
    begin = time.monotonic()
    from dibench.check import compile_ahead
    from dibench.kernels import library
    from dibench.numbers import time_text
    from dibench.plan.stages import load_stages
    from dibench.sweep.campaign import Campaign, earlier_runs, find_gpu, plan_rest

    check_json(options.json_file)
    budget_s, closing_s = _checked(options)
    out, seed = Path(options.out), options.seed
    if options.compile_only:
        stages = load_stages(arch=options.arch, seed=seed, path=options.stages)
        _compile(out, stages, options.arch, options.json_file)
        return
    if options.kernels is not None:
        compile_ahead.bring(options.kernels)
    there = find_gpu(options.backend)
    if isinstance(there, str) and not options.dry_run:
        raise UserError("campaign", f"needs an NVIDIA GPU: {there}; --dry-run shows what it would measure")
    gpu = None if isinstance(there, str) else there
    earlier = earlier_runs(options.resume or [], gpu, out if options.out else None)
    stages = load_stages(
        arch=gpu.arch if gpu else options.arch,
        seed=seed,
        no_library=gpu.no_library if gpu else library.no_cudnn(),
        path=options.stages,
    )
    if gpu is None or options.dry_run:
        _show_stages(stages, earlier, plan_rest(stages, earlier, gpu, seed), budget_s, options.json_file)
        return
    only_json = options.json_file == STANDARD_OUTPUT
    ended = _measure(
        Campaign(
            out=out,
            gpu=gpu,
            stages=stages,
            earlier=earlier,
            meter=options.meter,
            seed=seed,
            deadline=begin + budget_s,
            closing_s=closing_s,
            check_s=min(_CHECK_S, budget_s / 6),
            say=partial(progress.said, err=only_json),
        ),
        _next_command(options.out, options.resume or []),
        options.json_file,
    )
    say(f"\ntook {time_text(time.monotonic() - begin)}", err=only_json)
    if ended == "interrupted":
        raise typer.Exit(interruption.status())


def _checked(options: Options) -> tuple[float, float]:
    """Seconds of the budget, and of what is kept of it for the end."""
    from dibench.meters import check_name

    if options.seed < 0:
        raise UserError("--seed", "must be 0 or more", options.seed)
    budget_s = duration_s("--time-budget", options.time_budget)
    closing_s = duration_s("--closing", options.closing)
    if closing_s > budget_s:
        raise UserError("--closing", "must be less than --time-budget", options.closing)
    check_name(options.meter)
    if not options.out and not options.dry_run:
        raise UserError("--out", "must name the directory of this run, such as results/local/campaign/1")
    return budget_s, closing_s


def _measure(run: Campaign, again: str, json_file: Path | None) -> str:
    """The run from first to last; how it ended."""
    from dibench.check import compile_ahead
    from dibench.cli.output import console
    from dibench.files import encoded, explained, replace_file
    from dibench.show import campaign as show
    from dibench.show.markdown import markdown
    from dibench.show.sweeps import plain
    from dibench.show.terminal import show as show_blocks
    from dibench.study.use.answers import open_answers
    from dibench.sweep import preflight
    from dibench.sweep.campaign import COUNTING_S, close, count, measure, plan_rest, standings
    from dibench.sweep.record import refuse_test_data

    refuse_test_data(run.out, "simulated" if run.gpu.simulated else "")  # before anything runs
    with explained(run.out):
        run.out.mkdir(parents=True, exist_ok=True)
    for line in show.beginning(run.gpu, run.earlier, run.stages.left_out):
        run.say(line)
    idle = preflight.idle_power(run)
    if not run.gpu.simulated:
        compile_ahead.check(run.stages.cases, run.gpu.arch, run.say)
    checks = preflight.check(run)
    plan = plan_rest(run.stages, run.earlier, run.gpu, run.seed, checks.wrong)
    counting_s = COUNTING_S if checks.can_count and run.deadline - time.monotonic() > 8 * COUNTING_S else 0.0
    until = run.deadline - run.closing_s - counting_s
    with progress.Progress(until) as shown:
        summary, refusal = measure(run, plan, until, shown.show, idle)
    if refusal is not None:
        run.say(f"stopped   {refusal}")
    elif counting_s and summary.ended != "interrupted":
        count(run)
    fitted = close(run)
    joined, left_out = run.joined(), list(show.left_out(run.stages, checks))
    now = standings(run.stages.stages, joined.rows)
    left = show.missing(now, joined.visit_s)

    def tell() -> None:
        show_blocks(console(), [show.stage_table(now), show.ending(joined, summary, left_out)])
        run.say(f"\n{left}. To continue:\n  {again}" if left else "Every case of the campaign is measured.")

    answer(
        json_file,
        lambda: (
            show.plain_stages(now, joined.visit_s)
            | plain(summary, "campaign", run.out, [])
            | {"left_out": left_out, "fitted": fitted, "to_continue": again if left else None}
        ),
        tell,
    )
    fit = open_answers(run.out / "fit.json") if fitted else None
    made = "Fit and report are of this run and those that it resumed."
    readme = show.readme(joined, now, fit, not_here=left_out, again=again, made=made)
    replace_file(run.out / "README.md", encoded(markdown(readme)))
    if refusal is not None:
        raise refusal
    return summary.ended


def _compile(out: Path, found: Stages, arch: int, json_file: Path | None) -> None:
    """All kernels of these stages, of selftest and calibration; exit 1 if one does not compile."""
    from dibench.check.compile_ahead import compile_all
    from dibench.numbers import short, time_text

    begin = time.monotonic()
    total, wrong = compile_all(found.cases, arch, out / "cuda", lambda line: say(line, err=True))
    size = short(sum(path.stat().st_size for path in (out / "cuda").glob("*.bin")), "B")
    took = time_text(time.monotonic() - begin)

    def tell() -> None:
        say(f"{total - wrong} kernels for sm_{arch} in {out}, {size}, {took}")
        brought = shlex.quote(str(out))
        say(f"On the machine with the GPU: python -m dibench campaign --kernels {brought} --out …")

    answer(json_file, lambda: {"path": str(out), "arch": arch, "kernels": total, "failed": wrong}, tell)
    if wrong:
        raise typer.Exit(1)


def _show_stages(
    stages: Stages, earlier: Joined, plan: Plan, budget_s: float, json_file: Path | None
) -> None:
    """What --dry-run shows: stages, cases, minutes, questions; how far one run gets."""
    from dibench.cli.output import console
    from dibench.show.campaign import forecast, plain_stages
    from dibench.show.terminal import show
    from dibench.sweep.campaign import finished, standings
    from dibench.sweep.duration import VISIT_S

    measuring_s = max(1.0, budget_s - _BEFORE_S - _CLOSING_S)
    now = standings(stages.stages, earlier.rows)
    done = finished(plan, measuring_s)
    told = forecast(now, plan, done, visit_s=VISIT_S, budget_s=budget_s, measuring_s=measuring_s)
    answer(json_file, lambda: plain_stages(now, VISIT_S, done), lambda: show(console(), told))


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
