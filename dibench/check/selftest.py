"""Check every kernel variant on this machine against the float64 reference, on small layers of odd sizes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt

from dibench import kernels
from dibench.backends import DeviceFaultError
from dibench.check import reference
from dibench.elsewhere import is_elsewhere
from dibench.errors import UserError
from dibench.kernels import Variant, architectures
from dibench.layer import Layer
from dibench.plan import Case, usual_case, with_knobs

if TYPE_CHECKING:
    from dibench.backends import Backend

NAMES = ("auto", "cuda", "host", "cpu")
"""What `--backend` accepts beside `module:callable`; host runs the CUDA kernels on the CPU."""


class NotCheckableError(UserError):
    """A backend from elsewhere does not show what its kernels computed."""


INSTANCES = 2
_DRAWS = 200  # of knob values, until one is legal

EDGES = (
    Layer(N=2, C=5, H=7, W=6, K=7, R=3, S=3, pad_h=1, pad_w=1),
    Layer(N=1, C=3, H=12, W=11, K=9, R=3, S=2, stride_h=2, stride_w=1, pad_h=2, pad_w=0, dil_h=2),
    Layer(N=2, C=9, H=5, W=7, K=11, R=1, S=1),
    Layer(N=1, C=6, H=9, W=8, K=6, R=3, S=3, stride_h=2, stride_w=2, pad_h=1, pad_w=1, groups=6),
    Layer(N=1, C=8, H=6, W=7, K=12, R=3, S=3, pad_h=1, pad_w=1, groups=4),
    Layer.fc(N=1, C=37, K=19),
    Layer.fc(N=5, C=20, K=33),
)
"""Odd sizes, so that tiles of every kind end in the middle: padding, stride, dilation, groups, batch."""

WHOLE_TILES = (
    Layer(N=2, C=40, H=20, W=19, K=136, R=3, S=3, pad_h=1, pad_w=1),
    Layer(N=2, C=72, H=17, W=16, K=136, R=1, S=1),
    Layer(N=2, C=48, H=33, W=34, K=48, R=3, S=3, pad_h=1, pad_w=1, groups=48),
    Layer(N=1, C=64, H=19, W=20, K=128, R=3, S=3, pad_h=1, pad_w=1, groups=2),
    Layer.fc(N=1, C=1000, K=260),
    Layer.fc(N=70, C=200, K=140),
)
"""Large enough that the main loops of the fast variants run whole tiles, too."""


@attrs.frozen
class KernelVerdict:
    """One variant: cases that were right, the largest error as a share of what is allowed, what failed."""

    variant: str
    cases: int
    worst: float
    failure: str


Run = Callable[[Case], tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]]
"""Runs a case once: x and w as numbers, y; each with a leading dimension of instances."""


def selftest(
    backend: str, opened: Backend | None, *, small: bool = False, only: Sequence[str] = ()
) -> Iterator[KernelVerdict]:
    """Check the variants of a backend one by one.

    Args:
        backend: `cuda`, `host`, `cpu`, or `module:callable`, which runs the CUDA family.
        opened: the backend, opened; None for host, which needs none.
        small: only the smallest layers.
        only: these variants, in this order; by default all.

    Raises:
        DeviceFaultError: a kernel lost the device; nothing more can be checked in this process.
        UserError: no such variant, or a backend from elsewhere that cannot be checked.
    """
    device = "cuda" if is_elsewhere(backend) else backend
    run: Run = _on_host if device == "host" else {"cpu": _on_cpu, "cuda": _on_cuda}[device](opened)
    arch = opened.device().facts["arch"] if opened is not None and device == "cuda" else None
    small = small or device == "host"  # the harness is there to be right, not fast
    layers = EDGES if small else EDGES + WHOLE_TILES
    chosen = chosen_variants(backend, only)
    planned = {variant.name: list(cases_of(variant, layers, arch)) for variant in chosen}
    if opened is not None:
        opened.prefetch([case for cases in planned.values() for case in cases])
    for variant in chosen:
        yield _verdict(variant, planned[variant.name], run, arch)


def chosen_variants(backend: str, only: Sequence[str] = ()) -> list[Variant]:
    """The variants of those names, or all of a backend.

    Raises:
        UserError: no such variant.
    """
    registry = kernels.registry("cpu" if backend == "cpu" else "cuda")
    for name in only:
        if name not in registry:
            raise UserError("--only", f"must be of {', '.join(registry)}", name)
    return [registry[name] for name in only or registry]


def cases_of(variant: Variant, layers: tuple[Layer, ...], arch: int | None = None) -> Iterator[Case]:
    """Each layer that the variant runs, at its usual knobs and, on layers with edges, at others."""
    rng = random.Random(1)
    for layer in layers:
        for dtype in variant.dtypes:
            fields = {"dtype": dtype, "instances": INSTANCES, "seed": 3}
            usual = usual_case(layer, variant, **fields) if layer.op in variant.ops else None
            if usual is not None and _fits(variant, usual, arch):
                yield usual
            if layer in EDGES and (other := _other_knobs(variant, layer, rng)) is not None:
                case = with_knobs(layer, variant, other, **fields)
                if case != usual and _fits(variant, case, arch):
                    yield case


def _other_knobs(variant: Variant, layer: Layer, rng: random.Random) -> dict[str, Any] | None:
    telling = {
        "tile_p": (1, 2, 3, 5),
        "tile_k": (1, 2, 3, layer.K // layer.groups),
        "tile_c": (1, 2, 3, layer.C // layer.groups),
        "taps": (1, layer.S, layer.R * layer.S),
    }
    for _ in range(_DRAWS):
        knobs = {
            name: rng.choice(telling.get(name, (1, 2)) if legal == "any" else legal)
            for name, legal in variant.knobs.items()
        }
        if variant.allows(layer, knobs):
            return knobs
    return None


def _fits(variant: Variant, case: Case, arch: int | None) -> bool:
    try:
        variant.check(case.layer, case.knobs)
        architectures.check(variant, case.layer, case.knobs, case.instances, arch)
    except UserError:
        return False
    return True


def _verdict(variant: Variant, cases: list[Case], run: Run, arch: int | None) -> KernelVerdict:
    if not cases:
        needs = variant.cuda.least_arch if variant.cuda else 0
        if arch is not None and arch < needs:
            return KernelVerdict(variant.name, 0, 0.0, "")
        return KernelVerdict(variant.name, 0, 0.0, "runs none of the layers of this test")
    worst, right = 0.0, 0
    for case in cases:
        try:
            error = share_of_error(case, *run(case))
        except (DeviceFaultError, NotCheckableError):
            raise
        except Exception as problem:
            return KernelVerdict(variant.name, right, worst, f"{_text(case)}: {problem}")
        if not error <= 1.0:
            wrong = f"{error:.3g} times the error allowed"
            wrong = "an output was never written" if np.isnan(error) else wrong
            return KernelVerdict(variant.name, right, worst, f"{_text(case)}: {wrong}")
        worst, right = max(worst, error), right + 1
    return KernelVerdict(variant.name, right, worst, "")


def share_of_error(case: Case, x: npt.NDArray[Any], w: npt.NDArray[Any], y: npt.NDArray[Any]) -> float:
    """The largest error of all outputs as a share of what is allowed; NaN where one is."""
    shares = []
    for i in range(case.instances):
        expected = reference.convolution(case.layer, x[i], w[i])
        allowed = reference.allowance(case.layer, x[i], w[i], case.dtype)
        off = np.abs(y[i] - expected)
        shares.append(np.max(np.where(off == 0, 0.0, off / np.maximum(allowed, 1e-30))))
    return float(np.max(shares))


def _text(case: Case) -> str:
    knobs = "".join(f" {name}={value}" for name, value in case.knobs.items())
    dims = ",".join(f"{name}={size}" for name, size in case.layer.dims.items() if name not in ("P", "Q"))
    return f"{dims} {case.dtype}{knobs}"


def _on_cpu(backend: Any) -> Run:
    def run(case: Case) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        prepared = backend.prepare(case)
        try:
            prepared.y.fill(np.nan)
            prepared.launch(1)
            return prepared.x, prepared.w, prepared.y
        finally:
            prepared.close()

    return run


def _on_cuda(backend: Any) -> Run:
    from dibench.backends.operands import as_values

    def run(case: Case) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        prepared = backend.prepare(case)
        if not (hasattr(prepared, "operands") and hasattr(prepared, "compute")):
            rule = "must tell the operands and outputs of a case, by operands() and compute(), to be checked"
            raise NotCheckableError("--backend", rule, backend.name)
        try:
            x, w = (as_values(elements, case.dtype) for elements in prepared.operands())
            return x, w, prepared.compute()
        finally:
            prepared.close()

    return run


def _on_host(case: Case) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    from dibench.backends import host
    from dibench.backends.operands import as_elements, as_values, operand, operand_shapes

    variant = kernels.registry("cuda")[case.variant]
    shapes = operand_shapes(case.layer, case.instances)
    x, w = (as_elements(operand(shapes[i], case.data, case.seed, i), case.dtype) for i in range(2))
    try:
        outcome = host.run(variant, case.layer, case.knobs, x, w, dtype=case.dtype, sectors=False)
    except (host.KernelError, host.HostCompileError) as problem:
        raise RuntimeError(str(problem).strip().partition("\n")[0]) from None
    check_counts(variant, case, outcome.counts)
    return as_values(x, case.dtype), as_values(w, case.dtype), outcome.y


def check_counts(variant: Variant, case: Case, counted: Mapping[str, int]) -> None:
    """Compare what the harness counted in a launch with the formulas of the header.

    Raises:
        RuntimeError: they differ; names the count and both numbers.
    """
    promised = variant.counts_for(case.layer, case.knobs)
    for name, count in counted.items():
        if count != case.instances * promised[name]:
            rule = f"{name}: the harness counts {count}, the header says {case.instances * promised[name]}"
            raise RuntimeError(rule)
