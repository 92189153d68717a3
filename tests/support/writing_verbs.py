"""All verbs that write, each on inputs as small as can be, and what must hold after a fault.

A verb is run in a place of its own: a directory with its inputs, an older output where there can be one, and
`cache` and `tmp`, its $DIBENCH_CACHE and $TMPDIR. `harms` compares that place before, after the fault, and
after the next run, with what an undisturbed run leaves.
"""

from __future__ import annotations

import csv
import errno
import importlib
import io
import json
import os
import re
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import fake_gpu
import published_files
import report_sweeps
from fake_backend import sweep_of
from faults import NOTHING, Ended, Fault, Verbs
from study_frames import card

from dibench import networks
from dibench.layer import DIMENSIONS, Layer

LAYER = Layer(N=1, C=4, H=6, W=6, K=4, R=1, S=1, name="net/one")
REHEARSED = "--backend rehearsed_gpu:backend --meter rehearsed_gpu:meter"
REPLAYED = "--backend replayed_device:backend --meter replayed_device:meter"
SMALL = "N=1,C=16,H=8,W=8,K=16,R=3,S=3,pad_h=1,pad_w=1"
STAGES = f"""
sentinel = "{SMALL}"
[[stages]]
name    = "few"
answers = "What a fault costs"
share   = 1
[[stages.layers]]
layers = ["{SMALL.replace("K=16", "K=24")}"]
[[stages.kernels]]
variants = ["conv_implicit_gemm"]
"""

Run = Callable[[str], object]
Content = Any


@attrs.frozen
class Verb:
    """One verb, what it is given, and what it owns."""

    name: str
    words: str
    """Behind `python -m dibench`."""
    outputs: tuple[str, ...]
    """What it writes: files, or directories with all that is in them."""
    make: Callable[[Path, Run], None] = lambda place, run: None
    """Puts inputs and an older output into a place; runs other verbs there, undisturbed."""
    whole: str = ""
    """The directory of which all is old, or all is new."""
    grows: bool = False
    """Whether it adds to tables what is missing, so that what is there must stay."""
    patch: str = ""
    """`module:function`, for what a machine without a GPU lacks or what takes long."""
    again: tuple[int, ...] = (0,)
    """Exit statuses of the next run."""


# --- inputs


def tables(place: Path, run: Run) -> None:
    """Two tables of 24 layers each."""
    for name, seed in (("a", 1), ("b", 2)):
        card("uuid-1", 0.3, seed=seed).head(24).to_csv(place / f"{name}.csv", index=False)
    old(place, "out.json")


def fitted(place: Path, run: Run) -> None:
    tables(place, run)
    run("fit a.csv --draws 99 --json fit.json")


def old(place: Path, name: str) -> None:
    """What an earlier run of the verb wrote, as far as it matters here: something else."""
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    ends = {".html": "<html>old</html>", ".svg": "<svg>old</svg>", ".csv": "old\n"}
    path.write_text(ends.get(path.suffix, '{"old": 1}\n'))


def only_json(place: Path, run: Run) -> None:
    old(place, "out.json")


def page(place: Path, run: Run) -> None:
    report_sweeps.write(place / "swept", report_sweeps.rows(5))
    old(place, "swept/report.html")


def theirs(place: Path, run: Run) -> None:
    cells = {"name": LAYER.name, **LAYER.dims, "dtype": "fp32", "time_s": 0.001}
    text = f"{','.join(cells)}\n{','.join(map(str, cells.values()))}\n"
    (place / "theirs.csv").write_text(text)
    old(place, "ours/sweep.csv")


def clone(place: Path, run: Run) -> None:
    layers = [layer.with_batch(32) for layer in networks.load("alexnet")]
    whole = published_files.whole("alexnet", (32, 3, 224, 224))
    published_files.write_logs(place / "clone", "A30", published_files.section(layers), whole)


def layer_table(place: Path) -> None:
    lines = [["name", *DIMENSIONS]]
    lines += [[f"net/{k}", *map(str, {**LAYER.dims, "K": k}.values())] for k in (4, 8)]
    (place / "net.csv").write_text("".join(",".join(line) + "\n" for line in lines))


