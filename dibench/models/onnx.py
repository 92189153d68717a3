"""ONNX files, read in a process of their own.

It bounds memory and time, and a file that crashes ONNX's C++ code ends that process alone.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from dibench.errors import UserError
from dibench.extras import pip_install
from dibench.layer import DIMENSIONS, Layer
from dibench.models.model import Model, NotCovered
from dibench.processes import python_path

TIME_LIMIT_S = 30.0
BYTES_PER_S = 20e6
"""Reading speed of a slow disk: the time limit grows by the size of the file over it."""
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def read(path: Path, batch: int | None, shapes: Mapping[str, str]) -> Model:
    """The model of an ONNX file; `batch` and `shapes` as `models.load` describes them.

    Raises:
        UserError: the file is broken or too much, leaves a size open, or the onnx package is missing.
    """
    if importlib.util.find_spec("onnx") is None:
        raise UserError("", f"needs the onnx package to be read: {pip_install('onnx')}", where=path)
    request = {"folder": str(Path.cwd()), "path": str(path), "batch": batch, "shapes": dict(shapes)}
    reply = _reader().ask(request)
    if "error" in reply:
        raise UserError("", reply["error"])
    plain = reply["model"]
    layers = tuple(
        Layer(**dict(zip(DIMENSIONS, sizes, strict=True)), name=name, transposed=turned)
        for *sizes, turned, name in plain["layers"]
    )
    return Model(
        name=plain["name"],
        batch=plain["batch"],
        layers=layers,
        not_covered=tuple(map(_not_covered, plain["not_covered"])),
        input_shapes={name: tuple(shape) for name, shape in plain["input_shapes"].items()},
        parameters=plain["parameters"],
    )


def _not_covered(plain: dict[str, Any]) -> NotCovered:
    operands = plain.pop("operands")
    return NotCovered(**plain, operands=operands and tuple(operands))


@cache
def _reader() -> _Reader:
    reader = _Reader()
    atexit.register(reader.close)
    return reader


class _Reader:
    """The reader process; it is started at the first request, and again after it has ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._process is not None and self._process.poll() is not None:
            self.close()  # such as with the thread that started it
        if self._process is None:
            self._process = _start()
        process, limit_s = self._process, TIME_LIMIT_S + _size(request["path"]) / BYTES_PER_S
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], limit_s)
            line = process.stdout.readline() if ready else b""
        except BrokenPipeError:
            ready, line = [process.stdout], b""
        except BaseException:  # such as Ctrl-C: the answer would go to the next request
            self.close()
            raise
        if line:
            reply: dict[str, Any] = json.loads(line)
            return reply
        self.close()
        why = f"ONNX's reader ended on it (status {process.returncode})"
        return {"error": f"{request['path']}: " + (why if ready else f"takes more than {limit_s:.0f} s")}

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # the process never read the request
                    pipe.close()


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:  # the reader says why
        return 0


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "dibench.models.onnx_reader", str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # One thread: on many cores the stacks of NumPy's thread pool alone would exceed the memory limit.
        env={
            **os.environ,
            **_ONE_THREAD,
            "PYTHONPATH": python_path(),
        },
    )
