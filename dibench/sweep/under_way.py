"""What was being measured when a sweep died together with its worker.

A case may take everything down: the memory of a whole cgroup, a node that is reset. Then nobody is left to
write a failed row, and the next start would try the same case again, for ever. So what begins is noted in
`under_way.txt` first, and what stands there without an end when the sweep starts again was under way when it
died. The file goes when a sweep ends by itself.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from dibench import files

MOST_DEATHS = 3
"""What was under way at so many deaths is not tried again."""

WHY = "killed together, out of memory, or the machine went down"


class UnderWay:
    """The notes of a sweep's directory; only for the holder of its lock."""

    def __init__(self, path: Path) -> None:
        """Read what earlier starts left; the file is made when the first thing begins.

        Raises:
            UserError: the file cannot be read.
        """
        self._path, self._fd = path, -1
        self._deaths: Counter[str] = Counter()
        if path.exists():
            with files.explained(path, doing="read"):
                *lines, _ = path.read_text(encoding="utf-8", errors="replace").split("\n")
            for line in lines:
                word, _, what = line.partition(" ")
                if word == "began":
                    self._deaths[what] += 1
                else:
                    self._deaths.pop(what, None)

    def deaths(self, what: str) -> int:
        """How often the program died while this was under way, since it last had an end."""
        return self._deaths[what]

    def began(self, what: str) -> None:
        """Note that it begins, so that the note survives the machine.

        Raises:
            UserError: the file cannot be written.
        """
        with files.explained(self._path):
            if self._fd < 0:
                self._replace()
                self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            os.write(self._fd, f"began {what}\n".encode())
            os.fdatasync(self._fd)

    def done(self, what: str) -> None:
        """Note that it ended, however it did: its earlier deaths count no more.

        Raises:
            UserError: the file cannot be written.
        """
        self._deaths.pop(what, None)
        if self._fd >= 0:
            with files.explained(self._path):
                os.write(self._fd, f"done {what}\n".encode())

    def forget(self) -> None:
        """Start over."""
        self._deaths.clear()

    def settle(self) -> None:
        """All is measured: forget the deaths of what has its row by now, however it came.

        A program killed between a row and the note of its end leaves a beginning that nothing else would end.
        """
        for what in [what for what, number in self._deaths.items() if number < MOST_DEATHS]:
            del self._deaths[what]

    def close(self) -> None:
        """Leave the deaths of earlier starts only: what is under way now ends with this one."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._deaths:
            self._replace()
        else:
            with files.explained(self._path):
                self._path.unlink(missing_ok=True)

    def _replace(self) -> None:
        """Write the deaths so far and nothing else."""
        lines = (f"began {what}\n" * number for what, number in self._deaths.items())
        files.replace_file(self._path, "".join(lines).encode())
