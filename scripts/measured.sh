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
  echo "=== Not from this machine: measured on GPUs earlier, see $device/README.md ==="
  "$PY" -m dibench fit "$table" --backend cuda || echo "its fit could not be shown; see $device/report.html" >&2
  echo "=== End of $device ==="
done
if [ "$found" = 0 ]; then
  echo
  echo "Measured GPU data are still to come; to contribute: make campaign (results/README.md)"
fi
if [ -f README.md ]; then
  echo
  echo "=== Not from this machine: joules that others measured (docs/evidence.md) ==="
  # One paragraph for a terminal of any width, without the link at its end.
  sed -n '/^<!-- evidence -->$/,/^<!-- end of evidence -->$/{/^<!--/d;p}' README.md |
    tr '\n' ' ' | sed 's/ \[[^]]*\]([^)]*)\.//' | fold -s -w "$(tput cols 2>/dev/null || echo 80)"
  echo
fi
