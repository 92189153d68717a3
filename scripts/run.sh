#!/usr/bin/env bash
# The main job: measure the default plan on this machine, fit AI against DI, show it.
# A second call resumes; what is measured already is not measured again.
set -euo pipefail
dibench="${PY:-.venv/bin/python} -m dibench"
out="results/local/${BACKEND:-cpu}"

$dibench sweep default --backend "${BACKEND:-cpu}" --out "$out" --time-budget "${TIME_BUDGET:-150s}" "$@"
$dibench fit "$out/sweep.csv" --json "$out/fit.json"
$dibench report "$out"
