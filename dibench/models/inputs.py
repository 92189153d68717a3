"""Parses the shapes that a user gives for a model's inputs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from dibench.errors import UserError

MOST_AXES = 8
LARGEST = 2**31 - 1
BATCH = "N"
"""Marks in a shape where the batch stands."""

InputShape: TypeAlias = "str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]"
"""A shape as text or as numbers, or several."""

_BETWEEN = re.compile(r"[,x×]")


def parse_shape(text: str, name: str = "") -> tuple[tuple[int, ...], str]:
    """Sizes and data type of `1,3,224,224` or `1,128:int64`; the type is empty where none is given.

    Raises:
        UserError: it is no shape.

    >>> parse_shape("1,3,224,224"), parse_shape("1x128:int64")
    (((1, 3, 224, 224), ''), ((1, 128), 'int64'))
    """
    field = f"--input-shape {name}".rstrip()
    sizes, _, dtype = text.partition(":")
    parts = _BETWEEN.split(sizes)
    if not all(re.fullmatch(r"\s*[0-9]{1,10}\s*", part) for part in parts) or len(parts) > MOST_AXES:
        raise UserError(field, f"must be at most {MOST_AXES} whole numbers such as 1,3,224,224", text)
    shape = tuple(int(part) for part in parts)
    if not all(1 <= size <= LARGEST for size in shape):
        raise UserError(field, f"must have sizes from 1 to {LARGEST}", text)
    return shape, dtype.strip()


def as_texts(given: InputShape) -> list[str]:
    """Each input's shape as text; of several shapes of numbers, those after the first are named by position.

    Raises:
        UserError: it is neither text nor a sequence.

    >>> as_texts("1,8"), as_texts((1, 8)), as_texts([(1, 8), (1, 77)])
    (['1,8'], ['1,8'], ['1,8', '1=1,77'])
    """
    if isinstance(given, str):
        return [given]
    if not isinstance(given, Sequence):
        raise UserError(
            "--input-shape", "must be text such as 1,3,224,224, a tuple of numbers, or a list", given
        )
    if all(isinstance(one, str) and one != BATCH for one in given):
        return [str(one) for one in given]
    if not any(isinstance(one, list | tuple) for one in given):
        return [",".join(map(str, given))]
    texts = []
    for place, one in enumerate(given):
        sizes = ",".join(map(str, one)) if isinstance(one, list | tuple) else str(one)
        texts.append(sizes if place == 0 or isinstance(one, str) else f"{place}={sizes}")
    return texts


def parse_inputs(texts: list[str]) -> dict[str, str]:
    """`NAME=1,3,224,224` or `1,3,224,224` (whose name is empty), each name once; see `at_batch` for N.

    >>> parse_inputs(["image=1,3,224,224", "ids=1,77:int64"])
    {'image': '1,3,224,224', 'ids': '1,77:int64'}
    """
    shapes: dict[str, str] = {}
    for text in texts:
        name, sign, shape = text.rpartition("=")
        name = name.strip() if sign else ""
        if name in shapes:
            raise UserError("--input-shape", "must name each input once", text)
        parse_shape(_marked(shape, 1), name)
        shapes[name] = shape
    return shapes


def at_batch(shapes: Mapping[str, str], batch: int | None) -> tuple[dict[str, str], int | None]:
    """The shapes with the batch in its place, and the batch where `N` marks that place.

    Without an `N` a batch takes the place of the 1 in front of the first shape, and of others that begin so.

    Raises:
        UserError: the batch is not that which the shapes say.

    >>> at_batch({"": "128,N,512"}, 8), at_batch({"": "1,3,64,64"}, 8)
    (({'': '128,8,512'}, 8), ({'': '8,3,64,64'}, None))
    >>> at_batch({"": "128,2,512"}, None)
    ({'': '128,2,512'}, None)
    """
    marked = {name: _marked(text, batch or 1) for name, text in shapes.items()}
    if marked != dict(shapes):
        return marked, batch or 1
    if batch is None or not shapes:
        return marked, None
    (first, *others), _ = parse_shape(next(iter(shapes.values())), next(iter(shapes)))
    if first == batch:
        return marked, None
    if first != 1:
        where = ",".join([BATCH, *map(str, others)])
        rule = f"must be that of --input-shape, {first}, or N stand there for the batch, as in {where}"
        raise UserError("--batch", rule, batch)
    return {name: re.sub(r"^\s*1(?=[,x×:\s]|$)", str(batch), text) for name, text in marked.items()}, None


def _marked(text: str, batch: int) -> str:
    """A shape with the batch in place of each `N`."""
    sizes, colon, dtype = text.partition(":")
    parts = [str(batch) if part.strip() == BATCH else part for part in _BETWEEN.split(sizes)]
    return (",".join(parts) if BATCH in sizes else sizes) + colon + dtype
