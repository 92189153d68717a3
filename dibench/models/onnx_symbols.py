"""Sizes of axes that ONNX files write as expressions of others, such as `past + 1`."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping

MOST_CHARACTERS = 200
LARGEST = 2**40
"""Beyond it nothing is computed further: no size is that large."""

_OPERATORS: dict[type, Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: dict[str, Callable[..., int]] = {
    "max": max,
    "min": min,
    "mod": operator.mod,
    "floor": lambda value: value,
    "ceil": lambda value: value,
    "ceiling": lambda value: value,
}
"""As PyTorch's exporter spells them, in whatever case."""


def names_in(text: str) -> set[str]:
    """The axes that an expression names; none where the text is a name itself, or no expression.

    >>> sorted(names_in("past + 2*seq")), names_in("batch"), names_in("unk__3?")
    (['past', 'seq'], set(), set())
    """
    tree = _parsed(text)
    if tree is None or isinstance(tree, (ast.Name, ast.Constant)):
        return set()
    functions = {call.func for call in ast.walk(tree) if isinstance(call, ast.Call)}
    return {each.id for each in ast.walk(tree) if isinstance(each, ast.Name) and each not in functions}


def size_of(text: str, known: Mapping[str, int]) -> int | None:
    """The value of an expression of sums, products and whole quotients; None where it is not known.

    >>> size_of("past + 1", {"past": 127}), size_of("floor(h/2) - 1", {"h": 9})
    (128, 3)
    >>> size_of("past + 1", {}), size_of("__import__('os')", {})
    (None, None)
    """
    if text in known:
        return known[text]
    tree = _parsed(text)
    try:
        return None if tree is None else _value(tree, known)
    except (KeyError, TypeError, ValueError, ZeroDivisionError, RecursionError):
        return None


def _parsed(text: str) -> ast.expr | None:
    try:
        return ast.parse(text.strip(), mode="eval").body if len(text) <= MOST_CHARACTERS else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _value(tree: ast.expr, known: Mapping[str, int], up: bool = False) -> int:
    """Raises KeyError for a name or form that is not known; `up` rounds quotients up."""
    if isinstance(tree, ast.Name):
        return known[tree.id]
    if isinstance(tree, ast.Constant) and type(tree.value) is int:
        found = tree.value
    elif isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        found = -_value(tree.operand, known, up)
    elif isinstance(tree, ast.BinOp):
        left, right = _value(tree.left, known, up), _value(tree.right, known, up)
        if isinstance(tree.op, ast.Div):
            found = -(-left // right) if up else left // right
        else:
            found = _OPERATORS[type(tree.op)](left, right)
    elif isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
        name = tree.func.id.lower()
        found = _FUNCTIONS[name](*(_value(each, known, name.startswith("ceil")) for each in tree.args))
    else:
        raise KeyError(ast.dump(tree)[:40])
    if abs(found) > LARGEST:
        raise ValueError(found)
    return found
