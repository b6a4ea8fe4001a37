"""The transformer: layers of attention and of a small network at each position, stacks of them, and the whole."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from lamina._dtypes import check_device, get_default_dtype, to_numpy
from lamina._tensor import Tensor
from lamina.autograd.graph import mode, wants, wrap
from lamina.nn import functional as F
from lamina.nn import init
from lamina.nn.modules.activation import GELU
from lamina.nn.modules.attention import MultiheadAttention
from lamina.nn.modules.container import ModuleList
from lamina.nn.modules.dropout import Dropout
from lamina.nn.modules.linear import Linear
from lamina.nn.modules.module import Module
from lamina.nn.modules.normalization import LayerNorm
from lamina.nn.modules.piecewise import ReLU
from lamina.ops.multihead import additive_mask, checked_mask

__all__ = [
    "Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder", "TransformerEncoderLayer",
]  # fmt: skip

Activation = str | Callable[[Tensor], Tensor]


# -- masks ---------------------------------------------------------------------------------------------------------


def _generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
    check_device(device)
    kind = to_numpy(get_default_dtype() if dtype is None else dtype)
    return wrap(np.triu(np.full((sz, sz), -math.inf).astype(kind), 1))


def _is_causal(mask: Tensor | None, hint: bool | None) -> bool:
    """The caller's hint, or, if there is none, whether the mask is the causal one."""
    if hint is not None or mask is None:
        return bool(hint)
    a = mask._a
    if a.ndim != 2 or a.shape[0] != a.shape[1]:
        return False
    return np.array_equal(a, np.triu(np.full(a.shape, -math.inf).astype(a.dtype), 1))


def _matched(mask: Any, padding: Any, names: tuple[str, str], dtype: Any) -> tuple[Any, Any]:
    """Both masks, checked, of one kind: a warning is given, and both are made to be added, if they are not."""
    checked_mask(padding, names[1], mask, names[0])
    checked_mask(mask, names[0])
    if mask is None or padding is None or mask._a.dtype == padding._a.dtype:
        return mask, padding
    return additive_mask(mask, dtype), additive_mask(padding, dtype)


# -- layers --------------------------------------------------------------------------------------------------------


def _activation(activation: Activation) -> Callable[[Tensor], Tensor]:
    if not isinstance(activation, str):
        return activation
    if activation not in ("relu", "gelu"):
        raise RuntimeError(f"activation should be relu/gelu, not {activation}")
    return F.relu if activation == "relu" else F.gelu


def _relu_or_gelu(activation: Any) -> int:
    """1 for ReLU, 2 for GELU, 0 for another activation."""
    if activation is F.relu or isinstance(activation, ReLU):
        return 1
    return 2 if activation is F.gelu or isinstance(activation, GELU) else 0


class _Layer(Module):
    """What encoder and decoder layers share: their parts, and how a block is added to what it was made of."""

    __constants__ = ["norm_first"]
    attentions: tuple[str, ...]

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1, activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False, bias: bool = True,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        made = {"device": device, "dtype": dtype}
        for name in self.attentions:
            setattr(self, name, MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **made))
        self.linear1 = Linear(d_model, dim_feedforward, bias, **made)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **made)
        self.norm_first = norm_first
        blocks = len(self.attentions) + 1
        for i in range(1, blocks + 1):
            setattr(self, f"norm{i}", LayerNorm(d_model, layer_norm_eps, bias=bias, **made))
        for i in range(1, blocks + 1):
            setattr(self, f"dropout{i}", Dropout(dropout))

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "activation" not in state and "activation" not in state.get("_modules", ()):
            state["activation"] = F.relu
        super().__setstate__(state)

    def _attend(self, attention: Any, x: Tensor, seen: Tensor, masks: tuple, is_causal: bool, dropout: Any) -> Tensor:
        """What positions of ``x`` find at those of ``seen``."""
        mask, padding = masks
        y, _ = attention(
            x, seen, seen, attn_mask=mask, key_padding_mask=padding, need_weights=False, is_causal=is_causal
        )
        return dropout(y)

    def _feed_forward(self, x: Tensor, dropout: Any) -> Tensor:
        """The network at each position."""
        return dropout(self.linear2(self.dropout(self.activation(self.linear1(x)))))


