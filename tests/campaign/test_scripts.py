"""The scripts behind `make run`, `make campaign` and `make gpu-check`: what they call, and how they end.

They run in an empty directory. In the driver's place is a small library with one GPU, and in Python's place
a program that writes down every `python -m …` and lets Python answer only what the scripts ask before.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from fake_driver import driver
from processes import alive, environment, wait_for

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parents[2] / "scripts"
PYTHON = """#!/usr/bin/env bash
[ "$1" = -m ] || exec {python} "$@"
shift
echo "$*" >> {place}/calls
for verb in $FAILS; do
  case "$* " in "$verb "* | "dibench $verb "*) exit "${{STATUS:-3}}" ;; esac
done
[ "$1" != pip ] || touch {place}/site/cupy.py
case "$*" in "dibench ${{HANGS:-nothing}} "*) echo $$ > {place}/pid; exec sleep 60 ;; esac
"""
WITHOUT_NVRTC = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "nvidia" else find(name, package)
"""


@attrs.frozen
class Ran:
    """How a script ended, and what it called."""

    status: int
    out: str
    err: str
    calls: list[str]


@attrs.frozen
class Machine:
    """A directory with the scripts, and what is installed there."""

    place: Path
    variables: dict[str, str]

    def run(self, script: str, *arguments: str, **variables: str) -> Ran:
        done = subprocess.run(
            ["bash", f"scripts/{script}.sh", *arguments],
            cwd=self.place, env={**self.variables, **variables}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        log = self.place / "calls"
        calls = log.read_text().splitlines() if log.is_file() else []
        log.unlink(missing_ok=True)
        return Ran(done.returncode, done.stdout, done.stderr, calls)


def machine(place: Path, *, gpu: bool, cupy: bool = True, nvrtc: bool = True) -> Machine:
    shutil.copytree(SCRIPTS, place / "scripts", ignore=shutil.ignore_patterns("*.py"))
    site = place / "site"
    site.mkdir()
    if cupy:
        (site / "cupy.py").touch()
    if not nvrtc:
        (site / "sitecustomize.py").write_text(WITHOUT_NVRTC)
    if gpu:
        shutil.copy(driver(place), place / "libcuda.so.1")
    python = place / "python"
    python.write_text(PYTHON.format(python=sys.executable, place=place))
    python.chmod(0o755)
    found = environment(PY=str(python), LD_LIBRARY_PATH=str(place))
    for name in ("OUT", "BACKEND", "TIME_BUDGET", "DIBENCH_KERNELS", "FAILS", "STATUS"):
        found.pop(name, None)
    return Machine(place, {**found, "PYTHONPATH": f"{site}:{found['PYTHONPATH']}", "FAILS": ""})


PIP = "pip install --quiet --disable-pip-version-check --retries 1 --timeout 15 --editable .[cuda12]"


def job(backend: str, *arguments: str) -> list[str]:
    """What `make run` calls in the end."""
    out = f"results/local/{backend}"
    sweep = ["dibench sweep default --backend", backend, "--out", out, "--time-budget 150s", *arguments]
    return [" ".join(sweep), f"dibench fit {out}/sweep.csv --json {out}/fit.json", f"dibench report {out}"]


SELFTEST = "dibench selftest --backend cuda --once"


def test_without_a_gpu_the_main_job_is_the_cpus(tmp_path: Path) -> None:
    ran = machine(tmp_path, gpu=False).run("run", "--seed", "2")
    assert (ran.status, ran.err, ran.calls) == (0, "", job("cpu", "--seed 2"))
    assert "Measured GPU data are still to come" in ran.out


def test_with_a_gpu_its_kernels_are_checked_and_nothing_is_installed_twice(tmp_path: Path) -> None:
    here = machine(tmp_path, gpu=True)
    ran = here.run("run")
    assert (ran.status, ran.err, ran.calls) == (0, "", [SELFTEST, *job("cuda")])
    assert here.run("run", BACKEND="cpu").calls == job("cpu"), "the driver is not asked"


def test_what_a_gpu_needs_is_installed_once(tmp_path: Path) -> None:
    here = machine(tmp_path, gpu=True, cupy=False)
    ran = here.run("run")
    assert (ran.status, ran.calls) == (0, [PIP, SELFTEST, *job("cuda")])
    assert "installing what its driver needs (the extra cuda12)" in ran.out
    assert here.run("run").calls == [SELFTEST, *job("cuda")]


@pytest.mark.parametrize("cupy", [False, True], ids=["without CuPy", "without a compiler"])
def test_offline_the_main_job_goes_on_on_the_cpu(tmp_path: Path, cupy: bool) -> None:
    ran = machine(tmp_path, gpu=True, cupy=cupy, nvrtc=False).run("run", FAILS="pip")
    assert (ran.status, ran.calls) == (0, [PIP, *job("cpu")])
    assert "could not be installed; continuing on: cpu" in ran.err


def test_what_fails_ends_the_main_job_with_its_status(tmp_path: Path) -> None:
    here = machine(tmp_path, gpu=True)
    ran = here.run("run", FAILS="selftest", STATUS="1")
    assert (ran.status, ran.calls) == (1, [SELFTEST]), "wrong kernels measure nothing"
    ran = here.run("run", FAILS="sweep", STATUS="130")
    assert (ran.status, ran.calls) == (130, [SELFTEST, job("cuda")[0]]), "it was interrupted"


def test_rows_that_cannot_be_fitted_are_reported_all_the_same(tmp_path: Path) -> None:
    """The report begins with the reason; the status stays that of the fit, and no older fit stays beside."""
    here, older = machine(tmp_path, gpu=False), tmp_path / "results" / "local" / "cpu" / "fit.json"
    older.parent.mkdir(parents=True)
    older.touch()
    ran = here.run("run", FAILS="fit", STATUS="2")
    assert (ran.status, ran.calls) == (2, job("cpu"))
    assert not older.exists() and "Measured GPU data are still to come" in ran.out
    assert here.run("run", FAILS="fit", STATUS="130").calls == job("cpu")[:2], "it was interrupted"


def test_a_campaign_goes_on_where_the_runs_before_it_ended(tmp_path: Path) -> None:
    here = machine(tmp_path, gpu=True)
    first = "dibench campaign --time-budget 9m --out results/local/campaign/1"
    assert here.run("campaign").calls == [first]
    (tmp_path / "results" / "local" / "campaign" / "1").mkdir(parents=True)
    assert here.run("campaign").calls == [first], "nothing was measured there yet"
    for folder in ("results/nvidia-test", "results/local/campaign/1", "elsewhere/1", "elsewhere/2"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "sweep.csv").touch()
    (call,) = here.run("campaign", "--seed", "3", TIME_BUDGET="4m").calls
    assert call == (
        "dibench campaign --time-budget 4m --out results/local/campaign/2 "
        "--resume results/nvidia-test --resume results/local/campaign/1 --seed 3"
    )
    (call,) = here.run("campaign", OUT="elsewhere").calls
    assert "--out elsewhere/3 " in call and call.endswith("--resume elsewhere/1 --resume elsewhere/2")


@pytest.mark.parametrize("arguments", [("--kernels", "brought"), ("--kernels=brought",)])
def test_kernels_that_are_brought_along_need_no_compiler(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ran = machine(tmp_path, gpu=True, nvrtc=False).run("campaign", *arguments, FAILS="pip")
    assert (ran.status, ran.err) == (0, "")
    assert ran.calls == [
        " ".join(["dibench campaign --time-budget 9m --out results/local/campaign/1", *arguments])
    ], "pip is not asked, which takes minutes without a network"


@pytest.mark.parametrize("gpu", [True, False], ids=["offline", "without a GPU"])
def test_the_campaign_itself_says_what_it_lacks(tmp_path: Path, gpu: bool) -> None:
    ran = machine(tmp_path, gpu=gpu, cupy=False, nvrtc=False).run(
        "campaign", FAILS="pip campaign", STATUS="2"
    )
    assert ran.status == 2 and [call.split()[0] for call in ran.calls] == ["pip", "dibench"][not gpu :]
    assert ("could not be installed; going on with what is here" in ran.err) == gpu


def test_a_signal_to_the_script_ends_the_campaign(tmp_path: Path) -> None:
    here = machine(tmp_path, gpu=True)
    program = subprocess.Popen(
        ["bash", "scripts/campaign.sh"], cwd=tmp_path, env={**here.variables, "HANGS": "campaign"}
    )
    wait_for(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text().strip())
    program.send_signal(signal.SIGTERM)
    assert program.wait(timeout=20) == -signal.SIGTERM
    assert not alive(int((tmp_path / "pid").read_text()))


def tools(place: Path, *names: str) -> str:
    """A PATH with these tools, which write themselves down, before what the scripts need themselves."""
    folder = place / "tools"
    folder.mkdir()
    for name in names:
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $1 $2" >> {place}/calls\n')
        (folder / name).chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def test_everything_that_only_a_gpu_can_show(tmp_path: Path) -> None:
    here = machine(tmp_path, gpu=True)
    out = "results/local/gpu-check"
    path = tools(tmp_path, "compute-sanitizer", "ncu")
    ran = here.run("gpu-check", PATH=path)
    assert ran.status == 0 and "not measured: PyTorch with CUDA is not installed" in ran.out
    assert ran.calls == [
        "dibench doctor",
        "dibench selftest --backend cuda",
        "compute-sanitizer --tool memcheck",
        "compute-sanitizer --tool racecheck",
        "dibench calibrate",
        f"dibench sweep smoke --backend cuda --meter auto --out {out}/smoke --fresh",
        f"dibench counters benchmarks/counters.toml --cases 200 --out {out}/counters.csv",
        f"benchmarks.gpu_limits {out}/limits.csv",
    ]
    ran = here.run("gpu-check", PATH=path, FAILS="selftest calibrate")
    assert ran.status == 1 and len(ran.calls) == 8, "the others are looked at all the same"
    assert ran.err.count("FAILED: ") == 2 and "FAILED: " + str(tmp_path / "python") in ran.err


def test_tools_that_are_missing_are_named(tmp_path: Path) -> None:
    here = machine(tmp_path, gpu=True)
    ran = here.run("gpu-check", PATH=tools(tmp_path))
    assert ran.status == 0
    for tool in ("compute-sanitizer", "ncu"):
        assert f"not checked: {tool} is not installed" in ran.out
    ran = here.run("gpu-check", FAILS="pip", PYTHONPATH=here.variables["PYTHONPATH"].partition(":")[2])
    assert (ran.status, ran.calls) == (1, [PIP]), "without CuPy there is nothing to check"


def test_measured_datasets_are_shown_and_ones_own_are_none(tmp_path: Path) -> None:
    here = machine(tmp_path, gpu=False)
    for name in ("local", "nvidia-test"):
        (tmp_path / "results" / name).mkdir(parents=True)
        (tmp_path / "results" / name / "sweep.csv").touch()
    ran = here.run("measured", FAILS="fit")
    assert (ran.status, ran.calls) == (0, ["dibench fit results/nvidia-test/sweep.csv --backend cuda"])
    assert "its fit could not be shown; see results/nvidia-test/report.html" in ran.err


def python(place: Path, answers: str) -> str:
    """A Python that fails where `answers`, lines of a shell's `case`, say so."""
    path = place / "some-python"
    path.write_text(f'#!/bin/bash\ncase "$*" in\n{answers}\n*get_paths*) echo {place} ;;\nesac\n')
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("answers", "compiler", "header", "said"),
    [
        ("", True, True, ""),
        ("", False, True, "missing: a C++ compiler (g++)\ninstall with: sudo apt-get install g++\n"),
        (
            "*version_info*) exit 1 ;; --version) echo Python 3.9 ;;",
            True,
            True,
            "3.11 or newer (got Python 3.9)",
        ),
        (
            "*ensurepip*) exit 1 ;;",
            True,
            False,
            "install with: sudo apt-get install python3-venv python3-dev\n",
        ),
    ],
    ids=["all there", "no compiler", "old Python", "no venv, no headers"],
)
def test_what_must_be_there_before_anything_is_built(
    tmp_path: Path, answers: str, compiler: bool, header: bool, said: str
) -> None:
    here = machine(tmp_path, gpu=False)
    if header:
        (tmp_path / "Python.h").touch()
    path = tools(tmp_path, *(["g++"] if compiler else [])).partition(":")[0]
    (Path(path) / "bash").symlink_to("/bin/bash")
    ran = here.run("check-prerequisites", PATH=path, PYTHON=python(tmp_path, answers))
    assert ran.status == bool(said) and said in ran.err and ran.out == ""
    if said:
        assert "install with" in ran.err or "name another with PYTHON=" in ran.err


def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    ran = machine(tmp_path, gpu=False).run("check-prerequisites", PYTHON="python9")
    assert ran.status == 1 and "missing: python9" in ran.err and "apt-get install" in ran.err
