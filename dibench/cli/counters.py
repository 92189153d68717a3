"""`counters PLAN`: what the hardware counted beside what we count, through NVIDIA's Nsight Compute."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.plan import Case

_MOST_CASES = 200


def counters(
    plan: Annotated[str, typer.Argument(help="A preset (smoke, lattice, ...) or a TOML file.")] = "smoke",
    out: Annotated[Path, typer.Option(help="The table: ours, measured, and measured over ours.")] = Path(
        "counters.csv"
    ),
    cases: Annotated[int, typer.Option(help="So many of the plan's cases, its first.")] = 40,
    seed: Annotated[int, typer.Option(help="Of the random part of the order.")] = 1,
) -> None:
    """Compare our counts with the hardware's (bytes and sectors by level, executed FMA), by Nsight Compute.

    Needs a GPU, ncu, and the right to read the driver's counters. Clocks and caches are left alone.
    """
    if not 1 <= cases <= _MOST_CASES:
        raise UserError("--cases", f"must be from 1 to {_MOST_CASES}", cases)
    if not out.parent.is_dir():
        raise UserError("--out", "must lie in a directory that exists", str(out))
    from dibench.backends import cuda_driver
    from dibench.check import counters as hardware
    from dibench.plan import load_plan

    gpu = cuda_driver.gpu()
    arch = None if isinstance(gpu, str) else gpu.arch
    planned = load_plan(plan, backend="cuda", seed=seed, arch=arch)  # first: a wrong plan is wrong anywhere
    ncu = hardware.find_ncu()
    if isinstance(gpu, str):
        raise UserError("counters", f"{gpu}: counters are read on a GPU")
    chosen = list({case.case_id: case for case in planned.cases if _is_layer(case)}.values())[:cases]
    kernels = hardware.parse(_profiled(hardware, ncu, chosen))
    rows = list(hardware.rows(chosen, kernels))
    _write(out, hardware.COLUMNS, rows)
    _show(rows, out)


def _is_layer(case: Case) -> bool:
    """Whether the case's launch has a layer's counts, which a sentinel would repeat and an anchor lacks."""
    return not case.sentinel and not case.anchor


def _profiled(hardware: Any, ncu: str, chosen: list[Case]) -> str:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "cases.json"
        hardware.write_cases(path, chosen)
        tensor = any(case.dtype != "fp32" for case in chosen)
        typer.echo(f"{len(chosen)} cases under {ncu}; the program runs once for each pass", err=True)
        # C locale: the table's numbers are separated as its reader expects.
        environment = {"LC_ALL": "C"}
        done = _run(hardware.command(ncu, path, tensor=tensor), environment)
    output = done.stdout + done.stderr
    if done.returncode:
        raise hardware.refusal(output) or UserError("ncu", f"failed: {_last_line(output)}", done.returncode)
    return output


def _run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    import os

    from dibench.processes import python_path

    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "PYTHONPATH": python_path(), **environment},
    )


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it printed nothing"


def _write(out: Path, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    from dibench.table import csv_line, format_value

    lines = [csv_line([format_value(row.get(name)) for name in columns]) for row in rows]
    try:
        out.write_bytes(csv_line(columns) + b"".join(lines))
    except OSError as error:
        raise UserError("--out", f"cannot be written: {error.strerror}", str(out)) from None


def _show(rows: list[dict[str, Any]], out: Path) -> None:
    from dibench.cli.output import console

    table = _table(rows)
    console().print(table)
    typer.echo(f"table     {out}")


def _table(rows: list[dict[str, Any]]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title="measured over ours", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for name in ("variant", "op", "cases"):
        table.add_column(name, justify="right" if name == "cases" else "left", no_wrap=True)
    shown = {
        "fma_ratio": "FMA", "mma_ratio": "MMA", "accesses_ratio": "accesses",
        "l1_load_sectors_ratio": "L1 sectors",
    }  # fmt: skip
    for label in (*shown.values(), "DRAM, cold"):
        table.add_column(label, justify="right", no_wrap=True)
    for variant, op in dict.fromkeys((row["variant"], row["op"]) for row in rows):
        group = [row for row in rows if (row["variant"], row["op"]) == (variant, op)]
        cells = [_range(row.get(ratio) for row in group) for ratio in shown]
        cold = _range(row["dram_ratio"] for row in group if row["cold"])
        table.add_row(variant, op, str(len(group)), *cells, cold)
    return table


def _range(ratios: Any) -> str:
    """The least and the largest of the ratios that are known."""
    known = [ratio for ratio in ratios if ratio is not None]
    if not known:
        return "–"
    low, high = f"{min(known):.4g}", f"{max(known):.4g}"
    return low if low == high else f"{low} … {high}"
