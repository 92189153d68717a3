"""Small wrong changes of the CUDA kernels' sources, and what the tests' layers say of a kernel with one.

A mutant is one change at one place of a kernel file or a shared device header, in text that the harness
compiles: not in comments, the [variant] header, preprocessor lines, launch bounds, or what only NVRTC sees.
It is caught where a case of `cuda_paths` fails: wrong outputs, other counts than the header's, other bits in
another order, or what the harness finds (a race, an access out of bounds, divergence), or if it never ends.
"""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import attrs
from cuda_paths import ALL, check_case, device_files, whole_source

from dibench.backends import host
from dibench.kernels import Variant, compilers, registry, source_directory

CUDA = source_directory() / "cuda"
LONGEST_S, MOST_BYTES = 30, 2**32
"""Processor time and memory of one mutant under one case."""

CAUGHT, SURVIVED, SAME_CODE, NO_CODE = "caught", "survived", "same code", "does not compile"

_SWAPPED = {"_h": "_w", "_w": "_h", "_p": "_k", "_k": "_p"}
_SIDES = {"H": "W", "W": "H", "P": "Q", "Q": "P", "R": "S", "S": "R", "K": "C", "C": "K"}


def _other(name: str) -> str:
    return name[:-2] + _SWAPPED[name[-2:]]


Change = Callable[[re.Match[str]], str]
OPERATORS: dict[str, tuple[str, Change]] = {
    "deleted barrier": (r"__sync(?:threads|warp)\([^;]*\);", lambda _: ";"),
    "deleted wait": (r"(?:wait_for_copies<[^;]*>|commit_copies)\(\);", lambda _: ";"),
    "bound": (r" (<|>)(=?) (?=[^;{]*[;){?&|])", lambda m: f" {m[1]}{'' if m[2] else '='} "),
    "constant": (r"(?<![\w.])(\d+)(?![\w.])", lambda m: str(int(m[1]) + 1)),
    "smaller constant": (r"(?<![\w.])([1-9]\d*)(?![\w.])", lambda m: str(int(m[1]) - 1)),
    "sign": (r" ([+-]) ", lambda m: " - " if m[1] == "+" else " + "),
    "product": (r"(?<=[\w)\]]) ([*/%]) (?=[\w(])", lambda m: {"*": " + ", "/": " * ", "%": " / "}[m[1]]),
    "dropped term": (
        r"(?<=[\w)\]]) [+-] [\w.>-]+(?:\([^()]*\))?(?: [*/%] [\w.]+)*(?=[\s;,)\]])",
        lambda _: "",
    ),
    "dropped factor": (r"(?<=[\w)\]]) [*%/] [\w.]+(?=[\s;,)\]])", lambda _: ""),
    "logic": (r" (&&|\|\|) ", lambda m: " || " if m[1] == "&&" else " && "),
    "bits": (r" ([&|^]) ", lambda m: {"&": " | ", "|": " & ", "^": " | "}[m[1]]),
    "shift": (r" (<<|>>) ", lambda m: " >> " if m[1] == "<<" else " << "),
    "other side": (
        r"\b(?:stride|pad|dil)_[hw]\b|\b(?:tile|held|warps|lanes|block|my|own|warp|first|pitch)_[pk]\b",
        lambda m: _other(m[0]),
    ),
    "other dimension": (r"(?<=\bl\.|\br\.)[HWPQRSKC]\b|(?<=layer\.)[HWPQRSKC]\b", lambda m: _SIDES[m[0]]),
    "swapped indices": (r"\[([^\[\]]+)\]\[([^\[\]]+)\]", lambda m: f"[{m[2]}][{m[1]}]"),
    "accumulation": (r" ([+-])= ", lambda m: " -= " if m[1] == "+" else " += "),
    "negation": (r"!(?=[\w(])(?!=)", lambda _: ""),
}  # fmt: skip


RIGHT_ALL_THE_SAME = {
    (
        "box.cuh",
        "return {1, l.N, 1, l.C, l.K, 1, 1, 1, 1, 0};",
        "return {1, l.N, 1, l.C, l.K, 1, 1, 2, 1, 0};",
    ): "an fc has one tap, and it is on the first line of an image of any height",
}
"""Changes of a line of a file that no layer can notice, and why: they are not drawn."""


@attrs.frozen
class Mutant:
    """One change of a file: what stood at a place, and what stands there now."""

    path: Path
    operator: str
    begin: int
    was: str
    becomes: str

    def text(self) -> str:
        """The file with the change."""
        text = self.path.read_text("utf-8")
        assert text[self.begin :].startswith(self.was)
        return text[: self.begin] + self.becomes + text[self.begin + len(self.was) :]

    def shown(self) -> str:
        """File and line, the operator, and the line before and after."""
        number, before, after = self._line()
        return f"{self.path.name}:{number}: {self.operator}: {before}  =>  {after}"

    def can_be_noticed(self) -> bool:
        """Whether it is none of those that are right all the same."""
        _, before, after = self._line()
        return not any(
            (self.path.name, before.endswith(was), after.endswith(becomes)) == (name, True, True)
            for name, was, becomes in RIGHT_ALL_THE_SAME
        )

    def _line(self) -> tuple[int, str, str]:
        """Its number, and the line before and after."""
        text, changed = self.path.read_text("utf-8"), self.text()
        number = text.count("\n", 0, self.begin)
        before, after = (one.split("\n")[number].strip() for one in (text, changed))
        return number + 1, before, after


