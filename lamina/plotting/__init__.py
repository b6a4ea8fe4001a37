"""Small drawing helpers on matplotlib that take tensors as they are.

matplotlib is imported when something is drawn, not before; ``pip install "lamina[plot]"`` brings it. Figures
are made without pyplot, so nothing here opens a window or touches the state of the caller's own plots.
"""

from __future__ import annotations

from lamina.plotting.activations import (
    activation_curve,
    activation_figure,
    activation_names,
    activation_overview,
)
from lamina.plotting.figures import curves, heatmap, new_figure, picture, save

__all__ = [
    "activation_curve", "activation_figure", "activation_names", "activation_overview", "curves",
    "heatmap", "new_figure", "picture", "save",
]  # fmt: skip
