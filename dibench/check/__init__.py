"""What is checked before measuring: kernels against references, their resources, counters of the hardware."""
