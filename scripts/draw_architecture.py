"""Draw docs/figures/architecture.svg: the rooms of dibench and who imports whom, read from the code.

    python scripts/draw_architecture.py [FILE]

A room is a package directly under `dibench`. The order from top to bottom is that of the first import
contract in pyproject.toml. An arc stands for the imports from one room to another, thicker where there are
more. Single modules are drawn as one box, the floor; arcs to it are left out: every room stands on it.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections import Counter
from pathlib import Path
from textwrap import wrap
from xml.sax.saxutils import escape

import grimp

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "figures" / "architecture.svg"

FLOOR = "floor"
FILL = {"acquire": "#dbe8f7", "analyse": "#fbe6d0", "both": "#e6e2f3", FLOOR: "#e9e7e2"}
LINE = {"acquire": "#3b6ea5", "analyse": "#b8651b", "both": "#8d86a8", FLOOR: "#77736b"}
LEFT, TOP, BOX, HEIGHT, GAP, ARCS = 16, 70, 640, 54, 12, 250
LETTERS = 98  # that fit into a box
FONT = 'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"'


class House:
    """Rooms from top to bottom, how many modules each holds, and the imports between them."""

    def __init__(self) -> None:
        graph = grimp.build_graph("dibench", exclude_type_checking_imports=True, cache_dir=None)
        street, *others = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
            "contracts"
        ]
        order = [name for layer in street["layers"] for name in layer.split(" | ")]
        self.rooms = [name for name in order if graph.find_children(name)]
        self.sides = dict.fromkeys(self.rooms, "both")
        for contract in others:
            if contract["type"] == "forbidden":
                side = "analyse" if "dibench.study" in contract["source_modules"] else "acquire"
                self.sides |= dict.fromkeys(contract["source_modules"], side)
        rooms = {module: self._room_of(module) for module in graph.modules}
        self.modules = Counter(rooms.values())
        single = sorted(module for module, room in rooms.items() if room == FLOOR and module != "dibench")
        self.doors = [
            module.partition(".")[2]
            for module in single
            if any(rooms[other] != FLOOR for other in graph.find_modules_directly_imported_by(module))
        ]
        self.floor = [name for module in single if (name := module.partition(".")[2]) not in self.doors]
        self.imports = Counter(
            (room, rooms[other])
            for module, room in rooms.items()
            for other in graph.find_modules_directly_imported_by(module)
            if FLOOR not in (room, rooms[other]) and room != rooms[other]
        )

    def _room_of(self, module: str) -> str:
        room = ".".join(module.split(".")[:2])
        return room if room in self.rooms else FLOOR


def purpose(room: str) -> str:
    """The first sentence of a package's docstring, up to its colon where that is enough."""
    path = ROOT / room.replace(".", "/") / "__init__.py"
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    sentence = text.partition("\n")[0].partition(". ")[0].replace("`", "").rstrip(".:")
    return sentence if len(sentence) <= LETTERS else sentence.rpartition(",")[0]


def draw(house: House) -> str:
    """The picture as SVG."""
    top = {room: TOP + at * (HEIGHT + GAP) for at, room in enumerate(house.rooms)}
    floor_lines = wrap(", ".join(house.floor), LETTERS)
    floor_lines.append(f"(doors, single modules above the rooms: {', '.join(house.doors)})")
    floor_top = TOP + len(house.rooms) * (HEIGHT + GAP)
    floor_height = 36 + 17 * len(floor_lines)
    width, height = LEFT + BOX + ARCS, floor_top + floor_height + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" {FONT} role="img" aria-label="Rooms of dibench and the imports between them">',
        "<defs>",
        *(
            f'<marker id="{side}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
            f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z" fill="{color}"/></marker>'
            for side, color in LINE.items()
        ),
        "</defs>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        text(LEFT, 26, "The rooms of dibench: a room imports only rooms below it", size=17, weight=600),
        *legend(),
    ]
    for room in house.rooms:
        parts += box(
            house.sides[room], top[room], HEIGHT, room.partition(".")[2], house.modules[room], [purpose(room)]
        )
    parts += box(FLOOR, floor_top, floor_height, FLOOR, len(house.floor), floor_lines)
    parts += arcs(house, top)
    return "\n".join([*parts, "</svg>", ""])


def legend() -> list[str]:
    """What the colours mean."""
    parts, x = [], LEFT
    for side, what in (
        ("acquire", "acquires: writes CSV"),
        ("analyse", "analyses: reads CSV"),
        ("both", "serves or uses both"),
        (FLOOR, "single modules, imported by all"),
    ):
        parts.append(
            f'<rect x="{x}" y="42" width="14" height="14" rx="3" fill="{FILL[side]}" stroke="{LINE[side]}"/>'
        )
        parts.append(text(x + 20, 53, what, size=12))
        x += 44 + 7 * len(what)
    return parts


def box(side: str, y: int, height: int, name: str, modules: int, lines: list[str]) -> list[str]:
    """A room: its name, how many modules it has, what it is for."""
    return [
        f'<rect x="{LEFT}" y="{y}" width="{BOX}" height="{height}" rx="6" '
        f'fill="{FILL[side]}" stroke="{LINE[side]}"/>',
        text(LEFT + 14, y + 22, name, size=15, weight=600),
        text(LEFT + BOX - 14, y + 22, f"{modules} module{'s' * (modules != 1)}", size=12, anchor="end"),
        *(text(LEFT + 14, y + 42 + 17 * at, line, size=12) for at, line in enumerate(lines)),
    ]


def arcs(house: House, top: dict[str, int]) -> list[str]:
    """An arc from each room to each that it imports, at the right of the boxes."""
    begins = {room: [other for other in house.rooms if (room, other) in house.imports] for room in top}
    ends = {room: [other for other in house.rooms if (other, room) in house.imports] for room in top}
    parts, right = [], LEFT + BOX
    for room, other in sorted(house.imports, key=lambda pair: (house.rooms.index(pair[0]), pair[1])):
        # Arcs leave in the lower half of a room and arrive in the upper half, the longest ones outermost.
        leave, arrive = begins[room][::-1], ends[other]
        y0 = top[room] + HEIGHT * (0.55 + 0.4 * (leave.index(other) + 0.5) / len(leave))
        y1 = top[other] + HEIGHT * (0.05 + 0.4 * (len(arrive) - arrive.index(room) - 0.5) / len(arrive))
        span = house.rooms.index(other) - house.rooms.index(room)
        bend = 24 + (ARCS - 40) * 4 / 3 * span / len(house.rooms)
        side, count = house.sides[room], house.imports[room, other]
        parts.append(
            f'<path d="M{right} {y0:.1f}C{right + bend:.1f} {y0:.1f} {right + bend:.1f} {y1:.1f} '
            f'{right + 1} {y1:.1f}" fill="none" stroke="{LINE[side]}" stroke-opacity="0.75" '
            f'stroke-width="{1 + min(count, 20) / 8:.2f}" marker-end="url(#{side})">'
            f"<title>{room} imports {other}: {count}</title></path>"
        )
    return parts


def text(x: int, y: int, words: str, *, size: int, weight: int = 400, anchor: str = "start") -> str:
    """One line of text."""
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="#222222">{escape(words)}</text>'
    )


def main() -> None:
    """Draw it where the command line says, else in its place."""
    target = Path(sys.argv[1]) if sys.argv[1:] else TARGET
    sys.path.insert(0, str(ROOT))
    target.write_text(draw(House()), "utf-8")


if __name__ == "__main__":
    main()
