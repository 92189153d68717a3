#!/usr/bin/env bash
# The fit of what was measured on GPUs and is committed under results/: not what this machine did.
set -euo pipefail
PY="${PY:-.venv/bin/python}"
found=0
shopt -s nullglob
for table in results/*/sweep.csv; do
  device=$(dirname "$table")
  [ "$device" = results/local ] && continue
  found=1
  echo
  echo "=== Not from this machine: measured on GPUs earlier, committed under $device (README.md there says how and when) ==="
  $PY -m dibench fit "$table" --backend cuda || echo "its fit could not be shown; $device/report.html is there" >&2
  echo "=== End of $device ==="
done
if [ "$found" = 0 ]; then
  echo
  echo "Measured GPU data are still to come (results/ holds none); to contribute: make campaign, see results/README.md"
fi
