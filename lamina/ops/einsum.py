"""Einstein sums: an equation becomes a plan of tensor methods and matrix products, so gradients and speed are theirs.

A plan depends on the labels and the shapes only, and is kept for the next call with the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from lamina.autograd.graph import Variable
from lamina.ops.linalg import MatMul, _check_batches
from lamina.ops.pointwise import Mul
from lamina.ops.reduction import sum

Labels = tuple[int, ...]  # A..Z are 0..25, a..z are 26..51, the dimensions of the ellipsis 52 and up
Shape = tuple[int, ...]
Steps = tuple[tuple[Any, ...], ...]  # (name of a tensor method, arguments), ...

_ELLIPSIS = -1
_FIRST_OF_ELLIPSIS = 52


def einsum(*args: Any) -> Any:
    """A sum of products over labelled dimensions: ``einsum("ij,jk->ik", a, b)`` is the matrix product.

    Each operand's dimensions are labelled with letters; equal letters run together, those missing from the result are summed.
    Without ``->`` the result has the letters that occur once, in the alphabet's order. ``...`` stands for any number of
    dimensions, which broadcast. The labels may also be lists: ``einsum(a, [0, 1], b, [1, 2], [0, 2])``. More than two operands
    are contracted pair by pair, the pair with the smallest result first. Raises ``RuntimeError`` for a malformed equation, or
    sizes that do not fit.
    """
    if len(args) < 2:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least one operand and its subscripts list"
        )
    if isinstance(args[0], Variable):
        operands, inputs, output = _from_lists(args)
    else:
        equation, *operands = args
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = list(operands[0])
        inputs, output = _parse(equation, len(operands))
    for i, x in enumerate(operands):
        if not isinstance(x, Variable):
            raise TypeError(f"einsum(): operand {i} must be a Tensor, but got {type(x).__name__}")
    prepare, pairs, finish = _plan(inputs, output, tuple([x._a.shape for x in operands]))
    terms = [_run(x, steps) for x, steps in zip(operands, prepare, strict=True)]
    for i, j, left, right, flips, after in pairs:
        y, x = _run(terms.pop(j), right), _run(terms.pop(i), left)
        if flips is None:
            product = Mul.apply(x, y)
        else:
            a, b = x._a, y._a
            if a.dtype != b.dtype or a.dtype.kind == "b":
                _check_batches(a, b)
            product = MatMul.apply(x, y, *flips)
        terms.insert(i, _run(product, after))
    return _run(terms[0], finish)


def _run(x: Any, steps: Steps) -> Any:
    for name, *args in steps:
        if name == "sum_same":  # a sum in between: integers keep their width
            x = sum(x, *args, dtype=None if x._a.dtype.kind in "fcV" else x.dtype)
        else:
            x = getattr(x, name)(*args)
    return x


# -- from notation to labels ---------------------------------------------------------------------------------------


def _label(c: str, position: int) -> int:
    if not ("a" <= c <= "z" or "A" <= c <= "Z"):
        raise RuntimeError(
            f"einsum(): invalid subscript given at index {position} in the equation string, subscripts must be in [a-zA-Z]"
        )
    return ord(c) - ord("A") if c <= "Z" else ord(c) - ord("a") + 26


def _name(label: int) -> str:
    return chr(label + ord("A")) if label < 26 else chr(label - 26 + ord("a"))


def _subscripts(text: str, start: int, whose: str) -> Labels:
    """The labels in one operand's (or the output's) part of the equation."""
    labels: list[int] = []
    i = 0
    while i < len(text):
        c = text[i]
        if c == ".":
            if _ELLIPSIS in labels:
                raise RuntimeError(f"einsum(): found '.' for {whose} for which an ellipsis was already found")
            if text[i : i + 3] != "...":
                tail = " (...)" if whose == "output" else ""
                raise RuntimeError(f"einsum(): found '.' for {whose} that is not part of any ellipsis{tail}")
            labels.append(_ELLIPSIS)
            i += 3
            continue
        if c != " ":
            labels.append(_label(c, start + i))
        i += 1
    return tuple(labels)


@lru_cache(maxsize=256)
def _parse(equation: str, n: int) -> tuple[tuple[Labels, ...], Labels | None]:
    left, arrow, right = equation.partition("->")
    inputs, start = [], 0
    for i, part in enumerate(left.split(",")):
        inputs.append(_subscripts(part, start, f"operand {i}"))
        start += len(part) + 1
    if len(inputs) > n:
        raise RuntimeError("einsum(): fewer operands were provided than specified in the equation")
    if len(inputs) < n:
        raise RuntimeError("einsum(): more operands were provided than specified in the equation")
    return tuple(inputs), _subscripts(right, len(left) + 2, "output") if arrow else None


def _from_lists(args: Sequence[Any]) -> tuple[list[Any], tuple[Labels, ...], Labels | None]:
    def labels(given: Any) -> Labels:
        for s in given:
            if s is not Ellipsis and not 0 <= s < _FIRST_OF_ELLIPSIS:
                raise ValueError(
                    f"einsum(): subscript in subscript list is not within the valid range [0, {_FIRST_OF_ELLIPSIS})"
                )
        return tuple([_ELLIPSIS if s is Ellipsis else int(s) for s in given])

    inputs = tuple([labels(s) for s in args[1::2]])
    return list(args[0 : len(args) // 2 * 2 : 2]), inputs, labels(args[-1]) if len(args) % 2 else None


# -- from labels to a plan -----------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _plan(inputs: tuple[Labels, ...], output: Labels | None, shapes: tuple[Shape, ...]) -> tuple:
    """(steps for each operand, pairs to contract, steps at the end)."""
    inputs, output = _without_ellipses(inputs, output, shapes)
    size = _sizes(inputs, shapes)
    prepare: list[Steps] = []
    terms: list[Labels] = []
    for labels, shape in zip(inputs, shapes, strict=True):
        steps, labels = _simplified(labels, shape, size)
        prepare.append(steps)
        terms.append(labels)
    pairs: list[tuple[Any, ...]] = []
    while len(terms) > 1:
        i, j = _cheapest(terms, output, size) if len(terms) > 2 else (0, 1)
        second, first = terms.pop(j), terms.pop(i)
        needed = set(output).union(*terms)
        *how, result = _pair(first, second, needed, size)
        pairs.append((i, j, *how))
        terms.insert(i, result)
    labels = terms[0]
    loose = tuple([i for i, n in enumerate(labels) if n not in output])
    labels = tuple([n for n in labels if n in output])
    finish = _permuted(labels, output)
    return tuple(prepare), tuple(pairs), (("sum", loose), *finish) if loose else finish


def _without_ellipses(
    inputs: tuple[Labels, ...], output: Labels | None, shapes: tuple[Shape, ...]
) -> tuple[tuple[Labels, ...], Labels]:
    """The labels with those of the ellipses' dimensions written out, and those of the output if they were not given."""
    spans = []  # the number of dimensions under each operand's ellipsis
    for i, (labels, shape) in enumerate(zip(inputs, shapes, strict=True)):
        ndim, named = len(shape), len(labels) - (_ELLIPSIS in labels)
        if (named > ndim) if _ELLIPSIS in labels else (named != ndim):
            what = f"einsum(): the number of subscripts in the equation ({named})"
            if _ELLIPSIS in labels:
                raise RuntimeError(f"{what} is more than the number of dimensions ({ndim}) for operand {i}")
            raise RuntimeError(
                f"{what} does not match the number of dimensions ({ndim}) for operand {i} and no ellipsis was given"
            )
        spans.append(ndim - named if _ELLIPSIS in labels else 0)
    widest = max(spans)

    def expanded(labels: Labels, span: int) -> Labels:
        first = _FIRST_OF_ELLIPSIS + widest
        return tuple([m for n in labels for m in ([n] if n != _ELLIPSIS else range(first - span, first))])

    inputs = tuple([expanded(labels, span) for labels, span in zip(inputs, spans, strict=True)])
    if output is None:
        seen = [n for labels in inputs for n in labels if n < _FIRST_OF_ELLIPSIS]
        output = (_ELLIPSIS, *sorted(n for n in set(seen) if seen.count(n) == 1))
    output = expanded(output, widest)
    for n in output:
        if output.count(n) > 1:
            raise RuntimeError(f"einsum(): output subscript {_name(n)} appears more than once in the output")
        if not any(n in labels for labels in inputs):
            raise RuntimeError(
                f"einsum(): output subscript {_name(n)} does not appear in the equation for any input operand"
            )
    return inputs, output


