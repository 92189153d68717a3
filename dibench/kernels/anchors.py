"""The five anchor kernels, each of which measures the energy of one memory level (csrc/cuda/anchors).

They compute no layer: they take a buffer. Their `[anchor]` headers say how many accesses to which level a
launch makes, and how large a measured launch is: about a millisecond on a GPU of 2022. What the reuse lattice
finds for a level is checked against its anchor.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import attrs

from dibench.errors import UserError
from dibench.kernels import source_directory
from dibench.kernels.formula import Formula, Scope
from dibench.kernels.header import read_formula, read_header

COUNTS = ("macs_executed", "reads", "writes")
_LAUNCH = Scope({"blocks", "elements", "passes"})
_FIELDS = {"level", "access", "arch", "teaches", "block", "elements", "buffer", "passes", "counts"}


@attrs.frozen
class Anchor:
    """One anchor kernel: `name(float* buffer, long long elements, int passes)`."""

    name: str
    level: str
    access: str
    least_arch: int
    block: int
    elements: Formula
    """Elements of a measured launch, from `blocks` and `l2_bytes`."""
    buffer: Formula
    """Elements of the buffer, from `blocks` and `elements`."""
    passes: int
    counts: Mapping[str, Formula]
    summary: str
    teaches: str
    path: Path

    def counts_for(self, *, blocks: int, elements: int, passes: int) -> dict[str, int]:
        """Multiply-adds, elements read and elements written of one launch.

        >>> registry()["anchor_l2"].counts_for(blocks=8, elements=1000, passes=3)["reads"]
        3000
        """
        values = {"blocks": blocks, "elements": elements, "passes": passes}
        return {name: int(formula.value(values)) for name, formula in self.counts.items()}

    def launch_size(self, *, blocks: int, l2_bytes: int) -> tuple[int, int]:
        """(elements of a measured launch, elements of its buffer).

        >>> registry()["anchor_l1"].launch_size(blocks=8, l2_bytes=2**25)
        (4096, 32768)
        """
        elements = int(self.elements.value({"blocks": blocks, "l2_bytes": l2_bytes}))
        return elements, int(self.buffer.value({"blocks": blocks, "elements": elements}))


@lru_cache
def registry() -> Mapping[str, Anchor]:
    """All anchors by name.

    Raises:
        UserError: a header that cannot be read; the message names file, field and rule.
    """
    paths = sorted((source_directory() / "cuda" / "anchors").glob("*.cu"))
    return MappingProxyType({path.stem: _read(path) for path in paths})


def _read(path: Path) -> Anchor:
    summary, fields = read_header(path, "anchor")
    if set(fields) != _FIELDS or set(fields["counts"]) != set(COUNTS):
        raise UserError("[anchor]", f"must have {', '.join(sorted(_FIELDS))}", sorted(fields), where=path)
    return Anchor(
        name=path.stem,
        level=fields["level"],
        access=fields["access"],
        least_arch=int(fields["arch"].removeprefix(">=")),
        block=fields["block"],
        elements=read_formula("elements", fields["elements"], Scope({"blocks", "l2_bytes"}), path),
        buffer=read_formula("buffer", fields["buffer"], Scope({"blocks", "elements"}), path),
        passes=fields["passes"],
        counts=MappingProxyType(
            {name: read_formula(f"counts.{name}", fields["counts"][name], _LAUNCH, path) for name in COUNTS}
        ),
        summary=summary,
        teaches=fields["teaches"],
        path=path,
    )
