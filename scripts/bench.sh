#!/usr/bin/env bash
# `make bench`: one file of benchmarks after the other. Each is saved when it ends, so stopping loses one at most.
# --quick: our kernels only, few layers, ended after two minutes whatever they have done.
set -uo pipefail
PY="${PY:-.venv/bin/python}"
saved="${BENCH_STORAGE:-.benchmarks}"
took="$saved/seconds.txt" # what each file took here last time
usual="about 5 minutes on two cores of a shared AMD EPYC"
options=(--benchmark-only --benchmark-autosave "--benchmark-storage=$saved" --benchmark-columns=min,median,rounds
  -p no:hypothesispytest) # which takes seconds to load at the end
if [ "${1:-}" = --quick ]; then
  shift
  files=(benchmarks/test_fast_kernels.py benchmarks/test_variants_by_layer.py)
  options+=(-rs --layers 2 --by-layer 1 --seconds 0.1)
  took="$saved/seconds-quick.txt"
  usual="under two minutes, then it is ended"
  limit_s="${BENCH_LIMIT_S:-110}"
else
  files=(benchmarks/test_*.py)
  limit_s=86400
fi
mkdir -p "$saved" && touch "$took"

last() { awk -v file="$1" '$1 == file { seconds = $2 } END { print seconds }' "$took"; }

# Empty until each file has run here once.
total=$(for file in "${files[@]}"; do last "$file"; done | awk -v files="${#files[@]}" 'NF { s += $1; n++ } END { if (n == files) print s }')
echo "${#files[@]} files of benchmarks: ${total:-$usual}${total:+ s here last time}. Ctrl-C keeps what is saved."
"$PY" -c 'import torch' 2>/dev/null || echo "without PyTorch, ours alone: pip install torch shows its library beside"

failed=0 number=0
for file in "${files[@]}"; do
  number=$((number + 1))
  before=$(last "$file")
  left=$(((limit_s - SECONDS) / (${#files[@]} - number + 1)))
  if [ "$left" -lt 5 ]; then
    echo "== $number of ${#files[@]}: $file left out, the time is used up"
    failed=1
    continue
  fi
  echo "== $number of ${#files[@]}: $file${before:+, $before s last time}"
  begin=$SECONDS
  ends=()
  [ "$limit_s" -lt 86400 ] && ends=(--begin-within "$((left * 3 / 4))")
  timeout --signal=INT --kill-after=8 "$left" "$PY" -m pytest -q "$file" "${options[@]}" "${ends[@]}" "$@"
  status=$?
  [ "$status" -eq 130 ] && exit 130
  [ "$status" -eq 0 ] || { echo "== $file ended with status $status" >&2; failed=1; }
  [ "$status" -eq 0 ] && echo "$file $((SECONDS - begin))" >>"$took"
done
echo "saved in $saved, ${SECONDS} s in all; to compare runs: $PY -m pytest_benchmark compare --group-by=group"
exit "$failed"
