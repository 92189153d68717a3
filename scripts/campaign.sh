#!/usr/bin/env bash
# One run of a campaign on this machine's GPU, of TIME_BUDGET (default 9m), into the next number under results/local/campaign.
# It continues from the runs before it and from what is committed for this card.
set -euo pipefail
export PY="${PY:-.venv/bin/python}"
root=results/local/campaign
bash scripts/gpu-wheels.sh
number=1
resume=()
committed=results/$($PY -c '
from dibench.backends import cuda_driver
from dibench.cli.publish import slug
gpu = cuda_driver.gpu()
print("none" if isinstance(gpu, str) else slug(gpu.name))')
[ -f "$committed/sweep.csv" ] && resume+=(--resume "$committed")
while [ -f "$root/$number/sweep.csv" ]; do
  resume+=(--resume "$root/$number")
  number=$((number + 1))
done
exec $PY -m dibench campaign --time-budget "${TIME_BUDGET:-9m}" --out "$root/$number" "${resume[@]}" "$@"
