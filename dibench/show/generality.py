"""Would other networks or layers have said the same? Unseen families first, then subsets of those at hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dibench.numbers import UNKNOWN, bracketed, number, p_value, percent, percent_apart, plain
from dibench.show.blocks import Block, Figure, Headline, Note, Section, Sentence, Table, columns
from dibench.show.cards import gains_text
from dibench.study.findings.generality import MEMBERS
from dibench.words import MODEL_NAMES

if TYPE_CHECKING:
    from dibench.show.svg import Drawn
    from dibench.study.findings.cards import OneModel
    from dibench.study.findings.generality import Distribution, Generality, MadeUp, Population, Size, Spread

_BARS = " ▁▂▃▄▅▆▇█"


def brief(found: Generality, joined: OneModel | None = None) -> list[Block]:
    """Whether families left out say the same, and what to do next; then the evidence by family.

    Args:
        found: the study.
        joined: what was done to join cards.
    """
    first, *more = found.words
    check = "" if found.response_measured else "A check of the program, no evidence: "
    told: list[Block] = [Headline(check + first, "" if found.response_measured else "warn")]
    if found.response_kind == "time":
        told.append(Sentence("Measured time: these rows have no measured energy.", "warn"))
    else:
        told += map(Sentence, more[:1])
    told.append(Sentence("Next: `--full` shows how α and correlations spread over subsets of these rows."))
    told += [_families(found)] if found.families else []
    return told if joined is None else [*told, Note(_joined(joined))]


def section(found: Generality, joined: OneModel | None = None) -> Section:
    """Words, evidence by family, then the subsets of networks and of layers.

    Args:
        found: the study.
        joined: what was done to join cards, where nothing else beside this section says it.
    """
    first, *more = found.words
    shown: list[Block] = _about(found, joined)
    shown += [Sentence(f"**{first}**"), *map(Sentence, more)]
    if found.families:
        shown.append(_families(found))
    for unit, population in found.populations.items():
        shown += [_spreads(unit, population), _alphas(unit, population, found.alpha)]
    shown += [Sentence(f"Subsets of {unit}: not drawn, {why}.") for unit, why in found.not_studied.items()]
    shown += distributions(found)
    if found.populations:
        shown.append(
            Note(
                "curve: √((n−k)/(n−1))/√(k−3), the spread of drawing k of n fixed ones by combinatorics "
                "alone; members: the same with the influence of these members; made up: sets of random "
                "points, with no network in them. Neither a spread near these nor a bell shape says anything "
                "about networks outside the set. α and error: one Gauss–Newton step in each subset; its "
                "median distance from full refits is shown."
            )
        )
    return Section("generality", "Generality", "Would other networks have said the same?", shown)


def _about(found: Generality, joined: OneModel | None) -> list[Block]:
    """What must be known of the rows before any number."""
    shown: list[Block] = []
    if not found.response_measured:
        text = "PIPELINE CHECK: energy that no sensor measured says nothing of a device."
        shown.append(Sentence(text, "warn"))
    elif found.response_kind == "time":
        shown.append(Sentence("Measured time: these rows have no measured energy.", "warn"))
    if joined is not None:
        shown.append(Sentence(_joined(joined)))
    return shown


def _joined(joined: OneModel) -> str:
    return f"All cards as one. {gains_text(joined)}"


def distributions(found: Generality) -> Iterator[Figure]:
    """Over subsets: the distribution of the correlation with DI beside combinatorics' curve, and its Q–Q."""
    for unit, population in found.populations.items():
        size = population.half
        spread = size.spreads.get("di_weighted")
        if spread is None or spread.z is None:
            continue
        drawn = f"subsets of {size.k} of {population.n} {MEMBERS[unit]}"
        beside = ["curve: the spread that drawing from a fixed set gives by itself"]
        histogram = partial(_draw_histogram, unit, size, spread, spread.z)
        yield Figure(f"generality-{unit}", f"Over {drawn}", histogram, beside)
        quantiles = partial(draw_quantiles, unit, spread.z)
        yield Figure(
            f"generality-quantiles-{unit}", f"How normal, over {drawn}", quantiles, ["on the line: normal"]
        )


def _families(found: Generality) -> Table:
    """Held-out errors by family, and the difference as a bar."""
    apart = [one.errors["ai"] - one.errors["di_weighted"] for one in found.families]
    largest = max(map(abs, apart), default=0.0) or 1.0
    rows = []
    for one, difference in zip(found.families, apart, strict=True):
        errors = (percent(one.errors[name], 1) for name in ("ai", "di_weighted", "di_disjoint"))
        drawn = signed_bar(difference / largest)
        rows.append([one.family, str(one.rows), *errors, percent_apart(difference), drawn])
    return Table(
        "Evidence: error (RMS of logs) on families the fit has not seen",
        columns(
            "family", "rows", "AI", "DI weighted", "DI disjoint", "AI − DI weighted", "bar", text=["bar"]
        ),
        rows,
        "Bar: filled where DI weighted errs less, light where AI does.",
    )


