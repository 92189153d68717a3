#!/usr/bin/env bash
# Everything that only a GPU can show, in one command: results, memory errors and races, hardware counters, the power
# sensor, a sweep with joules, speed compared with cuDNN. Tables go to results/local/gpu-check.
# What cannot be checked because a tool is missing is named.
set -uo pipefail
export PY="${PY:-.venv/bin/python}"
dibench=("$PY" -m dibench)
out=results/local/gpu-check
failed=0
export PATH="$PATH:/usr/local/cuda/bin" # where a toolkit is installed by default, often not on the path
step() {
  echo "== $*"
  "$@" || { echo "FAILED: $*" >&2; failed=1; }
}

mkdir -p "$out"
bash scripts/gpu-wheels.sh || exit 1
"${dibench[@]}" doctor
step "${dibench[@]}" selftest --backend cuda

if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    step compute-sanitizer --tool "$tool" --error-exitcode 1 "${dibench[@]}" selftest --backend cuda --small
  done
else
  echo "not checked: compute-sanitizer is not installed (it comes with the CUDA toolkit)"
fi

step "${dibench[@]}" calibrate
meter=auto # with Zeus reading the same windows, if it is installed
"$PY" -c 'import zeus.monitor' 2>/dev/null && meter=nvml_counter+zeus
step "${dibench[@]}" sweep smoke --backend cuda --meter "$meter" --out "$out/smoke" --fresh
if "$PY" -c 'from dibench.check.counters import find_ncu; find_ncu()' 2>/dev/null; then
  step "${dibench[@]}" counters benchmarks/counters.toml --cases 200 --out "$out/counters.csv"
else
  echo "not checked: ncu is not installed (package nsight-compute)"
fi
if "$PY" -c 'from dibench.kernels.compilers import sass; sass.tool()' 2>/dev/null && command -v "${CXX:-g++}" >/dev/null; then
  step "$PY" -m benchmarks.gpu_limits "$out/limits.csv"
else
  echo "not checked: predicted times need g++ and nvdisasm (pip install nvidia-cuda-nvdisasm)"
fi
if "$PY" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
  step "$PY" -m benchmarks.gpu_speed "$out/speed.csv"
else
  echo "not measured: PyTorch with CUDA is not installed, so there is nothing to compare speeds with"
fi
exit $failed
