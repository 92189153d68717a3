"""`variants`: the family of kernels as a table, what each teaches, what it takes of a GPU."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dibench.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from dibench.check.resources import Needs
    from dibench.kernels import Variant

_BACKENDS = ("cpu", "cuda")


def variants(
    backend: Annotated[str, typer.Option(help="Only those of cpu or cuda.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list for programs.")] = False,
    resources: Annotated[
        bool,
        typer.Option("--resources", help="Registers and shared memory by GPU architecture, compiled here."),
    ] = False,
) -> None:
    """List the kernel variants: operators, stationarity, knobs, architectures, what each teaches.

    In JSON a variant has one object for each operator it runs.
    """
    from dibench.kernels import registry

    if backend and backend not in _BACKENDS:
        raise UserError("--backend", f"must be one of {', '.join(_BACKENDS)}", backend)
    chosen = [backend] if backend else list(_BACKENDS)
    found = [variant for name in chosen for variant in registry(name).values()]
    needed = _needs() if resources else []
    if as_json:
        typer.echo(json.dumps([one for variant in found for one in _objects(variant, needed)], indent=1))
        return
    from dibench.cli.output import console

    out = console()
    if resources:
        out.print(_resources(needed))
        out.print(
            "registers of a thread / KiB of shared memory of a block, + where it spills; at the knob values "
            "where a plan asks for none. –: needs a newer GPU; empty: no compiler for it is installed",
            soft_wrap=True,
        )
        return
    for name in chosen:
        out.print(_table(name, [variant for variant in found if variant.backend == name]))


def _needs() -> list[Needs]:
    from rich.progress import track

    from dibench.check.resources import needs
    from dibench.cli.output import console

    shown = track(needs(), "compiling", console=console(stderr=True), transient=True, total=None)
    return list(shown)


def _objects(variant: Variant, needed: list[Needs]) -> list[dict[str, Any]]:
    common: dict[str, Any] = {
        "stationarity": variant.stationarity,
        "fast": variant.fast,
        "knobs": {name: legal if legal == "any" else list(legal) for name, legal in variant.knobs.items()},
        "requires": [formula.text for formula in variant.requires],
        "dtypes": list(variant.dtypes),
        "arch": f">={variant.cuda.least_arch}" if variant.cuda else None,
        "summary": variant.summary,
        "teaches": variant.teaches,
        "source": variant.path.name,
    }
    if needed and variant.cuda:
        common["resources"] = [
            {
                "arch": f"sm_{one.arch}",
                "dtype": one.dtype,
                "registers": one.registers,
                "shared_bytes": one.shared_bytes,
                "spill_bytes": one.spill_bytes,
            }
            for one in needed
            if one.variant == variant.name
        ]
    return [{"name": variant.name, "backend": variant.backend, "op": op, **common} for op in variant.ops]


def _table(backend: str, found: list[Variant]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        title=f"{backend}: {len(found)} variants", title_justify="left", title_style="bold",
        box=box.SIMPLE_HEAD, show_lines=True,
    )  # fmt: skip
    table.add_column("variant", no_wrap=True)
    table.add_column("operators", overflow="fold", min_width=10, max_width=12)
    table.add_column("stays", no_wrap=True)
    table.add_column("knobs", overflow="fold", min_width=24)
    if backend == "cuda":
        table.add_column("needs", no_wrap=True)
    table.add_column("teaches", overflow="fold", min_width=36)
    for variant in found:
        cells = [
            variant.name,
            " ".join(variant.ops),
            "fast" if variant.fast else variant.stationarity,
            "\n".join(f"{name} {_legal(legal)}" for name, legal in variant.knobs.items()) or "none",
        ]
        if variant.cuda:
            dtypes = " ".join(dtype for dtype in variant.dtypes if dtype != "fp32")
            cells.append(f"sm_{variant.cuda.least_arch}" + (f"\n{dtypes}" if dtypes else ""))
        table.add_row(*cells, variant.teaches)
    return table


def _legal(legal: Any) -> str:
    return "any" if legal == "any" else " ".join(map(str, legal))


def _resources(needed: list[Needs]) -> Table:
    from rich import box
    from rich.table import Table

    from dibench.check.resources import ARCHS
    from dibench.kernels import registry

    table = Table(title="CUDA variants", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("variant", no_wrap=True)
    for arch in ARCHS:
        table.add_column(f"sm_{arch}", justify="right", no_wrap=True)
    cells: Mapping[tuple[str, str, int], Needs] = {(one.variant, one.dtype, one.arch): one for one in needed}
    for name, variant in registry("cuda").items():
        for dtype in variant.dtypes:
            assert variant.cuda is not None
            row = [f"{name} {dtype}" if dtype != "fp32" else name]
            for arch in ARCHS:
                one = cells.get((name, dtype, arch))
                row.append(_cell(one) if one else "–" if arch < variant.cuda.least_arch else "")
            table.add_row(*row)
    return table


def _cell(one: Needs) -> str:
    shared = f"{one.shared_bytes / 1024:.0f}" if one.shared_bytes else "0"
    return f"{one.registers}/{shared}{'+' if one.spill_bytes else ''}"
