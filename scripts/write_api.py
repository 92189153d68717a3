"""Write docs/api.md: the public Python API, from the docstrings.

    python scripts/write_api.py [FILE]

What is public stands in PUBLIC below; everything else may change without notice.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "api.md"

PUBLIC: dict[str, tuple[str, ...]] = {
    "dibench": ("load", "layers", "fit", "predict", "explain", "compare", "measure", "sweep", "energy"),
    "dibench.api.measured": (),
    "dibench.api.results": (),
    "dibench.api.shown": (),
    "dibench.api.own_code": ("Spent", "Calls"),
    "dibench.study": ("fit", "cards_in"),
    "dibench.study.findings.ladder": (),
    "dibench.study.findings.estimate": (),
    "dibench.study.questions.twins": ("twins",),
    "dibench.study.questions.lattice": ("lattice",),
    "dibench.study.questions.generality": ("generality",),
    "dibench.layer": ("Layer",),
    "dibench.intensity": (
        "macs",
        "weights",
        "inputs",
        "outputs",
        "reuse",
        "arithmetic_intensity",
        "di_weighted",
        "di_disjoint",
    ),
    "dibench.networks": ("names", "family", "load", "find", "distinct"),
    "dibench.models": ("load", "Model", "NotCovered"),
    "dibench.plan": ("load_plan", "Plan", "Case"),
    "dibench.schema": ("Row",),
    "dibench.table": ("read_csv", "read_rows"),
    "dibench.datasets": ("sources", "find"),
    "dibench.datasets.source": ("Source", "Ledger", "locate", "missing", "cells_of", "case_id"),
    "dibench.datasets.reading": ("read", "write", "Reading"),
    "dibench.report": ("write_report",),
    "dibench.meters": ("Meter", "Reading"),
    "dibench.backends": ("Backend", "Prepared", "Device", "DeviceFaultError"),
    "dibench.errors": ("UserError",),
}
"""By the module to import from; of a module without names, every public class that it defines."""

INTRODUCTION = """\
# The Python API

Written from the docstrings by `scripts/write_api.py`; a test compares. Names that are not on this page are
internal and may change in any release. `import dibench` alone loads nothing heavy. The
[examples](../examples/README.md) show the API at work.
"""


def page() -> str:
    """The whole page as Markdown."""
    return "\n".join([INTRODUCTION, *(line for module in PUBLIC for line in chapter(module))])


def chapter(name: str) -> Iterator[str]:
    """A module and its public names."""
    module = importlib.import_module(name)
    yield f"## {name}\n"
    if name != "dibench":  # whose docstring is a call of what follows
        yield (sentences(inspect.getdoc(module) or "").partition(". ")[0].rstrip(".") + ".\n")
    for public in PUBLIC[name] or classes_of(module):
        yield from entry(name, public, getattr(module, public))


def classes_of(module: ModuleType) -> list[str]:
    """The public classes that a module defines, in the order of its text."""
    tree = ast.parse(inspect.getsource(module))
    return [node.name for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_"]


def entry(module: str, name: str, thing: Any) -> Iterator[str]:
    """A function or class: how it is called or which fields it has, its docstring, and a class's methods."""
    yield f"### {module}.{name}\n"
    fields = field_docs(thing) if attrs.has(thing) else {}
    if not fields and (attrs.has(thing) or not inspect.isclass(thing)):
        yield f"```python\n{call(name, thing).removesuffix(' -> None')}\n```\n"
    yield markdown(inspect.getdoc(thing) or "") + "\n"
    if not inspect.isclass(thing):
        return
    for field, doc in fields.items():
        yield f"- `{field}`" + (f": {doc}" if doc else "")
    for member, value in vars(thing).items():
        text = inspect.getdoc(value)
        if member.startswith("_") or not text:
            continue
        method = getattr(thing, member)
        yield f"- `.{call(member, method) if callable(method) else member}`: {sentences(text)}"
    yield ""


def field_docs(thing: type) -> dict[str, str]:
    """The fields of an attrs class with the text below each; empty where no field has any."""
    found = {
        f"{field.name}: {field.type}": field.metadata["meaning"]
        for field in attrs.fields(thing)
        if "meaning" in field.metadata
    }
    if found:  # a row's columns
        return found
    for kind in reversed(thing.__mro__):
        if attrs.has(kind):
            found |= own_field_docs(kind)
    return found if any(found.values()) else {}


def own_field_docs(thing: type) -> dict[str, str]:
    """Those of the fields that the class itself adds."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for statement, below in pairwise([*tree.body, ast.Pass()]):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = below.value if isinstance(below, ast.Expr) else None
            doc = str(text.value) if isinstance(text, ast.Constant) else ""
            found[f"{statement.target.id}: {ast.unparse(statement.annotation)}"] = " ".join(doc.split())
    return found


def call(name: str, function: Any) -> str:
    """A call with all parameters, one a line where one line would be long."""
    found = inspect.signature(function)
    parameters = [one for one in found.parameters.values() if one.name not in ("self", "cls")]
    text = str(found.replace(parameters=parameters))
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)  # annotations are strings
    if len(name + text) <= 100 or not parameters:
        return name + text
    single = [
        str(found.replace(parameters=[one], return_annotation=inspect.Signature.empty)) for one in parameters
    ]
    lines = [re.sub(r": '([^']*)'", r": \1", one[1:-1].removeprefix("*, ")) for one in single]
    first_by_name = next((at for at, one in enumerate(parameters) if one.kind is one.KEYWORD_ONLY), None)
    if first_by_name is not None:
        lines.insert(first_by_name, "*")
    result = text[text.rindex(")") :]
    return f"{name}(\n" + "".join(f"    {line},\n" for line in lines) + result


def sentences(doc: str) -> str:
    """The first paragraph on one line."""
    return " ".join(doc.partition("\n\n")[0].split())


def markdown(doc: str) -> str:
    """A docstring with its arguments and errors as lists and its examples as code."""
    text = re.sub(r"^(Args|Raises|Returns):$", r"**\1**\n", doc, flags=re.MULTILINE)
    text = re.sub(r"^    (\*{0,2}\w[\w., ]*): ", r"- `\1`: ", text, flags=re.MULTILINE)
    text = re.sub(r"^ {8}(?=\S)", "  ", text, flags=re.MULTILINE)  # where an entry goes on
    examples = re.compile(r"^>>>.*(?:\n(?!\n).+)*", re.MULTILINE)
    return examples.sub(lambda match: f"```python\n{match[0]}\n```", text)


def main() -> None:
    """Write it where the command line says, else in its place."""
    target = Path(sys.argv[1]) if sys.argv[1:] else TARGET
    target.write_text(page().rstrip("\n") + "\n", "utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
