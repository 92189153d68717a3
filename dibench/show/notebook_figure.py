"""A Matplotlib figure that shows itself in a notebook, with or without pyplot."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

_DOTS_PER_INCH = 144  # sharp on screens with two dots a pixel
_PIXELS_PER_INCH = 72


class NotebookFigure(Figure):
    """IPython shows a plain figure as text until pyplot has told it how to draw one; this one it can ask."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """The picture, and the size it is meant to be seen at."""
        image = io.BytesIO()
        self.savefig(image, format="png", dpi=_DOTS_PER_INCH)
        width, height = (round(_PIXELS_PER_INCH * inches) for inches in self.get_size_inches())
        return image.getvalue(), {"width": width, "height": height}
