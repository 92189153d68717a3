"""`sweep`: measure the cases of a plan into a table; the same command continues where the last one ended."""

from __future__ import annotations

import math
import re
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
import typer

from dibench.cli import interruption
from dibench.cli.options import Batches, InputShapes, Json, batch_sizes, check_json, duration_s, grouped
from dibench.cli.output import answer, say
from dibench.errors import UserError
from dibench.numbers import count, time_text
from dibench.table import out_directory

if TYPE_CHECKING:
    from dibench.measure.settings import Settings
    from dibench.plan import Plan
    from dibench.sweep.run import Summary, Sweep

_DEFAULT_PLAN = "default"
_MOST_VISITS = 100
_NOT_TWICE = ("--fresh", "--retry-failed")
"""Options that a command to resume must not repeat."""


@attrs.frozen(kw_only=True)
class Options:
    """What the command line says."""

    plan: Annotated[
        str,
        typer.Argument(
            help="A preset (smoke, default, networks, lattice, twins), a TOML file, or any network, whose "
            "distinct layers get the fast kernels: resnet50, my.onnx, file.py:callable, layers.csv.",
            show_default=_DEFAULT_PLAN,
        ),
    ] = ""
    out: Annotated[
        str,
        typer.Option(
            metavar="DIR", help="Directory of sweep.csv and manifest.json; an existing one is resumed."
        ),
    ] = ""
    backend: Annotated[
        str, typer.Option(help="What runs the kernels: auto, cuda, cpu; torch: PyTorch's library.")
    ] = "auto"
    meter: Annotated[
        str,
        typer.Option(
            help="Source of joules: auto, nvml_counter, nvml_power, rapl, zeus, model or none. auto: a "
            "sensor that works, else the model. nvml_counter+zeus: Zeus too, in the same windows."
        ),
    ] = "auto"
    models: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Whole networks instead of a plan, with --backend torch: torchvision:resnet50,timm:NAME,"
            "FILE.py:CALLABLE@3x32x32 (@ and the size of an image, where --input-shape is not of all).",
        ),
    ] = ""
    batch: Batches = ""
    input_shape: InputShapes = None
    time_budget: Annotated[
        str, typer.Option(help="End cleanly after 90s, 9m, 1h30m; the same command resumes later.")
    ] = ""
    seed: Annotated[int, typer.Option(help="Seed of the random part of the order.")] = 1
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Measure failed cases again.")] = False
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over; the files of the earlier sweep are renamed.")
    ] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show cases, count and expected time; measure nothing.")
    ] = False
    target: Annotated[
        float | None,
        typer.Option(
            help="A case is finished when its 95% interval is within ± this, in percent. Where it is not "
            "given, a noisy machine gets what it can reach.",
            show_default="2",
        ),
    ] = None
    case_budget: Annotated[
        str, typer.Option(help="A case ends after this long, flagged if the target is not reached.")
    ] = "1s"
    visits: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Visits of 3 s to each case, minutes apart, where a GPU is metered; 0: as the plan says.",
        ),
    ] = 0
    devices: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="GPUs of this machine that share the cases: 0,1 as CUDA counts them, UUIDs, or all.",
        ),
    ] = ""
    scheduler: Annotated[
        str,
        typer.Option(
            metavar="TCP://HOST:PORT",
            help="The GPUs of a Dask cluster share the cases; docs/scale.md says how to start one.",
        ),
    ] = ""
    shard: Annotated[
        str,
        typer.Option(
            metavar="I/N", help="Only this part of the plan, such as 3/16; `merge` joins the parts."
        ),
    ] = ""
    json_file: Json = None


