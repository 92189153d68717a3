"""Parses the shapes that a user gives for a model's inputs."""

from __future__ import annotations

import re

from dibench.errors import UserError

MOST_AXES = 8
LARGEST = 2**31 - 1


def parse_shape(text: str, name: str = "") -> tuple[tuple[int, ...], str]:
    """Sizes and data type of `1,3,224,224` or `1,128:int64`; the type is empty where none is given.

    Raises:
        UserError: it is no shape.

    >>> parse_shape("1,3,224,224"), parse_shape("1x128:int64")
    (((1, 3, 224, 224), ''), ((1, 128), 'int64'))
    """
    field = f"--input-shape {name}".rstrip()
    sizes, _, dtype = text.partition(":")
    parts = re.split(r"[,x×]", sizes)
    if not all(re.fullmatch(r"\s*[0-9]{1,10}\s*", part) for part in parts) or len(parts) > MOST_AXES:
        raise UserError(field, f"must be at most {MOST_AXES} whole numbers such as 1,3,224,224", text)
    shape = tuple(int(part) for part in parts)
    if not all(1 <= size <= LARGEST for size in shape):
        raise UserError(field, f"must have sizes from 1 to {LARGEST}", text)
    return shape, dtype.strip()


def parse_inputs(texts: list[str]) -> dict[str, str]:
    """`NAME=1,3,224,224` or `1,3,224,224` (whose name is empty), each name once.

    >>> parse_inputs(["image=1,3,224,224", "ids=1,77:int64"])
    {'image': '1,3,224,224', 'ids': '1,77:int64'}
    """
    shapes: dict[str, str] = {}
    for text in texts:
        name, sign, shape = text.rpartition("=")
        name = name.strip() if sign else ""
        if name in shapes:
            raise UserError("--input-shape", "must name each input once", text)
        parse_shape(shape, name)
        shapes[name] = shape
    return shapes
