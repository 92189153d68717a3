"""Reads PyTorch modules: one run on meta tensors, which have shapes and no data, shows every operator.

This executes the code that the user named. A file that holds a pickle is never opened.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dibench.errors import UserError
from dibench.layer import Layer
from dibench.models.inputs import parse_shape
from dibench.models.model import Model, NotCovered, unique_names
from dibench.models.torch_products import Recorder

IMAGE = (1, 3, 224, 224)
"""The default input of a torchvision model: the size that its published figures are for."""


def read(source: Any, batch: int | None, shapes: Mapping[str, str]) -> Model:
    """The model of a module, or of text that names one; `batch` and `shapes` as `models.load` describes them.

    Raises:
        UserError: PyTorch is missing, the text names no module, or the module does not run on meta tensors.
    """
    torch = _torch()
    if isinstance(source, str):
        name, module, usual = source.rpartition(":")[2], *build(source, device="meta")
    else:
        name, module, usual = type(source).__name__, source, None
    if not isinstance(module, torch.nn.Module):
        raise UserError("model", "must be a torch.nn.Module", type(module).__name__)
    inputs = _inputs(batch, shapes, usual)
    recorder = Recorder()
    _run(module, inputs, recorder)
    names = unique_names(name, [found.name for found in recorder.found])
    layers, not_covered = [], []
    for found, unique in zip(recorder.found, names, strict=True):
        if isinstance(found.result, Layer):
            layers.append(found.result.renamed(unique))
        else:
            not_covered.append(
                NotCovered(name=unique, op=found.op, reason=found.result.reason, macs=found.result.macs)
            )
    sizes = {key: shape for key, (shape, _) in inputs.items()}
    return Model(
        name=name, batch=next(iter(sizes.values()))[0], layers=tuple(layers), not_covered=tuple(not_covered),
        input_shapes=sizes, parameters=sum(parameter.numel() for parameter in module.parameters()) or None,
    )  # fmt: skip


def build(source: str, *, device: str) -> tuple[Any, tuple[int, ...] | None]:
    """The module that `module:callable`, `file.py:callable`, `torchvision:NAME` or `timm:NAME` gives.

    Args:
        source: as above; the callable takes no arguments (a class will do), or is a module already.
        device: where its parameters are made, with their initial values; "meta" allocates nothing.

    Returns:
        The module, and the input size that its package publishes, or None.

    Raises:
        UserError: PyTorch or the package is missing, or the callable fails; the message says why.
    """
    torch = _torch()
    where, _, name = source.rpartition(":")
    make: Callable[[], Any]
    with torch.device(device), _explained(source, "cannot be built"), _current_directory():
        if where in ("torchvision", "timm"):
            make = _published(where, name)
        else:
            found = _import(where)
            for part in name.split("."):
                if not hasattr(found, part):
                    raise UserError("model", f"must name something in {where}", name)
                found = getattr(found, part)
            make = found
        if isinstance(make, torch.nn.Module):
            return make, _usual_input(make)
        if not callable(make):
            raise UserError("model", "must be a callable or a torch.nn.Module", type(make).__name__)
        module = make()
    if not isinstance(module, torch.nn.Module):
        raise UserError("model", f"{source} must give a torch.nn.Module", type(module).__name__)
    return module, _usual_input(module) or (IMAGE if where.startswith("torchvision") else None)


def _torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError:
        raise UserError("model", "needs PyTorch: pip install 'dibench[torch]'") from None


def _published(package: str, name: str) -> Callable[[], Any]:
    module = _import(f"{package}.models" if package == "torchvision" else package)
    if package == "torchvision":
        return lambda: module.get_model(name, weights=None)
    return lambda: module.create_model(name, pretrained=False)


def _import(where: str) -> Any:
    """A module by its dotted name or by its file."""
    if where.endswith(".py"):
        path = Path(where)
        if not path.is_file():
            raise UserError("", "no such file", where=path)
        spec = importlib.util.spec_from_file_location(re.sub(r"\W", "_", path.stem), path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    if not re.fullmatch(r"\w+(\.\w+)*", where):
        raise UserError("model", "must be module:callable, file.py:callable or a known network", where)
    return importlib.import_module(where)


@contextlib.contextmanager
def _current_directory() -> Iterator[None]:
    """Within it, modules of the current directory can be imported, as with `python -m`."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


