"""Who imports whom among a package's modules, and the circles in it."""

from __future__ import annotations

from collections.abc import Mapping

import grimp
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

Imports = Mapping[str, frozenset[str]]


def imports_of(package: str) -> Imports:
    """Of each module the modules it imports, inside functions too, but not for type checkers alone."""
    graph = grimp.build_graph(package, exclude_type_checking_imports=True, cache_dir=None)
    return {
        module: frozenset(graph.find_modules_directly_imported_by(module)) for module in sorted(graph.modules)
    }


def circles(imports: Imports) -> list[frozenset[str]]:
    """Groups of modules each of which imports every other of its group, directly or through others."""
    number = {module: at for at, module in enumerate(imports)}
    pairs = [(number[one], number[other]) for one, others in imports.items() for other in others]
    rows, columns = np.array(pairs, dtype=int).reshape(-1, 2).T
    matrix = csr_array((np.ones(len(pairs)), (rows, columns)), shape=(len(imports), len(imports)))
    _, labels = connected_components(matrix, directed=True, connection="strong")
    groups: dict[int, set[str]] = {}
    for module, label in zip(imports, labels.tolist(), strict=True):
        groups.setdefault(label, set()).add(module)
    return [frozenset(group) for group in groups.values() if len(group) > 1]
