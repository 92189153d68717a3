"""Programs that are broken on purpose: each has one harm that break_it.py and its test must notice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from dibench import directories, files, temporary
from dibench.sweep import record


def in_place() -> None:
    """Files are written over, not replaced: a kill leaves half of one."""

    def replace_file(path: Path, content: bytes | Iterable[bytes]) -> None:
        pieces = [content] if isinstance(content, bytes) else content
        with files.explained(path), path.open("wb", buffering=0) as file:
            for piece in pieces:
                file.write(piece)

    _everywhere("replace_file", replace_file)


def untidy() -> None:
    """What killed programs left stays for ever."""
    temporary.remove_orphans = lambda folder: None


def traceback() -> None:
    """What a disk refuses is an exception that nobody expects."""

    @contextlib.contextmanager
    def explained(path: Path, kept: str = "", *, doing: str = "written") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RuntimeError(str(path)) from error

    _everywhere("explained", explained)


def forgetful() -> None:
    """A directory is emptied before its new content is put in place."""

    def put_in_place(new: Path, folder: Path) -> None:
        temporary.remove(folder)
        new.rename(folder)

    changed: Any = directories
    changed._put_in_place = put_in_place


def doubling() -> None:
    """A sweep takes no row for done, and keeps those that are there."""
    changed: Any = record
    changed.written = lambda path, among=None: iter(())
    changed.write = lambda path, rows: None


MUTANTS: dict[str, Callable[[], None]] = {
    one.__name__: one for one in (in_place, untidy, traceback, forgetful, doubling)
}


def _everywhere(name: str, function: Callable[..., Any]) -> None:
    """In `files`, and in every module that has imported it by name."""
    import sys

    real = getattr(files, name)
    for module in list(sys.modules.values()):
        if getattr(module, name, None) is real:
            setattr(module, name, function)
