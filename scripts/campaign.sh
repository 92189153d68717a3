#!/usr/bin/env bash
# One run of a campaign on this machine's GPU, of TIME_BUDGET (default 9m), into the next number under OUT (default
# results/local/campaign). It continues from the runs before it and from what is committed for this card.
# Arguments are the campaign's own. Without an installation: PY=python3 bash scripts/campaign.sh --kernels DIR
set -euo pipefail
export PY="${PY:-.venv/bin/python}"
root="${OUT:-results/local/campaign}"
arguments=("$@")
for index in "${!arguments[@]}"; do # kernels that were brought along need no compiler here
  case "${arguments[index]}" in
    --kernels) export DIBENCH_KERNELS="${arguments[index + 1]:-}" ;;
    --kernels=*) export DIBENCH_KERNELS="${arguments[index]#--kernels=}" ;;
  esac
done
if ! bash scripts/gpu-wheels.sh; then
  echo "the wheels for the GPU could not be installed; going on with what is here" >&2
fi
number=1
resume=()
committed=results/$("$PY" -c '
from dibench.backends import cuda_driver
from dibench.cli.publish import slug
gpu = cuda_driver.gpu()
print("none" if isinstance(gpu, str) else slug(gpu.name))')
[ -f "$committed/sweep.csv" ] && resume+=(--resume "$committed")
while [ -f "$root/$number/sweep.csv" ]; do
  resume+=(--resume "$root/$number")
  number=$((number + 1))
done
exec "$PY" -m dibench campaign --time-budget "${TIME_BUDGET:-9m}" --out "$root/$number" "${resume[@]}" "$@"
