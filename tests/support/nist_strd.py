"""NIST's certified regressions (StRD, public domain): https://www.itl.nist.gov/div898/strd/

Nonlinear: the files nist/*.dat beside this one are NIST's own, one data set each: two starts, certified
parameters with standard deviations, the residual sum of squares, and the rows. Linear: nist/linear.toml has
the same of all eleven, without starts.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np

FOLDER = Path(__file__).parent / "nist"
_MODEL = Callable[[Any, Any], Any]


def _gauss(b: Any, x: Any) -> Any:
    peaks = b[2] * np.exp(-(((x - b[3]) / b[4]) ** 2)) + b[5] * np.exp(-(((x - b[6]) / b[7]) ** 2))
    return b[0] * np.exp(-b[1] * x) + peaks


def _cubics(b: Any, x: Any) -> Any:
    return (b[0] + x * (b[1] + x * (b[2] + x * b[3]))) / (1 + x * (b[4] + x * (b[5] + x * b[6])))


def _exponentials(b: Any, x: Any) -> Any:
    return b[0] * np.exp(-b[1] * x) + b[2] * np.exp(-b[3] * x) + b[4] * np.exp(-b[5] * x)


def _saturation(b: Any, x: Any) -> Any:
    return b[0] * (1 - np.exp(-b[1] * x))


def _seasons(b: Any, x: Any) -> Any:
    def wave(c: Any, s: Any, period: Any) -> Any:
        return c * np.cos(2 * np.pi * x / period) + s * np.sin(2 * np.pi * x / period)

    return b[0] + wave(b[1], b[2], 12) + wave(b[4], b[5], b[3]) + wave(b[7], b[8], b[6])


def _chwirut(b: Any, x: Any) -> Any:
    return np.exp(-b[0] * x) / (b[1] + b[2] * x)


MODELS: dict[str, _MODEL] = {
    "Bennett5": lambda b, x: b[0] * (b[1] + x) ** (-1 / b[2]),
    "BoxBOD": _saturation,
    "Chwirut1": _chwirut,
    "Chwirut2": _chwirut,
    "DanWood": lambda b, x: b[0] * x ** b[1],
    "ENSO": _seasons,
    "Eckerle4": lambda b, x: b[0] / b[1] * np.exp(-0.5 * ((x - b[2]) / b[1]) ** 2),
    "Gauss1": _gauss,
    "Gauss2": _gauss,
    "Gauss3": _gauss,
    "Hahn1": _cubics,
    "Kirby2": lambda b, x: (b[0] + x * (b[1] + x * b[2])) / (1 + x * (b[3] + x * b[4])),
    "Lanczos1": _exponentials,
    "Lanczos2": _exponentials,
    "Lanczos3": _exponentials,
    "MGH09": lambda b, x: b[0] * (x**2 + x * b[1]) / (x**2 + x * b[2] + b[3]),
    "MGH10": lambda b, x: b[0] * np.exp(b[1] / (x + b[2])),
    "MGH17": lambda b, x: b[0] + b[1] * np.exp(-x * b[3]) + b[2] * np.exp(-x * b[4]),
    "Misra1a": _saturation,
    "Misra1b": lambda b, x: b[0] * (1 - (1 + b[1] * x / 2) ** -2),
    "Misra1c": lambda b, x: b[0] * (1 - (1 + 2 * b[1] * x) ** -0.5),
    "Misra1d": lambda b, x: b[0] * b[1] * x / (1 + b[1] * x),
    "Nelson": lambda b, x: b[0] - b[1] * x[:, 0] * np.exp(-b[2] * x[:, 1]),  # of log y
    "Rat42": lambda b, x: b[0] / (1 + np.exp(b[1] - b[2] * x)),
    "Rat43": lambda b, x: b[0] / (1 + np.exp(b[1] - b[2] * x)) ** (1 / b[3]),
    "Roszman1": lambda b, x: b[0] - b[1] * x - np.arctan(b[2] / (x - b[3])) / np.pi,
    "Thurber": _cubics,
}


@attrs.frozen(eq=False)
class Certified:
    """A data set."""

    name: str
    y: Any
    x: Any
    starts: Any
    """(2, k): far from the solution, and nearer."""
    parameters: Any
    deviations: Any
    rss: float

    def residuals(self, b: Any) -> Any:
        """Model less response (n,); complex where `b` is."""
        return MODELS[self.name](b, self.x) - self.y

    def jacobian(self, b: Any) -> Any:
        """∂model/∂b (n, k), to the last digit: by a complex step (Squire and Trapp, SIAM Review 1998)."""
        step = 1e-100
        return np.column_stack([self.residuals(b + 1j * step * unit).imag / step for unit in np.eye(len(b))])


def load(name: str) -> Certified:
    """Read NIST's file."""
    text = (FOLDER / f"{name}.dat").read_text(encoding="ascii")
    head, _, body = text.rpartition("Data:  ")
    lines = re.findall(r"^ *b\d+ =((?: +\S+){4}) *$", head, re.MULTILINE)
    table = np.array([[float(cell) for cell in line.split()] for line in lines])
    found = re.search(r"Residual Sum of Squares: *(\S+)", head)
    assert found is not None
    rows = np.array(
        [[float(cell) for cell in line.split()] for line in body.splitlines()[1:] if line.strip()]
    )
    x = rows[:, 1] if rows.shape[1] == 2 else rows[:, 1:]
    y = np.log(rows[:, 0]) if name == "Nelson" else rows[:, 0]
    return Certified(name, y, x, table[:, :2].T, table[:, 2], table[:, 3], float(found[1]))


@attrs.frozen(eq=False)
class Linear:
    """A linear data set: y = X·b."""

    name: str
    y: Any
    columns: Any
    """X (n, k)."""
    parameters: Any
    deviations: Any
    rss: float


def load_linear() -> list[Linear]:
    """All eleven."""
    sets = tomllib.loads((FOLDER / "linear.toml").read_text(encoding="ascii"))
    found = []
    for name, one in sets.items():
        y, x, parameters, deviations = (
            np.array(one[key], dtype=np.float64) for key in ("y", "x", "parameters", "deviations")
        )
        columns = [x**power for power in one["powers"]] if x.ndim == 1 else [np.ones(len(x)), *x.T]
        found.append(Linear(name, y, np.column_stack(columns), parameters, deviations, one["rss"]))
    return found
