"""Text from an ONNX file or from ONNX's code, made fit for one line."""

from __future__ import annotations


def clean(text: str | bytes, most: int = 120) -> str:
    """Printable and short: names in a file may hold control characters, or be no UTF-8."""
    text = (text if isinstance(text, str) else text.decode("utf-8", "replace"))[:most]
    if text.isprintable():
        return text
    return "".join(ch if ch.isprintable() else "?" for ch in text)


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:200] if lines else type(error).__name__
