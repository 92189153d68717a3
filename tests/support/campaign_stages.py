"""Stages of the least campaign, one layer beside its sentinel; campaign_tiny.stages.toml is a whole one."""

from __future__ import annotations

SENTINEL = "N=1,C=16,H=8,W=8,K=16,R=3,S=3,pad_h=1,pad_w=1"
LAYER = SENTINEL.replace("K=16", "K=24")


def few(**kernels: str) -> str:
    """A file of stages by kernels of these data types, such as `few(conv_implicit_gemm="fp32")`."""
    stage = ["[[stages]]", 'name = "few"', 'answers = "What a fault costs"', "share = 1"]
    lines = [f'sentinel = "{SENTINEL}"', *stage, "[[stages.layers]]", f'layers = ["{LAYER}"]']
    for variant, dtype in kernels.items():
        lines += ["[[stages.kernels]]", f'variants = "{variant}"', f'dtype = "{dtype}"']
    return "".join(f"{line}\n" for line in lines)
