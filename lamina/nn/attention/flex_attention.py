"""Attention with scores and masks that a function gives, as in ``torch.nn.attention.flex_attention``.

The functions are written for single numbers, ``score_mod(score, batch, head, q, kv)`` and ``mask_mod(batch, head, q, kv)``, and
are called once with tensors that broadcast to all of them. So the scores are held as a whole; where no function changes them,
:func:`lamina.nn.functional.scaled_dot_product_attention` serves, which does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lamina import ops
from lamina._dtypes import bool as boolean
from lamina.autograd.graph import Variable, wrap

__all__ = [
    "AuxOutput", "AuxRequest", "BlockMask", "and_masks", "create_block_mask", "create_mask", "flex_attention", "noop_mask",
    "or_masks",
]  # fmt: skip

MaskMod = Callable[[Any, Any, Any, Any], Any]


class AuxRequest(NamedTuple):
    """What else :func:`flex_attention` is to return."""

    lse: bool = False
    max_scores: bool = False


class AuxOutput(NamedTuple):
    """What else :func:`flex_attention` returned."""

    lse: Any = None
    max_scores: Any = None


def noop_mask(batch: Any, head: Any, token_q: Any, token_kv: Any) -> Any:
    """True everywhere."""
    return ops.ones_like(batch, dtype=boolean)


def and_masks(*mask_mods: MaskMod) -> MaskMod:
    """The mask that is true where all are."""
    return _joined(mask_mods, True)


def or_masks(*mask_mods: MaskMod) -> MaskMod:
    """The mask that is true where one is."""
    return _joined(mask_mods, False)


def _joined(mask_mods: tuple[MaskMod, ...], every: bool) -> MaskMod:
    if not all(callable(m) for m in mask_mods):
        raise RuntimeError(f"All inputs should be callable mask_mods: {mask_mods}")

    def mask(b: Any, h: Any, q: Any, kv: Any) -> Any:
        result = ops.full_like(b, every, dtype=boolean)
        for m in mask_mods:
            result = result & m(b, h, q, kv) if every else result | m(b, h, q, kv)
        return result

    return mask


def _places(shape: tuple[int, ...]) -> list[Any]:
    """The numbers of batch, head, query and key, each along its own dimension."""
    return [ops.arange(n).reshape([-1 if i == k else 1 for k in range(4)]) for i, n in enumerate(shape)]


def create_mask(
    mod_fn: Callable[..., Any], B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: Any = None  # noqa: N803
) -> Any:  # fmt: skip
    """What a mask or score function gives everywhere: a tensor of shape (B, H, Q_LEN, KV_LEN), with 1 for ``None``."""
    shape = (B or 1, H or 1, Q_LEN, KV_LEN)
    if not callable(mod_fn):
        raise TypeError(f"{mod_fn!r} is not a callable object")
    places = _places(shape)
    if _takes(mod_fn) == 5:
        return ops.isfinite(mod_fn(ops.zeros(()), *places)).expand(shape)
    result = mod_fn(*places)
    return (result if isinstance(result, Variable) else ops.tensor(bool(result))).expand(shape).clone()


def _takes(function: Callable[..., Any]) -> int:
    """How many positional arguments without a default a function takes: 5 is a score function's number, 4 a mask's."""
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 4
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in kinds and p.default is inspect.Parameter.empty for p in parameters)


class BlockMask:
    """A mask, and which of its blocks are empty, full or in between; made by :func:`create_block_mask`."""

    def __init__(self, mask: np.ndarray, block_size: tuple[int, int], mask_mod: MaskMod) -> None:
        self.mask, self.BLOCK_SIZE, self.mask_mod = mask, block_size, mask_mod
        self.seq_lengths = mask.shape[-2:]
        rows, columns = (math.ceil(n / size) for n, size in zip(self.seq_lengths, block_size, strict=True))
        padding = [(0, 0), (0, 0), (0, rows * block_size[0] - mask.shape[2]), (0, columns * block_size[1] - mask.shape[3])]
        form = (*mask.shape[:2], rows, block_size[0], columns, block_size[1])
        blocks = np.pad(mask, padding).reshape(form)
        some: Any = blocks.any((3, 5))
        full: Any = blocks.all((3, 5))
        self._some = some
        self.kv_num_blocks, self.kv_indices = _listed(some & ~full)
        self.full_kv_num_blocks, self.full_kv_indices = _listed(full)
        self.q_num_blocks, self.q_indices = _listed((some & ~full).swapaxes(2, 3))
        self.full_q_num_blocks, self.full_q_indices = _listed(full.swapaxes(2, 3))

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, H, Q_LEN, KV_LEN)."""
        return self.mask.shape

    def numel(self) -> int:
        """The number of pairs of a query and a key."""
        return self.mask.size

    def sparsity(self) -> float:
        """Which share of the pairs lies in empty blocks, in per cent."""
        q, kv = self.BLOCK_SIZE
        return 100 * (1 - int(self._some.sum()) * q * kv / self.numel())

    def to_dense(self) -> Any:
        """1 for every block that is not empty."""
        return wrap(self._some.astype(np.int32))

    def to(self, device: Any) -> BlockMask:
        """The mask itself: it lies on the CPU."""
        ops.empty(0, device=device)
        return self

    def __repr__(self) -> str:
        name = getattr(self.mask_mod, "__name__", self.mask_mod)
        return f"BlockMask(shape={self.shape}, sparsity={self.sparsity():.2f}%, mask_mod={name})"


