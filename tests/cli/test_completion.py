"""A shell can complete verbs and options."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("dibench ex", {"explain"}), ("dibench sweep --t", {"--time-budget", "--target"})],
)
def test_verbs_and_options_are_completed(typed: str, offered: set[str]) -> None:
    asked = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" ")), "_DIBENCH_COMPLETE": "complete_bash"}
    command = [sys.executable, "-m", "dibench"]
    done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, timeout=60)
    assert set(done.stdout.split()) == offered


def test_the_script_for_the_shell_is_of_the_command_dibench() -> None:
    command = [sys.executable, "-m", "dibench", "--show-completion", "bash"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "complete -o default -F _dibench_completion dibench"
