#!/usr/bin/env bash
# The main job: measure the default plan on this machine, fit AI against DI, show it.
# On the GPU where there is one, else on the CPU; BACKEND=cpu chooses. A second call resumes; what is measured
# already is not measured again.
set -euo pipefail
export PY="${PY:-.venv/bin/python}"
dibench="$PY -m dibench"
backend="${BACKEND:-auto}"

if [ "$backend" != cpu ] && ! bash scripts/gpu-wheels.sh; then
  echo "the wheels for the GPU could not be installed; going on without, see: $dibench doctor" >&2
fi
backend=$($PY -c 'import sys; from dibench.backends import resolve; print(resolve(sys.argv[1]))' "$backend")
out="results/local/$backend"

if [ "$backend" = cuda ]; then
  $dibench selftest --backend cuda --once
fi
$dibench sweep default --backend "$backend" --out "$out" --time-budget "${TIME_BUDGET:-150s}" "$@"
$dibench fit "$out/sweep.csv" --json "$out/fit.json"
$dibench report "$out"
if [ "$backend" != cuda ]; then
  bash scripts/measured.sh
fi
