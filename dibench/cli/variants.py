"""`variants`: the family of kernels as a table, what each teaches, what it takes of a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import attrs
import typer

from dibench.cli.options import Full, Json, batch_sizes, check_json
from dibench.cli.output import answer, console
from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.check.resources import Needs
    from dibench.kernels import Variant

_BACKENDS = ("cpu", "cuda")


# Wide because of the options that go with --limits.
# Long because each of them is described here.
def variants(
    layers: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="LAYER…",
            help="With --limits: layers (resnet50/layer1.0.conv2, or N=1,C=64,…), or whole networks; "
            "a few layers if none is named.",
        ),
    ] = None,
    backend: Annotated[str, typer.Option(help="Only those of cpu or cuda.")] = "",
    json_file: Json = None,
    resources: Annotated[
        bool,
        typer.Option("--resources", help="Registers and shared memory by GPU architecture, compiled here."),
    ] = False,
    limits: Annotated[
        bool,
        typer.Option(
            "--limits",
            help="What bounds CUDA kernels on a card: waves, least time, share of peak. Needs no GPU.",
        ),
    ] = False,
    arch: Annotated[
        int, typer.Option(help="With --limits: the card, by architecture: 75 80 86 89 90 (an H200) 100 120.")
    ] = 90,
    batch: Annotated[
        str,
        typer.Option("--batch", "-N", metavar="N,…", help="With --limits: batch sizes, 1,8,32 if not said."),
    ] = "",
    dtype: Annotated[str, typer.Option(help="With --limits: only fp32, tf32, fp16 or bf16.")] = "",
    full: Full = False,
) -> None:
    """List the kernel variants: operators, stationarity, knobs; with --full what each teaches.

    JSON has one object for each operator of a variant; with --limits for each kernel on each layer.

    [bold]python -m dibench variants --limits resnet50/layer1.0.conv2 --full[/bold]

    [bold]python -m dibench variants --limits resnet50 mobilenet_v2[/bold]
    """
    check_json(json_file)
    if limits:
        from dibench.cli import kernel_limits
        from dibench.kernels import DTYPES

        if dtype and dtype not in DTYPES:
            raise UserError("--dtype", "must be one of " + ", ".join(DTYPES), dtype)
        batches = [N for N in batch_sizes(batch) if N is not None]
        kernel_limits.tell(layers or [], arch, batches, dtype, json_file, full=full)
        return
    for option, value in {"LAYER": layers, "--batch": batch, "--dtype": dtype}.items():
        if value:
            raise UserError(option, "goes with --limits")
    from dibench.check.resources import ARCHS
    from dibench.kernels import registry
    from dibench.show import kernels
    from dibench.show.terminal import show
    from dibench.show.terms import explained

    if backend and backend not in _BACKENDS:
        raise UserError("--backend", f"must be one of {', '.join(_BACKENDS)}", backend)
    chosen = [backend] if backend else list(_BACKENDS)
    found = [variant for name in chosen for variant in registry(name).values()]
    needed = _needs() if resources else []
    if resources:
        told = kernels.resources(registry("cuda").values(), needed, ARCHS)
    elif not full:
        told = kernels.brief(found)
    else:
        families = {name: [one for one in found if one.backend == name] for name in chosen}
        told = [block for name, own in families.items() for block in kernels.family(name, own)]
    answer(
        json_file,
        lambda: [one for variant in found for one in _objects(variant, needed)],
        lambda: show(console(), explained(told)),
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
