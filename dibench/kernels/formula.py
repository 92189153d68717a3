"""Formulas of kernel headers: whole numbers from dimensions, knobs, a header's own definitions and helpers.

A header may come from anybody, so an expression is checked node by node and then compiled, once, to a Python
function. No attribute, no builtin and no unbounded loop can be reached from it. A library was tried:
simpleeval 1.0.8 walks the tree at every call and takes 12.6 µs for a count that takes 0.9 µs here, and a plan
of 100,000 CUDA cases evaluates 500,000 formulas.
"""

from __future__ import annotations

import ast
import inspect
import re
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import attrs

from dibench.errors import UserError
from dibench.kernels.counting import HELPERS

MOST_NODES = 100_000
"""Most terms of one formula, with the definitions that it uses written out."""

MOST_STEPS = 100_000_000
"""Most terms that the loops of one formula evaluate: some seconds."""

_Row = int | tuple[int, ...]
_Bound = frozenset[str]

_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn)
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_SIGNATURE = re.compile(rf"({_NAME.pattern})(?:\(({_NAME.pattern}(?:, *{_NAME.pattern})*)\))?")


class FormulaError(UserError):
    """A header's formula cannot be computed: the mistake is in the header, not in the layer or knobs."""


class _Steps(threading.local):
    left = 0


_steps = _Steps()


def _range(nodes: int, *limits: int) -> range:
    """The range of a loop whose body has so many terms; refused if the formula would take too long."""
    found = range(*limits)
    _steps.left -= nodes * len(found)
    if _steps.left < 0:
        raise ValueError(f"its loops take more than {MOST_STEPS:,} steps")
    return found


def _first(values: Iterable[int]) -> int:
    for value in values:
        return value
    raise ValueError("no item of its loop fits")


_LOOPS: Mapping[str, Callable[..., Any]] = {
    "sum": sum, "min": min, "max": max, "any": any, "all": all, "first": _first,
}  # fmt: skip
"""Functions that take a loop: `sum(n * n for n in range(P))`."""

_TAKES = {name: tuple(inspect.signature(helper).parameters) for name, helper in HELPERS.items()}


@attrs.frozen
class Definition:
    """What a header defines for its formulas: a value, a function of parameters, or a list of rows."""

    parameters: tuple[str, ...] = ()
    needs: frozenset[str] = frozenset()
    """Names that its value follows from, beside its parameters."""
    nodes: int = 1
    function: Callable[..., int] | None = None
    rows: tuple[_Row, ...] = ()
    lists: Mapping[str, tuple[_Row, ...]] = MappingProxyType({})
    """The lists that its formula names."""