def _spreads(unit: str, population: Population) -> Table:
    rows = []
    for size in population.sizes:
        for name, one in size.spreads.items():
            if one.r is None or one.z is None or name == "macs":
                continue
            r, z, made_up = one.r, one.z, one.made_up
            rows.append(
                [
                    str(size.k),
                    MODEL_NAMES[name],
                    _median(r),
                    histogram(z.counts),
                    number(z.sd, ".3f"),
                    number(one.curve, ".3f"),
                    number(one.influence_curve, ".3f"),
                    _median(made_up),
                    number(z.skew, "+.2f"),
                    number(z.excess_kurtosis, "+.2f"),
                    p_value(z.shapiro_p),
                ]
            )
    return Table(
        f"Subsets of k of {population.n} {MEMBERS[unit]}: correlation with efficiency, and the spread of "
        "its Fisher z",
        columns(
            "k", "index", "r (95% of subsets)", "distribution", "SD of z", "curve", "members",
            "made up (90%)", "skew", "kurtosis", "Shapiro p", text=["index", "distribution"],
            wraps=["r (95% of subsets)", "made up (90%)"],
            ranks={"Shapiro p": 5, "kurtosis": 4, "skew": 4, "made up (90%)": 3, "members": 2,
                   "distribution": 1},
        ),
        rows,
    )  # fmt: skip


def _median(one: Distribution | MadeUp) -> str:
    """The median and the range of most subsets."""
    return bracketed(one.median, one.low, one.high, lambda end: number(end, ".3f"))


def _alphas(unit: str, population: Population, whole: float | None) -> Table:
    rows = []
    for size in population.sizes:
        alpha, above = size.alpha, size.di_above_ai.get("di_weighted")
        errors = (size.error[name] for name in ("ai", "di_weighted"))
        rows.append(
            [
                str(size.k),
                UNKNOWN if alpha is None else _median(alpha),
                "" if alpha is None else histogram(alpha.counts),
                number(size.one_step_error, ".3f"),
                percent(size.alpha_undetermined, 1),
                *(UNKNOWN if error is None else percent(error.median, 1) for error in errors),
                percent(above, 0),
            ]
        )
    return Table(
        f"α of weighted DI over subsets of {unit} ({number(whole, '.3f')} on all), errors of fit in the "
        "subset",
        columns(
            "k", "α (95% of subsets)", "distribution", "one step off", "no α", "error AI", "error DI",
            "DI weighted above AI", text=["distribution"],
            ranks={"distribution": 3, "one step off": 2, "no α": 1},
        ),
        rows,
    )  # fmt: skip


def histogram(counts: Sequence[int]) -> str:
    """Counts as a line of blocks, two bins in one.

    >>> histogram([0, 0, 1, 1, 8, 8, 4, 4])
    ' ▁█▄'
    """
    pairs = [sum(counts[at : at + 2]) for at in range(0, len(counts), 2)]
    most = max(pairs) or 1
    return "".join(_BARS[-(-8 * count // most)] for count in pairs)


def signed_bar(share: float, width: int = 8) -> str:
    """From −1 to 1 as a bar, light below zero.

    >>> signed_bar(0.5, 4), signed_bar(-1, 4)
    ('██', '░░░░')
    """
    return ("█" if share > 0 else "░") * round(min(abs(share), 1) * width)


def _draw_histogram(unit: str, size: Size, spread: Spread, z: Distribution) -> Drawn:
    from dibench.show.axes import linear_axis, note
    from dibench.show.marks import tell
    from dibench.show.palette import FAINT, INK, MUTED
    from dibench.show.svg import new_panel, to_svg

    edges, counts = np.asarray(z.edges), np.asarray(z.counts, dtype=float)
    density = counts / counts.sum() / np.diff(edges)
    figure, axes = new_panel(height=270)
    axes.stairs(density, edges, fill=True, color=FAINT, label="the subsets")
    axes.stairs(density, edges, color=MUTED, linewidth=1)
    at = np.linspace(edges[0], edges[-1], 200)
    curve = np.exp(-((at - z.mean) ** 2) / (2 * spread.curve**2)) / spread.curve / np.sqrt(2 * np.pi)
    axes.plot(at, curve, color=INK, linewidth=1.8, label="drawing alone")
    bins = zip(edges[:-1], edges[1:], z.counts, strict=True)
    words = [f"z from {plain(low)} to {plain(high)}: {own} subsets" for low, high, own in bins]
    tell(axes, (edges[:-1] + edges[1:]) / 2, density, words)
    note(axes, f"spread {plain(z.sd)}\nof the curve {plain(spread.curve)}")
    linear_axis(axes, "x", float(edges[0]), float(edges[-1]))
    axes.set(xlabel="correlation with DI (Fisher's z)", yticks=[])
    return to_svg(
        figure,
        f"generality-{unit}",
        title=f"Over subsets of {unit}",
        description=f"{size.subsets} subsets; the curve is what drawing from a fixed set gives by itself.",
    )


def draw_quantiles(unit: str, z: Distribution) -> Drawn:
    """Q–Q of standardised values: those of a normal distribution lie on the line."""
    from dibench.show.axes import note
    from dibench.show.marks import tell
    from dibench.show.palette import INK, MUTED
    from dibench.show.svg import new_panel, to_svg

    figure, axes = new_panel(height=270)
    axes.plot(z.normal_quantiles, z.normal_quantiles, color=MUTED, linewidth=1, label="normal")
    axes.plot(
        z.normal_quantiles, z.quantiles, linestyle="none", marker="o", markersize=3, color=INK,
        label="the subsets",
    )  # fmt: skip
    both = zip(z.normal_quantiles, z.quantiles, strict=True)
    told = [f"normal {plain(normal)}, subsets {plain(own)}" for normal, own in both]
    tell(axes, z.normal_quantiles, z.quantiles, told)
    axes.set(xlabel="normal quantile", ylabel="quantile of the subsets")
    words = f"skew {plain(z.skew, 2)}\nexcess kurtosis {plain(z.excess_kurtosis, 2)}"
    note(axes, words)
    return to_svg(
        figure, f"generality-quantiles-{unit}", title=f"Q–Q over subsets of {unit}", description=words
    )