@grouped
def sweep(options: Options) -> None:
    """Measure every case of a plan: one row each, in an order of which every prefix can be analysed.

    Stop it however you like (Ctrl-C, kill, a full disk): rows stay, and the same command resumes.

    [bold]python -m dibench sweep smoke --out /tmp/smoke[/bold]

    [bold]python -m dibench sweep networks --out results/local/networks --time-budget 9m[/bold]

    [bold]python -m dibench sweep my.onnx --batch 1,8 --out results/local/my[/bold]
    """
    begin = time.monotonic()
    check_json(options.json_file)
    deadline = begin + duration_s("--time-budget", options.time_budget) if options.time_budget else None
    settings = _settings(options)
    backend, devices = _device(options)
    plan = _plan(options, backend)
    if options.dry_run:
        show_plan(plan, settings, options.meter, options.json_file)
        return
    if not options.out:  # an unset variable of a script must not mean the working directory
        raise UserError("--out", f"must name the directory of the sweep, such as results/local/{plan.name}")
    out = out_directory(options.out)
    summary = _run(_job(options, plan, backend, devices, settings), out, deadline, options)
    from dibench.show import sweeps

    answer(
        options.json_file,
        lambda: sweeps.plain(summary, plan.name, out, plan.partial),
        lambda: _show(summary, plan, out),
    )
    for line in plan.partial:
        say(f"dibench: {line}", err=True)
    if summary.ended == "interrupted":
        raise typer.Exit(interruption.status())


def _device(options: Options) -> tuple[str, tuple[str, ...]]:
    """The backend's name and, where several GPUs share the cases, the identity of each."""
    from dibench.backends import resolve
    from dibench.meters import check_name
    from dibench.sweep.crew import choose

    check_name(options.meter)
    if options.scheduler and options.backend == "auto":
        raise UserError("--backend", "must be named with --scheduler: workers may differ from this machine")
    if options.devices and options.scheduler:
        rule = "chooses GPUs of this machine; with --scheduler its workers do"
        raise UserError("--devices", rule, options.devices)
    backend = resolve(options.backend)
    return backend, choose(options.devices, backend) if options.devices else ()


def _plan(options: Options, backend: str) -> Plan:
    if not 0 <= options.visits <= _MOST_VISITS:
        raise UserError("--visits", f"must be from 1 to {_MOST_VISITS}, or 0 for the plan's", options.visits)
    if options.models:
        return _networks_plan(options, backend)
    return _layers_plan(options, backend)


def _layers_plan(options: Options, backend: str) -> Plan:
    """Layers under kernels, as a preset or a file says."""
    from dibench.backends import compute_capability, kernels_of
    from dibench.plan import load_plan
    from dibench.plan.shard import Shard

    if options.seed < 0:
        raise UserError("--seed", "must be 0 or more", options.seed)
    return load_plan(
        options.plan or _DEFAULT_PLAN,
        backend=kernels_of(backend),
        batches=batch_sizes(options.batch),
        input_shape=options.input_shape or (),
        seed=options.seed,
        arch=compute_capability(backend),
        visits=options.visits or None,
        shard=Shard.parse(options.shard) if options.shard else None,
    )


def _networks_plan(options: Options, backend: str) -> Plan:
    """Each network at each batch size; its package says the size of an image, or the text behind an @."""
    from dibench.models.inputs import parse_inputs
    from dibench.plan.whole_networks import network_plan

    for option, value in {"PLAN": options.plan, "--shard": options.shard}.items():
        if value:
            raise UserError(option, "is of layers, and --models measures whole networks instead", value)
    if backend != "torch":
        raise UserError("--models", "must stand with --backend torch, which runs networks", backend)
    names = [name.strip() for name in options.models.split(",")]
    shapes = parse_inputs(options.input_shape or [])
    return network_plan(names, batch_sizes(options.batch), shapes=shapes, visits=options.visits or 1)


def _settings(options: Options) -> Settings:
    from dibench.measure.settings import Settings

    case_budget_s = duration_s("--case-budget", options.case_budget)
    if options.target is None:
        return Settings(case_budget_s=case_budget_s)
    if not 0.01 <= options.target <= 100:
        raise UserError("--target", "must be from 0.01 to 100 percent", options.target)
    return Settings(target=options.target / 100, case_budget_s=case_budget_s)


