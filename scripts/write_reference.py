"""Write the pages of docs/ that are made from the code: verbs.md, plans.md, columns.md and terms.md.

python scripts/write_reference.py [DIRECTORY]
"""

from __future__ import annotations

import inspect
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

VERBS = """\
# Every verb

Written from the program's own `--help` by `scripts/write_reference.py`; a test compares. `python -m dibench
VERB --help` says the same on a terminal. Exit status: 0 done, 1 the check that was asked for failed, 2
something to correct (one line says what), 130 interrupted; where a verb has others, it says so.

Every verb has `--json [FILE]`: all that it found as JSON into FILE, beside its words; `--json -`, or `--json`
without a file, prints the JSON in their place, and nothing else, on standard output. What is not known is
null, never NaN, and never zero. Of several batch sizes it is a list. A file that cannot be written is refused
before the work begins.
"""

PLANS = """\
# Plan files

Written from `dibench/plan/file.py` and `dibench/presets` by `scripts/write_reference.py`; a test compares.

A plan says which layers are measured, by which kernels, at which values of their knobs. `sweep` takes the
name of a preset or a TOML file of your own; every combination that a kernel can run is a case.

A knob that a plan leaves out has the value that the kernel's header prefers for the layer; of GPU kernels as
an H200 would have it, so that a plan is the same wherever it is made. How many blocks share a reduction
(`splits`) is preferred together with the tile: where a plan chooses `tile_p` or `tile_k` and not `splits`,
one block works on each tile.

```sh
python -m dibench sweep mine.toml --dry-run                 # which cases, how long
python -m dibench sweep mine.toml --out results/local/mine
```

## All keys
"""

COLUMNS = """\
# Columns of a table

Written from `dibench/schema.py` by `scripts/write_reference.py`; a test compares.

A sweep's `sweep.csv` has one row for each case and these columns, in this order. UTF-8, RFC 4180, no line
break inside a field, `.` decimals; an empty cell is not known, never zero. Any tool may write such a table:
`fit` needs the layer's dimensions, `op`, `dtype`, `status`, `energy_source` and a response (`time_s` or a
column of joules). Columns that dibench does not know are kept.
"""


TERMS = """\
# Terms

Written from `dibench/show/terms.py` by `scripts/write_reference.py`; a test compares. `--full` on a terminal,
and the page of `report`, say the same of each term where it first stands.

| term | in a line |
|---|---|
"""


def terms() -> str:
    """The glossary."""
    from dibench.show import terms as glossary

    return TERMS + "".join(f"| {term.name} | {term.says} |\n" for term in glossary.TERMS)


def verbs() -> str:
    """Every verb with its help, arguments and options."""
    import typer

    from dibench import cli

    commands: Any = typer.main.get_command(cli.app)
    lines = [VERBS]
    for heading, of_heading in cli.VERBS.items():
        lines.append(f"## {heading}\n")
        for verb in of_heading:
            name = verb.__name__.rstrip("_")
            lines += _verb(name, commands.commands[name], inspect.getdoc(verb) or "")
    return "\n".join(lines)


def _verb(name: str, command: Any, doc: str) -> Iterator[str]:
    """One verb."""
    context = command.make_context(name, [], resilient_parsing=True)
    usage = command.get_usage(context).removeprefix("Usage: ")
    yield f"### {name}\n"
    yield f"```text\npython -m dibench {' '.join(usage.split())}\n```\n"
    for paragraph in doc.split("\n\n"):
        example = re.fullmatch(r"\[bold\](.+?)\[/bold\](.*)", " ".join(paragraph.split()))
        if example:
            yield f"```sh\n{example[1]}{example[2] and f'   #{example[2]}'}\n```\n"
        else:
            yield _words(paragraph) + "\n"
    records = [param.get_help_record(context) for param in command.params if param.name != "help"]
    yield "| | |\n|---|---|"
    for said in filter(None, records):
        what = re.sub(r" <(str|int|float|path|list.+?)>", "", said[0]).replace("|", "\\|")
        yield f"| `{what}` | {_words(said[1])} |"
    yield ""


def _words(text: str) -> str:
    """Text of the program as Markdown takes it, without the terminal's markup."""
    plain = re.sub(r"\[/?(bold|dim|red|green|yellow)\]", "", " ".join(text.split()))
    return re.sub(r"([|<*])", r"\\\1", plain)


def plans() -> str:
    """The plan format and the presets as examples of it."""
    from dibench.plan import file

    doc = inspect.getdoc(file) or ""
    rules, _, keys = doc.partition("\n\n")
    lines = [PLANS, rules, "", f"```toml\n{keys.strip()}\n```", "", "## Presets as examples\n"]
    folder = resources.files("dibench.presets")
    for preset in sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".toml")):
        if preset.endswith(".stages.toml"):  # of `campaign`, whose page shows it
            continue
        text = (folder / preset).read_text("utf-8")
        said = tomllib.loads(text)["plan"]["description"]
        lines += [
            f"### {preset.removesuffix('.toml')}\n",
            f"{said[0].upper()}{said[1:]}.\n",
            f"```toml\n{text}```\n",
        ]
    return "\n".join(lines)


def columns() -> str:
    """The columns of the CSV contract."""
    from dibench import schema

    lines = [COLUMNS, "| column | kind | meaning |", "|---|---|---|"]
    lines += [f"| `{one.name}` | {one.kind} | {_words(one.meaning)} |" for one in schema.COLUMNS]
    return "\n".join(lines)


PAGES = {"verbs.md": verbs, "plans.md": plans, "columns.md": columns, "terms.md": terms}


def main() -> None:
    """Write them where the command line says, else in docs/."""
    folder = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "docs"
    for name, page in PAGES.items():
        (folder / name).write_text(page().rstrip("\n") + "\n", "utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
