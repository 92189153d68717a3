"""`generality CSV…`: does what was found hang on the choice of networks or layers?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dibench.cli.options import Backend, Device, Dtype, JsonFile, Seed, Tables, check_json, check_seed, load
from dibench.cli.output import console, plain_table
from dibench.errors import UserError
from dibench.files import write_json
from dibench.show.numbers import number
from dibench.words import MODEL_NAMES, gains_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_BARS = " ▁▂▃▄▅▆▇█"
_FEWEST_SUBSETS, _MOST_SUBSETS = 100, 1_000_000


def generality(
    tables: Tables,
    json_file: JsonFile = None,
    subsets: Annotated[int, typer.Option(help="Subsets drawn of each size.")] = 10_000,
    sizes: Annotated[
        str, typer.Option(metavar="K,…", help="Networks in a subset. By default 5,8,12,16,20.")
    ] = "",
    layer_sizes: Annotated[
        str, typer.Option(metavar="K,…", help="Layers in a subset. By default 10,20,50,100,200,400.")
    ] = "",
    batch: Annotated[
        int | None, typer.Option(help="Images of a launch. By default that of most complete networks.")
    ] = None,
    device: Device = None,
    backend: Backend = None,
    dtype: Dtype = None,
    seed: Seed = None,
) -> None:
    """Ask whether other networks or layers would have said the same, and show what subsets cannot say.

    First the evidence: how fits err on architecture families they have never seen, AI against DI. Then how
    correlations and α spread over subsets, beside the spread that combinatorics alone gives.

    [bold]python -m dibench generality results/local/networks/sweep.csv --json generality.json[/bold]
    """
    if not _FEWEST_SUBSETS <= subsets <= _MOST_SUBSETS:
        raise UserError("--subsets", f"must be from {_FEWEST_SUBSETS} to {_MOST_SUBSETS}", subsets)
    chosen: dict[str, Any] = {
        "sizes": _sizes("--sizes", sizes),
        "layer_sizes": _sizes("--layer-sizes", layer_sizes),
        "batch": batch, "device": device, "backend": backend, "dtype": dtype, **check_seed(seed),
    }  # fmt: skip
    check_json(json_file)
    figures = _study(tables, subsets=subsets, **chosen)
    if json_file is not None:
        write_json(json_file, figures)
    show(console(), figures)
    if json_file is not None:
        console().print(f"\nEvery figure: {json_file}", soft_wrap=True)


def _sizes(option: str, text: str) -> list[int] | None:
    if not text:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise UserError(option, "must be whole numbers with commas between, such as 5,10,15", text)
    return [int(part) for part in parts]


def _study(tables: list[Path], **chosen: Any) -> dict[str, Any]:
    from dibench.study import one_model
    from dibench.study.findings.plain import plain
    from dibench.study.questions.generality import generality as study

    frame = load(tables)
    joined = one_model(frame) if chosen.get("device") is None else None
    try:
        if joined is not None:
            return {**study(joined.frame, **chosen).to_json(), **plain(joined)}
        return study(frame, **chosen).to_json()
    except UserError as error:
        raise UserError("", str(error), where=", ".join(map(str, tables))) from None


def show(out: Console, figures: dict[str, Any]) -> None:
    """Words, evidence by family, then the subsets of networks and of layers."""
    if not figures["response_measured"]:
        out.print("[yellow]PIPELINE CHECK: energy that no sensor measured says nothing of a device.[/yellow]")
    elif figures["response_kind"] == "time":
        out.print("[yellow]Measured time: these rows have no measured energy.[/yellow]")
    if "gains" in figures:
        out.print(f"All cards as one. {gains_text(figures)}", markup=False)
    for sentence in figures["words"]:
        out.print(f"[bold]{sentence}[/bold]")
    out.print()
    if figures["families"]:
        out.print(_family_table(figures))
    for unit, population in figures["populations"].items():
        out.print()
        out.print(_spread_table(unit, population))
        out.print(_alpha_table(unit, population, figures["alpha"]))
    for unit, why in figures["not_studied"].items():
        out.print(f"\nSubsets of {unit}: not drawn, {why}.")
    out.print(
        "\n[dim]curve: √((n−k)/(n−1))/√(k−3), what drawing k of n fixed ones gives by combinatorics alone; "
        "members: with the influence of these very ones; made up: sets of random points, no network in them. "
        "A spread near them, and a bell shape, say nothing of networks outside the set. α and error: one "
        "Gauss–Newton step in each subset, off by the median shown from full refits.[/dim]"
    )


def _table(title: str, *columns: str) -> Table:
    table = plain_table(title, style="bold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _family_table(figures: dict[str, Any]) -> Table:
    """Held-out errors by family, and the difference as a bar to the side that errs less."""
    title = "Evidence: error (RMS of logs) on families the fit has not seen"
    table = _table(title, "family", "rows", "AI", "DI weighted", "DI disjoint", "AI − DI weighted")
    table.columns[-1].justify = "left"  # a right-justified cell would lose the bar's blank end
    differences = [one["errors"]["ai"] - one["errors"]["di_weighted"] for one in figures["families"]]
    largest = max(map(abs, differences), default=0.0) or 1.0
    for one, difference in zip(figures["families"], differences, strict=True):
        errors = (f"{one['errors'][name]:.1%}" for name in ("ai", "di_weighted", "di_disjoint"))
        bar = signed_bar(difference / largest)
        table.add_row(one["family"], str(one["rows"]), *errors, f"{difference:+.1%} {bar}")
    return table


def _spread_table(unit: str, population: dict[str, Any]) -> Table:
    n = population["n"]
    title = (
        f"Subsets of k of {n} {unit}: correlation with measured efficiency, and the spread of its Fisher z"
    )
    table = _table(
        title, "k", "index", "r (95% of subsets)", "distribution", "SD of z", "curve", "members",
        "made up (90%)", "skew", "kurtosis", "Shapiro p",
    )  # fmt: skip
    for size in population["sizes"]:
        for name, one in size["spreads"].items():
            if one["r"] is None or one["z"] is None or name == "macs":
                continue
            r, z, made_up = one["r"], one["z"], one["made_up"]
            table.add_row(
                str(size["k"]),
                MODEL_NAMES[name],
                f"{r['median']:.3f} ({r['low']:.2f} to {r['high']:.2f})",
                histogram(z["counts"]),
                f"{z['sd']:.3f}",
                f"{one['curve']:.3f}",
                number(one["influence_curve"], ".3f"),
                f"{made_up['median']:.3f} ({made_up['low']:.2f}–{made_up['high']:.2f})",
                f"{z['skew']:+.2f}",
                f"{z['excess_kurtosis']:+.2f}",
                f"{z['shapiro_p']:.2g}",
            )
    return table


def _alpha_table(unit: str, population: dict[str, Any], whole: float | None) -> Table:
    on_all = number(whole, ".3f")
    title = f"α of weighted DI over subsets of {unit} ({on_all} on all), errors of fit in the subset"
    table = _table(
        title, "k", "α (95% of subsets)", "distribution", "one step off", "no α", "error AI", "error DI",
        "DI weighted above AI",
    )  # fmt: skip
    for size in population["sizes"]:
        alpha, error = size["alpha"], size["error"]
        spread = (
            "–" if alpha is None else f"{alpha['median']:.2f} ({alpha['low']:.2f} to {alpha['high']:.2f})"
        )
        above = size["di_above_ai"].get("di_weighted")
        table.add_row(
            str(size["k"]),
            spread,
            "" if alpha is None else histogram(alpha["counts"]),
            number(size["one_step_error"], ".3f"),
            f"{size['alpha_undetermined']:.1%}",
            *(
                "–" if error[name] is None else f"{error[name]['median']:.1%}"
                for name in ("ai", "di_weighted")
            ),
            "–" if above is None else f"{above:.0%} {bar(above)}",
        )
    return table


def histogram(counts: list[int]) -> str:
    """Counts as a line of blocks, two bins in one.

    >>> histogram([0, 0, 1, 1, 8, 8, 4, 4])
    ' ▁█▄'
    """
    pairs = [sum(counts[at : at + 2]) for at in range(0, len(counts), 2)]
    most = max(pairs) or 1
    return "".join(_BARS[-(-8 * count // most)] for count in pairs)


def bar(share: float, width: int = 10) -> str:
    """A share of 1 as a bar.

    >>> bar(0.5, 4)
    '██░░'
    """
    full = round(share * width)
    return "█" * full + "░" * (width - full)


def signed_bar(share: float, width: int = 8) -> str:
    """From −1 (to the left) to 1 (to the right) around a middle line.

    >>> signed_bar(0.5, 4), signed_bar(-1, 4)
    ('    │██  ', '████│    ')
    """
    full = round(min(abs(share), 1) * width)
    left, right = ("█" * full, "") if share < 0 else ("", "█" * full)
    return f"{left:>{width}}│{right:<{width}}"
