"""The whole networks of a `fit`: efficiency of an inference, and what ranks it, in a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dibench.show.numbers import number
from dibench.words import MODEL_NAMES

if TYPE_CHECKING:
    from rich.console import Console

PREDICTORS = ("macs", "ai", "di_weighted", "di_disjoint")
CONTEST_NAMES = {
    "index_weighted": "DI weighted, bare index",
    "index_disjoint": "DI disjoint, bare index",
    "model_weighted": "DI weighted, model",
    "model_disjoint": "DI disjoint, model",
}


def show(out: Console, figures: dict[str, Any]) -> None:
    """Which networks were measured, their ranking, and how MACs, AI and DI rank them."""
    if "batch" not in figures:
        out.print(f"\nWhole networks: not summed, {figures['reason']}")
        return
    out.print(f"\n{_measured(figures)}", soft_wrap=False)
    if not figures["ranked"]:
        return
    out.print(ranking_text(figures))
    if figures["reason"] is not None:
        out.print(f"[dim]{figures['reason']}[/dim]")
        return
    for prefix, title in (("", "as bare indices"), ("model_", "as whole models, held out")):
        shown = ", ".join(
            f"{MODEL_NAMES[key]} {number(figures['correlations'][prefix + key]['pearson_log'], '.3f')}"
            f"/{number(figures['correlations'][prefix + key]['spearman'], '.2f')}"
            for key in PREDICTORS
        )
        out.print(f"r of logs/ρ with it, {title}: {shown}")
    for key in ("index_weighted", "model_weighted"):
        if figures["contests"][key] is not None:
            out.print(contest_text(key, figures["contests"][key]))


def _measured(figures: dict[str, Any]) -> str:
    total = len(figures["ranked"]) + len(figures["left_out"])
    what = {"energy": "Energy", "time": "Time"}[figures["response_kind"]]
    if not figures["response_measured"]:
        what = f"MODELLED {what.lower()}"
    bound = sum(one["gap_bound"] for one in figures["ranked"])
    layers = sum(one["layers"] for one in figures["ranked"])
    gap = f"; {bound} of {layers} layers ran under 50 µs" if figures["ranked"] else ""
    return (
        f"Whole networks at batch {figures['batch']}, {what.lower()} summed over layers: "
        f"{len(figures['ranked'])} of {total} have {figures['required_share']:.0%} of MACs and elements "
        f"measured{gap}."
    )


def ranking_text(figures: dict[str, Any]) -> str:
    """`Ranking by GMAC/J: vgg16 12.1, …`, most efficient first."""
    ranked = ", ".join(f"{one['network']} {one['efficiency'] / 1e9:.3g}" for one in figures["ranked"])
    return f"Ranking by G{figures['unit']}: {ranked}"


def contest_text(key: str, one: dict[str, Any]) -> str:
    """One comparison of AI and DI with its interval, width and Williams' test."""
    low, high, p = one["ci_low"], one["ci_high"], one["williams"]["p_value"]
    interval = "no interval" if low is None else f"{low:+.3f} to {high:+.3f}: width {one['width']:.3f}"
    return (
        f"AI against {CONTEST_NAMES[key]}: r {one['r_ai']:.3f}, {one['r_di']:.3f}, difference "
        f"{one['difference']:+.3f} ({interval}), Williams p {_p(p)}: "
        f"[bold]{one['decision']}[/bold]"
    )


def _p(value: float | None) -> str:
    return "not determined" if value is None else "< 0.001" if value < 0.001 else f"= {value:.3f}"
