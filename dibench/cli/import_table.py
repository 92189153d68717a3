"""`import FILE`: anybody's table as one of the CSV contract."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from dibench.cli.options import Json, check_json
from dibench.cli.output import STANDARD_OUTPUT, answer, console, data_output, say
from dibench.errors import UserError
from dibench.files import replace_file, write_json


# Long because each option is described here.
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="CSV by commas, semicolons or tabs, also gzipped; Parquet with pyarrow."
        ),
    ],
    maps: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="COLUMN=THEIRS[:UNIT]",
            help="What of the table a column of ours is; repeat it, or name a TOML file. H,W=size fills two, "
            "also from cells such as (3, 5). Columns multiply and divide: energy_j=power:W*latency:ms/batch. "
            "Units: ns us ms s min h, nJ uJ mJ J kJ Wh kWh, mW W kW, Hz to GHz, k M G; without one, that in "
            "their name (latency_ms), else ours. Text joins: name=network/layer. COLUMN= leaves "
            "a column of that name out.",
        ),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="COLUMN=VALUE",
            help="What holds for all rows: dtype=fp32, device=…, energy_source=external:ina3221, H,W,R,S=1.",
        ),
    ] = None,
    unpack: Annotated[
        list[str] | None,
        typer.Option(
            metavar="THEIRS",
            help="A column whose cells hold key:value,… or key=value;…: each key becomes a column.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT.csv",
            help="A file, or a directory for its sweep.csv; else standard output.",
        ),
    ] = None,
    json_file: Json = None,
) -> None:
    """Turn anybody's measurements into a table that `fit`, `report`, `predict` and `compare` read.

    Columns that have our names (N C H W K R S, stride_h, pad_h, groups, time_s, energy_j …; all stand in
    dibench/schema.py) are taken as they are, others by --map. op, P, Q and counts are derived; other columns
    are kept. A line that makes no row is listed with the reason.

    [bold]python -m dibench import theirs.csv --map N=batch --map C=c_in --map K=c_out --map H,W=size --map
    R,S=kernel --map pad_h,pad_w=padding --map time_s=latency:ms --map energy_j=energy:mJ --set dtype=fp32
    --set energy_source=external:ina3221 -o mine/sweep.csv[/bold]

    A TOML file says the same in the tables [bold]\\[map][/bold] and [bold]\\[set][/bold] and the list
    [bold]unpack[/bold].
    """
    from dibench.importing import Mapping, convert
    from dibench.show.imported import imported, plain
    from dibench.show.terminal import show
    from dibench.table import table_of

    check_json(json_file)
    if out is None and json_file == STANDARD_OUTPUT:
        raise UserError("--json", "must name a file, or --out must: the table goes to standard output", "-")
    found = convert(file, Mapping.of_options(maps or (), sets or (), unpack or ()))
    if out is None:
        data_output().writelines(line.decode() for line in found.lines())
        show(console(stderr=True), imported(found))
        if json_file is not None:
            write_json(json_file, plain(found, None))
        return
    out = table_of(out)
    if not out.parent.exists():
        out.parent.mkdir(parents=True)
    replace_file(out, found.lines())

    def tell() -> None:
        show(console(), imported(found))
        say(f"\nNext: python -m dibench fit {shlex.quote(str(out))}")

    answer(json_file, lambda: plain(found, out), tell)
