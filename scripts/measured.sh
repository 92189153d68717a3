#!/usr/bin/env bash
# Show the fit of each dataset that is committed under results/: measured on GPUs earlier, not on this machine. Then
# what joules that others measured say: README's sentences, which scripts/write_evidence.py writes.
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
  "$PY" -m dibench fit "$table" --backend cuda || echo "its fit could not be shown; see $device/report.html" >&2
  echo "=== End of $device ==="
done
if [ "$found" = 0 ]; then
  echo
  echo "Measured GPU data are still to come (results/ holds none); to contribute: make campaign, see results/README.md"
fi
if [ -f README.md ]; then
  echo
  echo "=== Not from this machine: joules that others measured on real silicon (docs/evidence.md) ==="
  sed -n '/^<!-- evidence -->$/,/^<!-- end of evidence -->$/{/^<!--/d;p}' README.md
fi