_ARGS = r"""d_model (int): the width :math:`E` of input and output.
        nhead (int): the number of heads, which divides `d_model`.
        dim_feedforward (int): the width of the network at each position. Default: 2048.
        dropout (float): probability of being dropped, after each block, within the network, and of attention weights.
            Default: 0.1.
        activation (str or callable): `"relu"`, `"gelu"`, or a function of tensors. Default: ReLU.
        layer_norm_eps (float): :math:`\epsilon` of the layer normalisations. Default: 1e-5.
        batch_first (bool): whether the batch comes before the length. Default: False.
        norm_first (bool): whether each block normalises its input rather than its sum. Default: False.
        bias (bool): whether linear layers and normalisations have biases. Default: True.
        device, dtype: where and as what the parameters are made."""

_SEE = """See A. Vaswani et al., "Attention Is All You Need", 2017."""


class TransformerEncoderLayer(_Layer):
    __doc__ = rf"""Self-attention, and a small network at each position, each added to what it was made of and normalised:

    .. math::
        y = \mathrm{{norm}}_1(x + \mathrm{{attention}}(x)), \qquad
        z = \mathrm{{norm}}_2(y + W_2 f(W_1 y + b_1) + b_2)

    or, with `norm_first`, :math:`y = x + \mathrm{{attention}}(\mathrm{{norm}}_1(x))`, and the second alike.

    Args:
        {_ARGS}

    Shape:
        input :math:`(S, N, E)`, with `batch_first` :math:`(N, S, E)`, or :math:`(S, E)`; output the same.

    Raises:
        RuntimeError: an unknown activation, or a mask that does not fit.

    {_SEE}

    >>> nn.TransformerEncoderLayer(16, 4, 32)(lamina.randn(10, 2, 16)).shape
    torch.Size([10, 2, 16])
    """

    attentions = ("self_attn",)

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1, activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False, bias: bool = True,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, device, dtype
        )
        activation = _activation(activation)
        self.activation_relu_or_gelu = _relu_or_gelu(activation)
        self.activation = activation

    def forward(
        self, src: Tensor, src_mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        r"""The layer's output; masks as :class:`MultiheadAttention` takes them.

        Args:
            src (Tensor): the input.
            src_mask (Tensor, optional): :math:`(S, S)` or :math:`(N H, S, S)`, which positions may look at which.
            src_key_padding_mask (Tensor, optional): :math:`(N, S)`, which positions nobody may look at.
            is_causal (bool): whether `src_mask`, which must be given, is the causal one. Default: False.
        """
        masks = _matched(src_mask, src_key_padding_mask, ("src_mask", "src_key_padding_mask"), src._a.dtype)
        x = src
        if self.norm_first:
            x = x + self._sa_block(self.norm1(x), *masks, is_causal)
            return x + self._ff_block(self.norm2(x))
        x = self.norm1(x + self._sa_block(x, *masks, is_causal))
        return self.norm2(x + self._ff_block(x))

    def _sa_block(self, x: Tensor, attn_mask: Any, key_padding_mask: Any, is_causal: bool = False) -> Tensor:
        return self._attend(self.self_attn, x, x, (attn_mask, key_padding_mask), is_causal, self.dropout1)

    def _ff_block(self, x: Tensor) -> Tensor:
        return self._feed_forward(x, self.dropout2)


class TransformerDecoderLayer(_Layer):
    __doc__ = rf"""Self-attention, attention to an encoder's output, and a small network at each position, each added to what it
    was made of and normalised as in :class:`TransformerEncoderLayer`.

    Args:
        {_ARGS}

    Shape:
        input :math:`(T, N, E)` and memory :math:`(S, N, E)`, with `batch_first` :math:`(N, T, E)` and :math:`(N, S, E)`, or
        without the batch; output as the input.

    Raises:
        RuntimeError: an unknown activation, or a mask that does not fit.

    {_SEE}

    >>> nn.TransformerDecoderLayer(16, 4, 32)(lamina.randn(20, 2, 16), lamina.randn(10, 2, 16)).shape
    torch.Size([20, 2, 16])
    """

    attentions = ("self_attn", "multihead_attn")

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1, activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False, bias: bool = True,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, device, dtype
        )
        self.activation = _activation(activation)

    def forward(
        self, tgt: Tensor, memory: Tensor, tgt_mask: Tensor | None = None, memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None, memory_key_padding_mask: Tensor | None = None, tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        r"""The layer's output; masks as :class:`MultiheadAttention` takes them.

        Args:
            tgt (Tensor): the input.
            memory (Tensor): what an encoder made of its input.
            tgt_mask, memory_mask (Tensor, optional): which positions may look at which of the input and of the memory.
            tgt_key_padding_mask, memory_key_padding_mask (Tensor, optional): which positions nobody may look at.
            tgt_is_causal, memory_is_causal (bool): whether the masks, which must be given, are the causal ones.
                Default: False.
        """
        own, other = (tgt_mask, tgt_key_padding_mask), (memory_mask, memory_key_padding_mask)
        x = tgt
        if self.norm_first:
            x = x + self._sa_block(self.norm1(x), *own, tgt_is_causal)
            x = x + self._mha_block(self.norm2(x), memory, *other, memory_is_causal)
            return x + self._ff_block(self.norm3(x))
        x = self.norm1(x + self._sa_block(x, *own, tgt_is_causal))
        x = self.norm2(x + self._mha_block(x, memory, *other, memory_is_causal))
        return self.norm3(x + self._ff_block(x))

    def _sa_block(self, x: Tensor, attn_mask: Any, key_padding_mask: Any, is_causal: bool = False) -> Tensor:
        return self._attend(self.self_attn, x, x, (attn_mask, key_padding_mask), is_causal, self.dropout1)

    def _mha_block(
        self, x: Tensor, mem: Tensor, attn_mask: Any, key_padding_mask: Any, is_causal: bool = False
    ) -> Tensor:
        return self._attend(self.multihead_attn, x, mem, (attn_mask, key_padding_mask), is_causal, self.dropout2)

    def _ff_block(self, x: Tensor) -> Tensor:
        return self._feed_forward(x, self.dropout3)


# -- stacks --------------------------------------------------------------------------------------------------------


class TransformerEncoder(Module):
    r"""A stack of encoder layers, each a copy of the one that is given.

    Args:
        encoder_layer (Module): the layer that is copied, most often a :class:`TransformerEncoderLayer`.
        num_layers (int): how many there are.
        norm (Module, optional): what the output goes through at the end.
        enable_nested_tensor (bool): whether padded positions, of which nothing needs to be known, may be zeros in evaluation
            (where PyTorch takes them out of the computation). Default: True.
        mask_check (bool): whether that is only done where all padding stands at the end. Default: True.

    Shape: as the layer's.

    See A. Vaswani et al., "Attention Is All You Need", 2017.

    >>> layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    >>> nn.TransformerEncoder(layer, 2)(lamina.randn(2, 10, 16)).shape
    torch.Size([2, 10, 16])
    """

    __constants__ = ["norm"]

    def __init__(
        self, encoder_layer: TransformerEncoderLayer, num_layers: int, norm: Module | None = None,
        enable_nested_tensor: bool = True, mask_check: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.layers = ModuleList(copy.deepcopy(encoder_layer) for _ in range(num_layers))
        self.num_layers = num_layers
        self.norm = norm
        self.enable_nested_tensor = enable_nested_tensor
        self.use_nested_tensor = enable_nested_tensor
        self.mask_check = mask_check
        why_not = _why_not_nested(encoder_layer)
        if enable_nested_tensor and why_not:
            warnings.warn(
                f"enable_nested_tensor is True, but self.use_nested_tensor is False because {why_not}", stacklevel=2
            )
            self.use_nested_tensor = False

    def forward(
        self, src: Tensor, mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:  # fmt: skip
        r"""The last layer's output.

        Args:
            src (Tensor): the input.
            mask (Tensor, optional): :math:`(S, S)` or :math:`(N H, S, S)`, which positions may look at which.
            src_key_padding_mask (Tensor, optional): :math:`(N, S)`, which positions nobody may look at.
            is_causal (bool, optional): whether `mask` is the causal one. Default: whether it is that.
        """
        mask, padding = _matched(mask, src_key_padding_mask, ("mask", "src_key_padding_mask"), src._a.dtype)
        skipped = self._skipped(src, mask, padding)
        if skipped is not None:
            padding = skipped
        is_causal = _is_causal(mask, is_causal)
        output = src
        for layer in self.layers:
            output = layer(output, src_mask=mask, is_causal=is_causal, src_key_padding_mask=padding)
        if skipped is not None:
            output = output.masked_fill(skipped.unsqueeze(-1), 0.0)
        return output if self.norm is None else self.norm(output)

    def _skipped(self, src: Tensor, mask: Any, padding: Any) -> Any:
        """The positions (N, S) that PyTorch takes out of the computation, and which are zeros at its end; None for none."""
        first: Any = self.layers[0]
        if not self.use_nested_tensor or first.training or src.dim() != 3 or padding is None or mask is not None:
            return None
        if mode.enabled and any(map(wants, (src, *first.parameters()))):
            return None
        skipped = padding._a.astype(np.bool_)
        if self.mask_check and np.any(skipped[:, :-1] & ~skipped[:, 1:]):  # a kept position after a skipped one
            return None
        return wrap(skipped)


def _why_not_nested(layer: Any) -> str:
    """What keeps PyTorch from taking padded positions out of the computation; nothing for most layers."""
    name = "encoder_layer"
    if not isinstance(layer, TransformerEncoderLayer):
        return f"{name} was not TransformerEncoderLayer"
    attention = layer.self_attn
    reasons = {
        f"{name}.norm_first was True": layer.norm_first,
        f"{name}.self_attn.batch_first was not True (use batch_first for better inference performance)": (
            not attention.batch_first
        ),
        f"{name}.self_attn._qkv_same_embed_dim was not True": not attention._qkv_same_embed_dim,
        f"{name}.self_attn was passed bias=False": attention.in_proj_bias is None,
        f"{name}.activation_relu_or_gelu was not True": not layer.activation_relu_or_gelu,
        f"{name}.norm1.eps was not equal to {name}.norm2.eps": layer.norm1.eps != layer.norm2.eps,
        f"{name}.self_attn.num_heads is odd": attention.num_heads % 2,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


class TransformerDecoder(Module):
    r"""A stack of decoder layers, each a copy of the one that is given.

    Args:
        decoder_layer (Module): the layer that is copied, most often a :class:`TransformerDecoderLayer`.
        num_layers (int): how many there are.
        norm (Module, optional): what the output goes through at the end.

    Shape: as the layer's.

    See A. Vaswani et al., "Attention Is All You Need", 2017.

    >>> decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(16, 4, 32), 2)
    >>> decoder(lamina.randn(20, 2, 16), lamina.randn(10, 2, 16)).shape
    torch.Size([20, 2, 16])
    """

    __constants__ = ["norm"]

    def __init__(self, decoder_layer: TransformerDecoderLayer, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = ModuleList(copy.deepcopy(decoder_layer) for _ in range(num_layers))
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self, tgt: Tensor, memory: Tensor, tgt_mask: Tensor | None = None, memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None, memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None, memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        r"""The last layer's output.

        Args:
            tgt (Tensor): the input.
            memory (Tensor): what an encoder made of its input.
            tgt_mask, memory_mask (Tensor, optional): which positions may look at which of the input and of the memory.
            tgt_key_padding_mask, memory_key_padding_mask (Tensor, optional): which positions nobody may look at.
            tgt_is_causal (bool, optional): whether `tgt_mask` is the causal one. Default: whether it is that.
            memory_is_causal (bool): whether `memory_mask` is the causal one. Default: False.
        """
        output, tgt_is_causal = tgt, _is_causal(tgt_mask, tgt_is_causal)
        for layer in self.layers:
            output = layer(
                output, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=tgt_is_causal, memory_is_causal=memory_is_causal,
            )  # fmt: skip
        return output if self.norm is None else self.norm(output)


# -- the whole -----------------------------------------------------------------------------------------------------


class Transformer(Module):
    __doc__ = rf"""An encoder, and a decoder that looks at what the encoder made of its input.

    Args:
        d_model (int): the width :math:`E` of input and output. Default: 512.
        nhead (int): the number of heads, which divides `d_model`. Default: 8.
        num_encoder_layers, num_decoder_layers (int): how many layers each has. Default: 6.
        {_ARGS.split("divides `d_model`.", 1)[1].strip()}
        custom_encoder, custom_decoder (Module, optional): used in place of the encoder and the decoder.

    Shape:
        input of the encoder :math:`(S, N, E)` and of the decoder :math:`(T, N, E)`, with `batch_first` :math:`(N, S, E)` and
        :math:`(N, T, E)`, or without the batch; output as the decoder's input.

    Raises:
        RuntimeError: another width, or different batches.

    {_SEE}

    >>> model = nn.Transformer(16, 4, 2, 2, 32)
    >>> model(lamina.randn(10, 2, 16), lamina.randn(20, 2, 16)).shape
    torch.Size([20, 2, 16])
    """

    def __init__(
        self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6, num_decoder_layers: int = 6,
        dim_feedforward: int = 2048, dropout: float = 0.1, activation: Activation = F.relu, custom_encoder: Any = None,
        custom_decoder: Any = None, layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False,
        bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        settings = (
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, device, dtype,
        )  # fmt: skip

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)

        if custom_encoder is None:
            custom_encoder = TransformerEncoder(TransformerEncoderLayer(*settings), num_encoder_layers, norm())
        self.encoder = custom_encoder
        if custom_decoder is None:
            custom_decoder = TransformerDecoder(TransformerDecoderLayer(*settings), num_decoder_layers, norm())
        self.decoder = custom_decoder
        self._reset_parameters()
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first

    def forward(
        self, src: Tensor, tgt: Tensor, src_mask: Tensor | None = None, tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None, memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None, tgt_is_causal: bool | None = None, memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        r"""The decoder's output.

        Args:
            src, tgt (Tensor): the inputs of encoder and decoder.
            src_mask, tgt_mask, memory_mask (Tensor, optional): which positions may look at which: within the encoder's
                input, within the decoder's, and from the latter at the memory.
            src_key_padding_mask, tgt_key_padding_mask, memory_key_padding_mask (Tensor, optional): which positions nobody
                may look at.
            src_is_causal, tgt_is_causal (bool, optional): whether the masks are the causal ones. Default: whether they
                are.
            memory_is_causal (bool): whether `memory_mask` is the causal one. Default: False.
        """
        batch = 0 if self.batch_first else 1
        if src.dim() == 3 and src.shape[batch] != tgt.shape[batch]:
            raise RuntimeError(
                f"the batch number of src and tgt must be equal, got {src.shape[batch]} and {tgt.shape[batch]}"
            )
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise RuntimeError(
                f"the feature number of src and tgt must be equal to d_model, got {src.shape[-1]} and {tgt.shape[-1]} for "
                f"{self.d_model}"
            )
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal)
        return self.decoder(
            tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=tgt_is_causal, memory_is_causal=memory_is_causal,
        )  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        r"""The causal mask :math:`(sz, sz)` that is added: −inf above the diagonal, 0 elsewhere."""
        return _generate_square_subsequent_mask(sz, device, dtype)

    def _reset_parameters(self) -> None:
        for p in self.parameters():
            if p.dim() > 1:
                init.xavier_uniform_(p)
