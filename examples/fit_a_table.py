"""Fit AI against DI to measured rows: `python examples/fit_a_table.py sweep.csv [another.csv …]`."""

import sys

import dibench

frame = dibench.load(*sys.argv[1:])
found = dibench.fit(frame, draws=999)
print(found.summary())

rows = found.to_frame()
response = "energy_j" if rows["energy_j"].notna().any() else "time_s"
if "predicted_di_weighted" not in rows:
    sys.exit("\nThese rows are too few for weighted DI.")
rows["off by"] = rows["predicted_di_weighted"] / rows[response] - 1
worst = rows.sort_values("off by", key=abs, ascending=False)
print("\nThe rows that weighted DI misses most:")
print(worst[["name", "op", "off by"]].head(5).to_string(index=False))
