"""`generality CSV…`: does what was found depend on the choice of networks or layers?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dibench.cli.options import Backend, Device, Dtype, Full, Json, Seed, Tables, check_json, check_seed
from dibench.cli.output import answer, console
from dibench.errors import UserError
from dibench.table import load

if TYPE_CHECKING:
    from dibench.study.findings.cards import OneModel
    from dibench.study.findings.generality import Generality

_FEWEST_SUBSETS, _MOST_SUBSETS = 100, 1_000_000


# Wide because each parameter is an option of the command line.
def generality(
    tables: Tables,
    json_file: Json = None,
    subsets: Annotated[int, typer.Option(help="Subsets drawn of each size.")] = 10_000,
    sizes: Annotated[
        str, typer.Option(metavar="K,…", help="Networks in a subset. By default 5,8,12,16,20.")
    ] = "",
    layer_sizes: Annotated[
        str, typer.Option(metavar="K,…", help="Layers in a subset. By default 10,20,50,100,200,400.")
    ] = "",
    batch: Annotated[
        int | None, typer.Option(help="Images per launch. By default the batch of most complete networks.")
    ] = None,
    device: Device = None,
    backend: Backend = None,
    dtype: Dtype = None,
    seed: Seed = None,
    full: Full = False,
) -> None:
    """Study whether other networks or layers would have said the same.

    First the evidence: errors on architecture families that a fit has not seen, AI against DI. With --full
    how correlations and α spread over subsets, beside the spread that combinatorics alone gives.

    [bold]python -m dibench generality results/local/networks/sweep.csv --json generality.json[/bold]
    """
    from dibench.show.generality import brief, section
    from dibench.show.terminal import show
    from dibench.study.findings.plain import plain

    if not _FEWEST_SUBSETS <= subsets <= _MOST_SUBSETS:
        raise UserError("--subsets", f"must be from {_FEWEST_SUBSETS} to {_MOST_SUBSETS}", subsets)
    chosen: dict[str, Any] = {
        "sizes": _sizes("--sizes", sizes),
        "layer_sizes": _sizes("--layer-sizes", layer_sizes),
        "batch": batch, "device": device, "backend": backend, "dtype": dtype, **check_seed(seed),
    }  # fmt: skip
    check_json(json_file)
    found, joined = _study(tables, subsets=subsets, **chosen)
    told = [section(found, joined)] if full else brief(found, joined)
    answer(
        json_file,
        lambda: found.to_json() | (plain(joined) or {}),
        lambda: show(console(), told),
    )


def _sizes(option: str, text: str) -> list[int] | None:
    if not text:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise UserError(option, "must be whole numbers with commas between, such as 5,10,15", text)
    return [int(part) for part in parts]


def _study(tables: list[Path], **chosen: Any) -> tuple[Generality, OneModel | None]:
    """The study; of cards of one model all as one, unless one is chosen."""
    from dibench.study import one_model
    from dibench.study.questions.generality import generality as study
    from dibench.study.table.columns import STUDIED

    frame = load(*tables, only=STUDIED)
    joined = one_model(frame) if chosen.get("device") is None else None
    try:
        return study(frame if joined is None else joined.frame, **chosen), joined
    except UserError as error:
        raise UserError("", str(error), where=", ".join(map(str, tables))) from None