def swept(place: Path, run: Run) -> None:
    """A sweep of which the last three rows are missing, as one that was killed leaves it."""
    run("sweep smoke --out out")
    drop(place / "out", 3)


def swept_gpu(place: Path, run: Run) -> None:
    layer_table(place)
    run(SWEEP_GPU)
    drop(place / "out", 2)


def drop(out: Path, number: int) -> None:
    """The last rows of a sweep, and their visits."""
    lines = (out / "sweep.csv").read_text().splitlines(keepends=True)
    (out / "sweep.csv").write_text("".join(lines[:-number]))
    gone = {line.partition(",")[0] for line in lines[-number:]}
    visits = (out / "visits.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in visits if json.loads(line)["case_id"] not in gone]
    (out / "visits.jsonl").write_text("".join(kept))


def parts(place: Path, run: Run) -> None:
    """Two shards, and an earlier merge of the first with a file that is somebody else's."""
    run("sweep smoke --shard 1/2 --out 1")
    run("sweep smoke --shard 2/2 --out 2")
    run("merge 1 --out out")
    (place / "out" / "notes.txt").write_text("mine")


def kernels_there(place: Path) -> None:
    """Kernels for the rehearsed GPU are compiled once, in the cache of all tests."""
    ours = Path(os.environ["DIBENCH_CACHE"]) / "host"
    ours.mkdir(parents=True, exist_ok=True)
    if not (place / "cache" / "host").exists():
        (place / "cache" / "host").symlink_to(ours)


def rehearsed(place: Path, run: Run) -> None:
    kernels_there(place)
    run(CALIBRATE)
    (place / "few.toml").write_text(STAGES)
    old(place, "out.json")


def campaign(place: Path, run: Run) -> None:
    """A card that is checked and calibrated, so that a run is short; and a run that was killed.

    Its kernels have run on the harness; from now on their time and joules are replayed, which is quicker.
    """
    rehearsed(place, run)
    kept(place)
    run(f"{CAMPAIGN} {REHEARSED}")
    manifest = place / "1" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("rehearsed_gpu:", "replayed_device:"))
    drop(place / "1", 1)


def kept(place: Path) -> None:
    """What `analysed_before` copies."""
    for name in ("fit.json", "report.html"):
        old(place, f"kept/{name}")


def dataset(place: Path, run: Run) -> None:
    """A run of a campaign as if a sensor had measured it, a dataset of a part of it, and a user's notes."""
    rehearsed(place, run)
    kept(place)
    run(f"{CAMPAIGN} {REHEARSED}")
    for name, around in (("sweep.csv", ",{},"), ("manifest.json", '"{}"')):
        path = place / "1" / name
        text = path.read_text().replace(around.format("simulated"), around.format("nvml_counter"))
        path.write_text(text)
    shutil.copytree(place / "1", place / "whole")
    drop(place / "1", 1)
    run("publish 1 --out out")
    shutil.rmtree(place / "1")
    (place / "whole").rename(place / "1")
    (place / "out" / "notes.txt").write_text("mine")


SWEEP_GPU = f"sweep net.csv {REPLAYED} --visits 2 --out out"
CALIBRATE = f"calibrate --brief {REPLAYED} --layer {SMALL} --json out.json"
CAMPAIGN = "campaign --stages few.toml --time-budget 400s --closing 10s --out 1"

