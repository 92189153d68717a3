"""What travels: kernels, their sources and tables in wheel and sdist; nothing that is built or measured."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def build(kind: str, out: Path) -> Path:
    """The sdist or wheel that pip would make, from this checkout and the objects it has already compiled."""
    script = f"from setuptools.build_meta import build_{kind}; build_{kind}({str(out)!r})"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True)
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


def test_an_installed_wheel_runs_away_from_its_checkout(tmp_path: Path) -> None:
    wheel, site = build("wheel", tmp_path), tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(install, check=True)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import dibench; assert dibench.__file__.startswith(sys.argv[1]), dibench.__file__\n"
        "from dibench import _cpu, networks, plan, variants\n"
        "assert _cpu.__file__.startswith(sys.argv[1])\n"
        "assert set(variants.registry('cpu')) == set(_cpu.variants())\n"
        "assert len(plan.load_plan('default', backend='cpu').cases) >= 100\n"
        "assert len(networks.load('resnet50')) == 54\n"
    )
    subprocess.run([sys.executable, "-P", "-c", script, str(site)], cwd=tmp_path, check=True)


def test_every_package_of_the_tree_is_named_in_pyproject() -> None:
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    inits = (ROOT / "dibench").rglob("__init__.py")
    found = {".".join(init.parent.relative_to(ROOT).parts) for init in inits}
    assert found | {"dibench.csrc"} == set(named)
