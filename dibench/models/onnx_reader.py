"""The process that reads ONNX files: a hostile one can at worst end it.

`python -m dibench.models.onnx_reader` reads one request a line and answers one line, both JSON. Its memory
is limited before anything is read; the parent (`dibench.models.onnx`) limits its time.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import attrs

from dibench.errors import UserError

MEMORY_BYTES = 2**30


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The model, or what the user can correct, as plain values."""
    from dibench.models import onnx_graph

    try:
        model = onnx_graph.read(Path(request["path"]), request["batch"], request["shapes"])
    except UserError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": f"{request['path']}: needs more than {MEMORY_BYTES >> 20} MB to be understood"}
    except RecursionError:
        return {"error": f"{request['path']}: nests too deeply"}
    plain = attrs.asdict(model, recurse=False)
    plain["layers"] = [[*layer.shape, layer.name] for layer in model.layers]
    plain["not_covered"] = [attrs.asdict(part) for part in model.not_covered]
    return {"model": plain}


def main() -> None:
    """Answer until the parent closes the pipe."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    within = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (within, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
