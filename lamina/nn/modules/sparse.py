"""Lookup tables: `Embedding` and `EmbeddingBag`."""

from __future__ import annotations

from typing import Any

from lamina._tensor import Tensor
from lamina.autograd import no_grad
from lamina.nn import functional as F
from lamina.nn import init
from lamina.nn.modules.module import Module
from lamina.nn.modules.utils import new_parameter
from lamina.nn.parameter import Parameter

__all__ = ["Embedding", "EmbeddingBag"]


class _Table(Module):
    """What both layers are: a table of rows, one of which may be for padding."""

    num_embeddings: int
    embedding_dim: int
    padding_idx: int | None
    max_norm: float | None
    norm_type: float
    scale_grad_by_freq: bool
    sparse: bool
    weight: Parameter

    def _make(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None, weight: Tensor | None, device: Any, dtype: Any
    ) -> None:
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        if padding_idx is not None:
            # 0 is allowed of an empty table, too
            if padding_idx and not -num_embeddings <= padding_idx < num_embeddings:
                name = "Padding_idx" if isinstance(self, Embedding) else "padding_idx"
                raise AssertionError(
                    f"{name} must be within num_embeddings, but got {padding_idx} for {num_embeddings} embeddings"
                )
            if padding_idx < 0:
                padding_idx += num_embeddings
        self.padding_idx = padding_idx
        if weight is None:
            self.weight = new_parameter((num_embeddings, embedding_dim), device, dtype)
            self.reset_parameters()
        else:
            if tuple(weight.shape) != (num_embeddings, embedding_dim):
                raise AssertionError(
                    f"Shape of weight does not match num_embeddings and embedding_dim: {tuple(weight.shape)} and "
                    f"{(num_embeddings, embedding_dim)}"
                )
            self.weight = Parameter(weight)

    def reset_parameters(self) -> None:
        """Draw the table anew from the standard normal distribution; the padding row becomes zero."""
        init.normal_(self.weight)
        self._fill_padding_idx_with_zero()

    def _fill_padding_idx_with_zero(self) -> None:
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx].fill_(0)

    @staticmethod
    def _size_of(embeddings: Tensor) -> dict[str, int]:
        if embeddings.dim() != 2:
            raise AssertionError(
                f"Embeddings parameter is expected to be 2-dimensional, but it has {embeddings.dim()} dimensions"
            )
        return {"num_embeddings": embeddings.shape[0], "embedding_dim": embeddings.shape[1]}