@attrs.frozen
class Verdict:
    """What became of a mutant, and what said so."""

    mutant: Mutant
    outcome: str
    reason: str = ""


def compiled_text(text: str) -> str:
    """The text, of equal length, with blanks in place of what the harness does not compile."""

    def blank(found: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", found[0])

    text = re.sub(r"/\*.*?\*/|//[^\n]*|\"[^\"\n]*\"", blank, text, flags=re.S)
    text = re.sub(r"__launch_bounds__\((?:[^()]|\([^()]*\))*\)", blank, text)
    lines, seen = [], [True]
    for line in text.split("\n"):
        directive = line.strip()
        if directive.startswith(("#ifdef", "#ifndef", "#if ")):
            on_host = "DIBENCH_HOST" in directive and "!" not in directive
            seen.append(seen[-1] and on_host != directive.startswith("#ifndef"))
        elif directive.startswith(("#else", "#elif")):
            seen[-1] = seen[-2] and not seen[-1]
        elif directive.startswith("#endif"):
            seen.pop()
        lines.append(line if seen[-1] and not directive.startswith("#") else " " * len(line))
    return "\n".join(lines)


def mutants_of(path: Path) -> list[Mutant]:
    """Every change of a file that an operator makes."""
    text = path.read_text("utf-8")
    seen = compiled_text(text)
    return [
        Mutant(path, operator, found.start(), text[found.start() : found.end()], becomes)
        for operator, (pattern, change) in OPERATORS.items()
        for found in re.finditer(pattern, seen)
        if (becomes := change(found)) != found[0]
    ]


def files() -> dict[Path, tuple[Variant, ...]]:
    """Kernel files and shared headers in which something can be changed, with the kernels that have them."""
    having: dict[Path, list[Variant]] = {}
    for variant in registry("cuda").values():
        for path in device_files(variant):
            having.setdefault(path, []).append(variant)
    return {path: tuple(having[path]) for path in sorted(having) if mutants_of(path)}


def chosen(count: int, seed: int) -> list[Mutant]:
    """So many mutants: files in turn, in each file its operators in turn, places by chance.

    A change of one file leaves the mutants of all others as they were.
    """
    queues = []
    for path in files():
        rng = random.Random(f"{seed} {path.name}")
        by_operator: dict[str, list[Mutant]] = {}
        for mutant in mutants_of(path):
            by_operator.setdefault(mutant.operator, []).append(mutant)
        places = list(by_operator.values())
        rng.shuffle(places)
        for one in places:
            rng.shuffle(one)
        depth = max(map(len, places))
        queues.append([one[i] for i in range(depth) for one in places if i < len(one)])
    longest = max(map(len, queues))
    drawn = (queue[i] for i in range(longest) for queue in queues if i < len(queue))
    return list(islice(filter(Mutant.can_be_noticed, drawn), count))


def judge(mutant: Mutant, folder: Path) -> Verdict:
    """Run the cases of each kernel that has the file, until one fails.

    Args:
        mutant: the change.
        folder: for the changed source.
    """
    same = True
    for variant in files()[mutant.path]:
        path = folder / variant.path.name
        path.write_text(whole_source(variant, {mutant.path: mutant.text()}), "utf-8")
        changed = attrs.evolve(variant, path=path)
        for case in ALL[variant.name]:
            failed = failure(partial(check_case, changed, case))
            if failed.startswith("HostCompileError"):
                return Verdict(mutant, NO_CODE, failed)
            if failed:
                return Verdict(mutant, CAUGHT, f"{variant.name}, {case.layer.op}: {failed}")
            constants = compilers.constants(variant, case.layer, case.settings(variant), dtype=case.dtype)
            same = same and code(path.read_text("utf-8"), variant, constants) == code(
                whole_source(variant), variant, constants
            )
    return Verdict(mutant, SAME_CODE if same else SURVIVED)


def code(source: str, variant: Variant, constants: str) -> bytes:
    """Machine code and data of a kernel on the harness, without its debugging information."""
    library = host.build(source, variant.name, constants).path
    return b"".join(_section(library, name) for name in (".text", ".rodata"))


def _section(library: Path, name: str) -> bytes:
    with tempfile.NamedTemporaryFile() as out:
        command = ["objcopy", "-O", "binary", f"--only-section={name}", str(library), out.name]
        subprocess.run(command, check=True)
        return Path(out.name).read_bytes()


def failure(work: Callable[[], None]) -> str:
    """Do it in a process of its own: how it failed, or nothing. A mutant may not end, or ruin its memory."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _limited(work, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if said:
        return said
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return "does not end" if number in (signal.SIGXCPU, signal.SIGKILL) else signal.Signals(number).name
    return "" if status == 0 else f"exit status {os.waitstatus_to_exitcode(status)}"


def _limited(work: Callable[[], None], writing: int) -> None:
    """In the child: never returns."""
    resource.setrlimit(resource.RLIMIT_CPU, (LONGEST_S, LONGEST_S + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        work()
    except BaseException as error:
        first = " ".join(str(error).split())[:160]
        os.write(writing, f"{type(error).__name__}: {first}".encode())
        os._exit(1)
    os._exit(0)
