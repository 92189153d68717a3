"""A careless user types names wrong, forgets dimensions, and measures while the machine is busy.

    python examples/careless_user.py

What is asked wrongly is a `dibench.UserError` of one line: what is wrong, the rule, and what was given. A
busy machine is no error: rows say that they were disturbed, and a fit leaves them out.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import dibench

NOWHERE = Path(tempfile.gettempdir()) / "no-such-table.csv"
MISTAKES = {
    "a network's name": lambda: dibench.layers("resnet51"),
    "a layer's name": lambda: dibench.measure("resnet50/layer9"),
    "a batch of none": lambda: dibench.layers("resnet50", batch=0),
    "channels, groups": lambda: dibench.Layer(N=1, C=64, H=8, W=8, K=30, R=1, S=1, groups=4),
    "a time": lambda: dibench.sweep("smoke", out="never-written", time_budget="soon"),
    "a preset's name": lambda: dibench.sweep("smok", out="never-written"),
    "no such table": lambda: dibench.fit(NOWHERE),
    "no such meter": lambda: dibench.energy("my code", meter="wattmeter"),
}

for what, mistake in MISTAKES.items():
    try:
        mistake()
    except dibench.UserError as error:
        print(f"{what:17} {error}")
    else:
        sys.exit(f"{what}: was taken")

print("\nNow one layer, while other programs keep every core busy:")
burn = [sys.executable, "-c", "while True: pass"]
others = [subprocess.Popen(burn) for _ in range(2 * (os.cpu_count() or 1))]
try:
    with tempfile.TemporaryDirectory() as folder:
        layer = dibench.layers("mobilenet_v2/features.2.conv.1.0")[0]
        rows = dibench.sweep(layer, out=folder, case_budget="0.5s", progress=False)
        frame = rows.frame
        frame = frame[frame["sentinel"] != 1]  # the repeated reference layer
finally:
    for other in others:
        other.kill()
        other.wait()

for _, row in frame.iterrows():
    print(f"{row['variant']}: {row['time_s'] * 1e6:.0f} µs, {row['status']}: {row['reason']}")
try:
    print(dibench.fit(frame))
except dibench.UserError as error:
    print(f"A fit of this: {error}")