def _listed(blocks: np.ndarray) -> tuple[Any, Any]:
    """How many blocks of each row are marked, and the columns, the marked ones first."""
    order = np.argsort(~blocks, axis=-1, kind="stable").astype(np.int32)
    return wrap(blocks.sum(-1, dtype=np.int32)), wrap(order)


def create_block_mask(
    mask_mod: MaskMod, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: Any = None,  # noqa: N803
    BLOCK_SIZE: int | tuple[int, int] = 128, _compile: bool = False, separate_full_blocks: bool = True,  # noqa: N803
    compute_dq_write_order: bool = False, dq_kv_order: bool = True,
) -> BlockMask:  # fmt: skip
    """The mask of a function ``mask_mod(batch, head, q, kv)``, for :func:`flex_attention`; the other settings are a GPU's."""
    mask = create_mask(mask_mod, B, H, Q_LEN, KV_LEN)
    size = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else BLOCK_SIZE
    return BlockMask(mask.to(boolean)._plain(), size, mask_mod)


def flex_attention(
    query: Any, key: Any, value: Any, score_mod: Callable[..., Any] | None = None, block_mask: BlockMask | None = None,
    scale: float | None = None, enable_gqa: bool = False, return_lse: bool = False, kernel_options: Any = None, *,
    return_aux: AuxRequest | None = None,
) -> Any:  # fmt: skip
    r"""Attention, :math:`\mathrm{softmax}(f(s Q K^T)) V`, with a function of the scores and a mask.

    Args:
        query, key, value (Tensor): of shapes (B, H, L, E), (B, H, S, E) and (B, H, S, V).
        score_mod (callable, optional): ``score_mod(score, batch, head, q, kv)``, made of operations on tensors.
        block_mask (BlockMask, optional): which pairs count, from :func:`create_block_mask`.
        scale (float, optional): s, by default :math:`1 / \sqrt{E}`.
        enable_gqa (bool): whether keys may have fewer heads than queries. Default: False.
        return_lse (bool): whether the logarithms of the sums of exponentials are returned too. Default: False.
        kernel_options: a GPU's, of no effect.
        return_aux (AuxRequest, optional): what else to return.

    Raises:
        NotImplementedError: tensors that have not four dimensions.
        ValueError: shapes or dtypes that do not fit, or a mask of other lengths.
    """
    from lamina.nn import functional

    _check(query, key, value, block_mask, enable_gqa)
    batch, heads, length, width = query.shape
    if enable_gqa and key.shape[1] != heads:
        key, value = (x.repeat_interleave(heads // x.shape[1], 1) for x in (key, value))
    mask = None if block_mask is None else wrap(block_mask.mask)
    wants_lse = return_lse or (return_aux is not None and return_aux.lse)
    wants_max = return_aux is not None and return_aux.max_scores
    if score_mod is None and not wants_lse and not wants_max:
        result = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
        return result if return_aux is None else (result, AuxOutput())
    scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(width) if scale is None else scale)
    if score_mod is not None:
        scores = score_mod(scores, *_places((batch, heads, length, key.shape[2])))
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    lse = scores.logsumexp(-1)
    nothing = ops.isinf(lse.detach()) & (lse.detach() < 0)  # a query that may look at no key gets zeros
    weights = (scores - lse.masked_fill(nothing, 0.0).unsqueeze(-1)).exp()
    result = (weights @ value).to(query.dtype)
    if return_aux is not None:
        return result, AuxOutput(lse if return_aux.lse else None, scores.amax(-1) if wants_max else None)
    return (result, lse) if return_lse else result


def _check(query: Any, key: Any, value: Any, block_mask: Any, gqa: bool) -> None:
    if not query.dim() == key.dim() == value.dim() == 4:
        raise NotImplementedError("flex_attention: query, key and value must have four dimensions")
    if not query.dtype == key.dtype == value.dtype:
        raise ValueError(
            f"flex_attention: query, key and value must have one dtype, got {query.dtype}, {key.dtype} and {value.dtype}"
        )
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            f"flex_attention: query and key must have one width, got {query.shape[-1]} and {key.shape[-1]}"
        )
    if not gqa and query.shape[1] != key.shape[1]:
        raise ValueError(
            f"flex_attention: query has {query.shape[1]} heads and key {key.shape[1]}: that needs enable_gqa=True"
        )
    if gqa and query.shape[1] % key.shape[1]:
        raise ValueError(f"flex_attention: {query.shape[1]} heads of query are no multiple of {key.shape[1]} of key")
    if block_mask is not None:
        lengths = block_mask.seq_lengths
        if tuple(lengths) != (query.shape[2], key.shape[2]):
            raise ValueError(
                f"flex_attention: block_mask is for {lengths[0]} queries and {lengths[1]} keys, and there are "
                f"{query.shape[2]} and {key.shape[2]}"
            )
