"""The command line: one verb per file, and the only place that prints and exits."""

from __future__ import annotations

import errno
import inspect
import io
import os
import sys
from collections.abc import Callable

import typer

from dibench import __version__
from dibench.backends import DeviceError
from dibench.cli import interruption
from dibench.cli.calibrate import calibrate
from dibench.cli.campaign import campaign
from dibench.cli.compare import compare
from dibench.cli.counters import counters
from dibench.cli.datasets import datasets
from dibench.cli.doctor import doctor
from dibench.cli.explain import explain
from dibench.cli.fit import fit
from dibench.cli.generality import generality
from dibench.cli.import_table import import_
from dibench.cli.layers import layers
from dibench.cli.measure import measure
from dibench.cli.merge import merge
from dibench.cli.networks import networks
from dibench.cli.options import with_json_on_standard_output
from dibench.cli.predict import predict
from dibench.cli.publish import publish
from dibench.cli.report import report
from dibench.cli.selftest import selftest
from dibench.cli.sweep import sweep
from dibench.cli.variants import variants
from dibench.errors import UserError
from dibench.show import characters

INTRODUCTION = """\
dibench: how much energy does a neural-network layer cost, and which description
of its data reuse predicts it? Custom kernels whose reuse is a knob, measured
and regressed against arithmetic intensity (AI) and data-type-aware weighted
arithmetic intensity (DI).

  python -m dibench doctor                            what this machine measures
  python -m dibench measure resnet50/layer1.0.conv2   what one layer costs
  python -m dibench sweep smoke --out /tmp/smoke      every operator, in seconds

All verbs: python -m dibench --help
"""


def _help(verb: Callable[..., None]) -> str:
    """A verb's docstring, each paragraph in one line: Typer would keep the line breaks of the source."""
    paragraphs = (inspect.getdoc(verb) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


app = typer.Typer(
    name="dibench",
    help="Energy microbenchmarks for neural-network layers: layer → plan → kernel → measure → fit → report.",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
VERBS: dict[str, tuple[Callable[..., None], ...]] = {
    "Measure": (sweep, campaign, publish, merge, measure),
    "Read what others measured": (datasets, import_),
    "Analyse": (fit, generality, report, compare),
    "Use a fit": (predict, explain),
    "Look at models and kernels": (networks, layers, variants),
    "Check this machine": (doctor, selftest, calibrate, counters),
}
"""By the heading that `--help` shows them under."""

for heading, verbs in VERBS.items():
    for verb in verbs:
        app.command(verb.__name__.rstrip("_"), help=_help(verb), rich_help_panel=heading)(verb)


_ANALYSES = ("fit", "generality", "report", "compare", "predict", "explain")
_COMPLETE = "_DIBENCH_COMPLETE"
"""What a shell sets to ask for completion."""
_UNWRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Show the version and exit."),
) -> None:
    if context.invoked_subcommand in _ANALYSES:
        # Before NumPy is loaded. Matrices of a fit are narrow, and BLAS threads wait for each other awake: a
        # report took 15 s of both cores and takes 6 of one; where something else used them, a fit of 572
        # layers took 19 s with two threads and 5 s with one.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if version:
        typer.echo(f"dibench {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(INTRODUCTION, nl=False)


def main(arguments: list[str] | None = None) -> None:
    """Run one command line and exit: 0, or 2 after one line that says what the user can correct."""
    try:
        interruption.listen()
        status = _run(arguments)
    except KeyboardInterrupt:
        status = interruption.status()
    interruption.listen_no_more()
    sys.exit(status)


def _run(arguments: list[str] | None) -> int:
    """The exit status of a command line; of a failure, exits."""
    command = typer.main.get_command(app)
    given = with_json_on_standard_output(sys.argv[1:] if arguments is None else arguments)
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed by the caller, as `>&-` does
            setattr(sys, stream, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    characters.register()
    for opened in (sys.stdout, sys.stderr):
        if isinstance(opened, io.TextIOWrapper):
            opened.reconfigure(errors=characters.HANDLER)
    try:
        status = command.main(
            given,
            prog_name="dibench" if _of_completion(arguments) else "python -m dibench",
            complete_var=_COMPLETE,
            standalone_mode=False,
        )
        sys.stdout.flush()  # a disk that is full shows here, not when the interpreter ends
    except (UserError, DeviceError) as error:
        _fail(str(error))
    except typer.Exit as exit_request:
        status = exit_request.exit_code
    except (typer.Abort, KeyboardInterrupt):
        status = interruption.status()
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing more to say, and not a failure.
        _drop_output()
        status = 0
    except OSError as error:
        if error.errno in _UNWRITTEN and error.filename is None:
            _drop_output()
            if interruption.has_come():  # SIGHUP: the terminal is gone
                sys.exit(interruption.status())
            _fail(f"output cannot be written: {error.strerror}")
        _fail(_of_the_system(error))
    except Exception as error:
        # A misspelt option or verb. Typer carries Click inside or beside it, depending on its release, so
        # its usage errors are known by what they can do.
        if not hasattr(error, "format_message"):
            raise
        _fail(error.format_message() + _taken_by_json(given, error))
    if interruption.has_come():  # Typer takes every KeyboardInterrupt for Ctrl-C
        status = interruption.status()
    return status if isinstance(status, int) else 0


def _of_the_system(error: OSError) -> str:
    """What the system refused, and what to do where that is known."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"too many open files ({error.strerror}): raise the limit, `ulimit -n 1024`"
    if error.errno == errno.ENOENT and "temporary directory" in str(error):
        return "no temporary directory can be written: set TMPDIR to one that can"
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}"  # such as a name longer than file systems have
    return f"the system refused something: {error.strerror or error}"


def _of_completion(arguments: list[str] | None) -> bool:
    """Whether a shell asks for completion, or is taught it: of the command `dibench`, which is one word."""
    asked = sys.argv[1:] if arguments is None else arguments
    return _COMPLETE in os.environ or any(one.endswith("-completion") for one in asked[:1])


def _taken_by_json(given: list[str], error: Exception) -> str:
    """The likely reason of a missing argument: `layers --json vgg16` names a file, and no model."""
    if type(error).__name__ != "MissingParameter" or "--json" not in given[:-1]:
        return ""
    file = given[given.index("--json") + 1]
    return "" if file == "-" else f" {file} is the file of --json here; `--json -` prints"


def _drop_output() -> None:
    """Forget what is still to be written, or the interpreter tries, and complains, once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str) -> None:
    print(f"dibench: {characters.visible(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(2)
