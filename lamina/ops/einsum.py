"""Einstein sums: parsed here, computed as matrix products, so that gradients and speed are theirs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lamina.autograd.graph import Variable
from lamina.ops.linalg import MatMul, _check_batches
from lamina.ops.reduction import sum

Labels = list[int]  # A..Z are 0..25, a..z are 26..51, the dimensions of the ellipsis 52 and up

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
        equation, *rest = args
        if len(rest) == 1 and isinstance(rest[0], (list, tuple)):
            rest = list(rest[0])
        operands = list(rest)
        inputs, output = _parse(equation, len(operands))
    for i, x in enumerate(operands):
        if not isinstance(x, Variable):
            raise TypeError(f"einsum(): operand {i} must be a Tensor, but got {type(x).__name__}")
    return _contract(*_align(operands, inputs, output))


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
    labels: Labels = []
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
    return labels


def _parse(equation: str, n: int) -> tuple[list[Labels], Labels | None]:
    left, arrow, right = equation.partition("->")
    inputs, start = [], 0
    for i, part in enumerate(left.split(",")):
        inputs.append(_subscripts(part, start, f"operand {i}"))
        start += len(part) + 1
    if len(inputs) > n:
        raise RuntimeError("einsum(): fewer operands were provided than specified in the equation")
    if len(inputs) < n:
        raise RuntimeError("einsum(): more operands were provided than specified in the equation")
    return inputs, _subscripts(right, len(left) + 2, "output") if arrow else None


def _from_lists(args: Sequence[Any]) -> tuple[list[Any], list[Labels], Labels | None]:
    def labels(given: Any) -> Labels:
        for s in given:
            if s is not Ellipsis and not 0 <= s < _FIRST_OF_ELLIPSIS:
                raise ValueError(f"einsum(): subscript in subscript list is not within the valid range [0, {_FIRST_OF_ELLIPSIS})")
        return [_ELLIPSIS if s is Ellipsis else int(s) for s in given]

    operands, inputs = list(args[0 : len(args) // 2 * 2 : 2]), [labels(s) for s in args[1::2]]
    return operands, inputs, labels(args[-1]) if len(args) % 2 else None


def _align(operands: list[Any], inputs: list[Labels], output: Labels | None) -> tuple[list[Any], list[Labels], Labels]:
    """Give the ellipses' dimensions labels, check sizes, take diagonals of repeated labels, drop what broadcasts."""
    spans = []  # the number of dimensions under each operand's ellipsis
    for i, (x, labels) in enumerate(zip(operands, inputs, strict=True)):
        ndim, named = x._a.ndim, len(labels) - (_ELLIPSIS in labels)
        if (named > ndim) if _ELLIPSIS in labels else (named != ndim):
            count = f"the number of subscripts in the equation ({named})"
            if _ELLIPSIS in labels:
                raise RuntimeError(f"einsum(): {count} is more than the number of dimensions ({ndim}) for operand {i}")
            raise RuntimeError(
                f"einsum(): {count} does not match the number of dimensions ({ndim}) for operand {i} and no ellipsis was given"
            )
        spans.append(ndim - named if _ELLIPSIS in labels else 0)
    widest = max(spans)

    def expanded(labels: Labels, span: int) -> Labels:
        first = _FIRST_OF_ELLIPSIS + widest
        return [m for n in labels for m in ([n] if n != _ELLIPSIS else range(first - span, first))]

    inputs = [expanded(labels, span) for labels, span in zip(inputs, spans, strict=True)]
    if output is None:
        seen = [n for labels in inputs for n in labels if n < _FIRST_OF_ELLIPSIS]
        output = [_ELLIPSIS, *sorted(n for n in set(seen) if seen.count(n) == 1)]
    output = expanded(output, widest)
    for n in output:
        if output.count(n) > 1:
            raise RuntimeError(f"einsum(): output subscript {_name(n)} appears more than once in the output")
        if not any(n in labels for labels in inputs):
            raise RuntimeError(f"einsum(): output subscript {_name(n)} does not appear in the equation for any input operand")

    size: dict[int, int] = {}
    for i, (x, labels) in enumerate(zip(operands, inputs, strict=True)):
        own: dict[int, int] = {}
        for n, m in zip(labels, x._a.shape, strict=True):
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
    plain = [_simplified(x, labels, size) for x, labels in zip(operands, inputs, strict=True)]
    return [x for x, _ in plain], [labels for _, labels in plain], output


