"""What keeps the code easy to take over: no circles of modules, no long or wide function without a reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from imports import circles, imports_of

ROOT = Path(__file__).parents[2]
LONGEST_LINES, MOST_PARAMETERS = 60, 7


def test_no_module_imports_itself_through_others() -> None:
    found = [sorted(circle) for circle in circles(imports_of("dibench"))]
    assert not found, "break the circle: move what both need into a module below them"


def test_a_circle_is_found_inside_functions_and_not_for_type_checkers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "circular"
    package.mkdir()
    for name, text in {
        "__init__": "",
        "a": "from circular import b\n",
        "b": "def late() -> None:\n    from circular.c import C\n",
        "c": "import circular.a\nclass C: ...\n",
        "d": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from circular import e\n",
        "e": "from circular import d\n",
    }.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert circles(imports_of("circular")) == [{"circular.a", "circular.b", "circular.c"}]


def large(source: str) -> Iterator[str]:
    """Functions that are too long or take too much, and no comment beside them says why.

    A docstring is not counted. The comment stands above the function or in its head, and begins with
    `# Long because` or `# Wide because`.
    """
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        doc = node.body[0] if ast.get_docstring(node) else None
        length = (node.end_lineno or 0) - node.lineno + 1
        length -= (doc.end_lineno or 0) - doc.lineno + 1 if doc else 0
        taken = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        parameters = len(taken) - (taken[:1] in (["self"], ["cls"]))
        parameters += bool(node.args.vararg) + bool(node.args.kwarg)
        above = min(one.lineno for one in (node, *node.decorator_list)) - 1
        while above > 0 and lines[above - 1].lstrip().startswith("#"):
            above -= 1
        head = "\n".join(lines[above : node.body[0].lineno])
        if length > LONGEST_LINES and "# Long because " not in head:
            yield f"{node.name}: {length} lines"
        if parameters > MOST_PARAMETERS and "# Wide because " not in head:
            yield f"{node.name}: {parameters} parameters"


def test_a_large_function_has_a_reason_beside_it() -> None:
    found = {
        f"{path.relative_to(ROOT)} {one}"
        for path in sorted((ROOT / "dibench").rglob("*.py"))
        for one in large(path.read_text("utf-8"))
    }
    assert not found, (
        "divide it, group its parameters in a type, or say why not (# Long because, # Wide because)"
    )


def test_a_large_function_is_found_and_a_reason_heard() -> None:
    long = "def long(a):\n" + "    a += 1\n" * 60
    wide = "def wide(self, a, b, c, d, e, f, *g, h):\n    pass\n"
    assert list(large(long + wide)) == ["long: 61 lines", "wide: 8 parameters"]
    assert list(large(f"# Long because it is a table.\n{long}\n# Wide because\n# of us\n{wide}")) == [
        "wide: 8 parameters"
    ]
    assert not list(large(long.replace("    a += 1\n", "", 1)))


def test_findings_import_nothing_that_computes() -> None:
    findings = {
        module: imported
        for module, imported in imports_of("dibench").items()
        if module.startswith("dibench.study.findings")
    }
    assert findings
    for module, imported in findings.items():
        assert {one for one in imported if one.startswith("dibench.study.")} <= findings.keys(), module
        assert "scipy" not in external(module), module


def external(module: str) -> set[str]:
    """The packages from elsewhere that a module imports, but not for type checkers alone."""
    path = ROOT / module.replace(".", "/")
    source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text("utf-8")
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if not isinstance(node, ast.If)]
    named = [one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names]
    named += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in named}


IN_PLACE = {"copyfile", "copy", "copy2", "move", "copytree"}
"""Of shutil."""
ELSEWHERE = {
    "files.py": "replaces files",
    "directories.py": "fills a directory that is put in place later",
    "backends/cuda_cache.py": "writes a temporary file, then renames it",
    "backends/host.py": "compiles in a temporary directory",
    "check/counters.py": "hands cases to ncu in a temporary directory",
    "sweep/visit_book.py": "adds whole lines; the next start reads those alone",
    "kernels/compilers/sass.py": "disassembles in a temporary directory",
}
"""Modules that may write a file in place, and why no kill can tear what they leave."""


def in_place(source: str) -> Iterator[str]:
    """Calls that write over a file, or write one that is seen before all of it is there."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        of = node.func.value if isinstance(node.func, ast.Attribute) else None
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        words = [one.value for one in node.args if isinstance(one, ast.Constant)]
        opens = name == "open" and any(isinstance(word, str) and set(word) & set("wax") for word in words)
        of_shutil = getattr(of, "id", "") == "shutil"
        if opens or name in {"write_text", "write_bytes"} or (of_shutil and name in IN_PLACE):
            yield f"line {node.lineno}: {ast.unparse(node)[:60]}"


def test_what_users_keep_is_replaced_and_never_written_in_place() -> None:
    package = ROOT / "dibench"
    found = {
        str(path.relative_to(package)): list(in_place(path.read_text("utf-8")))
        for path in sorted(package.rglob("*.py"))
    }
    writing = {name: calls for name, calls in found.items() if calls}
    assert not {name: calls for name, calls in writing.items() if name not in ELSEWHERE}, (
        "a kill would leave half of it: files.replace_file"
    )
    assert writing.keys() == ELSEWHERE.keys(), "no longer needed"


def test_a_write_in_place_is_found() -> None:
    source = "path.write_text(a)\nshutil.copyfile(a, b)\nopen(a, 'w')\na.open('ab')\nopen(a)\na.copy(b)\n"
    assert [one.partition(":")[0] for one in in_place(source)] == [
        f"line {number}" for number in (1, 2, 3, 4)
    ]
