"""Write docs/evidence.md: what joules that others measured say of AI and DI, from clones of their data.

    python -m dibench datasets                       # where to clone them from
    python scripts/write_evidence.py gpu-layers=ml-operator-profiling cpu-layers=dl-energy-estimator \\
        pi5-networks=HW-NAS-Bench-360

Every number, verdict and conclusion of the page follows from these fits; so do the sentences in README.md
between the markers. The data are not part of the project: only what the fits found is.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import wrap

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: products this small lose by threads

import attrs
import pandas as pd

from dibench.datasets import find
from dibench.datasets.reading import TABLE, read, write
from dibench.datasets.source import Source
from dibench.errors import UserError
from dibench.files import replace_file
from dibench.numbers import count, interval, percent
from dibench.schema import NO_LAYER
from dibench.show import choices, networks
from dibench.show.blocks import Block, Figure, Headline, Note, Section, Sentence, Table, columns
from dibench.show.markdown import escaped, markdown
from dibench.show.svg import Drawn, ident, slug, standalone
from dibench.study.findings.all_findings import Findings
from dibench.study.findings.ladder import ModelFit
from dibench.study.questions.all_questions import of_table
from dibench.study.table.rows import ENERGY_COLUMNS
from dibench.table import read_csv

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- evidence -->", "<!-- end of evidence -->"
MODELS = {
    "macs": "MACs",
    "ai": "AI",
    "di_weighted": "DI weighted",
    "di_disjoint": "DI disjoint",
    "time": "time",
}
FEWEST_ROWS = 100


@attrs.frozen
class Group:
    """Rows of one device and data type, of one runtime where networks were measured; and what they say."""

    source: Source
    label: str
    found: Findings

    @property
    def figure(self) -> str:
        """Name of its specification curve."""
        return ident("evidence", self.label)

    @cached_property
    def curve(self) -> Drawn | None:
        """That curve, drawn once; None where there is nothing to see."""
        return None if self.found.choices is None else choices.curve(self.found.choices, self.figure)


def groups(source: Source, clone: Path, folder: Path) -> Iterator[Group]:
    """The fits of one source, each of a device and data type, of networks also of a runtime."""
    write(read(source, clone), folder)
    frame = read_csv(folder / TABLE)
    layers = frame[~frame["op"].isin(NO_LAYER)]
    some = layers if len(layers) else frame
    for (device, dtype, variant), own in some.groupby(["device", "dtype", "variant"], sort=False):
        if len(own) < FEWEST_ROWS or not own[list(ENERGY_COLUMNS)].notna().any(axis=None):
            continue
        beside = frame[(frame["device"] == device) & frame["op"].isin(NO_LAYER)] if len(layers) else own[:0]
        label = f"{device}, {dtype}" + (f", {variant}" if not len(layers) else "")
        try:
            yield Group(source, label, of_table(pd.concat([own, beside]), dtype=str(dtype)))
        except UserError as error:
            print(f"{label}: {error}", file=sys.stderr)


def three_sentences(all_groups: Sequence[Group]) -> str:
    """What the fits say together, counted."""
    fits = [group.found.fit for group in all_groups]
    said = {verdict: sum(fit.verdict == verdict for fit in fits) for verdict in ("DI", "AI")}
    open_ = len(fits) - sum(said.values())
    leaning = [fit.alpha.value for fit in fits if fit.alpha.value is not None]
    above = sum(value > 0.5 for value in leaning)
    apart = [
        abs(ai - di)
        for fit in fits
        if (ai := fit.models["ai"].held_out.mape) is not None
        and (di := fit.models["di_weighted"].held_out.mape) is not None
    ]
    withheld = sum(any(guard.withholds for guard in fit.guards) for fit in fits)
    return (
        f"Of {count(len(fits), 'fit')} to joules that others measured on real silicon, {_say('DI', said)}, "
        f"{_say('AI', said)}, and {open_} cannot tell: α, where it is determined, lies above ½ in {above} of "
        f"{len(leaning)}. On families that a fit has not seen, AI and DI err by the same to within "
        f"{percent(max(apart), 1).removesuffix('%')} percentage points. "
        f"In {withheld} of the {len(fits)} something other than data reuse may explain the joules: constant "
        "power, a power cap, weights that cost more than any memory takes."
    )


def _say(verdict: str, said: Mapping[str, int]) -> str:
    return f"{said[verdict] or 'none'} {'say' if said[verdict] > 1 else 'says'} {verdict}"


def page(all_groups: Sequence[Group]) -> list[Block | Section]:
    """The page; figures are linked."""
    sources = sources_of(all_groups)
    commits = "; ".join(map(linked, sources))
    return [
        Headline("What joules that others measured say"),
        Sentence(
            "Written by `scripts/write_evidence.py` from clones of the data, which are not part of dibench; "
            f"dibench measured none of them. From: {commits}."
        ),
        Sentence(three_sentences(all_groups)),
        Section("verdicts", "", "Does the data type matter?", [verdicts(all_groups)]),
        Section("errors", "", "How well is energy described?", [errors(all_groups)]),
        Sentence(
            "In the figures below each column is one choice, by α; the rows under it say what it changes. "
            "Thick: 95% interval; thin: the interval if families err as one. Hollow: undecided; a cross: the "
            "model misses. Dashed: the fit itself."
        ),
        *(told(group) for group in all_groups),
        Section("sources", "", "What can these data decide, and what not?", list(limits(sources))),
        Section("needed", "", "What would decide it?", [Note(text) for text in NEEDED]),
    ]


def sources_of(all_groups: Sequence[Group]) -> list[Source]:
    """Each source once."""
    return list({group.source.name: group.source for group in all_groups}.values())


def linked(source: Source) -> str:
    """A source's title, address and commit."""
    return f"[{source.title}]({source.url}), commit {source.commit[:12]}"


