"""What travels: kernels, their sources and tables in wheel and sdist; nothing that is built or measured."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import dibench
from dibench.plan import load_plan

ROOT = Path(__file__).parents[2]


def build(kind: str, out: Path, tree: Path = ROOT) -> Path:
    """The sdist or wheel that pip would make, from a tree and the objects it has already compiled."""
    script = f"from setuptools.build_meta import build_{kind}; build_{kind}({str(out)!r})"
    subprocess.run([sys.executable, "-c", script], cwd=tree, check=True, capture_output=True)
    (archive,) = (path for path in out.iterdir() if path.suffix in (".gz", ".whl"))
    return archive


def test_the_sdist_holds_all_that_a_build_needs_and_nothing_that_was_built(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "csrc").rglob("*.*") if path.is_file()}
    assert len(sources) > 8
    assert sources <= names
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE", "dibench/py.typed"} <= names
    assert sum(name.startswith("dibench/networks/tables/") for name in names) >= 26
    assert not [name for name in names if name.endswith((".so", ".o"))]
    assert not [name for name in names if name.startswith(("results/", "build/"))]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the unpacked sdist, with nothing of the checkout but objects it has compiled already.

    An object is taken only if every source it is made of is there and the same: see setup.py.
    """
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build("sdist", folder)) as tar:
        tar.extractall(folder, filter="data")
    (tree,) = (path for path in folder.iterdir() if path.is_dir())
    objects = ROOT / "build" / "cpu" / "release"
    if objects.exists():
        shutil.copytree(objects, tree / "build" / "cpu" / "release")
    return build("wheel", tmp_path_factory.mktemp("wheel"), tree)


def needed() -> set[str]:
    """What a minimal install pulls in: the requirements without extras, and theirs."""
    found: set[str] = set()
    waiting = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    while waiting:
        requirement = Requirement(waiting.pop())
        if requirement.name in found or (
            requirement.marker and not requirement.marker.evaluate({"extra": ""})
        ):
            continue
        found.add(requirement.name)
        waiting += importlib.metadata.distribution(requirement.name).requires or []
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of the wheel and what it requires, linked from here instead of downloaded."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in needed():
        distribution = importlib.metadata.distribution(name)
        tops = {Path(str(file)).parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
        for top in tops:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution.locate_file(top))))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-index", "--no-deps", str(wheel)], check=True)
    subprocess.run([*pip, "check"], check=True, capture_output=True)
    return folder / "bin" / "python"


def away(python: Path, folder: Path, *arguments: str) -> str:
    """What the program prints, run as a user would in a directory of their own."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [str(python), *arguments], cwd=folder, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_package_travels() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    code = {path.parent for path in (ROOT / "dibench").rglob("__init__.py")}
    found = {".".join(folder.relative_to(ROOT).parts) for folder in code}
    assert found <= set(settings["packages"])


@pytest.mark.slow
def test_the_sdist_makes_the_wheel_that_the_checkout_makes(wheel: Path, tmp_path: Path) -> None:
    names = [set(zipfile.ZipFile(one).namelist()) for one in (wheel, build("wheel", tmp_path))]
    assert names[0] == names[1]
    assert {"dibench/py.typed", "dibench/csrc/cpu/kernel.h"} <= names[0]


@pytest.mark.slow
def test_a_minimal_install_does_the_main_job_away_from_its_checkout(python: Path, tmp_path: Path) -> None:
    quick = ("--case-budget", "0.02s", "--target", "50")
    cases = len(load_plan("smoke", backend="cpu").cases)
    assert f"{cases} of {cases} cases" in away(
        python, tmp_path, "-m", "dibench", "sweep", "smoke", "--out", "out", *quick
    )
    assert away(python, tmp_path, "-m", "dibench", "fit", "out/sweep.csv", "--draws", "99")
    away(python, tmp_path, "-m", "dibench", "report", "out")
    assert (tmp_path / "out" / "report.html").stat().st_size > 50_000
    script = python.parent / "dibench"
    assert "python -m dibench" in away(script, tmp_path)
    where = away(
        python, tmp_path, "-c", "import dibench, dibench._cpu as c; print(dibench.__file__, c.__file__)"
    )
    assert all(str(python.parent.parent) in path for path in where.split())


def test_a_minimal_install_holds_nothing_that_extras_bring(python: Path, tmp_path: Path) -> None:
    extras = "('pytest', 'hypothesis', 'onnx', 'torch', 'cupy', 'pynvml', 'zeus', 'distributed', 'pybind11')"
    code = f"import importlib.util as u; print([name for name in {extras} if u.find_spec(name)])"
    assert away(python, tmp_path, "-c", code) == "[]\n"


def test_every_extra_that_the_documents_name_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"])
    assert {"cuda13", "cuda12", "onnx", "torch", "dask", "zeus", "test"} <= extras
    texts = [path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))]
    texts += [path.read_text() for path in (ROOT / "dibench").rglob("*.py")]
    named = {name for text in texts for name in re.findall(r"dibench\[(\w+)\]", text)}
    assert named and named <= extras


def test_the_changelog_and_the_citation_are_of_this_version() -> None:
    assert f"## {dibench.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {dibench.__version__}\n" in citation and "\nlicense: Apache-2.0\n" in citation


def test_every_package_of_the_tree_is_named_in_pyproject() -> None:
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    inits = (ROOT / "dibench").rglob("__init__.py")
    found = {".".join(init.parent.relative_to(ROOT).parts) for init in inits}
    assert found | {"dibench.csrc"} == set(named)