def _simplified(x: Any, labels: Labels, size: dict[int, int]) -> tuple[Any, Labels]:
    """The operand with each label once, and without dimensions of size 1 that others of the label are larger than."""
    labels = list(labels)
    i = 0
    while i < len(labels):
        if labels[i] in labels[:i]:
            j = labels.index(labels[i])
            x = x.diagonal(0, j, i)
            moved = labels[i]
            labels = [n for m, n in enumerate(labels) if m not in (i, j)] + [moved]
            i = 0
        else:
            i += 1
    narrow = [i for i, n in enumerate(labels) if x._a.shape[i] == 1 and size[n] != 1]
    if narrow:
        x = x.squeeze(tuple(narrow))
        labels = [n for i, n in enumerate(labels) if i not in narrow]
    return x, labels


# -- from labels to products ---------------------------------------------------------------------------------------


def _contract(operands: list[Any], inputs: list[Labels], output: Labels) -> Any:
    terms = list(zip(operands, inputs, strict=True))
    while len(terms) > 1:
        i, j = _cheapest(terms, output) if len(terms) > 2 else (0, 1)
        second, first = terms.pop(j), terms.pop(i)
        needed = set(output).union(*(labels for _, labels in terms))
        terms.insert(i, _pair(*first, *second, needed))
    x, labels = _reduced(*terms[0], set(output))
    order = [labels.index(n) for n in output]
    # an output label whose every dimension of size 1 stood beside larger ones is never lost: the larger one has it
    return x if order == list(range(len(order))) else x.permute(*order)


def _cheapest(terms: list[tuple[Any, Labels]], output: Labels) -> tuple[int, int]:
    """The pair whose product is smallest next to what it replaces."""
    best, cheapest = (0, 1), math.inf
    for j in range(1, len(terms)):
        for i in range(j):
            size = dict(zip(terms[i][1] + terms[j][1], terms[i][0]._a.shape + terms[j][0]._a.shape, strict=True))
            others = set(output).union(*(labels for m, (_, labels) in enumerate(terms) if m not in (i, j)))
            result = math.prod(n for label, n in size.items() if label in others)
            cost = result - terms[i][0]._a.size - terms[j][0]._a.size
            if cost < cheapest:
                best, cheapest = (i, j), cost
    return best


def _reduced(x: Any, labels: Labels, needed: set[int], dtype: Any = None) -> tuple[Any, Labels]:
    """``x`` summed over the labels that nobody needs."""
    loose = tuple(i for i, n in enumerate(labels) if n not in needed)
    return (sum(x, loose, dtype=dtype), [n for n in labels if n in needed]) if loose else (x, labels)


def _pair(x: Any, left: Labels, y: Any, right: Labels, needed: set[int]) -> tuple[Any, Labels]:
    """The product of two operands, summed over the labels that only they have and nobody needs further on."""
    x, left = _reduced(x, left, needed.union(right), x.dtype)
    y, right = _reduced(y, right, needed.union(left), y.dtype)
    shared = [n for n in left if n in right]
    batch, inner = [n for n in shared if n in needed], [n for n in shared if n not in needed]
    rows, columns = [n for n in left if n not in shared], [n for n in right if n not in shared]
    if not inner or batch and not rows and not columns:
        every = batch + rows + columns
        product = _spread(x, left, every + inner) * _spread(y, right, every + inner)
        return (sum(product, tuple(range(-len(inner), 0)), dtype=product.dtype) if inner else product), every
    size = dict(zip(left + right, x._a.shape + y._a.shape, strict=True))
    a = _ordered(x, left, batch, rows, inner)
    b = _ordered(y, right, batch, inner, columns)
    if a._a.ndim > 2 or a._a.dtype != b._a.dtype or a._a.dtype.kind == "b":
        _check_batches(a._a, b._a)
    product = MatMul.apply(a, b, False, False)
    every = batch + rows + columns
    if len(rows) != 1 or len(columns) != 1:
        product = product.reshape([size[n] for n in every])
    return product, every


def _ordered(x: Any, labels: Labels, batch: Labels, first: Labels, second: Labels) -> Any:
    """``x`` as matrices: the batch's dimensions, then two groups of dimensions, each as one."""
    order = [labels.index(n) for n in batch + first + second]
    if order != list(range(len(order))):
        x = x.permute(*order)
    if len(first) == len(second) == 1:
        return x
    shape, lead = x._a.shape, len(batch)
    return x.reshape(*shape[:lead], math.prod(shape[lead : lead + len(first)]), math.prod(shape[lead + len(first) :]))


def _spread(x: Any, labels: Labels, wanted: Labels) -> Any:
    """``x`` with its dimensions in the order ``wanted``, and dimensions of size 1 for labels that it lacks."""
    order = [labels.index(n) for n in wanted if n in labels]
    if order != list(range(len(order))):
        x = x.permute(*order)
    shape = iter(x._a.shape)
    return x if len(labels) == len(wanted) else x.reshape([next(shape) if n in labels else 1 for n in wanted])


FUNCTIONS = ("einsum",)
METHODS: tuple[str, ...] = ()
