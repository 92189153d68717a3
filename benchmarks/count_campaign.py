"""Networks of torchvision, timm and pytorchcv, counted three ways beside PyTorch's own counter.

    pip install torchvision timm pytorchcv onnxscript          # and torch, onnx
    python -m benchmarks.count_campaign counts.csv --packages torchvision,timm --minutes 30
    python -m benchmarks.count_campaign counts.csv --minutes 0          # tells what the file holds

Each network is read from its module and from the ONNX files of both exporters of PyTorch, TorchScript's and
the one of `dynamo=True`. The right value is that of PyTorch's formulas (`torch.utils.flop_counter`) for each
operator of one inference; from ONNX it may leave out what does not depend on the inputs, since exporters
compute that once. `exact` needs the same total and every convolution among what dibench found. The file is
continued where it ends; each network has a process of its own, with a limit of memory and time.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import re
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from dibench import models
from dibench.errors import UserError
from dibench.models import onnx as onnx_reader

COLUMNS = ("package", "name", "way", "status", "macs", "right", "seconds", "detail")
WAYS = ("torch", "script", "dynamo")
STATUSES = {
    "exact": "total and every convolution equal",
    "said": "dibench refuses it, or says that it does not know all MACs",
    "wrong": "anything else",
    "none": "the package or the exporter fails, so that there is nothing to read",
}
LIMIT_S = 240
MEMORY_BYTES = 10 * 2**30
MOST_EXPORTED = 150_000_000
"""Most parameters of a network that is exported: files of more take minutes."""

SMALL = re.compile(r"tiny|nano|pico|femto|atto|micro|small|mini|_xx?s|_[sn](_|$)|b0|18|\d+m(_|$)")
"""In the names of networks that are exported in seconds."""

IMAGE: dict[str, tuple[int, ...]] = {"": (1, 3, 224, 224)}
CONVOLUTIONS = ("aten::convolution", "aten::_convolution")
Make = Callable[[], Any]
Shapes = dict[str, tuple[int, ...]]


def names(package: str) -> list[str]:
    """Of all networks of a package, a small one of each family first, detectors last: they take minutes."""
    if package == "torchvision":
        import torchvision

        listed = [name for name in torchvision.models.list_models() if not name.startswith("quantized_")]
        family = {name: torchvision.models.get_model_builder(name).__module__ for name in listed}
    elif package == "timm":
        import timm

        family = {name: module for module in timm.list_modules() for name in timm.list_models(module=module)}
    else:
        from pytorchcv import model_provider

        family = {name: make.__module__ for name, make in model_provider._models.items()}
    turns: Counter[str] = Counter()
    order = []
    for name in sorted(family, key=lambda name: (SMALL.search(name) is None, name)):
        order.append((turns[family[name]], name))
        turns[family[name]] += 1
    return [name for _, name in sorted(order, key=lambda one: ("detection" in family[one[1]], *one))]


def network(package: str, name: str) -> tuple[Make, Shapes]:
    """What builds a network, and the sizes of its inputs."""
    if package == "torchvision":
        import torchvision

        options: dict[str, Any] = {"weights": None}
        module = torchvision.models.get_model_builder(name).__module__
        if "detection" in module or "segmentation" in module:
            options["weights_backbone"] = None
        shapes: Shapes = dict(IMAGE)
        if "video" in module:
            side = 112 if name.startswith(("r3d", "mc3", "r2plus1d")) else 224
            shapes = {"": (1, 3, 16, side, side)}
        elif "optical_flow" in module:
            shapes = {"image1": (1, 3, 128, 128), "image2": (1, 3, 128, 128)}
        elif "detection" in module:
            shapes = {"images.0": (3, 224, 224)}
        return lambda: torchvision.models.get_model(name, **options), shapes
    if package == "timm":
        import timm

        def make() -> Any:
            return timm.create_model(name, pretrained=False)

        return make, {"": (1, *(on_meta(make).default_cfg or {}).get("input_size", IMAGE[""][1:]))}
    from pytorchcv import model_provider

    def make_other() -> Any:
        return model_provider.get_model(name, pretrained=False)

    size = tuple(getattr(on_meta(make_other), "in_size", IMAGE[""][2:]))
    return make_other, {"": (1, 3, *size)}


def on_meta(make: Make) -> Any:
    """What a builder gives, without memory where that can be."""
    import torch

    try:
        with torch.device("meta"):
            return make()
    except (RuntimeError, NotImplementedError):  # it computes with its parameters
        return make()


def arguments(shapes: Shapes, device: str) -> tuple[list[Any], dict[str, Any]]:
    """Inputs by position and by name."""
    import torch

    if "images.0" in shapes:
        return [], {"images": [torch.rand(shapes["images.0"], device=device)]}
    made = {name: torch.rand(shape, device=device) for name, shape in shapes.items()}
    return [made.pop("")] if "" in made else [], made


@attrs.frozen
class Right:
    """Multiply-adds of one inference: all, and those that depend on inputs, together and by convolution."""

    total: int
    varying: int
    convolutions: Counter[int]


def right(module: Any, shapes: Shapes, device: str) -> Right:
    """By PyTorch's formulas, operator by operator."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves
    from torch.utils.flop_counter import flop_registry

    every: list[tuple[str, int, bool]] = []
    varying: dict[int, Any] = {}  # storages by address; they are kept, so that none is used again

    def storages(value: Any) -> dict[int, Any]:
        tensors = [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]
        return {tensor.untyped_storage()._cdata: tensor.untyped_storage() for tensor in tensors}

    class Formulas(TorchDispatchMode):  # type: ignore[misc]  # PyTorch may be absent
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            varies = bool(varying.keys() & storages((args, kwargs)).keys())
            out = func(*args, **(kwargs or {}))
            if varies:
                varying.update(storages(out))
            formula = flop_registry.get(func._overloadpacket)
            if formula is not None:
                flops = formula(*args, **(kwargs or {}), out_val=out)
                every.append((func.name().partition(".")[0], int(flops) // 2, varies))
            return out

    torch.backends.mha.set_fastpath_enabled(False)
    args, named = arguments(shapes, device)
    varying.update(storages((args, named)))
    with torch.no_grad(), torch.device(device), Formulas():
        module(*args, **named)
    return Right(
        total=sum(macs for _, macs, _ in every),
        varying=sum(macs for _, macs, varies in every if varies),
        convolutions=Counter(macs for op, macs, varies in every if op in CONVOLUTIONS and macs and varies),
    )


def exported(module: Any, shapes: Shapes, path: Path, dynamo: bool) -> Path:
    """The ONNX file that PyTorch writes of a module."""
    import torch

    args, named = arguments(shapes, "cpu")
    with torch.no_grad():
        torch.onnx.export(
            module, tuple(args), str(path), kwargs=named or None, dynamo=dynamo, verbose=False,
            external_data=False,
        )  # fmt: skip
    return path


def judged(read: Callable[[], models.Model], due: Right, way: str) -> tuple[str, int, str]:
    """Status, MACs and what is to be said about one way of reading."""
    try:
        model = read()
    except UserError as error:
        return "said", 0, str(error)
    except Exception as error:
        return "wrong", 0, f"dibench fails: {first_line(error)}"
    found = Counter(layer.macs for layer in model.layers)
    found.update(part.macs for part in model.not_covered if part.macs is not None)
    lost = due.convolutions - found
    if not lost and (model.macs_known == due.total or (model.macs_known == due.varying and way != "torch")):
        constant = f"without {due.total - model.macs_known} of constants; " * (model.macs_known != due.total)
        return "exact", model.macs_known, constant + model.note
    unknown = [part for part in model.not_covered if part.macs is None]
    if unknown:
        return "said", model.macs_known, f"{unknown[0].name}: {unknown[0].reason}"
    return "wrong", model.macs_known, f"{sum(lost.values())} convolutions not found"


def counted(package: str, name: str, ways: list[str]) -> Iterator[tuple[str, str, int, int, float, str]]:
    """Way, status, MACs, right MACs, seconds and detail of each way."""
    import torch

    torch.set_num_threads(1)
    begin = time.perf_counter()
    try:
        make, shapes = network(package, name)
        try:
            module = on_meta(make).eval().to("meta")
            due = right(module, shapes, "meta")
        except Exception:  # it asks for numbers
            module = make().eval()
            due = right(module, shapes, "cpu")
    except Exception as error:
        yield from ((way, "none", 0, 0, 0.0, first_line(error)) for way in ways)
        return
    given = {key: ",".join(map(str, shape)) for key, shape in shapes.items()}
    size = sum(parameter.numel() for parameter in module.parameters())
    for way in ways:
        begin = time.perf_counter()
        if way == "torch":
            judgement = judged(lambda: models.load(module, shapes=given), due, way)
        elif size > MOST_EXPORTED:
            judgement = "none", 0, f"not exported: {size:,} parameters"
        else:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.onnx"
                try:
                    exported(make().eval(), shapes, path, dynamo=way == "dynamo")
                except Exception as error:
                    judgement = "none", 0, f"the exporter fails: {first_line(error)}"
                else:
                    begin = time.perf_counter()
                    judgement = judged(lambda path=path: models.load(path), due, way)  # type: ignore[misc]
        status, macs, detail = judgement
        yield way, status, macs, due.total, time.perf_counter() - begin, detail


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160] if lines else ''}"


