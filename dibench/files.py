"""Files replaced atomically, and errors of the file system as one-line messages."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from dibench import temporary
from dibench.errors import UserError


@contextlib.contextmanager
def explained(path: Path, kept: str = "", *, doing: str = "written") -> Iterator[None]:
    """Turn an `OSError` inside the context into a `UserError` of one line about that path.

    Args:
        path: named in the message.
        kept: what is not lost, for the message.
        doing: `written` or `read`.
    """
    try:
        yield
    except OSError as error:
        rule = f"cannot be {doing}: {os.strerror(error.errno or 0)}" + (f" ({kept})" if kept else "")
        raise UserError("", rule, where=path) from None


def replace_file(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a temporary file next to it, flush it to disk, and rename it into place.

    Content in pieces is written as it is made, and never in memory whole.

    A device or pipe (/dev/stdout, /dev/full) is written to, not replaced. Of a link, the target is replaced.

    Raises:
        UserError: it cannot be written; the old file is untouched and the temporary one removed.
    """
    pieces = [content] if isinstance(content, bytes) else content
    with explained(path):
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("wb") as device:
                device.writelines(pieces)
            return
        path = path.resolve()
        with temporary.file_beside(path) as (beside, descriptor):
            with open(descriptor, "wb", closefd=False) as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(descriptor)
            beside.replace(path)
        sync_directory(path.parent)


def sync_directory(folder: Path) -> None:
    """Force the names in a directory to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def json_text(data: Any) -> str:
    """Data as JSON; NaN and infinity, which JSON does not have, are refused."""
    return "".join(json_pieces(data))


def json_pieces(data: Any, line: str = "\n") -> Iterator[str]:
    """Likewise piece by piece: a list that is an iterator, or a value of a mapping, is never in memory whole.

    Args:
        data: what JSON has, and such iterators.
        line: a new line, indented as far as the data are.

    >>> print("".join(json_pieces({"rows": iter([1, 2]), "sum": 3})))
    {
     "rows": [
      1,
      2
     ],
     "sum": 3
    }
    """
    inside = f"{line} "
    if isinstance(data, Iterator):
        before = "["
        for item in data:
            yield before + inside
            yield from json_pieces(item, inside)
            before = ","
        yield f"{line}]" if before == "," else "[]"
    elif isinstance(data, Mapping) and any(isinstance(value, Iterator) for value in data.values()):
        before = "{"
        for name, value in data.items():
            yield f"{before}{inside}{json.dumps(name, ensure_ascii=False)}: "
            yield from json_pieces(value, inside)
            before = ","
        yield f"{line}}}"
    else:
        text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False, default=str)
        yield encoded(text.replace("\n", line)).decode()


def encoded(text: str) -> bytes:
    r"""Text as UTF-8. A byte of a path that is no UTF-8, a lone surrogate in Python, is written as \udcff.

    >>> encoded("a\udcff")
    b'a\\udcff'
    """
    return text.encode(errors="backslashreplace")


def write_json(path: Path, data: Any) -> None:
    """Replace a JSON file atomically; data as of `json_pieces`."""
    replace_file(path, (piece.encode() for piece in chain(json_pieces(data), "\n")))


def read_json_object(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is no such file.

    Raises:
        UserError: it cannot be read or is not a JSON object.
    """
    try:
        data = json.loads(path.read_bytes())  # UTF-8 or UTF-16, with a mark or without
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError("", f"cannot be read: {error.strerror}", where=path) from None
    except ValueError as error:
        raise UserError("", f"is not JSON: {error}", where=path) from None
    except RecursionError:
        raise UserError("", "is not JSON of ours: it is nested too deeply", where=path) from None
    if not isinstance(data, dict):
        raise UserError("", "must be a JSON object", where=path)
    return data
