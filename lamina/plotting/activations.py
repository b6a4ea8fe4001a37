"""Pictures of the activation functions: their values and their slopes, both computed by lamina."""

from __future__ import annotations

from typing import Any

from lamina.plotting.figures import curves, new_figure

# The settings of what has no defaults, and the layers that need more than one number to work on.
_SETTINGS: dict[str, tuple[Any, ...]] = {"Threshold": (0.5, -1.0)}
_ALONG = ("Softmax", "Softmin", "LogSoftmax")
_NOT_CURVES = ("AdaptiveLogSoftmaxWithLoss", "MultiheadAttention", "Softmax2d")


def activation_names() -> list[str]:
    """The layers that have a curve: all activations of `lamina.nn` but those that work on whole images or sequences."""
    from lamina.nn.modules import activation, piecewise

    return sorted({*activation.__all__, *piecewise.__all__} - set(_NOT_CURVES))


def activation_curve(name: str, low: float = -5.0, high: float = 5.0, points: int = 401) -> tuple[Any, Any, Any, str]:
    """x, the values of the activation ``name`` of `lamina.nn` there, its slopes by autograd, and what was drawn, in words.

    Softmax and its kin are drawn as the first of the two results for the inputs x and 0, GLU with x in both halves, and RReLU
    as it is in evaluation.
    """
    import lamina
    from lamina import nn

    x = lamina.linspace(low, high, points, requires_grad=True)
    if name in _ALONG:
        y = getattr(nn, name)(dim=0)(lamina.stack((x, lamina.zeros(points))))[0]
        note = f"{name}(dim=0) of (x, 0), first result"
    elif name == "GLU":
        y = nn.GLU(0)(lamina.cat((x, x)))
        note = "GLU() of (x, x)"
    else:
        settings = _SETTINGS.get(name, ())
        layer = getattr(nn, name)(*settings).eval()
        y = layer(x)
        note = f"{name}({', '.join(map(str, settings))})"
    (slope,) = lamina.autograd.grad(y.sum(), x)
    return x.detach(), y.detach(), slope, note


def draw_activation(ax: Any, name: str, title: str | None = None) -> None:
    """Draw the activation ``name`` and its slope into a pair of axes."""
    x, y, slope, note = activation_curve(name)
    curves(ax, x, {"value": y, "derivative": slope}, note if title is None else title, linewidth=2)
    ax.axhline(0, color="black", linewidth=0.6)
    ax.axvline(0, color="black", linewidth=0.6)


def activation_figure(name: str) -> Any:
    """A figure of the activation ``name`` of `lamina.nn`: its value and its derivative from -5 to 5."""
    figure = new_figure(5.2, 3.4)
    ax = figure.subplots()
    draw_activation(ax, name)
    ax.set_xlabel("x")
    return figure


def activation_overview(columns: int = 6) -> Any:
    """A figure of all activations, small, side by side."""
    names = activation_names()
    rows = -(-len(names) // columns)
    figure = new_figure(2.2 * columns, 1.75 * rows)
    for ax, name in zip(figure.subplots(rows, columns).flat, [*names, *[""] * (rows * columns - len(names))], strict=True):
        if not name:
            ax.set_axis_off()
            continue
        draw_activation(ax, name, name)
        ax.get_legend().remove()
        ax.set_ylim(-2.2, 3.2)
        ax.set_xlim(-4, 4)
        ax.tick_params(labelsize=7)
    handles = [figure.axes[0].lines[0], figure.axes[0].lines[1]]
    figure.legend(handles, ["value", "derivative"], loc="outside lower center", ncols=2, frameon=False)
    return figure


__all__ = ["activation_curve", "activation_figure", "activation_names", "activation_overview", "draw_activation"]
