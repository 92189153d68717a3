"""A plan of whole networks: one case for each network and batch size."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import attrs

from dibench import kernels, models
from dibench.errors import UserError
from dibench.layer import Layer
from dibench.models.inputs import BATCH
from dibench.plan.build import Plan, sha_of
from dibench.plan.case import Case, usual_case


def network_plan(
    sources: Sequence[str],
    batches: Sequence[int | None],
    *,
    shapes: Mapping[str, str] | None = None,
    visits: int = 1,
) -> Plan:
    """The plan, in the order given.

    Args:
        sources: `torchvision:NAME`, `timm:NAME`, `module:callable` or `file.py:callable`, followed by
            `@3x32x32` where the source does not say the size of an image, or another is wanted.
        batches: batch sizes, of every network; None is the model's own.
        shapes: of the input of every network, as `models.load` takes them.
        visits: how often each case is visited on a metered GPU.

    Raises:
        UserError: a network cannot be built, or takes anything but images.
    """
    cases = [_case(source, batch, shapes or {}) for source in sources for batch in batches]
    cases = [attrs.evolve(case, order=order, visits=visits) for order, case in enumerate(cases, start=1)]
    if len({case.case_id for case in cases}) < len(cases):
        raise UserError("--models", "must name each network once", ",".join(sources))
    return Plan("models", "whole networks through PyTorch", "torch", tuple(cases), 0, sha_of(cases), {})


def _case(source: str, batch: int | None, shapes: Mapping[str, str]) -> Case:
    source, _, size = source.partition("@")
    if ":" not in source:
        rule = "must be torchvision:NAME, timm:NAME, module:callable or file.py:callable, which PyTorch runs"
        raise UserError("--models", rule, source)
    if size and not re.fullmatch(r"[0-9]{1,5}(x[0-9]{1,5}){2}", size):
        raise UserError("--models", "must give the size of an image as @3x224x224", size)
    if size and shapes:
        raise UserError("--input-shape", "must not stand with an @ and a size behind it", f"{source}@{size}")
    if size:
        shapes = {"": f"{BATCH},{size}"}
    found = models.load(source, batch=batch, shapes=shapes)
    ((_, shape),) = found.input_shapes.items() if len(found.input_shapes) == 1 else ((None, ()),)
    if len(shape) != 4:
        raise UserError("--models", "must take one image tensor N, C, H, W", source)
    n, c, h, w = shape
    (variant,) = kernels.registry("torch").values()
    # `predict` finds it by this name; with a slash it would be a layer of a network.
    layer = Layer(N=n, C=c, H=h, W=w, K=1, R=1, S=1, name=source.replace("/", "."))
    return usual_case(layer, variant, network=source)