def _frozen(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@attrs.frozen
class Scope:
    """What a formula may name beside the helpers of `kernels.counting`."""

    names: frozenset[str] = attrs.field(converter=_frozen)
    words: frozenset[str] = frozenset()
    """Those of the names whose values are words: they can only be compared."""
    definitions: Mapping[str, Definition] = MappingProxyType({})
    """By name; the legal values of a knob are a list called `knobs.<name>`."""


@attrs.frozen
class Formula:
    """A header's expression, checked and compiled once.

    Numbers, arithmetic (`+ - * // %`), comparisons, logic and `a if b else c`; `min` and `max`; helpers and
    definitions; and loops, `sum(f(p) for p in range(0, P, 4) if p < Q)`, over a range, a list that the
    header defines or a knob's values, inside sum, min, max, any, all or first. Words can only be compared.
    """

    text: str
    names: frozenset[str] = attrs.field(repr=False, eq=False)
    """Dimensions and knobs that the value follows from."""
    lists: Mapping[str, tuple[_Row, ...]] = attrs.field(repr=False, eq=False)
    """The header's lists that the text names."""
    _needs: tuple[str, ...] = attrs.field(repr=False, eq=False)
    _function: Callable[..., Any] = attrs.field(repr=False, eq=False)

    @classmethod
    def parse(cls, text: str, scope: Scope) -> Formula:
        """The formula of `text`, which may use what is in scope and the helpers of `kernels.counting`.

        >>> sorted(Formula.parse("ceil_div(K, 8) * C", Scope("CHWK")).names)
        ['C', 'K']

        Raises:
            ValueError: no expression, or one that uses anything else.
        """
        found = _read(text, (), scope)
        assert found.function is not None
        needs = tuple(sorted(found.needs))
        return cls(text, found.needs - {"layer"}, found.lists, needs, found.function)

    def value(self, values: Mapping[str, Any]) -> Any:
        """The formula's value, given `layer` and every name it uses.

        Raises:
            FormulaError: it divides by zero, loops for too long, or finds nothing in a loop.
        """
        _steps.left = MOST_STEPS
        try:
            return self._function(*[values[name] for name in self._needs])
        except (ArithmeticError, TypeError, ValueError, MemoryError, RecursionError) as error:
            raise FormulaError("formula", f"cannot be computed: {error}", self.text) from None


def read_definitions(table: Mapping[str, Any], scope: Scope, where: object = "") -> dict[str, Definition]:
    """The definitions in scope and those of a header, each of which may use what stands before it.

    >>> found = read_definitions({"half(n)": "ceil_div(n, 2)", "rows": "half(P) + 1"}, Scope("PQ"))
    >>> Formula.parse("rows * 10", Scope("PQ", definitions=found)).value({"P": 7})
    50

    Raises:
        UserError: a name that is taken or none, or a value that is neither formula nor list; its field is the
            definition's.
    """
    found = dict(scope.definitions)
    scope = attrs.evolve(scope, definitions=found)
    taken = {*scope.names, *HELPERS, *_LOOPS, "range", "layer"}
    for key, value in table.items():
        field, signature = f"define.{key}", _SIGNATURE.fullmatch(key)
        if signature is None:
            raise UserError(field, "must be a name in small letters, or name(parameter, ...)", where=where)
        name, parameters = signature[1], tuple(re.findall(_NAME, signature[2] or ""))
        if name in taken or name in found:
            raise UserError(field, f"must be a new name: {name} has a meaning already", where=where)
        if len(set(parameters)) != len(parameters):
            raise UserError(field, "must name each parameter once", where=where)
        try:
            if isinstance(value, str):
                found[name] = _read(value, parameters, scope)
            elif parameters:
                raise ValueError("must be a formula, as a function is")
            else:
                found[name] = Definition(rows=_rows(value))
        except ValueError as error:
            raise UserError(field, str(error), where=where) from error
    return found


def _rows(value: Any) -> tuple[_Row, ...]:
    """A list of whole numbers, or of lists of whole numbers that have one length."""
    rows = value if isinstance(value, list) else []
    widths = {len(row) if isinstance(row, list) else 0 for row in rows}
    numbers = [cell for row in rows for cell in (row if isinstance(row, list) else [row])]
    if len(widths) != 1 or not numbers or not all(type(number) is int for number in numbers):
        raise ValueError(
            "must be a formula, or a list of whole numbers or of lists of them, all of one length"
        )
    return tuple(tuple(row) if isinstance(row, list) else row for row in rows)


def _read(text: str, parameters: tuple[str, ...], scope: Scope) -> Definition:
    """A formula as a definition: checked, compiled, and cached where it loops.

    Raises:
        ValueError: no expression, or one that uses anything but parameters, what is in scope, and helpers.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SyntaxWarning)  # `2if` and the like
            tree = ast.parse(" ".join(text.split()), mode="eval")
    except (SyntaxError, SyntaxWarning, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f"is not an expression: {text!r}") from error
    reader = _Reader(scope)
    try:
        body = reader.number(tree.body, frozenset(parameters))
        needs = sorted(reader.needs)
        arguments = [ast.arg(name) for name in (*map(_bound, parameters), *needs)]
        signature = ast.arguments(posonlyargs=[], args=arguments, kwonlyargs=[], kw_defaults=[], defaults=[])
        whole = ast.fix_missing_locations(ast.Expression(ast.Lambda(signature, body)))
        code = compile(whole, f"<{text}>", "eval")
    except _RefusedError as error:
        raise ValueError(f"{error}: {text!r}") from None
    except RecursionError:
        raise ValueError(f"is nested too deeply: {text[:60]!r}...") from None
    functions = {name: found.function for name, found in scope.definitions.items()}
    known: dict[str, Any] = {
        "__builtins__": {},
        "__range": _range,
        **_LOOPS,
        **HELPERS,
        **functions,
        **reader.lists,
    }
    function = eval(code, known)  # only what the reader let through
    if reader.loops:
        function = lru_cache(maxsize=4096)(function)
    return Definition(parameters, frozenset(needs), reader.nodes, function, lists=reader.lists)


class _RefusedError(Exception):
    """What an expression may not do."""


def _bound(name: str) -> str:
    """The name of a parameter or loop variable in compiled code: it differs from all other names."""
    return f"_{name}"


class _Reader:
    """Checks an expression, and rewrites it as the body of a function that takes what it needs."""

    def __init__(self, scope: Scope) -> None:
        self.names = scope.names
        self.words = scope.words
        self.definitions = scope.definitions
        self.needs: set[str] = set()
        self.lists: dict[str, tuple[_Row, ...]] = {}
        self.loops = False
        self.nodes = 0

    def number(self, node: ast.expr, bound: _Bound) -> ast.expr:
        """An expression whose value is a number; `bound` are the parameters and loop variables around it."""
        self._count(1)
        match node:
            case ast.Constant(value=value):
                if type(value) is not int:
                    raise _RefusedError("may only compute with whole numbers, and compare words")
                return node
            case ast.Name(id=name):
                return self._name(name, bound)
            case ast.BinOp(left=left, op=op, right=right) if isinstance(
                op, ast.Add | ast.Sub | ast.Mult | ast.FloorDiv | ast.Mod
            ):
                return ast.BinOp(self.number(left, bound), op, self.number(right, bound))
            case ast.UnaryOp(op=op, operand=operand) if isinstance(op, ast.USub | ast.Not):
                return ast.UnaryOp(op, self.number(operand, bound))
            case ast.BoolOp(op=junction, values=values):
                return ast.BoolOp(junction, [self.number(value, bound) for value in values])
            case ast.IfExp(test=test, body=body, orelse=other):
                return ast.IfExp(*(self.number(part, bound) for part in (test, body, other)))
            case ast.Compare(left=left, ops=ops, comparators=others) if all(
                isinstance(op, _COMPARISONS) for op in ops
            ):
                first, *rest = (self._compared(part, bound) for part in (left, *others))
                return ast.Compare(first, ops, rest)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(name, arguments, bound)
            case ast.Call():
                raise _RefusedError("may only call functions by name, with arguments in order")
            case ast.Tuple():
                raise _RefusedError("may only compare tuples")
        raise _RefusedError(f"may not use {type(getattr(node, 'op', node)).__name__}")

    def _count(self, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > MOST_NODES:
            raise _RefusedError(f"is longer than {MOST_NODES:,} terms, definitions written out")

    def _name(self, name: str, bound: _Bound) -> ast.expr:
        if name in bound:
            return ast.Name(_bound(name), ast.Load())
        if name in self.definitions:
            if self.definitions[name].rows:
                raise _RefusedError(f"may only loop over {name}, or ask what is in it")
            return self._defined(name, [], bound)
        if name in self.words:
            raise _RefusedError(f"may only compare {name}, which is a word")
        return self._needed(name)

    def _needed(self, name: str, of: str = "") -> ast.Name:
        if name not in self.names and not (of and name == "layer"):
            raise _RefusedError(f"unknown name {name!r}{of and f', which {of} uses'}")
        self.needs.add(name)
        return ast.Name(name, ast.Load())

    def _compared(self, node: ast.expr, bound: _Bound) -> ast.expr:
        """A side of a comparison: a number, a word, a tuple of these, or the name of a list."""
        if isinstance(node, ast.Constant) and type(node.value) is str:
            return node
        if isinstance(node, ast.Tuple):
            self._count(1)
            return ast.Tuple([self._compared(part, bound) for part in node.elts], ast.Load())
        if isinstance(node, ast.Name) and node.id not in bound and node.id in self.words:
            return self._needed(node.id)
        return self._list(node, bound) or self.number(node, bound)

    def _list(self, node: ast.expr, bound: _Bound) -> ast.Name | None:
        """A list that the header defines, or a knob's values; None if it is anything else."""
        match node:
            case ast.Name(id=name) if name not in bound:
                pass
            case ast.Attribute(value=ast.Name(id="knobs"), attr=knob):
                name = f"knobs.{knob}"  # compiled code may have a name with a dot, which nobody can write
            case _:
                return None
        if name not in self.definitions or not self.definitions[name].rows:
            return None
        self.lists[name] = self.definitions[name].rows
        return ast.Name(name, ast.Load())

    def _call(self, name: str, arguments: list[ast.expr], bound: _Bound) -> ast.expr:
        if name in _LOOPS:
            if len(arguments) == 1 and isinstance(arguments[0], ast.GeneratorExp):
                loop = arguments[0]
                inside = self._loop(loop.elt, loop.generators, bound)
                return ast.Call(ast.Name(name, ast.Load()), [inside], [])
            if name not in ("min", "max"):
                raise _RefusedError(f"{name} needs a loop")
            if len(arguments) < 2:
                raise _RefusedError(f"{name} needs two numbers, or a loop, to choose from")
        elif name in self.definitions:
            return self._defined(name, arguments, bound)
        elif name in HELPERS:
            takes = _TAKES[name]
            own = ["layer"] if takes[:1] == ("layer",) else []
            _check_number(name, len(takes) - len(own), len(arguments))
            given = [*(self._needed(each, of=name) for each in own), *self._numbers(arguments, bound)]
            return ast.Call(ast.Name(name, ast.Load()), given, [])
        else:
            raise _RefusedError(f"calls {name!r}, which neither the header nor kernels.counting defines")
        return ast.Call(ast.Name(name, ast.Load()), self._numbers(arguments, bound), [])

    def _numbers(self, arguments: list[ast.expr], bound: _Bound) -> list[ast.expr]:
        return [self.number(argument, bound) for argument in arguments]

    def _defined(self, name: str, arguments: list[ast.expr], bound: _Bound) -> ast.expr:
        """A call of a definition's function, with its arguments and the names that it needs."""
        found = self.definitions[name]
        _check_number(name, len(found.parameters), len(arguments))
        self._count(found.nodes)
        needs = [self._needed(each, of=name) for each in sorted(found.needs)]
        given = [*self._numbers(arguments, bound), *needs]
        return ast.Call(ast.Name(name, ast.Load()), given, [])

    def _loop(self, item: ast.expr, generators: list[ast.comprehension], bound: _Bound) -> ast.GeneratorExp:
        """A loop over the first generator, with the others inside it; each range is charged for its body."""
        self.loops = True
        at, *inner = generators
        source, width = self._source(at.iter, bound)
        names = at.target.elts if isinstance(at.target, ast.Tuple) else [at.target]
        if not all(isinstance(name, ast.Name) and _NAME.fullmatch(name.id) for name in names):
            raise _RefusedError("may only loop with names in small letters")
        if isinstance(at.target, ast.Tuple) != (width > 0) or (width and len(names) != width):
            raise _RefusedError(f"loops with {len(names)} names over rows of {max(1, width)}")
        within = bound | {name.id for name in names if isinstance(name, ast.Name)}
        before = self.nodes
        tests = self._numbers(at.ifs, within)
        body = self._loop(item, inner, within) if inner else ast.GeneratorExp(self.number(item, within), [])
        if isinstance(source, ast.Call):
            source.args.insert(0, ast.Constant(self.nodes - before))
        else:
            rows = len(self.lists[source.id])
            self._count((rows - 1) * (self.nodes - before))
        target: ast.expr = ast.Name(_bound(names[0].id), ast.Store())  # type: ignore[attr-defined]
        if width:
            target = ast.Tuple(
                [ast.Name(_bound(name.id), ast.Store()) for name in names],  # type: ignore[attr-defined]
                ast.Store(),
            )
        return ast.GeneratorExp(body.elt, [ast.comprehension(target, source, tests, 0), *body.generators])

    def _source(self, node: ast.expr, bound: _Bound) -> tuple[ast.Call | ast.Name, int]:
        """What a loop runs over, and the length of its items; 0 if they are numbers."""
        match node:
            case ast.Call(func=ast.Name(id="range"), args=[_, *more] as limits, keywords=[]) if len(more) < 3:
                return ast.Call(ast.Name("__range", ast.Load()), self._numbers(limits, bound), []), 0
        listed = self._list(node, bound)
        if listed is None:
            raise _RefusedError(
                "may only loop over range(...), a list that the header defines or knobs.<a knob of numbers>"
            )
        row = self.lists[listed.id][0]
        return listed, len(row) if isinstance(row, tuple) else 0


def _check_number(name: str, wanted: int, given: int) -> None:
    if given != wanted:
        raise _RefusedError(f"{name} takes {wanted} arguments, not {given}")
