"""Arguments and options that several verbs share, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dibench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

# Verbs that analyse tables.

Tables = Annotated[
    list[Path],
    typer.Argument(metavar="CSV…", help="sweep.csv, its directory, or anybody's table."),
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write every figure there as JSON.")
]
Device = Annotated[str | None, typer.Option("--device", help="One device, where the rows come from several.")]
Backend = Annotated[str | None, typer.Option("--backend", help="Only rows of this backend.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="Only rows of this data type.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Of all draws.")]

# Verbs that show models as they are.

Batch = Annotated[int | None, typer.Option("--batch", "-N", help="Images in one inference.", metavar="N")]
Alpha = Annotated[
    float | None, typer.Option("--alpha", help="Show DI with this weight of weights, 0 to 1 (½ is AI).")
]
AlphaOfFit = Annotated[
    Path | None,
    typer.Option("--fit", metavar="FIT.json", help="Show DI with the α that `fit --json` found."),
]
AsCsv = Annotated[bool, typer.Option("--csv", help="CSV for programs instead of a table.")]

# Verbs that apply a fit to a model.

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A network of `networks`, or what `layers` reads.")
]
FitFile = Annotated[
    Path, typer.Option("--fit", metavar="FIT.json", help="What `fit … --json FIT.json` wrote.")
]
FitModel = Annotated[str, typer.Option("--model", help="macs, ai, di_weighted or di_disjoint of that fit.")]
FitDtype = Annotated[str, typer.Option("--dtype", help="Data type of the network: must be the fit's.")]
InputShapes = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        metavar="[NAME=]1,3,224,224",
        help="As of `layers`; --batch replaces its first number.",
    ),
]
Figures = Annotated[
    Path | None, typer.Option("--figures", metavar="DIR", help="Write figures there, as SVG and PNG.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs instead of tables.")]


def load(tables: list[Path]) -> pd.DataFrame:
    """The rows of all tables.

    Raises:
        UserError: a file is missing or breaks the contract.
    """
    from dibench import notebook

    return notebook.load(*tables)


def check_seed(seed: int | None) -> dict[str, int]:
    """The seed as an argument to pass on; none where the default shall hold."""
    if seed is None:
        return {}
    if seed < 0:
        raise UserError("--seed", "must be 0 or more", seed)
    return {"seed": seed}


def check_json(path: Path | None) -> None:
    """Say what is wrong with a destination before the work is done, not after."""
    if path is None:
        return
    if path.is_dir():
        raise UserError("--json", "must be a file, this is a directory", str(path))
    if not path.parent.is_dir():
        raise UserError("--json", "must lie in a directory that exists", str(path))
