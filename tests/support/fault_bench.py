"""A place where verbs that write are run, one after the other, each under one fault."""

from __future__ import annotations

import errno
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

import attrs
from fault_harms import Found, Known, contents, harms_at_once, harms_later, settled
from faults import NOTHING, Ended, Fault, Verbs
from writing_verbs import Verb


@attrs.frozen
class Prepared:
    """A verb's place, and what an undisturbed run of it makes and takes."""

    template: Path
    known: Known
    calls: int
    calls_and_reads: int
    seconds: float


@attrs.frozen
class Tried:
    """What became of one fault."""

    struck: bool
    """Whether it came before the verb ended."""
    harms: Mapping[str, str]
    text: str
    """The fault, in words."""


class Bench:
    """A place where verbs are run, one after the other."""

    def __init__(self, folder: Path) -> None:
        """Start a program to run them.

        Raises:
            FileNotFoundError: see `faults.build`.
        """
        self.place, self._templates = folder / "place", folder / "made"
        self._verbs = Verbs(folder / "program", ("scipy.special", "replayed_device", "writing_verbs"))
        self.prepared: dict[str, Prepared] = {}

    def close(self) -> None:
        self._verbs.close()

    def prepare(self, verb: Verb) -> None:
        """Make what the verb needs, and see what an undisturbed run of it does."""
        self._lay_out(None)
        verb.make(self.place, lambda words: self._undisturbed(verb, words))
        template = self._templates / verb.name
        shutil.copytree(self.place, template, symlinks=True)
        before = Found.of(self.place, verb)
        self._undisturbed(verb, verb.words)  # and imports what it needs
        known = Known(before.files, contents(self.place), before.measured)
        self._lay_out(template)
        alone = self._undisturbed(verb, verb.words)
        self._lay_out(template)
        with_reads = self._undisturbed(verb, verb.words, Fault(error=errno.EIO))
        self.prepared[verb.name] = Prepared(template, known, alone.calls, with_reads.calls, alone.seconds)

    def broken(self, verb: Verb, fault: Fault, mutant: str = "") -> Tried:
        """Run a verb under a fault, and once more without; `mutant`, of broken_writers, breaks it."""
        one = self.prepared[verb.name]
        self._lay_out(one.template)
        ended = self._run(verb, verb.words, fault, mutant)
        found = Found.of(self.place, verb)
        harms = harms_at_once(verb, one.known, fault, ended, found)
        if not settled(verb, one.known, found):
            again = self._run(verb, verb.words, NOTHING, mutant)
            harms |= harms_later(verb, one.known, found, again, Found.of(self.place, verb))
        struck = bool(ended.failed) if fault.at else ended.status != 0
        return Tried(struck, harms, f"{_in_words(fault)}{ended.failed and f' at {ended.failed}'}")

    def _lay_out(self, template: Path | None) -> None:
        """The place as it was made."""
        if self.place.exists():
            shutil.rmtree(self.place)
        if template is not None:
            shutil.copytree(template, self.place, symlinks=True)
        for name in ("cache", "tmp"):
            (self.place / name).mkdir(parents=True, exist_ok=True)

    def _undisturbed(self, verb: Verb, words: str, fault: Fault = NOTHING) -> Ended:
        ended = self._run(verb, words, fault)
        assert ended.status == 0 and not ended.stray, (words, ended)
        return ended

    def _run(self, verb: Verb, words: str, fault: Fault, mutant: str = "") -> Ended:
        own = {"TMPDIR": str(self.place / "tmp"), "DIBENCH_CACHE": str(self.place / "cache")}
        patches = [verb.patch] * bool(verb.patch) + [f"broken_writers:{mutant}"] * bool(mutant)
        return self._verbs.run(words.split(), self.place, fault, patches, REPLAYED_SCALE="4096", **own)


def _in_words(fault: Fault) -> str:
    if fault.after_s is not None:
        everyone = " to all" if fault.everyone else ""
        return f"{signal.Signals(fault.signal).name}{everyone} after {fault.after_s:.3f} s"
    what = errno.errorcode[fault.error] if fault.error else "SIGKILL"
    return f"{what}{' from then on' if fault.on else ''} at file call {fault.at}"
