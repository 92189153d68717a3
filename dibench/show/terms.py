"""The glossary: each term in one line, told where it first stands on a screen or page, and in docs/terms.md.

A term that stands beside its own words, such as twins and placebo, needs no line here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import attrs

from dibench.show.blocks import Block, Cell, Figure, Headline, Note, Section, Sentence, Table


@attrs.frozen
class Term:
    """A word that a newcomer may not know."""

    name: str
    says: str
    """One line, in words that a newcomer knows."""
    pattern: str = ""
    """A regular expression that finds it in a text; by default its name as a word."""
    head: str = ""
    """The head of a column that it is instead: too short to be looked for in a text."""

    def stands_in(self, texts: Sequence[str]) -> bool:
        """Whether one of these texts, each a sentence or a cell, holds it."""
        if self.head:
            return self.head in texts
        return any(re.search(self.pattern or rf"\b{re.escape(self.name)}\b", text) for text in texts)

    @property
    def line(self) -> str:
        """What is shown of it."""
        return f"{self.name}: {self.says}."


_GAIN = r"\bgains\b|(\bits|'s|\ba|\bno) gain\b|\bgain ±"  # not the verb

TERMS = (
    Term("MAC", "a multiplication and an addition, the unit of a layer's work", r"\bMACs?\b"),
    Term("activation", "an element of a layer's input or output", r"\bactivations?\b"),
    Term("AI", "arithmetic intensity, MACs per element moved, with weights and activations counted alike"),
    Term("DI", "the same, with weights and activations each counted at its own price"),
    Term("α", "a weight's part of the price of a weight and an activation together; at ½ DI is AI", "α"),
    Term("weighted", "the form of DI in which the worse of the two reuses dominates", r"\b[Ww]eighted\b"),
    Term("disjoint", "the form of DI in which the better of the two reuses dominates", r"\b[Dd]isjoint\b"),
    Term("split", "DI with a price of its own for inputs and for outputs", r"\bDI split\b"),
    Term("95% interval", "where the true value lies in 95 of 100 such studies", r"95%"),
    Term("margin", "α from 0.45 to 0.55, so near ½ that AI is good enough", r"\bthe margin\b"),
    Term("p", "how often chance alone would give a difference as large", r"\bp [<=]|^p( \(Holm\))?$"),
    Term("t", "a difference over its own uncertainty", r"\bt = "),
    Term("Holm", "p is raised, as several questions were asked at once"),
    Term("cluster bootstrap", "errors are redrawn for all rows of a shape or network together"),
    Term("effective", "so many groups of equal size would tell as much", r"\d effective\)"),
    Term("Lack of fit", "how far the model misses its rows beyond their own noise"),
    Term("occupancy", "a cost of multiprocessors that idle in a kernel's last wave of blocks"),
    Term("capacity", "a cost of data that outgrow a cache"),
    Term("constant power", "energy that is nothing but watts times seconds", r"\b[Cc]onstant power\b"),
    Term("held out, unseen", "predicted by a fit that has not seen these rows", r"held[- ]out|\b[Uu]nseen\b"),
    Term("naive", "random rows held out, too easy a test, as networks share shapes"),
    Term("R²", "the part of the differences between rows that is predicted, 1 is all", "R²"),
    Term("MAPE", "how far predictions are off, on average"),
    Term("r", "Pearson's correlation, 1 where one is a straight line of the other", head="r"),
    Term("ρ", "Spearman's, the same of ranks", "ρ"),
    Term("ΔAICc", "how far behind the best model, fined for its number of terms; 10 is clear", "ΔAICc"),
    Term("e₀", "the cost of a MAC itself, one for each operator", "e₀"),
    Term("e_w, e_a", "the cost of moving a weight, an activation", r"\be_[wa]\b"),
    Term("e_x, e_y", "the cost of moving an input, an output", r"\be_[xy]\b"),
    Term("e_launch", "the cost of starting a kernel, whatever it does"),
    Term("Sensitivity", "α with a term left out, to see what it depends on"),
    Term("gain", "a factor by which a sensor reads all joules too high or too low", _GAIN),
    Term("flagged", "measured, but disturbed or cut short"),
    Term("sentinel", "one case measured again and again, to see drift", r"\bsentinels?\b"),
    Term("half-width", "from the middle of an interval to its end", r"\b[Hh]alf-widths?\b"),
    Term("compulsory", "every element moved once, 4 bytes each (2 in fp16, bf16): the least a shape needs"),
    Term("roof", "the most that arithmetic or memory of the machine allows", r"\b[Rr]oof(line)?\b"),
    Term("extrapolated", "beyond what the rows of the fit cover", r"\bextrapolated|outside the range"),
    Term("tile_p, tile_k, tile_c", "positions, output and input channels of a box", r"\btile_[pkc]\b"),
    Term("lanes", "what the 32 threads of a warp span: positions p or output channels k"),
    Term("stationary", "kept in registers while the other operands pass", r"\b[Ss]tationar"),
    Term("knob", "a value of a kernel that may be chosen", r"\bknobs?\b"),
    Term("jackknifed", "from leaving out one box at a time"),
    Term("Fieller's", "the interval of a ratio of two uncertain numbers", r"\bFieller"),
    Term("P₀", "power that is drawn whatever the kernel does", "P₀"),
    Term("anchor kernels", "kernels that only compute, or only read one memory", r"\banchors?\b|\banchor_"),
    Term("bare index", "AI or DI of the whole network by itself, without fitted costs", r"\bbare ind"),
    Term("Williams", "a test of two correlations with the same third quantity"),
    Term("Fisher's z", "a correlation stretched so that its spread is the same everywhere", r"\bFisher"),
    Term("skew", "how lopsided, 0 for a bell curve"),
    Term("kurtosis", "how heavy the tails, 0 for a bell curve", r"\bkurtosis\b"),
    Term("Shapiro p", "how often values of a bell curve would look less like one"),
    Term("RMS", "root mean square, a typical size"),
    Term("Wilcoxon", "a test of paired differences by their ranks"),
)  # fmt: skip
"""In the order in which they build on each other."""


def texts(block: Block) -> list[str]:
    """Every text of a block that a reader sees, each by itself; of a figure what stands around it."""
    match block:
        case Headline(text) | Sentence(text) | Note(text):
            return [text]
        case Figure():
            return [block.title, *block.lines]
        case Table():
            cells = [cell.text if isinstance(cell, Cell) else cell for row in block.rows for cell in row]
            return [block.caption, block.note, *(column.name for column in block.columns), *cells]


class Teller:
    """Adds the line of each term after the block in which it first stands, in reading order.

    >>> told = Teller().blocks([Sentence("AI, only."), Sentence("AI, ρ")])
    >>> [block.text.partition(":")[0] for block in told]
    ['AI, only.', 'MAC', 'activation', 'AI', 'AI, ρ', 'ρ']
    """

    def __init__(self) -> None:
        self._left = list(TERMS)

    def blocks(self, blocks: Iterable[Block]) -> list[Block]:
        """The blocks with lines of terms; those of figures side by side come after the last of them."""
        told: list[Block] = []
        waiting: list[Note] = []
        for block in blocks:
            if not isinstance(block, Figure):
                told += waiting
                waiting = []
            told.append(block)
            waiting += self._new(block)
            if not isinstance(block, Figure):
                told += waiting
                waiting = []
        return [*told, *waiting]

    def section(self, section: Section) -> Section:
        """The section with lines of terms, also of each of its cards."""
        own = self.blocks(section.blocks)
        return attrs.evolve(
            section, blocks=own, cards={card: self.blocks(those) for card, those in section.cards.items()}
        )

    def all(self, told: Iterable[Block | Section]) -> list[Block | Section]:
        """Blocks and sections in reading order."""
        shown: list[Block | Section] = []
        for one in told:
            shown += [self.section(one)] if isinstance(one, Section) else self.blocks([one])
        return shown

    def _new(self, block: Block) -> list[Note]:
        found, new = texts(block), list[Term]()
        while more := [term for term in self._left if term.stands_in(found) and term not in new]:
            new += more  # a line may hold a term itself, as AI's holds MACs
            found = [term.line for term in more]
        self._left = [term for term in self._left if term not in new]
        return [Note(term.line) for term in sorted(new, key=TERMS.index)]


def explained(told: Iterable[Block | Section]) -> list[Block | Section]:
    """What a screen shows, with a line for each term where it first stands."""
    return Teller().all(told)
