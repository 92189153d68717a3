"""Directories replaced atomically: killed at any instant, a program leaves the old one whole or the new one.

Linux exchanges two directories in one step (renameat2 with RENAME_EXCHANGE). Where the file system cannot
(NFS), the old one is renamed first. A program killed just then leaves it as `.NAME.aside`, and the next start
brings it back.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from dibench import temporary
from dibench.errors import UserError
from dibench.files import explained, sync_directory

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
"""Errors of a file system that exchanges nothing."""


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

    What the old one has under other names, such as a user's notes, is in the new one, too. Of a link, the
    target is replaced.

    Raises:
        UserError: it cannot be written; nothing has changed then.
    """
    with explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder = folder.resolve()
        bring_back(folder)
    with contextlib.ExitStack() as stack:
        with explained(folder):
            new = stack.enter_context(temporary.directory_beside(folder))
        yield new
        with explained(folder):
            new.chmod(0o755)
            if folder.exists():
                shutil.copymode(folder, new)
                _keep_others(folder, new)
            sync_directory(new)
            _put_in_place(new, folder)


def bring_back(folder: Path) -> None:
    """Bring back a directory that a program was about to replace when it was killed.

    Raises:
        UserError: it cannot be renamed.
    """
    with explained(folder):
        folder = folder.resolve()
        aside = _aside(folder)
        if aside.is_dir():
            if folder.exists():  # the new one is in its place
                temporary.remove(aside)
            else:
                aside.rename(folder)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.aside")


def _keep_others(old: Path, new: Path) -> None:
    """Have the new directory hold what the old one has under other names; the same files, not copies."""
    for path in old.iterdir():
        beside = new / path.name
        if os.path.lexists(beside) or temporary.is_temporary(path):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, beside, symlinks=True, copy_function=_link)
        else:
            _link(path, beside)


def _link(path: str | Path, beside: str | Path) -> None:
    try:
        os.link(path, beside, follow_symlinks=False)
    except OSError:  # a file system without hard links
        shutil.copy2(path, beside, follow_symlinks=False)


def _put_in_place(new: Path, folder: Path) -> None:
    """Let the new directory take the place; the old one is `new` then, if there was one."""
    try:
        if not folder.exists():
            new.rename(folder)
            return
        try:
            exchange(new, folder)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            _rename_both(new, folder)
    finally:
        sync_directory(folder.parent)
    for late in [path for path in new.iterdir() if not os.path.lexists(folder / path.name)]:
        if not temporary.is_temporary(late):  # written while the new one was put in place
            late.rename(folder / late.name)


def exchange(one: Path, other: Path) -> None:
    """Exchange two directories in one step.

    Raises:
        OSError: ENOSYS, EINVAL or ENOTSUP where system or file system cannot; nothing has changed.
    """
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    paths = os.fsencode(one), os.fsencode(other)
    if rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))


def _rename_both(new: Path, folder: Path) -> None:
    aside = _aside(folder)
    try:
        folder.rename(aside)
        new.rename(folder)
    except BaseException:
        if not folder.exists():
            aside.rename(folder)
        raise
    aside.rename(new)
