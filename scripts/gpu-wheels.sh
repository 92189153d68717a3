#!/usr/bin/env bash
# Install CuPy and the compiler that fit the NVIDIA driver, once. Without a driver or GPU, do nothing; nor where CuPy is
# here and compiled kernels were brought along (DIBENCH_KERNELS). Without network it fails in seconds.
set -euo pipefail
python="${PY:-.venv/bin/python}"
extra=$("$python" -c 'from dibench.backends import cuda_driver as d; g = d.gpu(); print("" if isinstance(g, str) else d.extra(g))')
[ -n "$extra" ] || exit 0
"$python" -c '
import os
import cupy
from dibench.backends import cuda_cache, cuda_driver
gpu = cuda_driver.gpu()
os.environ.get("DIBENCH_KERNELS") or cuda_cache.choose_compiler(gpu.arch, gpu.cuda)' 2>/dev/null && exit 0
echo "a GPU is here: installing what its driver needs (the extra $extra)"
"$python" -m pip install --quiet --disable-pip-version-check --retries 1 --timeout 15 --editable ".[$extra]"
