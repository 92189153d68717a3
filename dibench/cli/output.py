"""How the verbs show numbers, durations, layers and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console
    from rich.table import Table

    from dibench.layer import Layer
    from dibench.models import Model

_PREFIXES = (
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "µ"),
    (1e-9, "n"),
    (1e-12, "p"),
)


def time_text(seconds: float) -> str:
    """Seconds for people.

    >>> time_text(0.31), time_text(59.6), time_text(3725)
    ('0.3 s', '1m 00s', '1h 02m')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def duration_text(seconds: float) -> str:
    """A rough duration in words.

    >>> duration_text(42.1), duration_text(200), duration_text(7300), duration_text(400000)
    ('42 s', '3.3 min', '2.0 h', '4.6 days')
    """
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def console(*, stderr: bool = False) -> Console:
    """The terminal, or a plain file 120 columns wide where output is redirected."""
    import sys

    from rich.console import Console

    class Terminal(Console):
        def on_broken_pipe(self) -> None:
            """Whoever read our output went away (`| head`): not a failure, as rich has it."""
            try:
                super().on_broken_pipe()
            except SystemExit:
                raise SystemExit(0) from None

    stream = sys.stderr if stderr else sys.stdout
    return Terminal(stderr=stderr, highlight=False, soft_wrap=False, width=None if stream.isatty() else 140)


def plain_table(title: str = "", *, style: str = "", pad_edge: bool = True) -> Table:
    """A table without lines, its title above at the left."""
    from rich.table import Table

    return Table(
        box=None,
        header_style="bold",
        title=title or None,
        title_justify="left",
        title_style=style,
        pad_edge=pad_edge,
    )


def escape(text: str) -> str:
    """Text with square brackets that rich shall not read as markup."""
    from rich.markup import escape

    return escape(text)


def number(value: float | None, spec: str = ".3g") -> str:
    """A number in that format; a dash where there is none.

    >>> number(0.12345), number(None)
    ('0.123', '–')
    """
    return "–" if value is None else format(value, spec)


def tell_not_covered(models: Iterable[Model]) -> None:
    """Say, beside a table for programs, which part of a model it has no rows for."""
    import sys

    for model in models:
        if model.not_covered:
            print(f"dibench: {model.name}: the table {model.coverage}", file=sys.stderr)


def short(value: float, unit: str = "") -> str:
    """A number in three digits with its prefix.

    >>> short(115605504), short(0.00231, "s"), short(0), short(37)
    ('116M', '2.31 ms', '0', '37')
    """
    for scale, prefix in _PREFIXES:
        if abs(value) >= scale * 0.9995:
            scaled = value / scale
            digits = (
                0
                if abs(scaled) >= 99.95 or (not unit and float(scaled).is_integer())
                else 1
                if abs(scaled) >= 9.995
                else 2
            )
            return f"{scaled:.{digits}f}" + (f" {prefix}{unit}" if unit else prefix)
    return f"0 {unit}".strip()


def shape_text(layer: Layer) -> str:
    """A layer in the words of a paper: input → output, filter, and what is not the default.

    >>> from dibench.layer import Layer
    >>> shape_text(Layer(N=1, C=64, H=56, W=56, K=128, R=3, S=3, stride_h=2, stride_w=2, pad_h=1, pad_w=1))
    '64×56×56 → 128×28×28  3×3 /2'
    """
    batch = f"{layer.N}×" if layer.N > 1 else ""
    if layer.op == "fc":
        return f"{batch}{layer.C} → {batch}{layer.K}"
    text = f"{batch}{layer.C}×{layer.H}×{layer.W} → {batch}{layer.K}×{layer.P}×{layer.Q}  {layer.R}×{layer.S}"
    if layer.stride_h != 1 or layer.stride_w != 1:
        text += (
            f" /{layer.stride_h}"
            if layer.stride_h == layer.stride_w
            else f" /{layer.stride_h},{layer.stride_w}"
        )
    if layer.dil_h != 1 or layer.dil_w != 1:
        text += f" dil {layer.dil_h},{layer.dil_w}"
    return text + (f" g{layer.groups}" if layer.groups > 1 else "")