def in_a_process(package: str, name: str, ways: list[str], path: Path) -> None:
    """Append the rows of one network, which a process of its own writes; what it does not write, it lacks."""
    process = os.fork()
    if process == 0:
        try:
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
                os.dup2(nowhere.fileno(), 2)
            for row in counted(package, name, ways):
                append(path, package, name, row)
            onnx_reader._reader().close()
        finally:
            os._exit(0)
    deadline = time.monotonic() + LIMIT_S
    while os.waitpid(process, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            break
        time.sleep(0.05)
    for way in set(ways) - held(path).get((package, name), set()):
        append(path, package, name, (way, "none", 0, 0, 0.0, f"took over {LIMIT_S} s or too much memory"))


def append(path: Path, package: str, name: str, row: tuple[str, str, int, int, float, str]) -> None:
    """Write one row at the end of the file."""
    way, status, macs, total, seconds, detail = row
    with path.open("a", newline="") as file:
        cells = (package, name, way, status, macs, total, f"{seconds:.2f}", detail)
        csv.writer(file, lineterminator="\n").writerow(cells)


def rows(path: Path) -> list[dict[str, str]]:
    """What a file holds."""
    if not path.exists():
        path.write_text(",".join(COLUMNS) + "\n")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def held(path: Path) -> dict[tuple[str, str], set[str]]:
    """The ways of each network that a file has already."""
    done: dict[tuple[str, str], set[str]] = {}
    for row in rows(path):
        done.setdefault((row["package"], row["name"]), set()).add(row["way"])
    return done


def tell(path: Path) -> None:
    """Print how many networks of each package and way have each status, and all that are wrong."""
    every = rows(path)
    print(f"{'package':12} {'way':8} {'read':>5} " + " ".join(f"{status:>6}" for status in STATUSES))
    for package, way in sorted({(row["package"], row["way"]) for row in every}):
        here = Counter(row["status"] for row in every if (row["package"], row["way"]) == (package, way))
        read = sum(here.values()) - here["none"]
        print(f"{package:12} {way:8} {read:>5} " + " ".join(f"{here[status]:>6}" for status in STATUSES))
    print("; ".join(f"{status}: {meaning}" for status, meaning in STATUSES.items()))
    for row in every:
        if row["status"] == "wrong":
            print(f"WRONG {row['package']}:{row['name']} {row['way']}: {row['macs']} for {row['right']}")


def main() -> None:
    """Count until the time is over, then tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path, help="a .csv file, continued if it is there")
    parser.add_argument("--packages", default="torchvision,timm,pytorchcv")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--names", help="only these networks, by comma")
    parser.add_argument("--first", type=int, help="so many networks of each package")
    parser.add_argument("--minutes", type=float, default=30)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    until, ways = time.monotonic() + 60 * chosen.minutes, chosen.ways.split(",")
    done = held(chosen.file)
    for package in chosen.packages.split(",") if chosen.minutes else ():
        listed = chosen.names.split(",") if chosen.names else names(package)[: chosen.first]
        for number, name in enumerate(listed):
            if time.monotonic() > until:
                break
            left = [way for way in ways if way not in done.get((package, name), ())]
            if left:
                with contextlib.suppress(BrokenPipeError):
                    print(f"{package} {number + 1}/{len(listed)} {name}", file=sys.stderr, flush=True)
                in_a_process(package, name, left, chosen.file)
    tell(chosen.file)


if __name__ == "__main__":
    main()
