"""`MultiheadAttention`."""

from __future__ import annotations

from typing import Any

from lamina._tensor import Tensor
from lamina.nn import init
from lamina.nn.modules.linear import Linear
from lamina.nn.modules.module import Module
from lamina.nn.modules.utils import new_parameter
from lamina.nn.parameter import Parameter
from lamina.ops.multihead import additive_mask, multi_head_attention

__all__ = ["MultiheadAttention"]


class NonDynamicallyQuantizableLinear(Linear):
    """A :class:`Linear` under the name that it has in the printed form of a :class:`MultiheadAttention`."""


class MultiheadAttention(Module):
    r"""Lets each query look at all keys, in several ways at once:

    .. math::
        y = \mathrm{concat}(h_1, \dots, h_H) W_O^T + b_O, \qquad
        h_i = \mathrm{softmax}\left(Q_i K_i^T / \sqrt{E / H} + M\right) V_i

    where :math:`Q_i`, :math:`K_i` and :math:`V_i` are the parts of the projected queries, keys and values that belong to
    head :math:`i`.

    Args:
        embed_dim (int): the width :math:`E` of queries and output.
        num_heads (int): the number of heads :math:`H`, which divides `embed_dim`.
        dropout (float): probability that a weight is dropped in training. Default: 0.0.
        bias (bool): whether projections have biases. Default: True.
        add_bias_kv (bool): whether there is one more, learnt, key with its value. Default: False.
        add_zero_attn (bool): whether there is one more key, of zeros, with a value of zeros. Default: False.
        kdim (int, optional): the width of keys. Default: `embed_dim`.
        vdim (int, optional): the width of values. Default: `embed_dim`.
        batch_first (bool): whether the batch comes before the length. Default: False.
        device, dtype: where and as what the parameters are made.

    Shape:
        query :math:`(L, N, E)`, key :math:`(S, N, E_k)` and value :math:`(S, N, E_v)`, with `batch_first`
        :math:`(N, L, E)`, :math:`(N, S, E_k)` and :math:`(N, S, E_v)`, or without the batch :math:`N`; output as the query,
        weights :math:`(N, L, S)`, or :math:`(N, H, L, S)` for each head.

    Attributes:
        in_proj_weight: the projections' weights, of shape :math:`(3E, E)`, drawn by `xavier_uniform_`; None where keys
            or values have another width: then `q_proj_weight`, `k_proj_weight` and `v_proj_weight` are there.
        in_proj_bias: their biases, of shape :math:`(3E)`, zeros at first.
        out_proj: the output's projection, a linear layer, whose bias is zeros at first.
        bias_k, bias_v: the learnt key and value, of shape :math:`(1, 1, E)`, drawn by `xavier_normal_`.

    Raises:
        ValueError: sizes that are not positive.
        AssertionError: heads that do not divide `embed_dim`, or shapes that do not fit.

    See A. Vaswani et al., "Attention Is All You Need", 2017.

    >>> y, weights = nn.MultiheadAttention(16, 4)(lamina.randn(5, 2, 16), lamina.randn(7, 2, 16), lamina.randn(7, 2, 16))
    >>> y.shape, weights.shape
    (torch.Size([5, 2, 16]), torch.Size([2, 5, 7]))
    """

    __constants__ = ["batch_first"]
    in_proj_weight: Parameter | None
    q_proj_weight: Parameter | None
    k_proj_weight: Parameter | None
    v_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, add_bias_kv: bool = False,
        add_zero_attn: bool = False, kdim: int | None = None, vdim: int | None = None, batch_first: bool = False,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} and num_heads={num_heads} instead"
            )
        super().__init__()
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == embed_dim == self.vdim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        if embed_dim % num_heads:
            raise AssertionError(f"embed_dim must be divisible by num_heads, got {embed_dim} and {num_heads}")
        same = self._qkv_same_embed_dim
        for name, columns in (("q", embed_dim), ("k", self.kdim), ("v", self.vdim)):
            parameter = None if same else new_parameter((embed_dim, columns), device, dtype)
            self.register_parameter(f"{name}_proj_weight", parameter)
        self.register_parameter("in_proj_weight", new_parameter((3 * embed_dim, embed_dim), device, dtype) if same else None)
        self.register_parameter("in_proj_bias", new_parameter((3 * embed_dim,), device, dtype) if bias else None)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias, device, dtype)
        for name in ("bias_k", "bias_v"):
            parameter = new_parameter((1, 1, embed_dim), device, dtype) if add_bias_kv else None
            self.register_parameter(name, parameter)
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)  # type: ignore[arg-type]
        for row in (self.bias_k, self.bias_v):
            if row is not None:
                init.xavier_normal_(row)

    def __setstate__(self, state: dict[str, Any]) -> None:
        state.setdefault("_qkv_same_embed_dim", True)  # what the first versions of the layer did not store
        super().__setstate__(state)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None, need_weights: bool = True,
        attn_mask: Tensor | None = None, average_attn_weights: bool = True, is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        r"""The output, and the weights if they are wanted.

        Args:
            query, key, value (Tensor): see the layer.
            key_padding_mask (Tensor, optional): :math:`(N, S)`, true at keys that nobody may look at, or added to their
                scores.
            need_weights (bool): whether the weights are returned; without them memory does not grow with :math:`L S`.
                Default: True.
            attn_mask (Tensor, optional): :math:`(L, S)` or :math:`(N H, L, S)`, true where a query may not look at a key, or
                added to the scores.
            average_attn_weights (bool): whether the heads' weights are averaged. Default: True.
            is_causal (bool): whether `attn_mask`, which must be given, is the causal one, so that it need not be looked at.
                Default: False.
        """
        if self._qkv_same_embed_dim:
            weights: tuple = (self.in_proj_weight,)
        else:
            weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        if isinstance(query, Tensor) and query._a.shape[-1] != self.embed_dim:
            raise AssertionError(f"was expecting embedding dimension of {self.embed_dim}, but got {query._a.shape[-1]}")
        return multi_head_attention(
            query, key, value, self.num_heads, weights, self.in_proj_bias, (self.bias_k, self.bias_v), self.add_zero_attn,
            self.dropout if self.training else 0.0, self.out_proj.weight, self.out_proj.bias, key_padding_mask, need_weights,
            attn_mask, (None, None), average_attn_weights, is_causal, self.batch_first, self.batch_first and not self.training,
        )  # fmt: skip

    def merge_masks(
        self, attn_mask: Tensor | None, key_padding_mask: Tensor | None, query: Tensor
    ) -> tuple[Tensor | None, int | None]:
        """Both masks of self-attention as one (N, H, L, L), with the number 2, or a padding mask (N, L) alone, with 1."""
        if attn_mask is None:
            return (None, None) if key_padding_mask is None else (key_padding_mask, 1)
        n, length = query._a.shape[:2]
        if attn_mask._a.ndim == 3:
            merged = attn_mask.reshape(n, -1, length, length)
        else:
            merged = attn_mask.reshape(1, 1, length, length).expand(n, self.num_heads, -1, -1)
        if key_padding_mask is not None:
            padding = additive_mask(key_padding_mask, query._a.dtype).reshape(n, 1, 1, length)
            merged = additive_mask(merged, query._a.dtype) + padding.expand(-1, self.num_heads, -1, -1)
        return merged, 2
