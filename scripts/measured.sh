#!/usr/bin/env bash
# The fit of what was measured on GPUs and is committed under results/: not what this machine did.
set -euo pipefail
PY="${PY:-.venv/bin/python}"
found=0
shopt -s nullglob
echo
for device in results/*/; do
  [ "$device" = results/local/ ] && continue
  mapfile -t tables < <(find "$device" -name sweep.csv | sort)
  [ "${#tables[@]}" -gt 0 ] || continue
  found=1
  echo "=== Not from this machine: measured on a GPU, committed under $device ==="
  $PY -m dibench fit "${tables[@]}" --backend cuda || true
done
if [ "$found" = 0 ]; then
  echo "Measured GPU data are still to come (results/ holds none); to contribute: make campaign, see results/README.md"
fi
