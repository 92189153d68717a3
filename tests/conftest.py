"""What is not collected: a module of networks that needs PyTorch, where it is not installed."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("torch") else ["torch_nets.py"]
