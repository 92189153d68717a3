"""The process that reads ONNX files; a hostile file can at worst end it.

`python -m dibench.models.onnx_reader PARENT` reads one request a line and answers one line, both JSON. Its
memory is limited before a file is read; the parent (`dibench.models.onnx`) limits its time, and the kernel
ends it with its parent, whatever it is busy with.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import attrs

from dibench.errors import UserError
from dibench.processes import die_with

MEMORY_BYTES = 2**30
"""Most memory that reading a graph may take, beside the file and its copy as a message."""


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The model, or the error that the user can correct, as plain values."""
    from dibench.models import onnx_file, onnx_graph

    os.chdir(request["folder"])  # where relative paths begin; it may have changed since this process began
    path, within = Path(request["path"]), MEMORY_BYTES
    try:
        within = _limit_memory(MEMORY_BYTES + 2 * onnx_file.check_size(path))
        model = onnx_graph.read(path, request["batch"], request["shapes"])
    except UserError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": f"{path}: needs more than {within >> 20} MB to be read"}
    except RecursionError:
        return {"error": f"{path}: nests too deeply"}
    plain = attrs.asdict(model, recurse=False)
    plain["layers"] = [[*layer.shape, layer.transposed, layer.name] for layer in model.layers]
    plain["not_covered"] = [attrs.asdict(part) for part in model.not_covered]
    return {"model": plain}


def _limit_memory(limit: int) -> int:
    """Limit the memory of this process, at most to its hard limit; returns the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    within = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (within, hard))
    return within


def main() -> None:
    """Answer until the parent closes the pipe."""
    die_with(int(sys.argv[1]))
    _limit_memory(MEMORY_BYTES)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
