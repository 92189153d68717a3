"""A student asks: does a layer that reuses its data more cost less per multiply-add (MAC)?

    python examples/student.py

Measures five layers, a second each, and prints for each how many MACs a weight and an input serve, its
arithmetic intensity (AI: MACs for each element that is moved), and what one MAC costs here.
"""

import tempfile

import dibench

LAYERS = [
    "resnet50/layer2.0.conv2",  # 3×3: every weight and every input serves many MACs
    "resnet50/layer2.0.conv3",  # 1×1
    "resnext50_32x4d/layer2.0.conv2",  # 3×3 in 32 groups
    "mobilenet_v2/features.2.conv.1.0",  # depthwise: an input serves at most nine
    "mobilenet_v2/classifier.1",  # fully connected, one image: a weight serves one
]

layers = [dibench.layers(name)[0] for name in LAYERS]
with tempfile.TemporaryDirectory() as folder:
    frame = dibench.sweep(layers, out=folder, case_budget="1s").frame

measured_energy = not set(frame["energy_source"]) & {"model", "none"}
cost, per_mac = ("energy_j", "pJ") if measured_energy else ("time_s", "ps")
best = frame.sort_values(cost).drop_duplicates("name").set_index("name")  # the best kernel of each layer

print(f"{'layer':34}{'operator':>10}{'M/W':>7}{'M/X':>6}{'AI':>7}{per_mac + ' a MAC':>11}")
for layer in sorted(layers, key=lambda one: one.ai, reverse=True):
    row = best.loc[layer.name]
    price = f"{row[cost] / layer.macs * 1e12:.1f}" + ("" if row["status"] == "ok" else " ?")
    print(
        f"{layer.name:34}{layer.op:>10}{layer.macs / layer.weights:7.0f}{layer.macs / layer.inputs:6.0f}"
        f"{layer.ai:7.1f}{price:>11}"
    )
if (best["status"] != "ok").any():
    print("?: disturbed while it was measured; close what else runs, or raise case_budget")
if not measured_energy:
    print("This machine shows no energy sensor: what stands here is time, not energy.")
