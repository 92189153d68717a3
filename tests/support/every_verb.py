"""Verbs that print tables, on small measurements made here, many in one process."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from study_frames import card

SEVERAL = """
import json, sys
from dibench.cli import main
for words in json.loads(sys.argv[1]):
    print("$", *words, flush=True)
    try:
        main(words)
    except SystemExit as ended:
        print("status", ended.code, flush=True)
"""
"""A program whose argument is the command lines as JSON: it imports once."""


def write_tables(folder: Path) -> Path:
    """Measurements of three kinds: `a` and `b` of the same layers, `cards` of two models."""
    for name, seed in (("a", 1), ("b", 2)):
        card("uuid-1", 0.3, seed=seed).to_csv(folder / f"{name}.csv", index=False)
    cards = [card("uuid-1", 0.3), card("uuid-2", 0.5, seed=2).assign(device="another card with a long name")]
    pd.concat(cards, ignore_index=True).to_csv(folder / "cards.csv", index=False)
    return folder


def verbs(folder: Path) -> list[list[str]]:
    """Verbs that print tables, on those files, the first of them `fit`, which the others need."""
    a, b, cards, fit = (str(folder / name) for name in ("a.csv", "b.csv", "cards.csv", "fit.json"))
    few = ["--draws", "99"]
    return [
        ["fit", a, *few, "--json", fit],
        ["fit", a, *few, "--full"],
        ["fit", cards, *few],
        ["predict", "nasnet_a_mobile", "--fit", fit],
        ["predict", "resnet50", "--compare", "vgg16", "--batch", "1,8", "--fit", fit],
        ["predict", "mobilenet_v2", "--fit", fit, "--full"],
        ["explain", "mobilenet_v2", "--fit", fit],
        ["explain", "mobilenet_v2", "--fit", fit, "--full"],
        ["compare", a, b],
        ["compare", a, b, "--full"],
        ["generality", a, "--subsets", "100"],
        ["generality", a, "--subsets", "100", "--full"],
        ["variants"],
        ["variants", "--full"],
        ["doctor", "--full"],
        ["datasets"],
        ["selftest", "--only", "fc_dot", "--small"],
        ["sweep", "smoke", "--dry-run"],
    ]
