#!/usr/bin/env bash
# Install CuPy and the compiler that fit the NVIDIA driver, once. Without a driver or GPU, do nothing.
set -euo pipefail
python="${PY:-.venv/bin/python}"
extra=$("$python" -c 'from dibench.backends import cuda_driver as d; g = d.gpu(); print("" if isinstance(g, str) else d.extra(g))')
[ -n "$extra" ] || exit 0
"$python" -c 'import cupy' 2>/dev/null && "$python" -c '
from dibench.backends import cuda_cache, cuda_driver
gpu = cuda_driver.gpu()
cuda_cache.choose_compiler(gpu.arch, gpu.cuda)' 2>/dev/null && exit 0
echo "a GPU is here: installing what its driver needs (dibench[$extra])"
"$python" -m pip install --quiet --disable-pip-version-check --editable ".[$extra]"
