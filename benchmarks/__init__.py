"""Benchmarks of dibench itself: `make bench` compares kernels, the other files say how to run them."""

import os

# Before NumPy is loaded: the products of a fit are small, and threads of BLAS wait for each other awake.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
