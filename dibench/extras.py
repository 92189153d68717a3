"""How to install what an extra of this package brings.

Remedies name the packages themselves, as the metadata of this installation lists them: no package index has
dibench, so `pip install 'dibench[torch]'` fails, and where the source lies is not known to a wheel.
"""

from __future__ import annotations

import shlex
from importlib import metadata


def pip_install(extra: str) -> str:
    """The command that installs an extra of pyproject.toml.

    Args:
        extra: its name, such as `torch` or `cuda12`.

    >>> pip_install("onnx")
    "pip install 'onnx>=1.16'"
    """
    try:
        listed = metadata.requires("dibench") or []
    except metadata.PackageNotFoundError:  # a checkout that was never installed
        listed = []
    split = [requirement.partition(";") for requirement in listed]
    packages = [package.strip() for package, _, marker in split if _of_extra(marker, extra)]
    return f"pip install {shlex.join(packages or [f'.[{extra}]'])}" + ("" if packages else " in the source")


def _of_extra(marker: str, extra: str) -> bool:
    return marker.replace('"', "'").partition("extra == ")[2].startswith(f"'{extra}'")
