"""Layers that turn images into columns of sliding blocks, and back."""

from __future__ import annotations

from lamina._tensor import Tensor
from lamina.nn import functional as F
from lamina.nn.modules.module import Module
from lamina.nn.modules.utils import ntuple

__all__ = ["Fold", "Unfold"]

Size = int | tuple[int, ...]


class _Blocks(Module):
    """What the two layers share: their settings as given, checked."""

    __constants__ = ["kernel_size", "dilation", "padding", "stride"]
    kernel_size: Size
    dilation: Size
    padding: Size
    stride: Size

    def _check(self, **least: int) -> None:
        """PyTorch notices a bad setting when the layer is used."""
        for name, minimum in least.items():
            ntuple(getattr(self, name), 2, f"{type(self).__name__}: {name}", minimum=minimum)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.__constants__)


class Unfold(_Blocks):
    r"""The sliding blocks of images as columns, from left to right and from top to bottom (`im2col`).

    Column l holds the values that the kernel covers at its l-th place, channel by channel:

    .. math:: y_{n,\,(c\,K_H + i) K_W + j,\,l} = x_{n,\,c,\,s_H l_H + d_H i - p_H,\,s_W l_W + d_W j - p_W},
        \qquad l = l_H L_W + l_W

    and zero where that is outside of the image. A convolution is a product with these columns. With the same settings,
    :class:`Fold` is the transpose: `fold(unfold(x))` is x, each element as many times as blocks cover it.

    Args:
        kernel_size (int or tuple of 2 ints): size of the blocks.
        dilation (int or tuple of 2 ints): distance d between the elements of a block. Default: 1.
        padding (int or tuple of 2 ints): zeros p on both sides of the image. Default: 0.
        stride (int or tuple of 2 ints): distance s between blocks. Default: 1.

    Shape:
        input :math:`(N, C, H, W)` or :math:`(C, H, W)`, output :math:`(N, C K_H K_W, L)` or :math:`(C K_H K_W, L)` with

        .. math:: L = L_H L_W, \qquad L_X = \lfloor (X + 2\,p - d\,(K_X - 1) - 1) / s \rfloor + 1

    Raises:
        ValueError: at construction, a setting out of its range or of the wrong length.
        RuntimeError: an input of another rank, empty but for its batch, or smaller than a block.
        NotImplementedError: an input of integers.

    >>> nn.Unfold(2)(lamina.arange(6.0).reshape(1, 1, 2, 3))
    tensor([[[0., 1.],
             [1., 2.],
             [3., 4.],
             [4., 5.]]])
    """

    def __init__(self, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride
        self._check(kernel_size=1, dilation=1, padding=0, stride=1)

    def forward(self, input: Tensor) -> Tensor:
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)


class Fold(_Blocks):
    r"""Images from columns of sliding blocks, the values that fall on one place added up (`col2im`).

    It is the transpose of :class:`Unfold`, which has the formula.

    Args:
        output_size (int or tuple of 2 ints): height and width of the images.
        kernel_size (int or tuple of 2 ints): size of the blocks.
        dilation (int or tuple of 2 ints): distance d between the elements of a block. Default: 1.
        padding (int or tuple of 2 ints): what was added on both sides of the image, p, and is cut off again. Default: 0.
        stride (int or tuple of 2 ints): distance s between blocks. Default: 1.

    Shape:
        input :math:`(N, C K_H K_W, L)` or :math:`(C K_H K_W, L)`, output :math:`(N, C, H, W)` or :math:`(C, H, W)`, with L as
        in :class:`Unfold`

    Raises:
        ValueError: at construction, a setting out of its range or of the wrong length.
        RuntimeError: an input of another rank, empty but for its batch, or of another number of columns or rows.
        NotImplementedError: an input of integers.

    >>> nn.Fold((2, 3), kernel_size=2)(lamina.ones(1, 4, 2))
    tensor([[[[1., 2., 1.],
              [1., 2., 1.]]]])
    """

    __constants__ = ["output_size", "kernel_size", "dilation", "padding", "stride"]
    output_size: Size

    def __init__(
        self, output_size: Size, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride
        self._check(output_size=1, kernel_size=1, dilation=1, padding=0, stride=1)

    def forward(self, input: Tensor) -> Tensor:
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)