class Embedding(_Table):
    r"""A table of vectors, looked up by integers: words, users, or other things that have no numbers of their own.

    Args:
        num_embeddings (int): :math:`V`, the rows of the table.
        embedding_dim (int): :math:`D`, the size of each row.
        padding_idx (int, optional): a row that starts as zeros and gets no gradient; negative counts from the end.
        max_norm (float, optional): rows with a larger norm are scaled down to this one, in place, when they are used.
        norm_type (float): the p of that p-norm. Default: 2.0.
        scale_grad_by_freq (bool): whether gradients are divided by how often the row was used. Default: False.
        sparse (bool): whether the gradient of the table is a sparse tensor. Default: False.
        device, dtype: where and as what the table is made.

    Shape: input :math:`(*)` of integers in :math:`[0, V)`; output :math:`(*, D)`.

    Attributes:
        weight: the table, of shape :math:`(V, D)`, drawn from :math:`N(0, 1)`.

    Raises:
        AssertionError: a `padding_idx` outside of the table.
        IndexError: an input outside of the table.

    >>> nn.Embedding(10, 3)(lamina.tensor([[1, 2, 4, 5], [4, 3, 2, 9]])).shape
    torch.Size([2, 4, 3])
    """

    __constants__ = [
        "num_embeddings", "embedding_dim", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse"
    ]  # fmt: skip
    freeze: bool

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        self._make(num_embeddings, embedding_dim, padding_idx, _weight, device, dtype)
        self.weight.requires_grad_(not _freeze)

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(
            input,
            self.weight,
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.padding_idx is not None:
            text += f", padding_idx={self.padding_idx}"
        if self.max_norm is not None:
            text += f", max_norm={self.max_norm}"
        if self.norm_type != 2:
            text += f", norm_type={self.norm_type}"
        if self.scale_grad_by_freq is not False:
            text += f", scale_grad_by_freq={self.scale_grad_by_freq}"
        if self.sparse is not False:
            text += ", sparse=True"
        return text

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """An embedding over an existing table (V, D), which is not learnt if `freeze`.

        >>> table = nn.Embedding.from_pretrained(lamina.tensor([[1.0, 2.5], [4.0, 5.5]]))
        >>> table(lamina.tensor([1])).tolist()
        [[4.0, 5.5]]
        """
        return cls(
            **cls._size_of(embeddings),
            _weight=embeddings,
            _freeze=freeze,
            padding_idx=padding_idx,
            max_norm=max_norm,
            norm_type=norm_type,
            scale_grad_by_freq=scale_grad_by_freq,
            sparse=sparse,
        )


class EmbeddingBag(_Table):
    r"""The sum, mean or maximum of the rows of a table, over each of a batch of bags of indices.

    It does what an :class:`Embedding` and a reduction would, without the memory for the rows between them.

    Args:
        num_embeddings (int): :math:`V`, the rows of the table.
        embedding_dim (int): :math:`D`, the size of each row.
        max_norm (float, optional): rows with a larger norm are scaled down to this one, in place, when they are used.
        norm_type (float): the p of that p-norm. Default: 2.0.
        scale_grad_by_freq (bool): whether gradients are divided by how often the row was used ("sum" and "mean").
            Default: False.
        mode (str): "sum", "mean" or "max". Default: "mean".
        sparse (bool): whether the gradient of the table is a sparse tensor ("sum" and "mean"). Default: False.
        include_last_offset (bool): whether the offsets end with the end of the last bag. Default: False.
        padding_idx (int, optional): a row that does not count, starts as zeros, and gets no gradient.
        device, dtype: where and as what the table is made.

    Shape: input :math:`(B, N)` for bags of :math:`N`, or :math:`(n)` with offsets :math:`(B)` that tell where each bag
        begins; `per_sample_weights`, for "sum", a factor per index; output :math:`(B, D)`, zeros for empty bags.

    Attributes:
        weight: the table, of shape :math:`(V, D)`, drawn from :math:`N(0, 1)`.

    Raises:
        AssertionError: a `padding_idx` outside of the table.
        ValueError, RuntimeError: an input, offsets or weights that do not fit.

    >>> bag = nn.EmbeddingBag(10, 3, mode="sum")
    >>> bag(lamina.tensor([1, 2, 4, 5, 4]), lamina.tensor([0, 3])).shape
    torch.Size([2, 3])
    """

    __constants__ = [
        "num_embeddings", "embedding_dim", "max_norm", "norm_type", "scale_grad_by_freq", "mode", "sparse",
        "include_last_offset", "padding_idx",
    ]  # fmt: skip
    mode: str
    include_last_offset: bool

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.mode = mode
        self.sparse = sparse
        self.include_last_offset = include_last_offset
        self._make(num_embeddings, embedding_dim, padding_idx, _weight, device, dtype)

    def forward(
        self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None
    ) -> Tensor:
        return F.embedding_bag(
            input,
            self.weight,
            offsets,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.mode,
            self.sparse,
            per_sample_weights,
            self.include_last_offset,
            self.padding_idx,
        )

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings!r}, {self.embedding_dim!r}"
        if self.max_norm is not None:
            text += f", max_norm={self.max_norm!r}"
        if self.norm_type != 2:
            text += f", norm_type={self.norm_type!r}"
        if self.scale_grad_by_freq is not False:
            text += f", scale_grad_by_freq={self.scale_grad_by_freq!r}"
        text += f", mode={self.mode!r}"
        if self.padding_idx is not None:
            text += f", padding_idx={self.padding_idx!r}"
        return text

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> EmbeddingBag:
        """Bags over an existing table (V, D), which is not learnt if `freeze`.

        >>> bag = nn.EmbeddingBag.from_pretrained(lamina.tensor([[1.0, 2.0], [4.0, 5.0]]))
        >>> bag(lamina.tensor([[1, 0]])).tolist()
        [[2.5, 3.5]]
        """
        bag = cls(
            **cls._size_of(embeddings),
            _weight=embeddings,
            max_norm=max_norm,
            norm_type=norm_type,
            scale_grad_by_freq=scale_grad_by_freq,
            mode=mode,
            sparse=sparse,
            include_last_offset=include_last_offset,
            padding_idx=padding_idx,
        )
        bag.weight.requires_grad = not freeze
        return bag
