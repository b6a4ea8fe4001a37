"""Matrix products by groups of rows, as mixtures of experts need them, and of scaled 8-bit matrices."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np

from lamina._dtypes import F32, bfloat16
from lamina.autograd.graph import Op, wrap
from lamina.engine import kernels as k
from lamina.ops.linalg import arrays
from lamina.ops.reduction import scalar_name


class GroupedMm(Op):
    """Of each group g the product x·y, where a matrix without a group axis is cut into groups at ``ends``:

    rows of x (T, K) for y (G, K, N); columns of y (K, T) for x (G, M, K); the summed-over axis if both are matrices.
    dL/dx is the grouped product of the gradient and yᵀ, dL/dy that of xᵀ and the gradient, by the same ends.
    """

    label = "GroupedMmBackward0"

    @staticmethod
    def forward(ctx, x, y, ends):
        ctx.save(x, y)
        ctx.ends = ends
        a, b = x._a, y._a
        if ends is None:
            return k.matmul(a, b)
        parts = [slice(low, max(low, high)) for low, high in zip((0, *ends), ends, strict=False)]
        if a.ndim == b.ndim == 2:
            result = np.empty((len(parts), a.shape[0], b.shape[1]), a.dtype)
            for g, part in enumerate(parts):
                result[g] = k.matmul(a[:, part], b[part])
            return result
        result = np.zeros((a.shape[-2], b.shape[-1]), a.dtype)  # what lies behind the last group stays 0
        for g, part in enumerate(parts):
            if a.ndim == 2:
                result[part] = k.matmul(a[part], b[g])
            else:
                result[:, part] = k.matmul(a[g], b[:, part])
        return result

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved
        gx = GroupedMm.apply(grad, y.transpose(-1, -2), ctx.ends) if ctx.needs(0) else None
        gy = GroupedMm.apply(x.transpose(-1, -2), grad, ctx.ends) if ctx.needs(1) else None
        return gx, gy, None


def grouped_mm(mat_a: Any, mat_b: Any, *, offs: Any = None, bias: Any = None, out_dtype: Any = None) -> Any:
    r"""Many matrix products in one call, of groups that may be of different sizes, as in a mixture of experts.

    With two batches, :math:`y_g = a_g b_g`. If one of the two is a single matrix, it holds the groups one after the other, and
    ``offs`` says where each of them ends: group :math:`g` reaches from ``offs[g - 1]`` (0 for the first) to ``offs[g]``.

    Args:
        mat_a (Tensor): the left matrices.
        mat_b (Tensor): the right ones, of the same dtype.
        offs (Tensor, optional): int32 of shape (G), not decreasing; needed unless both are batches.
        bias (None): PyTorch has no bias here yet.
        out_dtype (dtype, optional): the dtype of the result, which can only be that of ``mat_a``.

    Shapes:

    ============  =========  ==========  ==================================================
    mat_a         mat_b      result      the groups are
    ============  =========  ==========  ==================================================
    (G, M, K)     (G, K, N)  (G, M, N)   those of the batches
    (T, K)        (G, K, N)  (T, N)      rows of ``mat_a``: the tokens of each expert
    (G, M, K)     (K, T)     (M, T)      columns of ``mat_b``
    (M, T)        (T, N)     (G, M, N)   columns of ``mat_a``, rows of ``mat_b``: a weight's gradient
    ============  =========  ==========  ==================================================

    Rows and columns behind the last group are 0 (PyTorch leaves them undefined).

    Raises:
        RuntimeError: a float64 or integer matrix, shapes that do not fit, ``offs`` missing, superfluous, of another
            dtype, of another length than there are groups or with an end behind the last row, a bias, another ``out_dtype``.
    """
    a, b = arrays("grouped_mm", mat_a=mat_a, mat_b=mat_b)
    for name, x in (("mat_a", a), ("mat_b", b)):
        if x.dtype.name not in ("float32", "float16", "bfloat16"):
            raise RuntimeError(f"Expected {name} to be Float32, BFloat16 or Float16 matrix, got {scalar_name(x)}")
        if x.ndim not in (2, 3):
            raise RuntimeError(f"{name} has to be 2 or 3d, but its shape is {list(x.shape)}")
    if a.dtype != b.dtype:
        raise RuntimeError(f"grouped_mm: mat_a and mat_b must have the same dtype, got {scalar_name(a)} and {scalar_name(b)}")
    if not a.ndim == b.ndim == 2 and a.shape[-1] != b.shape[-2]:
        raise RuntimeError(f"contraction dimension of mat_a and mat_b must match, got {a.shape[-1]} and {b.shape[-2]}")
    if (offs is None) != (a.ndim == b.ndim == 3):
        raise RuntimeError("Have to provide offsets if there is a 2d matrix, or no offset if both matrices are 3d")
    if bias is not None:
        raise RuntimeError("grouped_mm: Bias not supported yet")
    if out_dtype is not None and out_dtype != mat_a.dtype:
        raise RuntimeError(f"Grouped gemm output dtype must match `mat_a` dtype {mat_a.dtype}, got {out_dtype}")
    ends = None
    if offs is None:
        if a.shape[0] != b.shape[0]:
            raise RuntimeError(f"batched dimension has to match, got {a.shape[0]} and {b.shape[0]} groups")
    else:
        ends = _ends(offs, a, b)
    return GroupedMm.apply(mat_a, mat_b, ends)


def _ends(offs: Any, a: np.ndarray, b: np.ndarray) -> tuple[int, ...]:
    """The ends of the groups as ints, checked."""
    (values,) = arrays("grouped_mm", offs=offs)
    if values.ndim != 1:
        raise RuntimeError(f"offs has to be 1D, but its shape is {list(values.shape)}")
    if values.dtype != np.int32:
        raise RuntimeError(f"Offsets have to be int32, got {scalar_name(values)}")
    groups = a.shape[0] if a.ndim == 3 else b.shape[0] if b.ndim == 3 else len(values)
    if len(values) != groups:
        raise RuntimeError(f"matrix batch sizes have to match: {groups} matrices, but {len(values)} offsets")
    ends = tuple(values.tolist())
    length = b.shape[1] if a.ndim == 3 else a.shape[0] if b.ndim == 3 else min(a.shape[1], b.shape[0])
    if any(high < low for low, high in zip((0, *ends), ends, strict=False)) or (ends and ends[-1] > length):
        raise RuntimeError(f"grouped_mm: offs must not decrease and must end at {length} at most, got {list(ends)}")
    return ends


class ScalingType(enum.IntEnum):
    """How the values of a matrix of 8 bits share their scales: one in all, one per row, or one per block."""

    TensorWise = 0
    RowWise = 1
    BlockWise1x16 = 2
    BlockWise1x32 = 3
    BlockWise1x128 = 4
    BlockWise128x128 = 5


class SwizzleType(enum.IntEnum):
    """In which order the scales of blocks lie in memory."""

    NO_SWIZZLE = 0
    SWIZZLE_32_4_4 = 1


def scaled_mm(
    mat_a: Any, mat_b: Any, scale_a: Any, scale_recipe_a: Any, scale_b: Any, scale_recipe_b: Any, swizzle_a: Any = None,
    swizzle_b: Any = None, bias: Any = None, output_dtype: Any = bfloat16, contraction_dim: Any = (),
    use_fast_accum: bool = False,
) -> Any:  # fmt: skip
    r"""The product of two matrices of 8-bit floating-point numbers, each with its scales: :math:`y = (s_a a)(s_b b) + bias`.

    Args:
        mat_a (Tensor): :math:`a`, of shape (M, K) and a float8 dtype.
        mat_b (Tensor): :math:`b`, of shape (K, N) and a float8 dtype.
        scale_a (Tensor): :math:`s_a`, float32: one number (``TensorWise``) or one per row (``RowWise``, of shape (M, 1)).
        scale_recipe_a (ScalingType): which of the two it is; other recipes are those of GPUs.
        scale_b (Tensor): :math:`s_b`, likewise; with ``RowWise`` one number per column of b, of shape (1, N).
        scale_recipe_b (ScalingType): the same recipe as that of a.
        swizzle_a (SwizzleType, optional): the order of the scales in memory: as they are.
        swizzle_b (SwizzleType, optional): the same for b.
        bias (Tensor, optional): of shape (N).
        output_dtype (dtype, optional): what the result, summed in float32, is rounded to; None: the dtype of a.
            Default: bfloat16.
        contraction_dim (sequence of ints): for packed formats of GPUs; without meaning here.
        use_fast_accum (bool): a setting of GPUs; without meaning here.

    Shapes: (M, K) and (K, N) to (M, N). There is no gradient.

    Raises:
        ValueError: matrices of other dtypes or ranks, sizes that do not fit, a recipe that a CPU has not, scales of another
            shape or dtype.
    """
    a, b = arrays("scaled_mm", mat_a=mat_a, mat_b=mat_b)
    for name, x in (("mat_a", a), ("mat_b", b)):
        if x.ndim != 2:
            raise ValueError(f"{name} must be a matrix, but its shape is {list(x.shape)}")
    if a.shape[1] != b.shape[0]:
        raise ValueError(
            f"mat_a and mat_b shapes cannot be multiplied ({a.shape[0]}x{a.shape[1]} and {b.shape[0]}x{b.shape[1]})"
        )
    if bias is not None and bias._a.size != b.shape[1]:
        raise ValueError(f"Bias must be size {b.shape[1]} but got {bias._a.size}")
    for swizzle in (swizzle_a, swizzle_b):
        if swizzle is not None and _only(swizzle) != SwizzleType.NO_SWIZZLE:
            raise ValueError("scaled_mm: a CPU takes scales as they are, SwizzleType.NO_SWIZZLE")
    left = _scales(scale_a, scale_recipe_a, "scale_a", a, (a.shape[0], 1))
    right = _scales(scale_b, scale_recipe_b, "scale_b", b, (1, b.shape[1]))
    if _only(scale_recipe_a) != _only(scale_recipe_b):
        raise ValueError(_RECIPES)
    y = k.matmul(k.cast(a, F32) * left, k.cast(b, F32) * right)
    if bias is not None:
        y += bias._a
    return wrap(y).to(output_dtype or mat_a.dtype)


_RECIPES = (
    "Invalid scaling configuration: on a CPU both matrices are float8 and both scales float32, TensorWise of one element or "
    "RowWise of the shapes (M, 1) and (1, N)"
)


def _only(value: Any) -> Any:
    """What may also be given as a list of one."""
    return value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value


def _scales(scale: Any, recipe: Any, name: str, matrix: np.ndarray, rows: tuple[int, int]) -> np.ndarray:
    (values,) = arrays("scaled_mm", **{name: _only(scale)})
    by_row = _only(recipe) == ScalingType.RowWise
    if not matrix.dtype.name.startswith("float8") or values.dtype != F32:
        raise ValueError(f"{_RECIPES}; got a {scalar_name(matrix)} matrix and {scalar_name(values)} {name}")
    if _only(recipe) == ScalingType.TensorWise and values.size != 1:
        raise ValueError(f"{name} must have 1 Float element, got {values.size}")
    if not (by_row or _only(recipe) == ScalingType.TensorWise) or (by_row and values.shape != rows):
        raise ValueError(f"{_RECIPES}; got {name} of shape {list(values.shape)} and {_only(recipe)!r}")
    return values if by_row else values.reshape(())


def scaled_grouped_mm(
    mat_a: Any, mat_b: Any, scale_a: Any, scale_recipe_a: Any, scale_b: Any, scale_recipe_b: Any, swizzle_a: Any = None,
    swizzle_b: Any = None, bias: Any = None, offs: Any = None, output_dtype: Any = bfloat16, contraction_dim: Any = (),
    use_fast_accum: bool = False,
) -> Any:  # fmt: skip
    """:func:`grouped_mm` of matrices of 8-bit floating-point numbers with scales: on no CPU, neither here nor in PyTorch.

    Raises:
        NotImplementedError: always.
    """
    arrays("scaled_grouped_mm", mat_a=mat_a, mat_b=mat_b)
    raise NotImplementedError("scaled_grouped_mm: no CPU has it, in PyTorch neither; grouped_mm multiplies without scales")


NN_FUNCTIONS = ("grouped_mm", "scaled_mm", "scaled_grouped_mm", "ScalingType", "SwizzleType")
