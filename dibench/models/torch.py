"""Reads PyTorch modules: one run on meta tensors, which have shapes and no data, shows every operator.

The run is that of a deep copy whose tensors are all on meta, so that the user's module stays as it is,
whatever `forward` keeps. A module that asks for numbers (`.item()`, `if mask.all()`) runs once more, on the
CPU with real ones, if it is small. A file that holds a pickle is never opened.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import importlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from dibench.errors import UserError
from dibench.layer import Layer
from dibench.models.formats import TORCHSCRIPT
from dibench.models.inputs import parse_shape
from dibench.models.model import Model, NotCovered, unique_names
from dibench.models.products import sizes_text
from dibench.models.torch_inputs import Inputs, arguments
from dibench.models.torch_products import Recorder
from dibench.models.torch_source import build, explained, import_torch

MOST_REAL = 200_000_000
"""Most parameters of a module that runs on the CPU where meta tensors do not do."""

_ASKS_FOR_NUMBERS = re.compile(
    r"meta|item\(|numpy|tolist|nonzero|same device|data-dependent|NotImplementedError"
)
_HINTS = {
    "Long, Int|indices|ndex tensors": "give whole numbers with --input-shape NAME=1,128:int64",
    "argument|data type 'str'|has no (attribute|field)": "give inputs by name with --input-shape "
    "NAME=1,3,8,8, those in a dict or tuple as NAME.KEY=1,3,8,8",
}
"""What to do about an error of PyTorch."""

_RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
_SPREADING = ("expand", "expand_as", "broadcast_to")


def read(source: Any, batch: int | None, shapes: Mapping[str, str]) -> Model:
    """The model of a module, or of text that names one; `batch` and `shapes` as `models.load` describes them.

    Raises:
        UserError: PyTorch is missing, the text names no module, or the module does not run.
    """
    torch = import_torch()
    if isinstance(source, str):
        name, module, usual = source.rpartition(":")[2], *build(source, device="meta")
    else:
        name, module, usual = type(source).__name__, source, None
    if isinstance(module, torch.export.ExportedProgram):
        module = module.module()
    if not isinstance(module, torch.nn.Module):
        raise UserError("model", "must be a torch.nn.Module", type(module).__name__)
    if isinstance(module, torch.jit.ScriptModule):
        raise UserError("model", f"{name} is TorchScript: {TORCHSCRIPT}")
    inputs = _inputs(batch, shapes, usual)
    recorder, note = _recorded(source, module, inputs)
    names = unique_names(name, [found.name for found in recorder.found])
    layers, not_covered = [], []
    for found, unique in zip(recorder.found, names, strict=True):
        if isinstance(found.result, Layer):
            layers.append(found.result.renamed(unique))
        elif found.result.macs != 0:
            counts = attrs.asdict(found.result, recurse=False)
            not_covered.append(NotCovered(name=unique, op=found.op, **counts))
    sizes = {key: shape for key, (shape, _) in inputs.items()}
    return Model(
        name=name, batch=next(iter(sizes.values()))[0], layers=tuple(layers), not_covered=tuple(not_covered),
        input_shapes=sizes, parameters=_parameters(module) or None, note=note,
    )  # fmt: skip


def _parameters(module: Any) -> int:
    lazy = import_torch().nn.parameter.is_lazy
    return sum(each.numel() for each in module.parameters() if not lazy(each))


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
        torch = import_torch()
        if not isinstance(getattr(torch, dtype or "float32", None), torch.dtype):
            raise UserError(f"--input-shape {name}".strip(), "must end in a type of PyTorch", dtype)
        inputs[name] = (shape, dtype or "float32")
    first = next(iter(inputs.values()))[0][0]
    if batch is not None and batch != first:
        raise UserError("--batch", f"must be that of --input-shape, {first}", batch)
    return inputs


def _recorded(source: Any, module: Any, inputs: Inputs) -> tuple[Recorder, str]:
    """What one inference runs, and a note where that took real numbers."""
    kind = type(module).__name__
    module = getattr(module, "_orig_mod", module)  # what torch.compile wrapped
    try:
        cannot = "does not run on inputs of " + ", ".join(sizes_text(shape) for shape, _ in inputs.values())
        return _run(_on_meta(module, isinstance(source, str)), inputs, "meta", f"{kind} {cannot}"), ""
    except UserError as error:
        if not _ASKS_FOR_NUMBERS.search(str(error).partition(cannot)[2]):
            hint = next(
                (f" ({hint})" for telling, hint in _HINTS.items() if re.search(telling, str(error))), ""
            )
            raise UserError("", str(error) + hint) from None
        if _parameters(module) > MOST_REAL:
            raise UserError("", f"{error}; export it to ONNX") from None
    if isinstance(source, str):
        real = getattr(build(source, device="cpu")[0], "_orig_mod", None) or build(source, device="cpu")[0]
    else:
        with explained(kind, "cannot be copied"):
            real = copy.deepcopy(module)
    cannot = "runs neither on shapes alone (it asks for numbers) nor on the CPU; export it to ONNX"
    recorder = _run(real, inputs, "cpu", f"{kind} {cannot}")
    return recorder, "The model asks for numbers, so that its layers are those of one run on random inputs."


def _on_meta(module: Any, own: bool) -> Any:
    """A deep copy of a module whose tensors, in whatever attribute, have shapes and no numbers.

    Args:
        module: stays as it is, unless it is `own` and cannot be copied.
        own: whether it was built for this run alone.
    """
    torch = import_torch()
    mode = importlib.import_module("torch.overrides").TorchFunctionMode
    lazy = torch.nn.parameter.is_lazy

    def on_meta(tensor: Any) -> Any:
        if lazy(tensor):
            return type(tensor)(device="meta", dtype=tensor.dtype)
        empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
        if isinstance(tensor, torch.nn.Parameter):
            return torch.nn.Parameter(empty, requires_grad=tensor.requires_grad)
        return empty

    class Copying(mode):  # type: ignore[misc,valid-type]  # PyTorch is imported at run time
        def __torch_function__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            if func is not torch.Tensor.__deepcopy__:
                return func(*args, **(kwargs or {}))
            tensor, memo = args
            return memo.setdefault(id(tensor), on_meta(tensor))

    memo = {id(each): on_meta(each) for each in (*module.parameters(), *module.buffers())}
    try:
        with Copying(), contextlib.redirect_stdout(None):
            return copy.deepcopy(module, memo)
    except Exception as error:
        if own:
            return module.to("meta")
        why = f"cannot be copied ({type(error).__name__}): name the code that builds it as file.py:callable"
        raise UserError("model", f"{type(module).__name__} {why}") from None


def _run(module: Any, inputs: Inputs, device: str, cannot: str) -> Recorder:
    """Runs one inference of a module of our own, and records what multiplies."""
    torch = import_torch()
    recorder = Recorder(made_is_activation=device != "meta")
    kind, _, what = cannot.partition(" ")
    with explained(kind, what):
        args, named, tensors = arguments(module, inputs, device)
    for part in module.modules():
        part.training = False  # not by eval(): that of an exported program, or of a user, may do anything
    recorder.weights(_tensors(module))
    if device != "meta":
        recorder.weights(("", each) for each in gc.get_objects() if _is_dense(each))
    recorder.activations(tensors)
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        # PyTorch's fused attention would hide the projections in one operator.
        torch.backends.mha.set_fastpath_enabled(False)
        with (
            explained(kind, what), recorder.watching(module), torch.no_grad(), torch.device(device),
            torch.compiler.set_stance("force_eager"), _functions(recorder), _dispatch(recorder),
        ):  # fmt: skip
            module(*args, **named)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return recorder


def _tensors(module: Any) -> Iterator[tuple[str, Any]]:
    """Parameters, buffers and other tensors that are attributes, by name."""
    found = [*module.named_parameters(), *module.named_buffers()]
    for prefix, part in module.named_modules():
        found += [(f"{prefix}.{key}".lstrip("."), value) for key, value in vars(part).items()]
    return ((name, value) for name, value in found if _is_dense(value))


def _is_dense(value: Any) -> bool:
    """Whether something is a tensor with a storage: not sparse, and not waiting for its size."""
    torch = import_torch()
    if not issubclass(type(value), torch.Tensor) or torch.nn.parameter.is_lazy(value):
        return False
    return bool(value.layout == torch.strided)


def _functions(recorder: Recorder) -> Any:
    """A context that shows the recorder recurrent layers whole, and what is expanded.

    On meta tensors PyTorch would project the inputs of each step alone, as it does not on the CPU.
    """
    mode = importlib.import_module("torch.overrides").TorchFunctionMode

    class Functions(mode):  # type: ignore[misc,valid-type]  # PyTorch is imported at run time
        def __torch_function__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            name = getattr(func, "__name__", "")
            if name in _SPREADING:
                return recorder.spread(func(*args, **(kwargs or {})))
            if name not in _RECURRENT or not isinstance(args[3], bool):  # sequences of several lengths
                return func(*args, **(kwargs or {}))
            with recorder.paused():
                out = func(*args, **(kwargs or {}))
            recorder.recurrent(name, args)
            return out

    return Functions()


def _dispatch(recorder: Recorder) -> Any:
    """A context that shows the recorder each operator that PyTorch runs."""
    mode = importlib.import_module("torch.utils._python_dispatch").TorchDispatchMode
    leaves = importlib.import_module("torch.utils._pytree").tree_leaves

    class Dispatch(mode):  # type: ignore[misc,valid-type]  # PyTorch is imported at run time
        supports_higher_order_operators = True

        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            reads = [leaf for leaf in leaves((args, kwargs)) if _is_dense(leaf)]
            recorder.reads(reads)
            out = func(*args, **(kwargs or {}))
            writes = [leaf for leaf in leaves(out) if _is_dense(leaf)]
            changes = getattr(getattr(func, "_schema", None), "is_mutable", False)
            name = func.name().rpartition("::")[2]
            recorder.saw(func.namespace, name, args, kwargs or {}, reads, writes, changes)
            return out

    return Dispatch()