@contextlib.contextmanager
def _explained(source: str, what: str) -> Iterator[None]:
    """Turns what the user's code raises into a UserError of one line."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        first = str(error).strip().splitlines()
        raise UserError(
            "model", f"{source} {what}: {type(error).__name__}" + (f": {first[0][:200]}" if first else "")
        ) from None


def _usual_input(module: Any) -> tuple[int, ...] | None:
    """The input size that models of timm carry."""
    size = (getattr(module, "default_cfg", None) or {}).get("input_size")
    return (1, *size) if size else None


def _inputs(
    batch: int | None, shapes: Mapping[str, str], usual: tuple[int, ...] | None
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Size and type of each input by name; the name of a positional input is empty."""
    if not shapes:
        if usual is None:
            raise UserError("model", "must be given the size of its input: --input-shape 1,3,224,224")
        return {"": ((batch or 1, *usual[1:]), "float32")}
    inputs = {}
    for name, text in shapes.items():
        shape, dtype = parse_shape(text, name)
        torch = _torch()
        if not isinstance(getattr(torch, dtype or "float32", None), torch.dtype):
            raise UserError(f"--input-shape {name}".strip(), "must end in a type of PyTorch", dtype)
        inputs[name] = (shape, dtype or "float32")
    first = next(iter(inputs.values()))[0][0]
    if batch is not None and batch != first:
        raise UserError("--batch", f"must be that of --input-shape, {first}", batch)
    return inputs


def _run(module: Any, inputs: Mapping[str, tuple[tuple[int, ...], str]], recorder: Recorder) -> None:
    """Runs one inference on meta tensors under the recorder, and leaves the module as it was."""
    torch = _torch()

    def on_meta(tensor: Any) -> Any:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")

    cannot = "cannot run on meta tensors (shapes without numbers)"
    arrays = {
        name: torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
        for name, (shape, dtype) in inputs.items()
    }
    args = (arrays.pop(""),) if "" in arrays else ()
    with _explained(type(module).__name__, cannot):  # a lazy module has no shapes yet
        state = {
            name: on_meta(tensor.detach())
            for name, tensor in (*module.named_parameters(), *module.named_buffers())
        }
    recorder.weights(state)
    training = [part for part in module.modules() if part.training]
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        module.eval()
        # PyTorch's fused attention would hide the projections in one operator.
        torch.backends.mha.set_fastpath_enabled(False)
        with (
            _explained(type(module).__name__, cannot),
            recorder.watching(module), torch.no_grad(), torch.device("meta"), _dispatch(recorder),
        ):  # fmt: skip
            torch.func.functional_call(module, state, args, arrays)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for part in training:
            part.training = True


def _dispatch(recorder: Recorder) -> Any:
    """A context that shows the recorder each operator that PyTorch runs."""
    mode = importlib.import_module("torch.utils._python_dispatch").TorchDispatchMode
    leaves = importlib.import_module("torch.utils._pytree").tree_leaves
    tensor = _torch().Tensor

    class Dispatch(mode):  # type: ignore[misc,valid-type]  # PyTorch is imported at run time
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            reads = [leaf for leaf in leaves((args, kwargs)) if isinstance(leaf, tensor)]
            writes = [leaf for leaf in leaves(out) if isinstance(leaf, tensor)]
            recorder.saw(func.namespace, func.name().partition("::")[2], args, kwargs or {}, reads, writes)
            return out

    return Dispatch()
