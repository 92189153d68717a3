"""Three kernels that need no code, and plans of them: for tests of what a plan makes of its file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dibench import kernels, plan
from dibench.intensity import OPERATORS
from dibench.kernels import Variant
from dibench.plan import Case, Plan
from dibench.plan import file as plan_file

HEADER = """/* A kernel for tests.
[variant]
ops          = {ops}
stationarity = "{stationarity}"
fast         = {fast}
teaches      = "nothing"
{further}
counts.macs_executed = "1"
counts.weight_reads  = "1"
counts.input_reads   = "1"
counts.output_reads  = "1"
counts.output_writes = "1"
*/
"""
ALL_OPS = str(list(OPERATORS)).replace("'", '"')
BOXED = """
knobs.tile_p = [1, 2, 4, 8]
knobs.tile_k = [1, 2, 4, 8]
knobs.tile_c = "any"
knobs.taps   = "any"
requires     = ["tile_p * tile_k <= 8", "taps == 1 or taps == S or taps == R * S"]
"""


def three_kernels(folder: Path) -> Mapping[str, Variant]:
    """One boxed kernel, one without knobs, and a fast one for all but grouped layers."""
    headers = {
        "boxed": HEADER.format(ops=ALL_OPS, stationarity="output", fast="false", further=BOXED),
        "plain": HEADER.format(ops=ALL_OPS, stationarity="none", fast="false", further=""),
        "quick": HEADER.format(
            ops=ALL_OPS.replace(', "grouped"', ""), stationarity="output", fast="true", further=""
        ),
    }
    for name, header in headers.items():
        (folder / f"{name}.cpp").write_text(header)
    return {name: kernels.read_variant(folder / f"{name}.cpp", "cpu") for name in headers}


def make(text: str, registry: Mapping[str, Variant], seed: int = 1, backend: str = "cpu") -> Plan:
    file = plan_file.parse_plan(text, where="plan.toml", name="test")
    return plan.make_plan(file, backend=backend, seed=seed, registry=registry)


def measured(made: Plan) -> list[Case]:
    return [case for case in made.cases if not case.sentinel]


FC = '[[layers]]\nlayers = "N=4,C=6,H=1,W=1,K=10,R=1,S=1"\n'
CONV = '[[layers]]\nlayers = "N=1,C=6,H=9,W=7,K=4,R=3,S=3,pad_h=1,pad_w=1"\n'
THOUSAND = list(range(1, 1002))
FAST = "[[kernels]]\nfast = true\n"