def _sizes(inputs: tuple[Labels, ...], shapes: tuple[Shape, ...]) -> dict[int, int]:
    """The size of each label, where 1 broadcasts."""
    size: dict[int, int] = {}
    for i, (labels, shape) in enumerate(zip(inputs, shapes, strict=True)):
        own: dict[int, int] = {}
        for n, m in zip(labels, shape, strict=True):
            if own.setdefault(n, m) != m:
                raise RuntimeError(
                    f"einsum(): subscript {_name(n)} is repeated for operand {i} but the sizes don't match, {m} != {own[n]}"
                )
            before = size.get(n, 1)
            if m not in (1, before) and before != 1:
                clash = f"has size {m} for operand {i} which does not broadcast with previously seen size {before}"
                if n < _FIRST_OF_ELLIPSIS:
                    raise RuntimeError(f"einsum(): subscript {_name(n)} {clash}")
                raise RuntimeError(f"einsum(): dimension {n - _FIRST_OF_ELLIPSIS} covered by the ellipsis {clash}")
            size[n] = m if before == 1 else before
    return size


def _simplified(labels: Labels, shape: Shape, size: dict[int, int]) -> tuple[Steps, Labels]:
    """Steps to an operand with each label once, and without dimensions of size 1 whose label is larger elsewhere."""
    steps: list[tuple[Any, ...]] = []
    left, dims = list(labels), list(shape)
    i = 0
    while i < len(left):
        j = left.index(left[i])
        if j == i:
            i += 1
            continue
        steps.append(("diagonal", 0, j, i))
        n, m = left[i], dims[i]
        left = [x for p, x in enumerate(left) if p not in (i, j)] + [n]
        dims = [x for p, x in enumerate(dims) if p not in (i, j)] + [m]
        i = 0
    narrow = tuple([i for i, n in enumerate(left) if dims[i] == 1 and size[n] != 1])
    if narrow:
        steps.append(("squeeze", narrow))
    return tuple(steps), tuple([n for i, n in enumerate(left) if i not in narrow])


