"""``vmap``: a function of one example as a function of a batch of them.

The function is called once per example and the results are stacked. That is what PyTorch's batching rules compute, for every
operation that there is, and its gradients are those of the parts; it is no quicker than the loop that it stands for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lamina import ops
from lamina._tensor import Tensor
from lamina.random import default_generator
from lamina.utils._pytree import _broadcast_to_and_flatten, tree_flatten, tree_unflatten

_RANDOM = (
    "vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' randomness flags "
    "on vmap or perform the randomness operation out of vmap"
)


def _name(func: Any) -> str:
    return getattr(func, "__name__", None) or repr(func)


def _inputs(func: Any, in_dims: Any, args: tuple) -> tuple[int, list[Any], list[Any], Any]:
    """(batch size, leaves, the dimension of each or None, their structure), checked."""
    name = _name(func)
    where = f"vmap({name}, in_dims={in_dims}, ...)(<inputs>)"
    if not isinstance(in_dims, (int, tuple, list)):
        raise ValueError(
            f"{where}: expected `in_dims` to be int or a (potentially nested) tuple matching the structure of inputs, got: "
            f"{type(in_dims)}."
        )
    if not args:
        raise ValueError(
            f"vmap({name})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying to vmap over a function "
            "with no inputs. The latter is unsupported."
        )
    leaves, spec = tree_flatten(args)
    dims = _broadcast_to_and_flatten(tuple(in_dims) if isinstance(in_dims, list) else in_dims, spec)
    if dims is None:
        raise ValueError(f"{where}: in_dims is not compatible with the structure of `inputs`, which is {spec}.")
    sizes = []
    for i, (x, dim) in enumerate(zip(leaves, dims, strict=True)):
        if dim is None:
            continue
        if not isinstance(dim, int):
            raise ValueError(f"{where}: Got in_dim={dim} for an input but in_dim must be either an integer dimension or None.")
        if not isinstance(x, Tensor):
            raise ValueError(
                f"{where}: Got in_dim={dim} for an input but the input is of type {type(x)}. We cannot vmap over non-Tensor "
                "arguments, please use None as the respective in_dim"
            )
        if not -x.dim() <= dim < x.dim():
            raise ValueError(
                f"{where}: Got in_dim={dim} for some input, but that input is a Tensor of dimensionality {x.dim()} so expected "
                f"in_dim to satisfy -{x.dim()} <= in_dim < {x.dim()}."
            )
        dims[i] = dim % x.dim()
        sizes.append(x.shape[dim])
    if not sizes:
        raise ValueError("vmap: at least one input must have a mapped dimension (an in_dim that is not None)")
    if len(set(sizes)) > 1:
        raise ValueError(
            f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {sizes} for it"
        )
    return sizes[0], leaves, dims, spec


def _call(func: Any, picked: list[Any], spec: Any, kwargs: dict, name: str) -> tuple[list[Any], Any]:
    results, structure = tree_flatten(func(*tree_unflatten(picked, spec), **kwargs))
    for r in results:
        if not isinstance(r, Tensor):
            raise ValueError(
                f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(r)}. Did you mean out_dims=None "
                "for output?"
            )
    return results, structure


def _joined(parts: Sequence[Any], dim: Any, name: str) -> Any:
    """The results of all examples as one."""
    if dim is None:
        if not all(np.array_equal(parts[0]._a, p._a, equal_nan=p._a.dtype.kind in "fc") for p in parts[1:]):
            raise ValueError(f"vmap({name}, ...): `{name}` can not return a BatchedTensor when out_dim is None")
        return parts[0]
    if not isinstance(dim, int):
        raise ValueError(f"vmap({name}, ...): `out_dims` must be ints or None, got {dim!r}")
    return ops.stack(list(parts), dim)


def vmap(
    func: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *, chunk_size: int | None = None
) -> Callable[..., Any]:
    """``func``, of one example, as a function of a batch of examples.

    Args:
        func (callable): takes and returns tensors, or nested containers of them.
        in_dims (int or nested structure): the dimension of each input over which examples lie; None for an input that all share.
        out_dims (int, None or nested structure): where that dimension is in the results.
        randomness (str): ``"error"`` refuses random numbers, ``"different"`` draws new ones per example, ``"same"`` repeats them.
        chunk_size (int, optional): accepted; examples are computed one by one in any case.

    Raises:
        ValueError: dimensions that do not fit the inputs or outputs, batches of different sizes, results that are no tensors.
        RuntimeError: random numbers drawn with ``"error"``.

    >>> dot = lamina.vmap(lamina.dot)
    >>> dot(lamina.ones(3, 2), lamina.ones(3, 2)).tolist()
    [2.0, 2.0, 2.0]
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @functools.wraps(func)
    def batched(*args: Any, **kwargs: Any) -> Any:
        size, leaves, dims, spec = _inputs(func, in_dims, args)
        name = _name(func)
        watched = randomness != "different"
        before = default_generator.get_state() if watched else None
        parts: list[list[Any]] = []
        structure: Any = None
        for i in range(size or 1):
            if size:
                picked = [x if d is None else x.select(d, i) for x, d in zip(leaves, dims, strict=True)]
            else:  # one call on zeros tells the form of the results
                picked = [
                    x if d is None else x.new_zeros([n for j, n in enumerate(x.shape) if j != d])
                    for x, d in zip(leaves, dims, strict=True)
                ]
            if i and randomness == "same":
                default_generator.set_state(before)
            results, structure = _call(func, picked, spec, kwargs, name)
            parts.append(results)
            if i == 0 and randomness == "error" and not default_generator.get_state().equal(before):
                raise RuntimeError(_RANDOM)
        outs = _broadcast_to_and_flatten(tuple(out_dims) if isinstance(out_dims, list) else out_dims, structure)
        if outs is None:
            raise ValueError(
                f"vmap({name}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with the structure of `outputs`, "
                f"which is {structure}."
            )
        joined = [_joined(column, dim, name) for column, dim in zip(zip(*parts, strict=True), outs, strict=True)]
        if not size:
            joined = [r if d is None else r.narrow(d, 0, 0) for r, d in zip(joined, outs, strict=True)]
        return tree_unflatten(joined, structure)

    return batched
