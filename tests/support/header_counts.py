"""Counts of accesses that were executed, held against a variant's header."""

from __future__ import annotations

from collections.abc import Mapping

ACCESSORS = {
    "cpu": {
        "weight_reads": "load_weight or load_weights",
        "input_reads": "load_input or load_inputs",
        "output_reads": "load_partial or load_partials",
        "output_writes": "store_output or store_outputs",
        "macs_executed": "mac",
    },
    "cuda": {
        "weight_reads": "load_weight, or fetch_weight in a fast variant",
        "input_reads": "load_input, or fetch_input in a fast variant",
        "output_reads": "load_partial",
        "output_writes": "store_output, or put_output in a fast variant",
        "macs_executed": "mac",
        "weight_reads_shared": "load_weight_shared, or fetch_weight_shared in a fast variant",
        "input_reads_shared": "load_input_shared, or fetch_input_shared in a fast variant",
    },
}
"""By backend, what counts an access (csrc/cpu/access.h, csrc/cuda/access.cuh)."""


def compare(backend: str, header: Mapping[str, int], executed: Mapping[str, int], where: str = "") -> None:
    """Fail where they differ, saying of each count what to mend.

    Args:
        backend: cpu or cuda.
        header: what the header's formulas say, by count.
        executed: what the accessors counted.
        where: variant, knobs and the like, for the message.
    """
    assert executed.keys() == header.keys()
    wrong = [name for name in header if header[name] != executed[name]]
    assert not wrong, "\n".join(
        [where, *(_said(backend, name, header[name], executed[name]) for name in wrong)]
    )


def _said(backend: str, name: str, header: int, executed: int) -> str:
    said = f"{name}: the header says {header}, the accessors counted {executed}."
    if executed > header:
        return f"{said} The kernel makes more than it should, or counts.{name} leaves some out."
    return (
        f"{said} A plain access to memory or plain arithmetic is not counted: use "
        f"{ACCESSORS[backend][name]} for it. Where the kernel does, counts.{name} says too much."
    )
