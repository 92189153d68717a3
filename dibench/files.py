"""Files replaced atomically, and errors of the file system as one-line messages."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def replace_file(path: Path, content: bytes) -> None:
    """Write a temporary file next to it, flush it to disk, and rename it into place.

    A device or pipe (/dev/stdout, /dev/full) is written to, not replaced. Of a link, the target is replaced.

    Raises:
        UserError: it cannot be written; the old file is untouched and the temporary one removed.
    """
    with explained(path):
        if path.exists() and not path.is_file() and not path.is_dir():
            with path.open("wb") as device:
                device.write(content)
            return
        path = path.resolve()
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    with explained(path):
        try:
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise


def remove_unfinished(folder: Path, name: str) -> None:
    """Remove temporary files of a program that was killed while replacing a file.

    The caller makes sure that nothing is replacing it now.
    """
    with explained(folder):
        for path in folder.glob(f".{name}.*.new"):
            path.unlink(missing_ok=True)


def refuse_content(folder: Path, or_else: str = "") -> None:
    """Refuse a directory to be made that is there already and not empty.

    Args:
        folder: to be made.
        or_else: what else it may be, for the message.
    """
    with explained(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError("--out", f"must not exist yet, or be an empty directory{or_else}", str(folder))


@contextlib.contextmanager
def whole_directory(folder: Path) -> Iterator[Path]:
    """A new directory beside, which takes the place of `folder` when all of it is there.

    Raises:
        UserError: it cannot be written; nothing has changed then.
    """
    with explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield beside
        with explained(folder):
            beside.chmod(0o755)
            old = beside.with_name(beside.name + ".old")
            if folder.exists():
                folder.rename(old)
            beside.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def json_text(data: Any) -> str:
    """Data as JSON; NaN and infinity, which JSON does not have, are refused."""
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False, default=str)


def write_json(path: Path, data: Any) -> None:
    """Replace a JSON file atomically."""
    replace_file(path, json_text(data).encode() + b"\n")


def read_json_object(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is no such file.

    Raises:
        UserError: it cannot be read or is not a JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError("", f"cannot be read: {error.strerror}", where=path) from None
    except ValueError as error:
        raise UserError("", f"is not JSON: {error}", where=path) from None
    if not isinstance(data, dict):
        raise UserError("", "must be a JSON object", where=path)
    return data
