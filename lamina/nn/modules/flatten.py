"""`Flatten` and `Unflatten`."""

from __future__ import annotations

from typing import Any

from lamina._tensor import Tensor
from lamina.nn.modules.module import Module

__all__ = ["Flatten", "Unflatten"]


class Flatten(Module):
    r"""Joins the dimensions from `start_dim` to `end_dim` (inclusive) into one.

    Args:
        start_dim (int): the first dimension to join. Default: 1, which keeps the batch.
        end_dim (int): the last one. Default: -1.

    Shape:
        input :math:`(*, S_{start}, \dots, S_{end}, *)`, output :math:`(*, \prod_i S_i, *)`.

    >>> nn.Flatten()(lamina.zeros(2, 3, 4, 4)).shape
    torch.Size([2, 48])
    """

    __constants__ = ["start_dim", "end_dim"]
    start_dim: int
    end_dim: int

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    r"""Splits the dimension `dim` into several, the inverse of `Flatten`.

    Args:
        dim (int): the dimension to split.
        unflattened_size (tuple or list of ints): the sizes it becomes; one may be -1.

    Shape:
        input :math:`(*, S_{dim}, *)`, output :math:`(*, U_1, \dots, U_n, *)` with :math:`S_{dim} = \prod_i U_i`.

    Raises:
        TypeError: `unflattened_size` is not a tuple or list of ints.

    >>> nn.Unflatten(1, (3, 4))(lamina.zeros(2, 12)).shape
    torch.Size([2, 3, 4])
    """

    __constants__ = ["dim", "unflattened_size"]
    dim: int
    unflattened_size: Any

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        if not isinstance(unflattened_size, (tuple, list)):
            raise TypeError(f"unflattened_size must be a tuple of ints, but found type {type(unflattened_size).__name__}")
        for i, size in enumerate(unflattened_size):
            if not isinstance(size, int):
                raise TypeError(
                    f"unflattened_size must be tuple of ints, but found element of type {type(size).__name__} at pos {i}"
                )
        self.dim = dim
        self.unflattened_size = unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        return input.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
