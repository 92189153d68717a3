"""Colours and sizes of figures: one meaning each on a page, real colours in style.css for light and dark."""

from __future__ import annotations

UNITS_PER_INCH = 72  # of Matplotlib's SVG: a panel 330 units wide is 330 CSS pixels at scale one

PANEL_WIDTH = 300
"""SVG units: no more CSS pixels than a phone of 360 and a third of a desk's page have."""
TEXT = 12
"""SVG units of all text: 12 CSS pixels, the least that is read with ease."""

INK = "#010101"
MUTED = "#010102"
GRID = "#010103"
SURFACE = "#010104"
ACCENT = "#010105"
FAINT = "#010106"
WARN = "#010107"
OPERATOR_COLOURS = {
    "standard": "#010111",
    "depthwise": "#010112",
    "pointwise": "#010113",
    "grouped": "#010114",
    "fc": "#010115",
}
"""One colour per operator everywhere; style.css gives each its Okabe-Ito colour in light and dark."""
TERM_COLOURS = {
    "MACs": "#010121",
    "weights": "#010122",
    "inputs": "#010123",
    "outputs": "#010124",
    "reuse": "#010125",
    "launch": "#010126",
    "constant power": "#010127",
}
"""One colour per term of a cost everywhere, Okabe-Ito likewise."""
OPERATOR_MARKERS = {"standard": "o", "depthwise": "^", "pointwise": "s", "grouped": "D", "fc": "X"}
