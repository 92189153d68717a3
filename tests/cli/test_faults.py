"""A seeded part of `scripts/break_it.py`: verbs killed, signalled, refused by the disk; nothing is lost."""

from __future__ import annotations

import errno
import random
import signal
from collections.abc import Iterator

import pytest
import typer
from broken_writers import MUTANTS
from fault_bench import Bench
from faults import Fault
from writing_verbs import VERBS

from dibench.cli import app

NAMED = {verb.name: verb for verb in VERBS}
QUICK = ("import", "merge", "sweep")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    try:
        made = Bench(tmp_path_factory.mktemp("faults"))
    except FileNotFoundError as why:
        pytest.skip(str(why))
    try:
        for name in QUICK:
            made.prepare(NAMED[name])
        yield made
    finally:
        made.close()


def test_every_verb_is_among_those_that_are_broken() -> None:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group of commands
    assert {verb.name.split()[0] for verb in VERBS} == set(verbs), "each has --json, so each writes"


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_a_fault_loses_doubles_and_leaves_nothing(bench: Bench, name: str) -> None:
    source, one = random.Random(f"20 {name}"), bench.prepared[name]

    def at() -> int:
        return source.randint(1, one.calls)

    faults = [
        Fault(at=at()),
        Fault(at=at(), error=errno.ENOSPC, on=True),
        Fault(at=at(), error=errno.EIO),
        Fault(at=at(), error=errno.EROFS, on=True),
        Fault(after_s=source.uniform(0.0, one.seconds), everyone=True),
        Fault(after_s=source.uniform(0.0, one.seconds), signal=signal.SIGTERM),
    ]
    for fault in faults:
        tried = bench.broken(NAMED[name], fault)
        assert tried.struck or fault.after_s, tried
        assert not tried.harms, tried


NOTICED = {
    "in_place": ("import", "torn"),
    "untidy": ("merge", "left over"),
    "traceback": ("import", "tracebacks"),
    "forgetful": ("merge", "lost"),
    "doubling": ("sweep", "doubled"),
}
"""By mutant: a verb, and the harm that it does to it."""


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_writer_that_is_broken_is_noticed(bench: Bench, mutant: str) -> None:
    name, harm = NOTICED[mutant]
    verb, calls = NAMED[name], bench.prepared[name].calls
    error = errno.EIO if harm == "tracebacks" else 0
    order = range(1, calls + 1) if name == "import" else range(calls - 1, 0, -1)
    assert any(harm in bench.broken(verb, Fault(at=at, error=error), mutant).harms for at in order)


@pytest.mark.slow
def test_calls_that_fail_are_those_that_change_a_file(bench: Bench) -> None:
    faults = [Fault(at=at, error=errno.EROFS, on=True) for at in (1, 2, 3, 4)]
    told = [bench.broken(NAMED["import"], fault).text.rpartition(" at ")[2] for fault in faults]
    assert told == ["open64", "write", "fsync", "rename"]
