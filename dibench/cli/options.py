"""Arguments and options that several verbs share, how they are read, and errors in them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import attrs
import typer

from dibench.cli.output import STANDARD_OUTPUT, say
from dibench.durations import duration_s as duration_s
from dibench.errors import UserError

if TYPE_CHECKING:
    from dibench.models import Model as AnyModel
    from dibench.models.intensities import AlphaValues
    from dibench.study.findings.fitted_model import FittedModel

T = TypeVar("T")


# Every verb that has figures for programs.

Json = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="[FILE]",
        help="Every figure as JSON into FILE, beside the tables; - or no FILE: on standard output, in their "
        "place.",
    ),
]

# Verbs that analyse tables.

Tables = Annotated[
    list[Path],
    typer.Argument(metavar="CSV…", help="sweep.csv, its directory, or anybody's table."),
]
Device = Annotated[str | None, typer.Option("--device", help="One device, where the rows come from several.")]
Backend = Annotated[str | None, typer.Option("--backend", help="Only rows of this backend.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="Only rows of this data type.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of all random draws.")]

# Verbs that take a network: one argument, one meaning of --batch and --input-shape.

_SOURCES = (
    "A network of `networks`, an .onnx file, a .csv table of layers, or, with PyTorch, module:callable, "
    "file.py:callable, torchvision:NAME, timm:NAME."
)
_BATCH = "Images or sequences in one inference. Without it: what the model or --input-shape says, else 1."
Model = Annotated[str, typer.Argument(metavar="MODEL", help=_SOURCES)]
Batches = Annotated[str, typer.Option("--batch", "-N", metavar="N,…", help=f"{_BATCH} Several: 1,8,32.")]
InputShapes = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        metavar="[NAME=]1,3,224,224",
        help="Size of an input of an ONNX file or a PyTorch module; repeat it for more, a type may follow: "
        "ids=1,77:int64. N in it is the batch (128,N,512), and so is a 1 in front.",
    ),
]

# Verbs that show models as they are.

Alpha = Annotated[float | None, typer.Option("--alpha", help="Show DI at this α, from 0 to 1 (½ is AI).")]
AlphaOfFit = Annotated[
    Path | None,
    typer.Option(
        "--fit",
        metavar="FIT.json",
        help="Show DI at the α of a fit: what `fit --json` wrote, or a table or directory of a sweep.",
    ),
]
AsCsv = Annotated[bool, typer.Option("--csv", help="CSV for programs instead of a table.")]

# Verbs that apply a fit to a model.

FitFile = Annotated[
    Path | None,
    typer.Option(
        "--fit",
        metavar="FIT.json",
        help="Required: what `fit … --json FIT.json` wrote; or a sweep's table, which is fitted now; or its "
        "directory.",
    ),
]
FitModel = Annotated[
    str, typer.Option("--model", help="Which model of the fit: macs, ai, di_weighted or di_disjoint.")
]
FitDtype = Annotated[str, typer.Option("--dtype", help="Data type of the network; must be that of the fit.")]
Figures = Annotated[
    Path | None, typer.Option("--figures", metavar="DIR", help="Write figures there, as SVG and PNG.")
]
Full = Annotated[bool, typer.Option("--full", help="Everything that is known, not the answer alone.")]

Strict = Annotated[
    bool, typer.Option("--strict", help="Exit with status 4 where a sum leaves out multiply-adds of a model.")
]


def with_json_on_standard_output(arguments: Sequence[str]) -> list[str]:
    """A command line in which `--json` without a file means `-`, as Typer has no options of optional value.

    >>> with_json_on_standard_output(["layers", "vgg16", "--json"])
    ['layers', 'vgg16', '--json', '-']
    >>> with_json_on_standard_output(["fit", "a.csv", "--json", "fit.json"])
    ['fit', 'a.csv', '--json', 'fit.json']
    """
    found = list[str]()
    for argument, following in zip(arguments, [*arguments[1:], "--"], strict=False):
        found.append(argument)
        if argument == "--json" and following.startswith("-") and following != "-":
            found.append("-")
    return found


def check_seed(seed: int | None) -> dict[str, int]:
    """The seed as a keyword argument; empty for the default."""
    if seed is None:
        return {}
    if seed < 0:
        raise UserError("--seed", "must be 0 or more", seed)
    return {"seed": seed}


def check_json(path: Path | None) -> None:
    """Refuse a destination that cannot be written, before the work and not after."""
    if path is None or path == STANDARD_OUTPUT:
        return
    if path.is_dir():
        raise UserError("--json", "must be a file, this is a directory", str(path))
    if not path.parent.is_dir():
        raise UserError("--json", "must lie in a directory that exists", str(path))


def grouped(verb: Callable[[T], None]) -> Callable[..., None]:
    """A command for Typer of a verb that takes all its options as one object of an attrs class.

    Each field of the class is an argument or option: Typer reads the signature, which is made of them.
    """
    (options,) = (kind for name, kind in get_type_hints(verb).items() if name != "return")
    kinds = get_type_hints(options, include_extras=True)

    @wraps(verb)
    def command(**given: Any) -> None:
        verb(options(**given))

    command.__annotations__ = {field.name: kinds[field.name] for field in attrs.fields(options)}
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.default is attrs.NOTHING else field.default,
                annotation=kinds[field.name],
            )
            for field in attrs.fields(options)
        ]
    )
    return command


def batch_sizes(text: str) -> list[int | None]:
    """The batch sizes of `1,8,32`, each once; of no text only None, which leaves it to the model.

    >>> batch_sizes("1,8"), batch_sizes("")
    ([1, 8], [None])
    """
    if not text:
        return [None]
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 8 and int(part) for part in parts):
        raise UserError("--batch", "must be whole numbers above zero, such as 1,8,32", text)
    return list(dict.fromkeys(int(part) for part in parts))


def model_at(source: str, batch: int | None, input_shape: list[str] | None) -> AnyModel:
    """The model that an argument names, at the batch and with the inputs that the two options say."""
    from dibench import models
    from dibench.models.inputs import parse_inputs

    return models.load(source, batch=batch, shapes=parse_inputs(input_shape or []))


def models_at(
    sources: Sequence[str], batches: Sequence[int | None], input_shape: list[str] | None
) -> list[AnyModel]:
    """Each model at each batch; beside a model that has inputs, tables of layers keep the sizes they have.

    Raises:
        UserError: a model cannot be read, or sizes are given and none of them has inputs.
    """
    from dibench.models.named import has_inputs

    takes = {source: has_inputs(source) for source in sources}
    return [
        model_at(source, batch, input_shape if takes[source] or not any(takes.values()) else None)
        for source in sources
        for batch in batches
    ]


def fitted_model(path: Path | None, model: str, dtype: str = "") -> FittedModel:
    """One model of a fit's JSON, for this data type (empty: the fit's own).

    Raises:
        UserError: no file is given or there, no fit, no such model in it, or it is for another data type.
    """
    from dibench.kernels import DTYPES
    from dibench.study.use.fitted_model import open_fitted_model

    if path is None:
        rule = (
            "must name a fit of this device: `python -m dibench sweep networks --out D` measures, then "
            "`python -m dibench fit D --json D/fit.json` makes it, once"
        )
        raise UserError("--fit", rule)
    if dtype and dtype not in DTYPES:
        raise UserError("--dtype", "must be one of " + ", ".join(DTYPES), dtype)
    fit = open_fitted_model(path, model)
    _say_remark(path)
    if dtype and dtype != fit.origin.dtype:
        rule = f"must be {fit.origin.dtype or 'left out'}: costs of one data type say nothing about another's"
        raise UserError("--dtype", rule, dtype, where=path)
    return fit


def _say_remark(path: Path) -> None:
    from dibench.study.use.fitted_model import made_anew, outdated

    if said := made_anew(path) or outdated(path):
        say(f"dibench: {said}", err=True)


def chosen_alphas(alpha: float | None, fit: Path | None) -> AlphaValues | None:
    """One α for both forms of DI, or the two that a fit found; None where neither option is given.

    Raises:
        UserError: both are given, or it is no α that weighs anything.
    """
    from dibench.models.intensities import AlphaValues

    if alpha is not None and fit is not None:
        raise UserError("--alpha", "must not stand with --fit, which brings its own")
    if fit is not None:
        from dibench.study.use.fitted_model import open_alphas

        alphas = open_alphas(fit)
        _say_remark(fit)
        return alphas
    if alpha is None:
        return None
    if not 0 <= alpha <= 1:
        raise UserError("--alpha", "must be from 0 to 1", alpha)
    return AlphaValues(weighted=alpha, disjoint=alpha)
