"""Benchmarks of dibench itself: `make bench` compares kernels, the other files say how to run them."""
