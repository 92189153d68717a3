#!/usr/bin/env bash
# One run of a campaign on this machine's GPU: TIME_BUDGET (9m) into the next number under results/local/campaign, going on
# where the runs before it ended.
set -euo pipefail
export PY="${PY:-.venv/bin/python}"
root=results/local/campaign
bash scripts/gpu-wheels.sh
number=1
resume=()
while [ -f "$root/$number/sweep.csv" ]; do
  resume+=(--resume "$root/$number")
  number=$((number + 1))
done
exec $PY -m dibench campaign --time-budget "${TIME_BUDGET:-9m}" --out "$root/$number" "${resume[@]}" "$@"
