"""`fit CSV…`: which description of data reuse explains what was measured, on one screen and as JSON."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dibench.cli.options import Backend, Device, Dtype, Full, Json, Seed, Tables, check_json, check_seed
from dibench.cli.output import answer, console
from dibench.errors import UserError
from dibench.table import load

if TYPE_CHECKING:
    from dibench.study.findings.all_findings import Findings, Several


# Wide because each parameter is an option of the command line.
def fit(
    tables: Tables,
    json_file: Json = None,
    device: Device = None,
    backend: Backend = None,
    dtype: Dtype = None,
    draws: Annotated[int, typer.Option(help="Bootstrap draws of each test.")] = 9999,
    seed: Seed = None,
    twins: Annotated[
        bool, typer.Option("--twins", help="Show pairs of layers whose weights and inputs are exchanged.")
    ] = False,
    lattice: Annotated[
        bool, typer.Option("--lattice", help="Show what one access costs, from one layer under many boxes.")
    ] = False,
    networks: Annotated[
        bool,
        typer.Option(
            "--networks",
            help="Fit rows of whole networks, not those of layers; a table without layers needs no option.",
        ),
    ] = False,
    choices: Annotated[
        bool, typer.Option("--choices", help="Show the verdict under every other reasonable choice of rows.")
    ] = False,
    full: Full = False,
) -> None:
    """Fit MACs, time, AI and DI to measured energy (or time) and weigh AI against DI.

    First the answer, how sure it is and what to do next; --full shows everything behind it.

    [bold]python -m dibench fit results/local/networks --json fit.json[/bold]
    """
    from dibench.show import terminal
    from dibench.show.fit import blocks, brief, parts
    from dibench.show.terms import explained

    if not 99 <= draws <= 99_999:
        raise UserError("--draws", "must be from 99 to 99999", draws)
    seeded = check_seed(seed)
    check_json(json_file)
    found = _study(
        tables,
        device=device,
        backend=backend,
        dtype=dtype,
        networks=networks or None,
        draws=draws,
        **seeded,
    )
    if twins or lattice or choices:
        shown = explained(parts(found, twins=twins, lattice=lattice, other_choices=choices))
    else:
        shown = explained(blocks(found)) if full else brief(found, shlex.join(map(str, tables)))
    answer(json_file, found.to_json, lambda: terminal.show(console(), shown))


def _study(tables: list[Path], **chosen: Any) -> Findings | Several:
    from dibench import study
    from dibench.study.questions import all_questions
    from dibench.study.table.columns import STUDIED

    frame = load(*tables, only=STUDIED)
    several = len(study.cards_in(frame)) > 1 and chosen["device"] is None
    try:
        if several:
            del chosen["device"]
            return all_questions.of_cards(frame, **chosen)
        return all_questions.of_table(frame, **chosen)
    except UserError as error:
        raise UserError("", str(error), where=", ".join(map(str, tables))) from None
