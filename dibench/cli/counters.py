"""`counters PLAN`: what the hardware counted beside what we count, through NVIDIA's Nsight Compute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dibench.cli.options import Json, check_json, duration_s
from dibench.cli.output import answer, console, say
from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.plan import Case

_MOST_CASES = 200


def counters(
    plan: Annotated[str, typer.Argument(help="A preset (smoke, lattice, ...) or a TOML file.")] = "smoke",
    out: Annotated[Path, typer.Option(help="The table: ours, measured, and measured over ours.")] = Path(
        "counters.csv"
    ),
    cases: Annotated[int, typer.Option(help="How many of the plan's cases, from the first on.")] = 40,
    time_budget: Annotated[str, typer.Option(help="End ncu after this time, such as 45s.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of the random part of the order.")] = 1,
    json_file: Json = None,
) -> None:
    """Compare our counts with the hardware's (bytes and sectors by level, executed FMA), by Nsight Compute.

    Needs a GPU, ncu, and the right to read the driver's counters. Clocks and caches are left alone.
    """
    if not 1 <= cases <= _MOST_CASES:
        raise UserError("--cases", f"must be from 1 to {_MOST_CASES}", cases)
    if not out.parent.is_dir():
        raise UserError("--out", "must lie in a directory that exists", str(out))
    check_json(json_file)
    limit_s = duration_s("--time-budget", time_budget) if time_budget else None
    from dibench.backends import cuda_driver
    from dibench.check import counters as hardware
    from dibench.plan import load_plan
    from dibench.show import counted
    from dibench.show.terminal import show
    from dibench.study.findings.plain import plain

    gpu = cuda_driver.gpu()
    arch = None if isinstance(gpu, str) else gpu.arch
    planned = load_plan(plan, backend="cuda", seed=seed, arch=arch)  # first: a wrong plan is wrong anywhere
    ncu = hardware.find_ncu()
    if isinstance(gpu, str):
        raise UserError("counters", f"{gpu}: counters are read on a GPU")
    chosen = list({case.case_id: case for case in planned.cases if _is_layer(case)}.values())[:cases]
    say(f"{len(chosen)} cases under {ncu}; the program runs once for each pass", err=True)
    rows = list(hardware.rows(chosen, hardware.profiled(ncu, chosen, limit_s)))
    hardware.write(out, rows)
    answer(
        json_file,
        lambda: {"path": str(out), "cases": plain(rows)},
        lambda: show(console(), counted.blocks(rows, out)),
    )


def _is_layer(case: Case) -> bool:
    """Whether the case has counts of its own: a sentinel repeats another case, an anchor has no layer."""
    return not case.sentinel and not case.anchor
