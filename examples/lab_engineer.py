"""A lab engineer asks: can this machine read joules, and what do the tables of all our machines say?

    python examples/lab_engineer.py                                        # the sensor alone
    python examples/lab_engineer.py hosts/*/sweep.csv                      # and one answer for each device

Tables come from `dibench sweep`, or from anybody else by `dibench import`. Devices are fitted apart: a
coefficient is a property of one. For a sensor that dibench does not know, see `constant_power_meter.py`.
"""

import sys

import dibench


def work():
    """Half a second of anything; put your own job here."""
    return sum(number * number for number in range(6_000_000))


with dibench.energy("half a second of work") as spent:
    work()
print(spent)
if spent.energy_j is None:
    print("No joules here, and none are made up. `dibench doctor` says how to get them.")

if not sys.argv[1:]:
    sys.exit()
frame = dibench.load(*sys.argv[1:])
for device, rows in frame.groupby("device"):
    sources = ", ".join(sorted(set(rows["energy_source"])))
    disturbed = (rows["status"] == "flagged").mean()
    print(f"\n{device}: {len(rows)} rows, {disturbed:.0%} disturbed, energy from {sources}")
    try:
        found = dibench.fit(rows, draws=999)
    except dibench.UserError as error:  # one bad host must not hide the others
        print(f"  not fitted: {error}")
        continue
    print(f"  {found}")
    fitted = found.to_frame()
    if "predicted_di_weighted" in fitted:
        fitted["off by"] = fitted["predicted_di_weighted"] / fitted[found.response] - 1
        worst = fitted.sort_values("off by", key=abs, ascending=False).head(3)
        for _, row in worst.iterrows():
            print(f"  missed by {row['off by']:+.0%}: {row['name']} ({row['op']})")
