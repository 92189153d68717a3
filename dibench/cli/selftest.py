"""`selftest`: is every kernel right on this machine? One line each."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
import typer

from dibench.errors import UserError
from dibench.files import write_json

if TYPE_CHECKING:
    from dibench.backends import Backend
    from dibench.check.selftest import Verdict
    from dibench.sweep.checked import Checked


def selftest(
    backend: Annotated[
        str,
        typer.Option(
            help="auto, cuda, cpu, host (the CUDA kernels run by the CPU), or module:callable from elsewhere."
        ),
    ] = "auto",
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="Not again what was right before: same source, compiler, device, driver."
        ),
    ] = False,
    small: Annotated[
        bool, typer.Option("--small", help="Only the smallest layers, as under compute-sanitizer.")
    ] = False,
    only: Annotated[
        str, typer.Option(metavar="LIST", help="Only these variants, in this order: one,another.")
    ] = "",
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write there what was found, after each variant."),
    ] = None,
) -> None:
    """Check every kernel variant against a float64 reference on this machine; exit 1 if one is wrong.

    Small layers whose tiles end in the middle, every output checked, outputs NaN before each run.
    """
    from dibench.check.selftest import NAMES, chosen_variants
    from dibench.elsewhere import is_elsewhere

    if backend not in NAMES and not is_elsewhere(backend):
        raise UserError("--backend", f"must be one of {', '.join(NAMES)}, or module:callable", backend)
    from dibench.backends import open_backend, resolve

    chosen = backend if backend == "host" else resolve(backend)
    names = [variant.name for variant in chosen_variants(chosen, [name for name in only.split(",") if name])]
    opened = None if chosen == "host" else open_backend(chosen)
    device = "the harness of csrc/host_cuda" if opened is None else opened.device().name
    typer.echo(f"{chosen}: {device}")
    book = _Book.of(chosen, opened, small=small, json_file=json_file)
    right_before = {name for name, found in book.known.items() if once and found == "right"}
    left = [name for name in names if name not in right_before]
    if not left:
        typer.echo("passed before with these kernels, this device and driver; without --once it runs again")
    elif right_before:
        typer.echo(f"{len(names) - len(left)} variants were right before and are not checked again")
    _check(chosen, opened, left, book, small)


def _check(chosen: str, opened: Backend | None, left: list[str], book: _Book, small: bool) -> None:
    """Check these, say each; exit 1 if one is wrong or loses the device."""
    from dibench.backends import DeviceFaultError
    from dibench.check.selftest import selftest as check

    begin, failed = time.monotonic(), 0
    book.begin(left)
    try:
        for verdict in check(chosen, opened, small=small, only=left) if left else ():
            failed += bool(verdict.failure)
            _show(verdict)
            book.end(verdict)
    except DeviceFaultError as fault:
        book.lost(str(fault))
        typer.echo(f"FAILED  a kernel lost the device, what follows was not checked: {fault}")
        raise typer.Exit(1) from None
    if left:
        typer.echo(f"{len(left) - failed} of {len(left)} variants right, {time.monotonic() - begin:.1f} s")
    if failed:
        raise typer.Exit(1)


@attrs.define
class _Book:
    """What was found, in the cache and, where it is asked for, in a file: after each variant."""

    checked: Checked
    sources: dict[str, str]
    compiler: str
    small: bool
    json_file: Path | None
    found: dict[str, str] = attrs.field(factory=dict)
    left: list[str] = attrs.field(factory=list)

    @classmethod
    def of(cls, chosen: str, opened: Backend | None, *, small: bool, json_file: Path | None) -> _Book:
        from dibench.elsewhere import is_elsewhere
        from dibench.kernels import kernel_shas
        from dibench.sweep.checked import Checked, path_of

        device = opened.device() if opened else None
        facts = device.facts if device else {}
        uuid, driver = device.uuid if device else "", str(facts.get("driver") or "")
        kernels = "cuda" if is_elsewhere(chosen) else chosen
        checked = Checked.read(path_of(kernels, uuid, driver), uuid, driver)
        compiler = " ".join(str(facts[key]) for key in ("compiler", "isa") if key in facts)
        sources = dict(kernel_shas("cpu" if chosen == "cpu" else "cuda"))
        return cls(checked, sources, compiler, small, json_file)

    @property
    def known(self) -> dict[str, str]:
        return self.checked.known(self.sources, self.compiler, small=self.small)

    def begin(self, names: list[str]) -> None:
        self.left = list(names)
        self._tell()

    def end(self, verdict: Verdict) -> None:
        from dibench.sweep.checked import FAILED, NOT_HERE, RIGHT

        found = FAILED + verdict.failure if verdict.failure else RIGHT if verdict.cases else NOT_HERE
        self._note(verdict.variant, found)

    def lost(self, why: str) -> None:
        from dibench.sweep.checked import FAILED

        self._note(self.left[0], f"{FAILED}the device is lost: {why}", lost=True)

    def _note(self, name: str, found: str, *, lost: bool = False) -> None:
        self.left.remove(name)
        self.found[name] = found
        self.checked.note(name, found, self.sources[name], self.compiler, small=self.small)
        self._tell(lost=lost)

    def _tell(self, *, lost: bool = False) -> None:
        """`checking` is the variant whose turn it is: one that ends the program, or never ends, is known."""
        if self.json_file is not None:
            told = {"complete": not self.left, "variants": self.found, "lost": lost}
            turn = {"checking": self.left[0]} if self.left and not lost else {}
            write_json(self.json_file, told | turn)


def _show(verdict: Verdict) -> None:
    if verdict.failure:
        typer.echo(f"FAILED  {verdict.variant:<28} {verdict.failure}")
    elif verdict.cases == 0:
        typer.echo(f"skipped {verdict.variant:<28} needs a newer GPU")
    else:
        worst = f"{verdict.worst:.2f} of what is allowed"
        typer.echo(f"ok      {verdict.variant:<28} {verdict.cases:>3} cases, largest error {worst}")
    sys.stdout.flush()
