"""Programs killed at each of their file calls in turn: `python tests/support/killed_at_calls.py WORK PLACE`.

Python tells an audit hook of every call that opens, renames, links, makes or removes a file, before it is
made. A forked process kills itself at the first of them, the next at the second, and so on until one ends by
itself. After each, what is on disk is looked at, and once more after the next run, which is not killed.

WORK is one of the functions of `WORKS`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from dibench import directories, files, temporary

CALLS = ("open", "os.", "shutil.", "fcntl.", "ctypes.dlsym")
NOTES = "notes/mine.txt"


def killed_at_each(work: Callable[[], None], look: Callable[[], None]) -> int:
    """Run `work` and kill it at each call, `look` after each; how many there are."""
    number = 0
    while True:
        number += 1
        pid = os.fork()
        if pid == 0:
            arm(number)
            try:
                work()
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the work itself failed"
        look()
        if not os.WIFSIGNALED(status):
            return number - 1


def arm(number: int) -> None:
    """Let this process die at its call of that number."""
    left = number

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event.startswith(CALLS):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def texts(folder: Path) -> dict[str, str]:
    """All files below, by path; without temporary ones."""
    there = (path for path in folder.rglob("*") if path.is_file())
    found = {str(path.relative_to(folder)): path.read_text() for path in there}
    return {name: text for name, text in found.items() if not any(map(is_temporary, Path(name).parts))}


def is_temporary(name: str) -> bool:
    return temporary.is_temporary(Path(name)) or name.endswith(".aside")


def publish(folder: Path, rows: int) -> None:
    """As the verb does: what is there is read, and the new one has that and more."""
    directories.bring_back(folder)
    before = int((folder / "rows").read_text()) if (folder / "rows").exists() else 0
    with directories.whole_directory(folder) as new:
        files.replace_file(new / "rows", str(before + rows).encode())
        files.replace_file(new / "README.md", f"{before + rows} rows".encode())


def whole_directory(place: Path) -> int:
    """The old dataset stands, or the new one, and a user's own file in either."""
    folder = place / "card"
    publish(folder, 50)
    (folder / NOTES).parent.mkdir()
    (folder / NOTES).write_text("mine")

    def look() -> None:
        rows = int((place / "card" / "rows").read_text()) if folder.exists() else -1
        directories.bring_back(folder)
        found = int((folder / "rows").read_text())
        assert rows in (-1, found) and found % 60 == 50, (rows, found)
        assert texts(folder) == {"rows": str(found), "README.md": f"{found} rows", NOTES: "mine"}
        publish(folder, 0)
        assert sorted(path.name for path in place.iterdir()) == ["card"], "nothing is left over"
        assert texts(folder) == {"rows": str(found), "README.md": f"{found} rows", NOTES: "mine"}

    return killed_at_each(lambda: publish(folder, 60), look)


def whole_directory_in_two_steps(place: Path) -> int:
    """The same where the file system exchanges nothing."""

    def refuse(one: Path, other: Path) -> NoReturn:
        raise OSError(22, "Invalid argument")

    directories.exchange = refuse
    return whole_directory(place)


def first_directory(place: Path) -> int:
    """A directory that is not there yet."""
    folder = place / "card"

    def look() -> None:
        assert not folder.exists() or texts(folder) == {"rows": "60", "README.md": "60 rows"}
        temporary.remove(folder)
        publish(folder, 50)
        assert [path.name for path in place.iterdir()] == ["card"], "nothing is left over"
        temporary.remove(folder)

    return killed_at_each(lambda: publish(folder, 60), look)


def whole_file(place: Path) -> int:
    """A file that is replaced."""
    path = place / "report.html"
    path.write_text("old")

    def look() -> None:
        assert path.read_text() in ("old", "new")
        files.replace_file(place / "another.html", b"")
        assert sorted(path.name for path in place.iterdir()) == ["another.html", "report.html"]
        path.write_text("old")

    return killed_at_each(lambda: files.replace_file(path, b"new"), look)


def scratch(place: Path) -> int:
    """Copies in $TMPDIR."""
    os.environ["TMPDIR"] = str(place)

    def work() -> None:
        with temporary.scratch() as directory:
            (directory / "sub").mkdir()
            (directory / "sub" / "sweep.csv").write_text("rows")

    def look() -> None:
        with temporary.scratch() as directory:
            assert list(place.iterdir()) == [directory], "nothing is left over"

    return killed_at_each(work, look)


WORKS = {one.__name__: one for one in (
    whole_directory, whole_directory_in_two_steps, first_directory, whole_file, scratch,
)}  # fmt: skip


if __name__ == "__main__":
    print(WORKS[sys.argv[1]](Path(sys.argv[2])))
