"""All writing verbs killed, signalled, refused by the disk: `python scripts/break_it.py --errors`.

Each verb of tests/support/writing_verbs.py is killed at each of its file calls, then at random instants until
it has had its share of the kills; a quarter as many signals (INT, TERM, HUP, QUIT) come at random instants,
too. With `--errors`, each file call returns ENOSPC (and all later ones), EIO (once; calls that read, too),
EROFS (and all later ones). After each fault the place is looked at; if it is neither as before nor as an
undisturbed run leaves it, the same command runs again, and it is looked at again.

It prints one table. Of each harm to a verb the first is told, and its place kept in build/break-it/, where
what became of every fault is noted, too. Ctrl-C, or `--minutes`, ends early; the same command with the same
seed goes on. `--mutant NAME` breaks the program on purpose: then there must be harm.
"""

from __future__ import annotations

import argparse
import errno
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
os.environ.setdefault("DIBENCH_CACHE", str(ROOT / "build" / "test-cache"))

from broken_writers import MUTANTS  # noqa: E402 - of the tests, found through the path above
from fault_bench import Bench, Tried  # noqa: E402 - likewise
from fault_harms import HARMS  # noqa: E402 - likewise
from faults import Fault  # noqa: E402 - likewise
from writing_verbs import VERBS, Verb  # noqa: E402 - likewise

KEPT = ROOT / "build" / "break-it"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
ERRORS = ((errno.ENOSPC, True), (errno.EIO, False), (errno.EROFS, True))
AT_ONCE = 2


@attrs.frozen
class Job:
    """One fault of a verb."""

    name: str
    """Not that of another one of the verb."""
    what: str
    """Which column of the table counts it."""
    fault: Fault
    share: float = 0.0
    """Of the verb's seconds, after which it comes; 0 of one at a file call."""


def jobs_of(calls: int, calls_and_reads: int, kills: int, errors: bool, source: random.Random) -> list[Job]:
    """All faults of a verb of so many file calls, in random order, errors last."""
    found = [Job(f"kill at {at}", "kills", Fault(at=at)) for at in range(1, calls + 1)]
    signals = [*SIGNALS] * math.ceil(kills / 4 / len(SIGNALS))
    for number, sent in enumerate([signal.SIGKILL] * (kills - calls) + signals):
        what = "kills" if sent == signal.SIGKILL else "signals"
        fault = Fault(signal=sent, everyone=source.random() < 0.5)
        found.append(Job(f"{sent.name} {number}", what, fault, source.uniform(0.01, 1.0)))
    refused = [
        Job(f"{errno.errorcode[error]} at {at}", "errors", Fault(at=at, error=error, on=on))
        for error, on in (ERRORS if errors else ())
        for at in range(1, (calls_and_reads if error == errno.EIO else calls) + 1)
    ]
    source.shuffle(found)
    source.shuffle(refused)
    return found + refused


