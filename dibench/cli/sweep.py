"""`sweep`: measure the cases of a plan into a table, with a progress bar, and go on where it ended."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.measure.settings import Settings
    from dibench.plan import Plan
    from dibench.sweep.run import Summary, Sweep

_DEFAULT_PLAN = "default"
_MOST_VISITS = 100
_RESUME_DROPS = ("--fresh", "--retry-failed")
_SOURCES = {
    "nvml_counter": "measured by the GPU's energy counter (NVML)",
    "nvml_power": "measured by the GPU's power sensor, integrated (NVML)",
    "simulated": "SIMULATED: a replayed GPU, test data and no evidence",
    "rapl": "measured by the processor's counters (RAPL)",
    "model": "MODELLED (counted accesses × published energy per access), not measured: no evidence",
    "none": "not measured; time only",
}


def sweep(
    plan: Annotated[
        str,
        typer.Argument(
            help="A preset (smoke, default, networks, lattice, twins) or a TOML file.",
            show_default=_DEFAULT_PLAN,
        ),
    ] = "",
    out: Annotated[
        str,
        typer.Option(
            metavar="DIR", help="Directory of sweep.csv and manifest.json; what it holds is resumed."
        ),
    ] = "",
    backend: Annotated[
        str, typer.Option(help="What runs the kernels: auto, cuda, cpu; torch: PyTorch's library.")
    ] = "auto",
    meter: Annotated[
        str,
        typer.Option(
            help="Joules from auto, nvml_counter, nvml_power, rapl, zeus, model or none. "
            "auto: a sensor that works, else the model. nvml_counter+zeus: Zeus beside, on the same windows."
        ),
    ] = "auto",
    models: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Whole networks in place of a plan, with --backend torch: torchvision:resnet50,timm:NAME,"
            "FILE.py:CALLABLE@3x32x32 (@ and the size of an image where the package names none).",
        ),
    ] = "",
    batch: Annotated[
        str, typer.Option("--batch", help="Batch sizes of --models: 1,8.", show_default="1")
    ] = "",
    time_budget: Annotated[
        str, typer.Option(help="End cleanly after 90s, 9m, 1h30m; the same command goes on later.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Of the random part of the order.")] = 1,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Measure failed cases again.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew; the files of the earlier sweep are renamed.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show cases, count and expected time; measure nothing.")
    ] = False,
    target: Annotated[
        float, typer.Option(help="A case is finished when its 95% interval is within ± this, in percent.")
    ] = 2.0,
    case_budget: Annotated[
        str, typer.Option(help="A case ends after this long, flagged if the target is not reached.")
    ] = "1s",
    visits: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Stays of 3 s at each case, minutes apart, where a GPU is metered; 0: as the plan says.",
        ),
    ] = 0,
    devices: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="GPUs of this machine that share the cases: 0,1 as CUDA counts them, UUIDs, or all.",
        ),
    ] = "",
    scheduler: Annotated[
        str,
        typer.Option(
            metavar="TCP://HOST:PORT",
            help="The GPUs of a Dask cluster share the cases; docs/scale.md says how to start one.",
        ),
    ] = "",
    shard: Annotated[
        str,
        typer.Option(
            metavar="I/N", help="Only this part of the plan, such as 3/16; `merge` joins the parts."
        ),
    ] = "",
) -> None:
    """Measure every case of a plan: one row each, in an order of which every prefix can be analysed.

    Stop it however you like (Ctrl-C, kill, a full disk): rows stay, and the same command goes on.

    [bold]python -m dibench sweep smoke --out /tmp/smoke[/bold]

    [bold]python -m dibench sweep networks --out results/local/networks --time-budget 9m[/bold]
    """
    begin = time.monotonic()
    deadline = begin + duration_s("--time-budget", time_budget) if time_budget else None
    settings = _settings(target, duration_s("--case-budget", case_budget))
    from dibench.backends import resolve
    from dibench.meters import check_name
    from dibench.sweep.crew import choose

    check_name(meter)
    if scheduler and backend == "auto":
        raise UserError("--backend", "must be named with --scheduler: workers may differ from this machine")
    if devices and scheduler:
        raise UserError("--devices", "chooses GPUs of this machine; with --scheduler its workers do", devices)
    backend = resolve(backend)
    chosen = choose(devices, backend) if devices else ()
    if not 0 <= visits <= _MOST_VISITS:
        raise UserError("--visits", f"must be from 1 to {_MOST_VISITS}, or 0 for the plan's", visits)
    if models:
        planned = _networks_plan(models, batch, backend, visits, {"PLAN": plan, "--shard": shard})
    elif batch:
        raise UserError("--batch", "is of --models: layers have theirs from the plan", batch)
    else:
        planned = _layers_plan(plan, backend, seed, visits, shard)
    if dry_run:
        from dibench.cli.plan_view import show_plan

        show_plan(planned, settings, meter)
        return
    if not out:  # an unset variable of a script, too, shall not mean the working directory
        raise UserError(
            "--out", "must name the directory of the sweep, such as results/local/" + planned.name
        )
    job = _job(planned, backend, meter, settings, chosen, scheduler)
    summary = _run(job, Path(out), deadline, retry_failed=retry_failed, fresh=fresh)
    _show(summary, Path(out))
    if summary.ended == "interrupted":
        raise typer.Exit(130)


def _layers_plan(plan: str, backend: str, seed: int, visits: int, shard: str) -> Plan:
    """Layers under kernels, as a preset or a file says."""
    from dibench.backends import kernels_of
    from dibench.plan import load_plan
    from dibench.plan.shard import Shard

    if seed < 0:
        raise UserError("--seed", "must be 0 or more", seed)
    return load_plan(
        plan or _DEFAULT_PLAN,
        backend=kernels_of(backend),
        seed=seed,
        arch=_arch(backend),
        visits=visits or None,
        shard=Shard.parse(shard) if shard else None,
    )


def _networks_plan(models: str, batch: str, backend: str, visits: int, not_beside: Mapping[str, str]) -> Plan:
    """Each network at each batch size; its package says the size of an image, or the text behind an @."""
    from dibench.cli.fitted import batches_of
    from dibench.plan.whole_networks import network_plan

    for option, value in not_beside.items():
        if value:
            raise UserError(option, "is of layers, and --models measures whole networks instead", value)
    if backend != "torch":
        raise UserError("--models", "must stand with --backend torch, which runs networks", backend)
    names = [name.strip() for name in models.split(",")]
    return network_plan(names, batches_of(batch or "1"), visits=visits or 1)


def _arch(backend: str) -> int | None:
    """Compute capability of the GPU that a sweep would run on; without one, a plan can still be looked at."""
    if backend != "cuda":
        return None
    from dibench.backends import cuda_driver

    gpu = cuda_driver.gpu()
    return None if isinstance(gpu, str) else gpu.arch


def _settings(target_percent: float, case_budget_s: float) -> Settings:
    from dibench.measure.settings import Settings

    if not 0.01 <= target_percent <= 100:
        raise UserError("--target", "must be from 0.01 to 100 percent", target_percent)
    return Settings(target=target_percent / 100, case_budget_s=case_budget_s)


_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


def duration_s(option: str, text: str) -> float:
    """Seconds of 90, 90s, 9m, 1h30m.

    >>> duration_s("--time-budget", "1h30m"), duration_s("--time-budget", "90")
    (5400.0, 90.0)
    """
    match = _DURATION.fullmatch(text.strip().lower())
    parts = [float(part) if part else 0.0 for part in match.groups()] if match else [0.0]
    seconds = sum(part * unit for part, unit in zip(parts, (3600.0, 60.0, 1.0), strict=False))
    if not 0.0 < seconds < 1e8:
        raise UserError(option, "must be a time such as 90s, 9m or 1h30m", text)
    return seconds


def _job(
    planned: Plan, backend: str, meter: str, settings: Settings, devices: tuple[str, ...], scheduler: str
) -> Sweep:
    from dibench import kernels
    from dibench.sweep.run import Sweep

    registry = kernels.registry(planned.backend)
    return Sweep(
        plan=planned,
        backend=backend,
        meter=meter,
        settings=settings,
        sources_sha=kernels.sources_sha(planned.backend),
        stationarity=lambda variant: registry[variant].stationarity if variant in registry else "",
        command_line=["python", "-m", "dibench", *sys.argv[1:]],
        devices=devices,
        scheduler=scheduler,
    )


def _run(job: Sweep, out: Path, deadline: float | None, *, retry_failed: bool, fresh: bool) -> Summary:
    from dibench.cli.progress import Progress
    from dibench.sweep.run import run_sweep

    with Progress(deadline) as progress:
        return run_sweep(
            job, out, deadline=deadline, retry_failed=retry_failed, fresh=fresh, on_event=progress.show
        )


def _show(summary: Summary, out: Path) -> None:
    from dibench.show.numbers import time_text
    from dibench.sweep.record import MANIFEST, TABLE

    say = typer.echo
    rows = sum(summary.statuses.values())
    by_status = ", ".join(f"{count} {status}" for status, count in summary.statuses.items())
    say(f"{rows} of {rows + summary.left} cases in the table ({by_status or 'none yet'})", nl=False)
    say(f"; {summary.measured} of them measured now, in {time_text(summary.elapsed_s)}")
    say(f"energy    {_SOURCES.get(summary.energy_source, summary.energy_source)}")
    if summary.inside is not None:
        say(f"time      {100 * summary.inside:.0f}% in windows and the settling they need")
    say(f"table     {out / TABLE}\nmanifest  {out / MANIFEST}")
    if summary.kept_as:
        say(f"earlier   {out / summary.kept_as}")
    if summary.statuses.get("failed"):
        say("failed    their reasons stand in the table; --retry-failed measures them again")
    if summary.left:
        why = "Interrupted" if summary.ended == "interrupted" else "The time budget is used up"
        say(f"\n{why}: {summary.left} cases are left. To go on: {_resume_command()}")
    if rows:
        table, directory = shlex.quote(str(out / TABLE)), shlex.quote(str(out))
        say(f"\nNext: python -m dibench fit {table}\n      python -m dibench report {directory}")


def _resume_command() -> str:
    """This command without what must not be said twice."""
    arguments = [argument for argument in sys.argv[1:] if argument not in _RESUME_DROPS]
    return shlex.join(["python", "-m", "dibench", *arguments])