VERBS = (
    Verb("sweep", "sweep smoke --out out", ("out",), swept, grows=True, patch="writing_verbs:of_fakes"),
    Verb("sweep --fresh", "sweep smoke --out out --fresh", ("out",), swept, grows=True,
         patch="writing_verbs:of_fakes"),
    Verb("sweep on a GPU", SWEEP_GPU, ("out",), swept_gpu, grows=True),
    Verb("campaign", f"{CAMPAIGN} {REPLAYED}", ("1", "cache"), campaign, grows=True,
         patch="writing_verbs:analysed_before"),
    Verb("publish", "publish 1 --out out", ("out",), dataset, whole="out",
         patch="writing_verbs:analysed_before"),
    Verb("merge", "merge 1 2 --out out", ("out",), parts, whole="out", patch="writing_verbs:of_fakes"),
    Verb("measure", f"measure {SMALL} --backend cpu --meter none --json out.json", ("out.json",), only_json,
         patch="writing_verbs:known_peaks"),
    Verb("datasets", "datasets gpu-layers clone --out out", ("out",), clone, whole="out", again=(0, 2)),
    Verb("import", "import theirs.csv --set energy_source=none --out ours --json out.json",
         ("ours", "out.json"), theirs),
    Verb("fit", "fit a.csv --draws 99 --json out.json", ("out.json",), tables),
    Verb("generality", "generality a.csv --subsets 100 --json out.json", ("out.json",), tables),
    Verb("report", "report swept", ("swept/report.html",), page),
    Verb("compare", "compare a.csv b.csv --json out.json", ("out.json",), tables),
    Verb("predict", "predict alexnet --fit fit.json --json out.json", ("out.json",), fitted),
    Verb("explain", "explain alexnet --fit fit.json --figures figures", ("figures",), fitted,
         patch="writing_verbs:coarse"),
    Verb("networks", "networks alexnet --json out.json", ("out.json",), only_json),
    Verb("layers", "layers alexnet --json out.json", ("out.json",), only_json),
    Verb("variants", "variants --backend cpu --json out.json", ("out.json",), only_json),
    Verb("doctor", "doctor --json out.json", ("out.json",), only_json),
    Verb("selftest", "selftest --backend cpu --only fc_dot --small --once", ("cache",)),
    Verb("calibrate", CALIBRATE, ("cache", "out.json"), rehearsed),
    Verb("counters", "counters smoke --cases 1 --out counters.csv", ("counters.csv",),
         lambda place, run: old(place, "counters.csv"), patch="writing_verbs:counted"),
)  # fmt: skip


# --- patches: called in the verb's process before it starts


def of_fakes() -> None:
    """Sweeps are of a device whose cases take no time."""
    verb = sys.modules["dibench.cli.sweep"]
    names = [f"layer {number}" for number in range(6)]

    def job(options: Any, *_: Any) -> Any:
        from dibench.plan.shard import Shard

        found = sweep_of(names)
        if not options.shard:
            return found
        index, of = map(int, options.shard.split("/"))
        cases = tuple(Shard(index, of).deal(found.plan.cases))
        return attrs.evolve(found, plan=attrs.evolve(found.plan, cases=cases, shard=options.shard))

    changes = {
        "_plan": lambda options, *_: job(options).plan,
        "_device": lambda *_: ("fake", ()),
        "_job": job,
    }
    for name, function in changes.items():
        setattr(verb, name, function)


def analysed_before() -> None:
    """Fit and report, which are verbs of their own here, are copied."""
    from dibench import files
    from dibench.processes import Ended as VerbEnded
    from dibench.sweep import campaign as steps

    def analyse(folder: Path, fit_json: Path, until: float) -> tuple[VerbEnded, VerbEnded]:
        for name in ("fit.json", "report.html"):
            files.replace_file(folder / name, Path("kept", name).read_bytes())
        return VerbEnded("", "", 0), VerbEnded("", "", 0)

    steps.analyse = analyse
    known: Any = sys.modules["dibench.study.use.answers"]
    known.open_answers = lambda path: None


def coarse() -> None:
    """Pictures of few dots, in one colour scheme."""
    figure_files: Any = importlib.import_module("dibench.show.figure_files")
    light = {"light": figure_files.themes()["light"]}
    figure_files._DOTS_PER_INCH = 10
    figure_files.themes = lambda: light


def known_peaks() -> None:
    """Nothing is measured before the layer."""
    from dibench.backends.cpu import CpuBackend

    known: Any = CpuBackend
    known.peaks = lambda self: {"mac_per_s": 1e10, "bytes_per_s": 1e10}


