"""dibench: how much energy a neural-network layer costs, and which description of its reuse predicts it."""

__version__ = "0.1.0"