def _cheapest(terms: list[Labels], output: Labels, size: dict[int, int]) -> tuple[int, int]:
    """The pair whose product is smallest next to what it replaces."""

    def elements(labels: set[int] | Labels) -> int:
        return math.prod([size[n] for n in labels])

    best, cheapest = (0, 1), math.inf
    for j in range(1, len(terms)):
        for i in range(j):
            others = set(output).union(*(labels for m, labels in enumerate(terms) if m not in (i, j)))
            result = elements(others.intersection(terms[i] + terms[j]))
            cost = result - elements(terms[i]) - elements(terms[j])
            if cost < cheapest:
                best, cheapest = (i, j), cost
    return best


def _pair(left: Labels, right: Labels, needed: set[int], size: dict[int, int]) -> tuple:
    """(steps for the left, steps for the right, flips of a matrix product or ``None`` for an elementwise one, steps after it,
    labels of the result), for two operands that are summed over the labels that only they have and nobody needs further on."""
    first, left = _summed(left, needed.union(right))
    second, right = _summed(right, needed.union(left))
    shared = [n for n in left if n in right]
    batch, inner = [n for n in shared if n in needed], [n for n in shared if n not in needed]
    rows, columns = [n for n in left if n not in shared], [n for n in right if n not in shared]
    every = (*batch, *rows, *columns)
    if not inner or batch and not rows and not columns:
        wanted = (*every, *inner)
        first += _spread(left, wanted, size)
        second += _spread(right, wanted, size)
        return first, second, None, (("sum_same", tuple(range(-len(inner), 0))),) if inner else (), every
    to_left, left_flip = _matrices(left, batch, rows, inner, size)
    to_right, right_flip = _matrices(right, batch, inner, columns, size)
    after: Steps = () if len(rows) == len(columns) == 1 else (("reshape", [size[n] for n in every]),)
    return first + to_left, second + to_right, (left_flip, right_flip), after, every


def _summed(labels: Labels, needed: set[int]) -> tuple[Steps, Labels]:
    loose = tuple([i for i, n in enumerate(labels) if n not in needed])
    return ((("sum_same", loose),), tuple([n for n in labels if n in needed])) if loose else ((), labels)


def _permuted(labels: Labels, wanted: Sequence[int]) -> Steps:
    order = tuple([labels.index(n) for n in wanted])
    return () if order == tuple(range(len(order))) else (("permute", order),)


def _matrices(labels: Labels, batch: list[int], down: list[int], across: list[int], size: dict[int, int]) -> tuple[Steps, bool]:
    """Steps to matrices, behind the batch's dimensions, of two groups of dimensions; and whether they come out transposed."""
    flip = labels == (*batch, *across, *down) and labels != (*batch, *down, *across)
    if flip:
        down, across = across, down
    steps = _permuted(labels, batch + down + across)
    if len(down) != 1 or len(across) != 1:
        groups = [[n] for n in batch] + [down, across]
        steps += (("reshape", [math.prod([size[n] for n in group]) for group in groups]),)
    return steps, flip


def _spread(labels: Labels, wanted: Labels, size: dict[int, int]) -> Steps:
    """Steps to the dimensions ``wanted``, of size 1 where the label is missing."""
    steps = _permuted(labels, [n for n in wanted if n in labels])
    if len(labels) < len(wanted):
        steps += (("reshape", [size[n] if n in labels else 1 for n in wanted]),)
    return steps


FUNCTIONS = ("einsum",)
METHODS: tuple[str, ...] = ()