NEEDED = (
    "Joules below the power limit: at a limit, energy is time, and every question about it one about time.",
    "Intervals of rows, or repeats: without them nobody can tell whether a model misses.",
    "Weights and activations that do not grow together: several batch sizes and image sizes of each layer.",
    "Operands that come from memory: new weights and inputs for each call, not the same ones from the cache.",
    "Layers of ten families or more, large weights spread over several: α rests on two to four here.",
    "Grids of the kernels, so that multiprocessors without work are told apart from costly weights.",
    "Twins: two layers with equal multiply-adds whose weights and activations are exchanged. "
    "`python -m dibench campaign` measures all of these in ten minutes on one GPU.",
)


def verdicts(all_groups: Sequence[Group]) -> Table:
    """α and the verdict of each group."""
    rows = [
        [
            group.label,
            count(group.found.fit.rows_used),
            interval(group.found.fit.alpha.weighted),
            interval(group.found.fit.alpha_by_family),
            group.found.fit.conclusion,
            "; ".join(guard.brief for guard in group.found.fit.guards if guard.withholds) or "",
        ]
        for group in all_groups
    ]
    names = ("rows of", "rows", "α (95%)", "α if families err together", "says", "in doubt because")
    return Table("", columns(*names, text=names[2:]), rows)


def errors(all_groups: Sequence[Group]) -> Table:
    """Mean relative errors in and out of family."""

    def both(model: ModelFit | None) -> str:
        return "" if model is None else f"{percent(model.scores.mape)} / {percent(model.held_out.mape)}"

    rows = [
        [group.label, *(both(group.found.fit.models.get(name)) for name in MODELS)] for group in all_groups
    ]
    caption = "Mean relative error, in the fit / on families that were left out with every shape they share"
    return Table(caption, columns("rows of", *MODELS.values(), text=list(MODELS.values())), rows)


def told(group: Group) -> Section:
    """One group: its answer, why, its specification curve."""
    fit = group.found.fit
    blocks: list[Block] = [
        Sentence(fit.verdict_text),
        *(Note(f"**{guard.name}**: {guard.text}") for guard in fit.guards),
    ]
    blocks += networks.explained(group.found.networks.explained)
    if group.found.choices is not None:
        blocks.append(Sentence(choices.sentence(group.found.choices)))
        if group.curve is not None:
            blocks.append(Figure(group.figure, "α of weighted DI under each choice", lambda: group.curve))
    return Section(group.figure, "", group.label, blocks)


def limits(sources: Sequence[Source]) -> Iterator[Block]:
    """Of each source what it answers and what not, in its reader's words."""
    for source in sources:
        yield Sentence(f"**{source.title}**: {source.measured}. Sensor: {source.sensor}.")
        yield from (Note(f"can tell: {text}") for text in source.answers)
        yield from (Note(f"but: {text}") for text in source.limits)


def write_page(all_groups: Sequence[Group], root: Path) -> None:
    """The page, its figures, and README's sentences, in a checkout."""
    for group in all_groups:
        figure, drawn = root / "docs" / "figures" / f"{group.figure}.svg", group.curve
        if drawn is None:
            figure.unlink(missing_ok=True)
        else:
            replace_file(figure, standalone(drawn).encode())
    text = markdown(page(all_groups), "figures")
    for source in sources_of(all_groups):  # links in what others wrote are shown; these are our own
        text = text.replace(escaped(linked(source)), linked(source))
    replace_file(root / "docs" / "evidence.md", text.encode())
    more = "[The fits, and what would decide](docs/evidence.md)."
    new = "\n".join([BEGIN, *wrap(f"{three_sentences(all_groups)} {more}", 120), END])
    readme = root / "README.md"
    replaced = re.sub(f"{BEGIN}.*{END}", new, readme.read_text(encoding="utf-8"), flags=re.DOTALL)
    replace_file(readme, replaced.encode())


def main() -> None:
    """Read each SOURCE=CLONE, fit, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clones", metavar="SOURCE=CLONE", nargs="+", help="a source's name and its clone")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout to write into (default: this)")
    options = parser.parse_args()
    found: list[Group] = []
    with TemporaryDirectory() as temporary:
        for word in options.clones:
            name, equals, clone = word.partition("=")
            if not equals:
                parser.error(f"must be SOURCE=CLONE, got {word}")
            try:
                found += groups(find(name), Path(clone), Path(temporary) / slug(name))
            except UserError as error:
                parser.error(str(error))
    if not found:
        parser.error("nothing could be fitted")
    write_page(found, options.root)


if __name__ == "__main__":
    main()