class Book:
    """What became of the faults of a seed, on disk as they end, so that the same command goes on."""

    def __init__(self, path: Path) -> None:
        """Read what an earlier run noted."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self._noted: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def note(self, verb: str, **more: Any) -> None:
        """Add a line."""
        self._noted.append({"verb": verb, **more})
        with self._path.open("a") as file:
            print(json.dumps(self._noted[-1]), file=file)

    def calls(self, verb: str) -> list[int] | None:
        """How many file calls the verb makes, without and with those that read; None where not noted."""
        return next((one["calls"] for one in self._noted if one["verb"] == verb and "calls" in one), None)

    def done(self, verb: str) -> set[str]:
        """Names of the jobs that ended."""
        return {one["job"] for one in self._noted if one["verb"] == verb and "job" in one}

    def table(self, verbs: Sequence[str]) -> str:
        """Faults that struck, and harms, by verb."""
        columns = ("kills", "signals", "errors", *HARMS)
        counts = {verb: self.counts(verb) for verb in verbs}
        counts["all"] = sum(counts.values(), Counter[str]())
        lines = [f"{'verb':16}" + "".join(f"{name:>11}" for name in columns)]
        for verb, own in counts.items():
            lines.append(f"{verb:16}" + "".join(f"{own[column]:>11,}" for column in columns))
        return "\n".join(lines)

    def counts(self, verb: str) -> Counter[str]:
        """Of one verb."""
        found = Counter[str]()
        for one in self._noted:
            if one["verb"] == verb and "job" in one:
                found[one["what"]] += one["struck"]
                found.update(one["harms"].keys())
        return found


class Campaign:
    """The faults of one verb after the other, dealt to a few benches."""

    def __init__(self, folder: Path, book: Book, mutant: str, end: float) -> None:
        """Start the benches; `end` is when no further fault is dealt, of `time.monotonic`."""
        self._book, self._mutant, self._end = book, mutant, end
        self._benches = [Bench(folder / str(number)) for number in range(AT_ONCE)]
        for bench in self._benches[1:]:
            bench.prepared = self._benches[0].prepared
        self._lock, self._over = threading.Lock(), False

    def run(self, verb: Verb, kills: int, errors: bool, seed: int) -> int:
        """Whatever is missing of a verb's faults; how many are left then."""
        made = self._benches[0]
        calls = self._book.calls(verb.name)
        if calls is None:
            if self._is_over():
                return 1
            made.prepare(verb)
            one = made.prepared[verb.name]
            calls = [one.calls, one.calls_and_reads]
            self._book.note(verb.name, calls=calls)
        done = self._book.done(verb.name)
        jobs = jobs_of(calls[0], calls[1], kills, errors, random.Random(f"{seed} {verb.name}"))
        left = [job for job in jobs if job.name not in done]
        if not left or self._is_over():
            return len(left)
        if verb.name not in made.prepared:
            made.prepare(verb)
        rest = iter(left)
        threads = [threading.Thread(target=self._work, args=(bench, verb, rest)) for bench in self._benches]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            try:
                for thread in threads:
                    thread.join()
            except KeyboardInterrupt:  # after those under way
                self._over = True
        return sum(1 for _ in rest)

    def _is_over(self) -> bool:
        return self._over or time.monotonic() > self._end

    def _work(self, bench: Bench, verb: Verb, rest: Iterator[Job]) -> None:
        while not self._is_over():
            with self._lock:
                job = next(rest, None)
            if job is None:
                return
            tried = self._tried(bench, verb, job)
            with self._lock:
                self._note(verb, job, tried, bench.place)

    def _tried(self, bench: Bench, verb: Verb, job: Job) -> Tried:
        """What became of one fault; a kill for which the verb was too quick comes earlier, five times."""
        fault, seconds = job.fault, bench.prepared[verb.name].seconds
        if job.share:
            fault = attrs.evolve(fault, after_s=job.share * seconds)
        tried = bench.broken(verb, fault, self._mutant)
        for _ in range(5):
            if tried.struck or fault.error or tried.harms:
                break
            fault = attrs.evolve(fault, at=0, after_s=(fault.after_s or seconds) * 0.7)
            tried = bench.broken(verb, fault, self._mutant)
        return tried

    def _note(self, verb: Verb, job: Job, tried: Tried, place: Path) -> None:
        known = self._book.counts(verb.name)
        for harm, why in tried.harms.items():
            if not known[harm]:
                kept = KEPT / f"{verb.name.replace(' ', '-')}-{harm.replace(' ', '-')}"
                shutil.rmtree(kept, ignore_errors=True)
                shutil.copytree(place, kept, symlinks=True)
                print(f"{verb.name}: {harm}: {tried.text}: {why}", flush=True)
        ended = {"struck": tried.struck, "harms": dict(tried.harms), "text": tried.text}
        self._book.note(verb.name, job=job.name, what=job.what, **ended)

    def close(self) -> None:
        """End the programs."""
        for bench in self._benches:
            bench.close()


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [verb.name for verb in VERBS]
    parser.add_argument("verbs", nargs="*", metavar="VERB", help=f"of {', '.join(names)}; all where none")
    parser.add_argument("--kills", type=int, default=1000, help="of all verbs together, at least")
    parser.add_argument("--errors", action="store_true", help="each error at each file call, too")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which it ends early")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--mutant", default="", choices=["", *MUTANTS], help="a writer broken on purpose")
    given = parser.parse_args()
    if unknown := set(given.verbs) - set(names):
        parser.error(f"VERB must be of {', '.join(names)} (got {', '.join(unknown)})")
    chosen = [verb for verb in VERBS if not given.verbs or verb.name in given.verbs]
    print(f"seed {given.seed}", flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):  # a job in the background, too
        signal.signal(number, signal.default_int_handler)
    book = Book(KEPT / f"{given.seed}{given.mutant and '-'}{given.mutant}.jsonl")
    end, left = time.monotonic() + 60 * given.minutes, {}
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder), book, given.mutant, end)
        try:
            for verb in chosen:
                began = time.monotonic()
                each = math.ceil(given.kills / len(chosen))
                left[verb.name] = campaign.run(verb, each, given.errors, given.seed)
                print(f"{verb.name}: {time.monotonic() - began:.0f} s, {left[verb.name]} left", flush=True)
        finally:
            campaign.close()
    verbs = [verb.name for verb in chosen]
    print(f"\n{book.table(verbs)}")
    if any(left.values()):
        print(f"\n{sum(left.values())} faults are left, or more: the same command goes on")
    sys.exit(any(book.counts(verb)[harm] for verb in verbs for harm in HARMS))


if __name__ == "__main__":
    main()