def show_plan(plan: Plan, settings: Settings, meter: str, json_file: Path | None = None) -> None:
    """Print a plan: what it is, counts, expected time, reasons for what was left out, the first cases."""
    from dibench import kernels
    from dibench.cli.output import console
    from dibench.show.plan import plain, plan_blocks
    from dibench.show.terminal import show
    from dibench.study.use.power import power
    from dibench.sweep.duration import expected

    of_layers = not any(case.network for case in plan.cases)
    registry = kernels.registry(plan.backend) if of_layers else {}
    kinds = {name: "fast" if variant.fast else variant.stationarity for name, variant in registry.items()}
    if not of_layers:
        answer(
            json_file,
            lambda: plain(plan, None, None),
            lambda: show(console(), plan_blocks(plan, kinds, None)),
        )
        return
    # Of the kernels of a layer a fit uses the fastest.
    cases = [case for case in plan.cases if not (case.sentinel or case.anchor)]
    layers = {case.layer.shape: case.layer for case in cases if kinds[case.variant] == "fast"}
    told = power(list(layers.values())) if layers else None
    long = expected(plan, registry, settings, meter)
    answer(
        json_file,
        lambda: plain(plan, long, told),
        lambda: show(console(), plan_blocks(plan, kinds, long, told)),
    )


def _job(options: Options, plan: Plan, backend: str, devices: tuple[str, ...], settings: Settings) -> Sweep:
    from dibench import kernels
    from dibench.sweep.run import Sweep

    return Sweep(
        plan=plan,
        backend=backend,
        meter=options.meter,
        settings=settings,
        sources_sha=kernels.sources_sha(plan.backend),
        command_line=["python", "-m", "dibench", *sys.argv[1:]],
        keep_target=options.target is not None,
        devices=devices,
        scheduler=options.scheduler,
    )


def _run(job: Sweep, out: Path, deadline: float | None, options: Options) -> Summary:
    from dibench.cli.progress import Progress
    from dibench.sweep.run import run_sweep

    with Progress(deadline) as progress:
        return run_sweep(
            job,
            out,
            deadline=deadline,
            retry_failed=options.retry_failed,
            fresh=options.fresh,
            on_event=progress.show,
        )


def _show(summary: Summary, plan: Plan, out: Path) -> None:
    from dibench.cli.output import console
    from dibench.show.sweeps import ended, noisy
    from dibench.show.terminal import show
    from dibench.sweep.record import MANIFEST, TABLE

    show(console(), [ended(summary, out / TABLE, out / MANIFEST), *noisy(summary)])
    if summary.left:
        say(f"\n{_what_is_left(summary)}")
    if summary.statuses:
        table, directory = shlex.quote(str(out / TABLE)), shlex.quote(str(out))
        asks = next_fit(plan.name)
        look = f"python -m dibench fit {table}{asks}\n      python -m dibench report {directory}"
        if noisy(summary):
            quieter = "on a quieter machine or with more time"
            again = f"that, {quieter}." if summary.left else f"the same again {quieter}: {_resume_command()}"
            look = f"{again}\n      Or look at these rows as they are:\n      {look}"
        say(f"\nNext: {look}")


def _what_is_left(summary: Summary) -> str:
    """Why cases are left, and the command that goes on; it must not end where this one did."""
    left = f"{count(summary.left)} {'case is' if summary.left == 1 else 'cases are'} left"
    if summary.ended == "interrupted":
        return f"Interrupted: {left}. To resume: {_resume_command()}"
    if summary.measured:
        return f"The time budget is used up: {left}. To resume: {_resume_command()}"
    enough_s = 10 * math.ceil((summary.elapsed_s + 2 * summary.next_s) / 10)
    return (
        "The time budget is used up before one case was finished: opening the device and measuring its noise "
        "come first, then all cases once, and on a noisy machine a case needs a second visit. The next may "
        f"take {time_text(summary.next_s)}. {left}; "
        f"they need more time. To resume: {_resume_command(f'{enough_s}s')}"
    )


def next_fit(plan: str) -> str:
    """The option of `fit` for what a plan was measured for, with a space before it.

    >>> next_fit("twins.cuda"), next_fit("lattice"), next_fit("default")
    (' --twins', ' --lattice', '')
    """
    asked = plan.partition(".")[0]
    return f" --{asked}" if asked in ("twins", "lattice") else ""


def _resume_command(budget: str = "") -> str:
    """This command without the options that would start over; with this time budget, where one is given."""
    arguments = [argument for argument in sys.argv[1:] if argument not in _NOT_TWICE]
    if budget:
        text = re.sub(r"(^|\0)--time-budget[=\0][^\0]*", "", "\0".join(arguments))
        arguments = [*text.split("\0"), "--time-budget", budget]
    return shlex.join(["python", "-m", "dibench", *arguments])
