#!/usr/bin/env bash
# The main job: measure the default plan on this machine, fit AI against DI, write a report.
# It runs on the GPU if there is one, otherwise on the CPU; BACKEND=cpu forces the CPU. A second call resumes and measures
# nothing twice.
set -euo pipefail
export PY="${PY:-.venv/bin/python}"
dibench=("$PY" -m dibench)
backend="${BACKEND:-auto}"

if [ "$backend" != cpu ] && ! bash scripts/gpu-wheels.sh; then
  [ "$backend" = cuda ] || backend=cpu
  echo "the wheels for the GPU could not be installed; continuing on: $backend, see: $PY -m dibench doctor" >&2
fi
backend=$("$PY" -c 'import sys; from dibench.backends import resolve; print(resolve(sys.argv[1]))' "$backend")
out="results/local/$backend"

if [ "$backend" = cuda ]; then
  "${dibench[@]}" selftest --backend cuda --once
fi
"${dibench[@]}" sweep default --backend "$backend" --out "$out" --time-budget "${TIME_BUDGET:-150s}" "$@"
# Rows that cannot be fitted (status 2), as where others kept the machine busy all the time, are shown all the same:
# the report begins with the reason. An earlier fit is not of these rows.
fitted=0
"${dibench[@]}" fit "$out/sweep.csv" --json "$out/fit.json" || fitted=$?
case $fitted in
  0) ;;
  2) rm -f "$out/fit.json" ;;
  *) exit "$fitted" ;;
esac
"${dibench[@]}" report "$out" | tail -n 1  # the link: fit has said the rest
if [ "$backend" != cuda ]; then
  bash scripts/measured.sh
fi
exit "$fitted"
