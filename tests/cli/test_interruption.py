"""SIGTERM, SIGHUP and SIGQUIT end a command as Ctrl-C does: 128 and the signal, with all rows and no rest."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fake_backend import sweep_of
from processes import children, environment, lines, wait_for

from dibench import files
from dibench.sweep.run import run_sweep
from dibench.table import read_csv

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]

SWEEP = """
import signal, sys
from fake_backend import sweep_of
from dibench import cli
import dibench.cli.sweep
sweep = sys.modules['dibench.cli.sweep']
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits it ignored
job = sweep_of(["slow"] * 500)
sweep._plan = lambda *_: job.plan
sweep._device = lambda *_: ("fake", ())
sweep._job = lambda *_: job
cli.main(["sweep", "--out", sys.argv[1]])
"""


def started(out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SWEEP, str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_sweep_whose_rows_stay(tmp_path: Path, number: signal.Signals) -> None:
    """To its worker, too: a batch system signals every process of a job."""
    program = started(tmp_path)
    wait_for(lambda: lines(tmp_path) > 3)
    for worker in children(program.pid):
        subprocess.run(["kill", f"-{int(number)}", str(worker)], check=True)
    program.send_signal(number)
    output, errors = program.communicate(timeout=30)
    assert program.returncode == 128 + number, errors
    assert "Traceback" not in errors and "Interrupted: " in output
    frame = read_csv(tmp_path / "sweep.csv")
    assert len(frame) >= 3 and set(frame["status"]) <= {"ok", "flagged"}
    manifest = files.read_json_object(tmp_path / "manifest.json")
    assert manifest is not None and manifest["sessions"][0]["ended"] == "interrupted"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "sweep.csv", "visits.jsonl"]


MERGE = """
import os, signal, sys
from dibench import cli
real = os.fsync
os.fsync = lambda descriptor: os.kill(os.getpid(), int(sys.argv[1])) or real(descriptor)
signal.signal(signal.SIGINT, signal.default_int_handler)
cli.main(["merge", sys.argv[2], "--out", sys.argv[3]])
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_files_are_written_leaves_the_old_ones(tmp_path: Path, number: int) -> None:
    part, out = tmp_path / "part", tmp_path / "out"
    run_sweep(sweep_of(["one", "two"]), part)
    out.mkdir()
    command = [sys.executable, "-c", MERGE, str(int(number)), str(part), str(out)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment(), check=False)
    assert run.returncode == 128 + number and "Traceback" not in run.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "part"] and not list(out.iterdir())


AT_THE_START = """
import os, runpy, signal, sys
import typer
number, when = int(sys.argv[1]), sys.argv[2]
signal.signal(signal.SIGINT, signal.default_int_handler)
if when == "loading":
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "dibench.cli":
                os.kill(os.getpid(), number)
    sys.meta_path.insert(0, Finder())
else:
    typer.main.get_command = lambda app: os.kill(os.getpid(), number)
sys.argv[1:] = ["networks"]
runpy.run_module("dibench", run_name="__main__")
"""


@pytest.mark.parametrize("when", ["loading", "before the verb"])
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_in_the_first_instant_is_no_traceback(number: int, when: str) -> None:
    """Nothing is begun: while modules load the signal itself ends the process, then its status says so."""
    command = [sys.executable, "-c", AT_THE_START, str(int(number)), when]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment(), check=False)
    assert (run.returncode, run.stderr) == (-number if when == "loading" else 128 + number, "")


def test_what_the_caller_ignores_stays_ignored(tmp_path: Path) -> None:
    program = "import signal, os; from dibench.cli import interruption; interruption.listen(); "
    program += "os.kill(os.getpid(), signal.SIGHUP); print('goes on')"
    command = ["nohup", sys.executable, "-c", program]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=environment(), check=False, cwd=tmp_path
    )
    assert run.stdout == "goes on\n" and run.returncode == 0
