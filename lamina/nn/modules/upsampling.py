"""Layers that resize signals, images and volumes."""

from __future__ import annotations

from lamina._tensor import Tensor
from lamina.nn import functional as F
from lamina.nn.modules.module import Module

__all__ = ["Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d"]

Size = int | tuple[int, ...]
Factor = float | tuple[float, ...]


class Upsample(Module):
    r"""Resizes its input, larger or smaller, to `size` or by `scale_factor`.

    Elements and results are cells of equal extent over the same range, so that the centre of result i lies at

    .. math:: x_i = (i + 1/2)\,s - 1/2, \qquad s = X_{in} / X_{out}

    in units of the input's cells, and linear modes weight the two elements around it by their distance in every dimension
    (`"bicubic"`: the four around it, by Keys' filter with a = -0.75; https://ieeexplore.ieee.org/document/1163711). With
    `align_corners` it is the first and last centres that stay in place: :math:`x_i = i\,(X_{in} - 1) / (X_{out} - 1)`.
    `"nearest"` takes the element :math:`\lfloor i\,s \rfloor`.

    Args:
        size (int or tuple of ints): spatial size of the result.
        scale_factor (float or tuple of floats): the result's size as a multiple of the input's; s is then its inverse. Exactly
            one of the two is given.
        mode (str): `"nearest"`, `"nearest-exact"`, `"area"`, `"linear"` (3-d input), `"bilinear"`, `"bicubic"` (4-d input) or
            `"trilinear"` (5-d input); see :func:`interpolate <lamina.nn.functional.interpolate>`. Default: `"nearest"`.
        align_corners (bool, optional): see above; only for the modes with weights. Default: False.
        recompute_scale_factor (bool, optional): whether s is computed from the sizes although `scale_factor` is given.

    Shape:
        input :math:`(N, C, L)`, :math:`(N, C, H, W)` or :math:`(N, C, D, H, W)`, output of the same rank with
        :math:`X_{out} = \lfloor X_{in} \cdot \mathrm{scale\_factor} \rfloor` or the given sizes

    Raises:
        ValueError: when called, both or none of `size` and `scale_factor`, or an option that the mode has not.
        NotImplementedError: a mode that the rank or the dtype of the input has not.
        RuntimeError: an empty input (only the batch may be empty) or output.

    >>> nn.Upsample(scale_factor=2)(lamina.tensor([[[1.0, 2.0]]]))
    tensor([[[1., 1., 2., 2.]]])
    >>> nn.Upsample(scale_factor=2, mode="linear")(lamina.tensor([[[1.0, 2.0]]]))
    tensor([[[1.0000, 1.2500, 1.7500, 2.0000]]])
    """

    __constants__ = ["size", "scale_factor", "mode", "align_corners", "name", "recompute_scale_factor"]
    name: str
    size: Size | None
    scale_factor: Factor | None
    mode: str
    align_corners: bool | None
    recompute_scale_factor: bool | None

    def __init__(
        self,
        size: Size | None = None,
        scale_factor: Factor | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        self.name = type(self).__name__
        self.size = size
        if isinstance(scale_factor, tuple):
            self.scale_factor = tuple(map(float, scale_factor))
        else:
            self.scale_factor = float(scale_factor) if scale_factor else None
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.interpolate(
            input, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor
        )

    def __setstate__(self, state: dict) -> None:
        state.setdefault("recompute_scale_factor", True)  # what older checkpoints mean
        super().__setstate__(state)

    def extra_repr(self) -> str:
        given = "size" if self.scale_factor is None else "scale_factor"
        return f"{given}={getattr(self, given)!r}, mode={self.mode!r}"


class _Upsampling2d(Upsample):
    """An older name for a mode of :class:`Upsample`."""

    def __init__(self, size: Size | None = None, scale_factor: Factor | None = None) -> None:
        super().__init__(size, scale_factor, self._mode, self._align_corners)

    _mode: str
    _align_corners: bool | None


class UpsamplingNearest2d(_Upsampling2d):
    r"""The older name of :class:`Upsample` with `mode="nearest"`, which repeats elements.

    Args:
        size (int or tuple of 2 ints): spatial size of the result.
        scale_factor (float or tuple of 2 floats): the same as a multiple of the input's. Exactly one of the two is given.

    Shape:
        input :math:`(N, C, H_{in}, W_{in})`, output :math:`(N, C, H_{out}, W_{out})` with
        :math:`X_{out} = \lfloor X_{in} \cdot \mathrm{scale\_factor} \rfloor` or the given sizes

    Raises:
        ValueError: when called, both or none of `size` and `scale_factor`.
        RuntimeError: an empty input (only the batch may be empty) or output.

    >>> nn.UpsamplingNearest2d(scale_factor=2)(lamina.tensor([[[[1.0, 2.0]]]]))
    tensor([[[[1., 1., 2., 2.],
              [1., 1., 2., 2.]]]])
    """

    _mode, _align_corners = "nearest", None


class UpsamplingBilinear2d(_Upsampling2d):
    r"""The older name of :class:`Upsample` with `mode="bilinear"` and `align_corners=True`.

    Args:
        size (int or tuple of 2 ints): spatial size of the result.
        scale_factor (float or tuple of 2 floats): the same as a multiple of the input's. Exactly one of the two is given.

    Shape:
        input :math:`(N, C, H_{in}, W_{in})`, output :math:`(N, C, H_{out}, W_{out})` with
        :math:`X_{out} = \lfloor X_{in} \cdot \mathrm{scale\_factor} \rfloor` or the given sizes

    Raises:
        ValueError: when called, both or none of `size` and `scale_factor`.
        RuntimeError: an empty input (only the batch may be empty) or output.

    >>> nn.UpsamplingBilinear2d(size=(1, 3))(lamina.tensor([[[[1.0, 2.0]]]]))
    tensor([[[[1.0000, 1.5000, 2.0000]]]])
    """

    _mode, _align_corners = "bilinear", True
