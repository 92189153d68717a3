"""All writing verbs killed, signalled, refused by the disk: `python scripts/break_it.py --errors`.

Each verb of tests/support/writing_verbs.py is killed at each of its file calls, then at random instants until
there were so many kills; a quarter as many signals (INT, TERM, HUP, QUIT) come at random instants, too. Quick
verbs get more of what is random. With `--errors`, each file call returns ENOSPC (and all later ones), EIO
(once; calls that read, too), EROFS (and all later ones). After each fault the place is looked at; if it is
neither as before nor as an undisturbed run leaves it, the same command runs again, and it is looked at again.
It prints one table. Of each harm to a verb the first is told, and its place kept in build/break-it/. Ctrl-C
ends early. `--mutant NAME` breaks the program on purpose: then there must be harm.
"""

from __future__ import annotations

import argparse
import errno
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
os.environ.setdefault("DIBENCH_CACHE", str(ROOT / "build" / "test-cache"))

from broken_writers import MUTANTS  # noqa: E402 - of the tests, found through the path above
from faults import Fault  # noqa: E402 - likewise
from writing_verbs import HARMS, VERBS, Bench, Tried, Verb  # noqa: E402 - likewise

KEPT = ROOT / "build" / "break-it"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
ERRORS = ((errno.ENOSPC, True), (errno.EIO, False), (errno.EROFS, True))
AT_ONCE = 2
Job = tuple[Verb, Fault]


class Campaign:
    """All faults, dealt to a few benches, and what they did."""

    def __init__(self, verbs: list[Verb], folder: Path, mutant: str) -> None:
        """Make every verb's place, and run it undisturbed."""
        self.mutant = mutant
        self.counts: dict[str, Counter[str]] = {verb.name: Counter() for verb in verbs}
        self.told: set[tuple[str, str]] = set()
        self.benches = [Bench(folder / str(number)) for number in range(AT_ONCE)]
        self.lock, self.done, self.total, self.begin = threading.Lock(), 0, 0, 0.0
        for number, verb in enumerate(verbs, start=1):
            say(f"{number}/{len(verbs)} made: {verb.name}")
            self.benches[0].prepare(verb)
        for bench in self.benches[1:]:
            bench.prepared = self.benches[0].prepared

    def jobs(self, verbs: list[Verb], kills: int, errors: bool, source: random.Random) -> list[Job]:
        """Kills and signals first, then errors."""
        prepared = self.benches[0].prepared
        at_calls = [(verb, Fault(at=at)) for verb in verbs for at in range(1, prepared[verb.name].calls + 1)]
        found: list[Job] = source.sample(at_calls, min(kills, len(at_calls)))
        numbers = [signal.SIGKILL] * (kills - len(found)) + [*SIGNALS] * (kills // 4 // len(SIGNALS))
        quick = [1 / (0.5 + prepared[verb.name].seconds) for verb in verbs]
        for number in numbers:
            (verb,) = source.choices(verbs, quick)
            after_s = source.uniform(0.0, prepared[verb.name].seconds)
            fault = Fault(after_s=after_s, signal=number, everyone=source.random() < 0.5)
            found.append((verb, fault))
        source.shuffle(found)
        refused: list[Job] = []
        for verb, (error, on) in itertools.product(verbs, ERRORS if errors else ()):
            one = prepared[verb.name]
            calls = one.calls_and_reads if error == errno.EIO else one.calls
            refused += [(verb, Fault(at=at, error=error, on=on)) for at in range(1, calls + 1)]
        source.shuffle(refused)
        return found + refused

    def run(self, jobs: list[Job]) -> None:
        """All of them, by as many threads as there are benches; Ctrl-C ends after those under way."""
        self.total, self.begin, rest = len(jobs), time.monotonic(), iter(jobs)
        threads = [threading.Thread(target=self._work, args=(bench, rest)) for bench in self.benches]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            with self.lock:
                jobs_left = sum(1 for _ in rest)
            print(f"\nended early, {jobs_left} faults were left")
            for thread in threads:
                thread.join()

    def _work(self, bench: Bench, rest: Iterator[Job]) -> None:
        while True:
            with self.lock:
                job = next(rest, None)
            if job is None:
                return
            verb, fault = job
            tried = bench.broken(verb, fault, self.mutant)
            for _ in range(5):
                if tried.struck or fault.error or tried.harms:
                    break
                # The verb was quicker.
                after_s = fault.after_s or self.benches[0].prepared[verb.name].seconds
                fault = attrs.evolve(fault, at=0, after_s=after_s * 0.7)
                tried = bench.broken(verb, fault, self.mutant)
            with self.lock:
                self.done += 1
                self._note(verb, fault, tried, bench.place)

    def _note(self, verb: Verb, fault: Fault, tried: Tried, place: Path) -> None:
        spent = time.monotonic() - self.begin
        left = spent / self.done * (self.total - self.done)
        say(f"{self.done}/{self.total}  {left / 60:.0f} minutes left")
        counts = self.counts[verb.name]
        what = "errors" if fault.error else "kills" if fault.signal == signal.SIGKILL else "signals"
        counts[what] += tried.struck
        for harm, why in tried.harms.items():
            counts[harm] += 1
            if (verb.name, harm) not in self.told:
                self.told.add((verb.name, harm))
                kept = KEPT / f"{verb.name.replace(' ', '-')}-{harm.replace(' ', '-')}"
                shutil.rmtree(kept, ignore_errors=True)
                shutil.copytree(place, kept, symlinks=True)
                print(f"\n{verb.name}: {harm}: {tried.text}: {why}", flush=True)

    def table(self) -> str:
        """Faults that struck, and harms, by verb."""
        columns = ("kills", "signals", "errors", *HARMS)
        total = sum(self.counts.values(), Counter[str]())
        lines = [f"{'verb':16}" + "".join(f"{name:>11}" for name in columns)]
        for name, counts in [*self.counts.items(), ("all", total)]:
            lines.append(f"{name:16}" + "".join(f"{counts[column]:>11,}" for column in columns))
        return "\n".join(lines)

    def close(self) -> None:
        """End the programs."""
        for bench in self.benches:
            bench.close()


def say(line: str) -> None:
    """One line of progress, over the one before on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
    elif time.monotonic() - say.said > 30:  # type: ignore[attr-defined]  # when it was last said
        say.said = time.monotonic()  # type: ignore[attr-defined]  # likewise
        print(line, file=sys.stderr, flush=True)


say.said = 0.0  # type: ignore[attr-defined]  # likewise


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [verb.name for verb in VERBS]
    parser.add_argument("verbs", nargs="*", metavar="VERB", help=f"of {', '.join(names)}; all where none")
    parser.add_argument("--kills", type=int, default=1000, help="of all verbs together")
    parser.add_argument("--errors", action="store_true", help="each error at each file call, too")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--mutant", default="", choices=["", *MUTANTS], help="a writer broken on purpose")
    given = parser.parse_args()
    if unknown := set(given.verbs) - set(names):
        parser.error(f"VERB must be of {', '.join(names)} (got {', '.join(unknown)})")
    chosen = [verb for verb in VERBS if not given.verbs or verb.name in given.verbs]
    print(f"seed {given.seed}", flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):  # a job in the background, too
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(chosen, Path(folder), given.mutant)
        try:
            campaign.run(campaign.jobs(chosen, given.kills, given.errors, random.Random(given.seed)))
        finally:
            campaign.close()
    print(f"\n{campaign.table()}")
    sys.exit(any(counts[harm] for counts in campaign.counts.values() for harm in HARMS))


if __name__ == "__main__":
    main()