def counted() -> None:
    """A GPU, and an ncu that counts nothing."""
    from dibench.backends import cuda_driver
    from dibench.check import counters

    places: Any = counters, cuda_driver
    places[0].find_ncu = lambda: "ncu"
    places[0].profiled = lambda *_: []
    places[0].rows = lambda cases, _: (
        dict.fromkeys(counters.COLUMNS) | {"op": case.op, "variant": case.variant, "status": "ok"}
        for case in cases
    )
    places[1].gpu = lambda: fake_gpu.GPU


# --- what is there


TORN = "torn"


def contents(place: Path) -> dict[str, Content]:
    """Of each file what must be there: its rows, keys or end; TORN where it is half of something."""
    found = (path for path in sorted(place.rglob("*")) if not path.is_dir() or not any(path.iterdir()))
    return {str(path.relative_to(place)): content(path) for path in found}


def content(path: Path) -> Content:
    if path.is_symlink() or path.is_dir():
        return "link" if path.is_symlink() else "empty"
    data = path.read_bytes()
    read = {".json": _keys, ".csv": _rows, ".jsonl": _visits, ".html": _page, ".svg": _page, ".png": _image}
    try:
        return read.get(path.suffix, hash)(data)
    except (ValueError, LookupError):
        return TORN


def _keys(data: bytes) -> Content:
    found = json.loads(data)
    return tuple(sorted(found)) if isinstance(found, dict) else len(found)


def _rows(data: bytes) -> Content:
    if not data.endswith(b"\n"):
        raise ValueError("torn")
    header, *rows = csv.reader(io.StringIO(data.decode()))
    if any(len(row) != len(header) for row in rows):
        raise ValueError("torn")
    return (len(header), *sorted(row[0] for row in rows))


def _visits(data: bytes) -> Content:
    if not data.endswith(b"\n"):
        raise ValueError("torn")
    found = [json.loads(line) for line in data.splitlines()]
    return tuple(sorted(str(one["case_id"]) for one in found))


def _page(data: bytes) -> Content:
    text = data.decode().rstrip()
    if not text.endswith(("</html>", "</svg>")):
        raise ValueError("torn")
    return "old" if "old<" in text else "new"


def _image(data: bytes) -> Content:
    if not data.endswith(b"IEND\xaeB`\x82"):
        raise ValueError("torn")
    return "new"


def measured(place: Path, verb: Verb) -> set[str]:
    """What was measured, as far as it stands whole in the verb's tables: ids of cases, and visits."""
    found: set[str] = set()
    for path in (path for one in verb.outputs for path in (place / one).rglob("*") if path.is_file()):
        if re.fullmatch(r"(sweep|visits)\b.*\.(csv|jsonl)", path.name):
            data = path.read_bytes()
            lines = data[: data.rfind(b"\n") + 1].decode().splitlines()
            found |= {line.partition(",")[0] for line in lines[1:]} if path.suffix == ".csv" else set(lines)
    return found


# --- what is wrong


VERDICTS = "cache/selftest/"
"""What only saves time: where it cannot be written, `selftest` has still told what it found."""
HARMS = ("lost", "torn", "doubled", "left over", "tracebacks", "statuses")


@attrs.frozen
class Known:
    """What a verb's place held before, and what an undisturbed run leaves in it."""

    old: Mapping[str, Content]
    new: Mapping[str, Content]
    measured: Collection[str]
    """Before."""


@attrs.frozen
class Found:
    """A place after a fault."""

    files: Mapping[str, Content]
    measured: Collection[str]

    @classmethod
    def of(cls, place: Path, verb: Verb) -> Found:
        return cls(contents(place), measured(place, verb))


def name_of(path: str) -> str:
    """Without what is new in each run: instants, and numbers of temporary files."""
    return re.sub(r"\d{8}T\d{6}Z\+*", "INSTANT", path)


def owned(verb: Verb, path: str) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in verb.outputs)


def settled(verb: Verb, known: Known, found: Found) -> bool:
    """Whether all is old or all is new, so that the next run meets what any run meets."""
    return "--fresh" not in verb.words and found.files in (known.old, known.new)


