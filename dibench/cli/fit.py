"""`fit CSV…`: which description of data reuse explains what was measured, on one screen and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dibench.cli import fit_claims, fit_devices
from dibench.cli.held_out import show_held_out
from dibench.cli.options import Backend, Device, Dtype, JsonFile, Seed, Tables, check_json, check_seed, load
from dibench.cli.output import console, escape, plain_table
from dibench.errors import UserError
from dibench.files import write_json
from dibench.show.numbers import number
from dibench.words import MODEL_NAMES, SENSITIVITY_NAMES, interval

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from dibench.show.blocks import Block
    from dibench.study.findings.whole import Findings, Several


def fit(
    tables: Tables,
    json_file: JsonFile = None,
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
) -> None:
    """Fit MACs, time, AI and DI to measured energy (or time) and weigh AI against DI.

    [bold]python -m dibench fit results/local/networks --json fit.json[/bold]
    """
    from dibench.study.findings import SCHEMA
    from dibench.study.findings.whole import Several

    if not 99 <= draws <= 99_999:
        raise UserError("--draws", "must be from 99 to 99999", draws)
    seeded = check_seed(seed)
    check_json(json_file)
    found = _fit(tables, device=device, backend=backend, dtype=dtype, draws=draws, **seeded)
    figures = found.to_json()
    if json_file is not None:
        write_json(json_file, {"schema": SCHEMA, **figures})
    if twins or lattice:
        from dibench.show import terminal

        terminal.show(console(), _parts(found, twins=twins, lattice=lattice))
    else:
        if "cards" in figures:
            fit_devices.show(console(), figures)
        whole = found.joined if isinstance(found, Several) else found
        if whole is not None:  # not of cards that cannot be taken for one
            show(console(), figures, whole)
    if json_file is not None:
        console().print(f"\nEvery figure: {json_file}", soft_wrap=True)


def _fit(tables: list[Path], **chosen: Any) -> Findings | Several:
    from dibench import study
    from dibench.study.questions import whole

    frame = load(tables)
    several = len(study.cards_in(frame)) > 1 and chosen["device"] is None
    try:
        if several:
            del chosen["device"]
            return whole.several(frame, **chosen)
        return whole.whole(frame, **chosen)
    except UserError as error:
        raise UserError("", str(error), where=", ".join(map(str, tables))) from None


def _parts(found: Findings | Several, *, twins: bool, lattice: bool) -> Iterator[Block]:
    """Twins, lattice, or both; of each card by itself where there are several that are not one."""
    from dibench.show.blocks import Headline, Sentence
    from dibench.show.lattice import blocks as lattice_blocks
    from dibench.show.twins import blocks as twins_blocks
    from dibench.study.findings.whole import Several

    whole = found.joined if isinstance(found, Several) else found
    cards = [("", "", whole)]
    if whole is None and isinstance(found, Several):
        cards = [(card.label, card.why_not, card.fit) for card in found.cards]
    for label, why_not, own in cards:
        if label:
            yield Headline(label)
        if own is None:
            yield Sentence(why_not)
            continue
        if twins:
            yield from twins_blocks(own.twins)
        if lattice:
            yield from lattice_blocks(own.lattice)


def show(out: Console, figures: dict[str, Any], found: Findings) -> None:
    """The fit on one screen: verdict, models, α, operators, what stayed out."""
    from dibench.show import networks, peer, terminal

    _show_verdict(out, figures)
    out.print("The paper's claims here:")
    fit_claims.show(out, figures["claims"])
    out.print()
    out.print(_model_table(figures))
    _show_coefficients(out, figures)
    out.print(_operator_table(figures))
    show_held_out(out, figures)
    _show_sensitivity(out, figures)
    terminal.show(out, networks.blocks(found.networks))
    terminal.show(out, peer.blocks(found.peer))
    _show_rows(out, figures)
    if figures["pipeline_check"] is not None:
        _show_pipeline_check(out, figures["pipeline_check"])


def _show_verdict(out: Console, figures: dict[str, Any]) -> None:
    style = {"DI": "bold green", "AI": "bold green"}.get(figures["verdict"], "bold yellow")
    basis = figures["basis"] if figures["evidence"] else f"[yellow]{figures['basis']}[/yellow]"
    answer, _, why = figures["verdict_text"].partition(" Why: ")
    out.print(basis)
    out.print(f"[{style}]{answer}[/{style}]")
    out.print(f"Why: {escape(why)}")


def _model_table(figures: dict[str, Any]) -> Table:
    by = {"family": "whole families of networks", "layer": "layers"}[figures["folds"]["by"]]
    title = (
        f"Prediction of {_response(figures)}, {figures['rows_used']} rows. "
        f"R² of logs, r Pearson, ρ Spearman; out: held out by {by}"
    )
    table = plain_table(title)
    table.add_column("model", no_wrap=True)
    names = ("R²", "MAPE", "r", "ρ")
    for name in ("k", *names, "ΔAICc", *(f"{name} out" for name in names)):
        table.add_column(name, justify="right")
    known = [model["aicc"] for model in figures["models"].values() if model["aicc"] is not None]
    for name, model in figures["models"].items():
        if model["reason"] is None:
            inside, outside = _scores(model), _scores(model["held_out"])
            behind = None if model["aicc"] is None else model["aicc"] - min(known)
            table.add_row(MODEL_NAMES[name], str(model["k"]), *inside, number(behind, ".0f"), *outside)
    return table


def _show_coefficients(out: Console, figures: dict[str, Any]) -> None:
    """What was not fitted and why, α of both forms, the test, and the coefficients of weighted DI."""
    for name, model in figures["models"].items():
        if model["reason"] is not None:
            out.print(f"[dim]{MODEL_NAMES[name]}: not fitted, {model['reason']}.[/dim]")
        elif model["below_zero"]:
            held = ", ".join(model["below_zero"])
            out.print(
                f"[dim]{MODEL_NAMES[name]}: {escape(held)} fitted below zero; predictions hold it at 0.[/dim]"
            )
    if not figures["determined"]:
        out.print("\n[yellow]α and its tests are not to be relied on, and not shown: see why above.[/]\n")
        return
    alpha, test = figures["alpha"], figures["test_ai_vs_di"]
    doubt = "" if figures["reliable"] else "   [yellow]not to be relied on, see why above[/yellow]"
    out.print(f"\nα weighted {interval(alpha['weighted'])}   α disjoint {interval(alpha['disjoint'])}{doubt}")
    clusters = ", ".join(
        f"{one['clusters']} {name}s ({number(one['effective_clusters'], '.0f')} effective)"
        for name, one in test["by"].items()
    )
    out.print(
        f"AI against DI weighted: t = {number(test['statistic'])}, p = {number(test['p_value'], '.4f')}, "
        f"wild cluster bootstrap by {' and '.join(test['decided_by'])}, {test['draws']:,} draws, {clusters}"
    )
    split = figures["test_weights_vs_inputs"]
    if split["p_value"] is not None:
        out.print(
            f"Weights against inputs, outputs free: t = {number(split['statistic'])}, "
            f"p = {number(split['p_value'], '.4f')}"
        )
    di = figures["models"]["di_weighted"]["coefficients"]
    if di:
        out.print("DI weighted: " + ", ".join(f"{escape(name)} {_coefficient(c)}" for name, c in di.items()))
    out.print()


def _operator_table(figures: dict[str, Any]) -> Table:
    title = "By operator: the pooled models on its rows, then what its rows say alone"
    table = plain_table(title)
    table.add_column("operator", no_wrap=True)
    for name in ("rows", "AI: R²", "MAPE", "DI: R²", "MAPE", "r", "ρ"):
        table.add_column(name, justify="right")
    table.add_column("α (95%)")
    table.add_column("says")
    for op, own in figures["by_operator"].items():
        ai, di = (_scores(own["models"].get(name, {})) for name in ("ai", "di_weighted"))
        alpha = interval(own["alpha"]["weighted"]) if own["reliable"] else "–"
        table.add_row(op, str(own["n"]), *ai[:2], *di, alpha, f"{own['verdict']}: {own['brief']}")
    return table


def _show_sensitivity(out: Console, figures: dict[str, Any]) -> None:
    if not figures["determined"]:
        return
    said = "; ".join(
        f"{SENSITIVITY_NAMES[name]} {interval(one['alpha'])}" for name, one in figures["sensitivity"].items()
    )
    out.print(f"\nSensitivity, not evidence. α weighted {said}")


def _show_rows(out: Console, figures: dict[str, Any]) -> None:
    excluded = ", ".join(f"{number} {escape(reason)}" for reason, number in figures["excluded"].items())
    setting = ", ".join(escape(value) for value in figures["setting"].values() if value)
    left_out = f"; left out: {excluded}" if excluded else ""
    flagged = f", {figures['rows_flagged']} flagged" if figures["rows_flagged"] else ""
    out.print(f"Rows: {figures['rows_used']} of {figures['rows']} ({setting}{flagged}){left_out}")
    variants = ", ".join(f"{op} {escape(name)}" for op, name in figures["variants"].items() if name)
    if variants:
        out.print(f"Variants, the fastest of each operator: {variants}")


def _show_pipeline_check(out: Console, figures: dict[str, Any]) -> None:
    di = figures["models"]["di_weighted"]
    out.print(
        f"\n[bold yellow]{figures['basis']}[/bold yellow] On {figures['rows_used']} rows: "
        f"α weighted {interval(figures['alpha']['weighted'])}, R² of log {number(di['r2'], '.3f')}, "
        f"MAPE {number(di['mape'], '.1%')}."
    )


def _response(figures: dict[str, Any]) -> str:
    if figures["response_kind"] == "time":
        return "measured time"
    kind = "measured" if figures["evidence"] else " or ".join(figures["energy_source"])
    return f"{kind} energy ({figures['response']})"


def _scores(model: dict[str, Any]) -> list[str]:
    kinds = (("r2", ".3f"), ("mape", ".1%"), ("pearson", ".3f"), ("spearman", ".3f"))
    return [number(model.get(name), spec) for name, spec in kinds]


def _coefficient(c: dict[str, Any]) -> str:
    """A value with its interval in its unit; a launch, a million times dearer, in µJ or µs."""
    scale, unit = (
        (1e-6, c["unit"].replace("p", "µ", 1)) if c["unit"].endswith("/launch") else (1.0, c["unit"])
    )
    value, low, high = (None if c[key] is None else c[key] * scale for key in ("value", "ci_low", "ci_high"))
    return f"{number(value)} ({number(low)} to {number(high)}) {unit}"
