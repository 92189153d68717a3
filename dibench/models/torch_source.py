"""Builds the PyTorch module that a text names: `module:callable`, `file.py:callable`, `torchvision:NAME`.

This executes the code that the user named. What that code prints goes to stderr, so that tables and JSON on
stdout stay whole.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dibench.errors import UserError
from dibench.extras import pip_install

IMAGE = (1, 3, 224, 224)
"""The default input of a torchvision model: the size that its published figures are for."""


def build(source: str, *, device: str) -> tuple[Any, tuple[int, ...] | None]:
    """The module that `module:callable`, `file.py:callable`, `torchvision:NAME` or `timm:NAME` gives.

    Args:
        source: as above; the callable takes no arguments (a class will do), or is a module already.
        device: where its parameters are made, with their initial values; "meta" allocates nothing. A module
            that computes with its parameters while it is built (a RegNet) is made on the CPU instead.

    Returns:
        The module, and the input size that its package publishes, or None.

    Raises:
        UserError: PyTorch or the package is missing, or the callable fails; the message says why.
    """
    torch = import_torch()
    where, _, name = source.rpartition(":")
    with explained(source, "cannot be built"), _importable(Path.cwd()), _importable(_root(where)):
        with torch.device(device):
            make = _maker(where, name)
        if isinstance(make, torch.nn.Module):
            return make, _usual_input(make)
        if not callable(make):
            raise UserError("model", "must be a callable or a torch.nn.Module", type(make).__name__)
        try:
            with torch.device(device):
                module = make()
        except (RuntimeError, NotImplementedError):
            if device != "meta":
                raise
            module = make()
    if not isinstance(module, torch.nn.Module):
        raise UserError("model", f"{source} must give a torch.nn.Module", type(module).__name__)
    return module, _usual_input(module) or (IMAGE if where.startswith("torchvision") else None)


def import_torch() -> Any:
    """PyTorch.

    Raises:
        UserError: it is missing.
    """
    try:
        return importlib.import_module("torch")
    except ImportError:
        raise UserError("model", f"needs PyTorch: {pip_install('torch')}") from None


@contextlib.contextmanager
def explained(source: str, what: str) -> Iterator[None]:
    """Within it, what the user's code raises becomes a UserError of one line; its prints go to stderr."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        first = str(error).strip().splitlines()
        raise UserError(
            "model", f"{source} {what}: {type(error).__name__}" + (f": {first[0][:200]}" if first else "")
        ) from error


def _maker(where: str, name: str) -> Any:
    """What the text names: a callable, or a module."""
    if where == "torchvision":
        models = importlib.import_module("torchvision.models")
        return lambda: models.get_model(name, weights=None)
    if where == "timm":
        timm = importlib.import_module("timm")
        return lambda: timm.create_model(name, pretrained=False)
    found = _import(where)
    for part in name.split("."):
        if not hasattr(found, part):
            raise UserError("model", f"must name something in {where}", name)
        found = getattr(found, part)
    return found


def _import(where: str) -> Any:
    """A module by its dotted name or by its file."""
    if not where.endswith(".py"):
        if not re.fullmatch(r"\w+(\.\w+)*", where):
            raise UserError("model", "must be module:callable, file.py:callable or a known network", where)
        return importlib.import_module(where)
    path = Path(where)
    if not path.is_file():
        raise UserError("", "no such file", where=path)
    inside = path.resolve().relative_to(_root(where).resolve()).with_suffix("").parts
    if len(inside) > 1:  # it may import its siblings relatively
        return importlib.import_module(".".join(inside))
    spec = importlib.util.spec_from_file_location(re.sub(r"\W", "_", f"dibench_{path.stem}"), path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and annotations look their module up
    spec.loader.exec_module(module)
    return module


def _root(where: str) -> Path:
    """The folder from which a file imports: its own, or that above the package it belongs to."""
    folder = Path(where).resolve().parent if where.endswith(".py") else Path.cwd()
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        folder = folder.parent
    return folder


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Within it, modules of a folder can be imported, as with `python -m` in it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _usual_input(module: Any) -> tuple[int, ...] | None:
    """The input size that models of timm carry."""
    size = (getattr(module, "default_cfg", None) or {}).get("input_size")
    return (1, *size) if size else None
