#!/usr/bin/env bash
# One run of a campaign on this machine's GPU: TIME_BUDGET (9m) into the next number under results/local/campaign, going on
# where the runs before it, and what is committed of this card, ended.
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
