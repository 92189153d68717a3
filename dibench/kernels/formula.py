"""Formulas of kernel headers: expressions over dimensions, knobs and the helpers of `kernels.counting`."""

from __future__ import annotations

import ast
import inspect
import warnings
from collections.abc import Mapping
from types import CodeType
from typing import Any

import attrs

from dibench.errors import UserError
from dibench.kernels.counting import HELPERS

_TAKES_LAYER = {
    name
    for name, helper in HELPERS.items()
    if next(iter(inspect.signature(helper).parameters), "") == "layer"
}
_GLOBALS: dict[str, Any] = {"__builtins__": {}, "min": min, "max": max, **HELPERS}

_ALLOWED = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.Name, ast.Load,
    ast.Constant, ast.Tuple, ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.USub, ast.Not, ast.And,
    ast.Or, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn,
)  # fmt: skip


class FormulaError(UserError):
    """A header's formula that cannot be computed: a mistake in the header, whatever it was asked about."""


class _GiveLayer(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in _TAKES_LAYER:
            node.args.insert(0, ast.Name("layer", ast.Load()))
        return node


@attrs.frozen
class Formula:
    """A header's expression, checked and compiled once: numbers, words, names, arithmetic, helpers."""

    text: str
    code: CodeType = attrs.field(repr=False, eq=False)
    names: frozenset[str] = attrs.field(repr=False, eq=False)

    @classmethod
    def parse(cls, text: str, names: frozenset[str]) -> Formula:
        """The formula of `text`, which may use `names` and the helpers of `dibench.kernels.counting`.

        >>> sorted(Formula.parse("ceil_div(K, 8) * C", frozenset({"K", "C"})).names)
        ['C', 'K']

        Raises:
            ValueError: no expression, or one that uses anything else.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", SyntaxWarning)  # `2if` and the like
                tree = ast.parse(text, mode="eval")
        except (SyntaxError, SyntaxWarning, ValueError, MemoryError, RecursionError) as error:
            raise ValueError(f"is not an expression: {text!r}") from error
        used: set[str] = set()
        functions: set[int] = set()
        for node in ast.walk(tree):
            if not isinstance(node, _ALLOWED):
                raise ValueError(f"may not use {type(node).__name__}: {text!r}")
            if isinstance(node, ast.Constant) and type(node.value) not in (int, str):
                raise ValueError(f"may only use whole numbers and words: {text!r}")
            if isinstance(node, ast.Call):
                if (
                    not isinstance(node.func, ast.Name)
                    or node.func.id not in {"min", "max", *HELPERS}
                    or node.keywords
                ):
                    raise ValueError(f"calls something that kernels.counting does not name: {text!r}")
                functions.add(id(node.func))
                _check_arguments(node.func.id, len(node.args))
            if isinstance(node, (ast.BinOp, ast.UnaryOp)) and not isinstance(
                getattr(node, "op", None), ast.Not
            ):
                _check_operands(node)
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and id(node) not in functions:
                if node.id not in names:
                    raise ValueError(f"unknown name {node.id!r} in {text!r}")
                used.add(node.id)
        tree = ast.fix_missing_locations(_GiveLayer().visit(tree))
        return cls(text, compile(tree, f"<{text}>", "eval"), frozenset(used))

    def value(self, values: Mapping[str, Any]) -> Any:
        """The formula's value, given `layer` and every name it uses.

        Raises:
            FormulaError: it divides by zero, or mixes words and numbers.
        """
        try:
            return eval(self.code, _GLOBALS, dict(values))  # only what parse() let through
        except (ArithmeticError, TypeError, ValueError, MemoryError, RecursionError) as error:
            raise FormulaError("formula", f"cannot be computed: {error}", self.text) from None


def _check_arguments(name: str, given: int) -> None:
    """Refuse a call that the helper does not take; the layer is given by us."""
    if name not in HELPERS:
        if given < 1:
            raise ValueError(f"{name} needs something to choose from")
        return
    wanted = len(inspect.signature(HELPERS[name]).parameters) - (name in _TAKES_LAYER)
    if given != wanted:
        raise ValueError(f"{name} takes {wanted} arguments, not {given}")


def _check_operands(node: ast.BinOp | ast.UnaryOp) -> None:
    """Refuse arithmetic on words and tuples: `"ab" * 10**9` is memory, not a number."""
    operands = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.operand,)
    for operand in operands:
        if isinstance(operand, ast.Tuple) or (
            isinstance(operand, ast.Constant) and type(operand.value) is str
        ):
            raise ValueError("may compute with numbers only")
