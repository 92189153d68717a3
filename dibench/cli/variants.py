"""`variants`: the family of kernels as a table, what each teaches, what it takes of a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer

from dibench.cli.options import Json, check_json
from dibench.cli.output import answer, console
from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.check.resources import Needs
    from dibench.kernels import Variant

_BACKENDS = ("cpu", "cuda")


def variants(
    backend: Annotated[str, typer.Option(help="Only those of cpu or cuda.")] = "",
    json_file: Json = None,
    resources: Annotated[
        bool,
        typer.Option("--resources", help="Registers and shared memory by GPU architecture, compiled here."),
    ] = False,
) -> None:
    """List the kernel variants: operators, stationarity, knobs, architectures, what each teaches.

    JSON has one object for each operator of a variant.
    """
    from dibench.check.resources import ARCHS
    from dibench.kernels import registry
    from dibench.show import kernels
    from dibench.show.terminal import show

    if backend and backend not in _BACKENDS:
        raise UserError("--backend", f"must be one of {', '.join(_BACKENDS)}", backend)
    check_json(json_file)
    chosen = [backend] if backend else list(_BACKENDS)
    found = [variant for name in chosen for variant in registry(name).values()]
    needed = _needs() if resources else []
    if resources:
        told = kernels.resources(registry("cuda").values(), needed, ARCHS)
    else:
        families = {name: [one for one in found if one.backend == name] for name in chosen}
        told = [block for name, own in families.items() for block in kernels.family(name, own)]
    answer(
        json_file,
        lambda: [one for variant in found for one in _objects(variant, needed)],
        lambda: show(console(), told),
    )


def _needs() -> list[Needs]:
    from rich.progress import track

    from dibench.check.resources import needs

    return list(track(needs(), "compiling", console=console(stderr=True), transient=True, total=None))


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
        own = [one for one in needed if one.variant == variant.name]
        common["resources"] = [
            {"arch": f"sm_{one.arch}", **attrs.asdict(one, filter=attrs.filters.exclude("variant", "arch"))}
            for one in own
        ]
    return [{"name": variant.name, "backend": variant.backend, "op": op, **common} for op in variant.ops]