def harms_at_once(verb: Verb, known: Known, fault: Fault, ended: Ended, found: Found) -> dict[str, str]:
    """What is wrong after the fault, by harm."""
    wrong: dict[str, str] = {}
    for path, before in known.old.items():
        now = found.files.get(path)
        if not owned(verb, path):
            if now != before and before != "empty":
                wrong["lost"] = f"{path} is not the verb's, and changed"
        elif now is None and not (verb.grows and "--fresh" in verb.words) and path in known.new:
            wrong["lost"] = f"{path} is gone"
    if gone := set(known.measured) - set(found.measured):
        wrong["lost"] = f"{sorted(gone)[:2]} gone"
    for path, now in found.files.items():
        torn_line = verb.grows and path.endswith(("sweep.csv", "visits.jsonl"))
        if now == TORN and owned(verb, path) and not torn_line and path in {**known.old, **known.new}:
            wrong["torn"] = f"{path} is half of one"
    if verb.whole:
        here = {path: now for path, now in found.files.items() if path.startswith(f"{verb.whole}/")}
        sides = [
            {path: one for path, one in side.items() if path.startswith(f"{verb.whole}/")}
            for side in (known.old, known.new)
        ]
        if here not in sides and not aside(found.files, verb.whole):
            wrong["torn"] = f"{verb.whole} is neither the old one nor the new one: {sorted(here)}"
    if "Traceback" in ended.errors:
        wrong["tracebacks"] = ended.errors[-2000:]
    if why := odd_end(verb, known, fault, ended, found):
        wrong["statuses"] = why
    if ended.stray:
        wrong["left over"] = f"{ended.stray} processes lived on"
    return wrong


def aside(paths: Iterable[str], whole: str) -> bool:
    """Whether the old directory stands beside, to be brought back."""
    return any(path.startswith(f".{whole}.aside/") for path in paths)


def odd_end(verb: Verb, known: Known, fault: Fault, ended: Ended, found: Found) -> str:
    """What is wrong with how the run ended; empty where nothing is."""
    if fault.error:
        last = ended.errors.rstrip().rpartition("\n")[2]
        if ended.status == 2 and "dibench: " in last:
            return ""
        needed = {name_of(path) for path in known.new if not path.startswith(VERDICTS)}
        if ended.status == 0 and needed <= {name_of(path) for path in found.files}:
            return ""
        return f"status {ended.status} after an error: {last}"
    usual = {0, -9} if fault.signal == 9 else {0, 128 + fault.signal, -fault.signal}
    if fault.signal == 9 and (verb.grows or fault.everyone):
        usual |= {1, 2}  # a worker was killed before it had opened its device
    return "" if ended.status in usual else f"status {ended.status}: {ended.errors.rstrip()[-300:]}"


def harms_later(verb: Verb, known: Known, found: Found, ended: Ended, later: Found) -> dict[str, str]:
    """What is wrong after the next run, which nothing disturbed."""
    wrong: dict[str, str] = {}
    if gone := set(found.measured) - set(later.measured):
        wrong["lost"] = f"{sorted(gone)[:2]} gone after the next run"
    names = {name_of(path): now for path, now in later.files.items()}
    expected = {name_of(path): now for path, now in known.new.items()}
    for path, now in expected.items():
        if path not in names:
            wrong["lost"] = f"{path} is missing after the next run"
        elif isinstance(now, tuple) and path.endswith((".csv", ".jsonl")):
            twice = [one for one, number in Counter(names[path][1:]).items() if number > now[1:].count(one)]
            if twice and "--fresh" not in verb.words:
                wrong["doubled"] = f"{path}: {twice[:2]}"
            elif names[path] != now and "until" not in path:
                wrong["lost"] = f"{path}: {now} expected, {names[path]} there"
        elif names[path] == TORN:
            wrong["torn"] = f"{path} is half of one after the next run"
    if rest := names.keys() - expected.keys() - (known.old.keys() if verb.grows else set()):
        wrong["left over"] = f"{sorted(rest)[:3]} after the next run"
    if ended.status not in verb.again or "Traceback" in ended.errors:
        wrong["statuses"] = f"the next run ends with {ended.status}: {ended.errors[-300:]}"
    return wrong


# --- one verb under one fault


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
        self._verbs = Verbs(folder / "program", ("scipy.special", "replayed_device", __name__))
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
