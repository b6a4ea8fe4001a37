"""Are the gradients right? Compare them with central differences, and those of gradients too."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lamina.autograd.graph import Variable, mode, wrap
from lamina.autograd.walk import grad


class GradcheckError(RuntimeError):
    """A gradient that differs from the numerical one."""


def _tuple(x: Any) -> tuple:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def _outputs(function: Callable[..., Any], inputs: tuple) -> list[Any]:
    return [o for o in _tuple(function(*inputs)) if isinstance(o, Variable) and o._a.dtype.kind in "fcV"]


def _numerical(function: Callable[..., Any], inputs: tuple, x: Any, eps: float) -> list[np.ndarray]:
    """Per output, the matrix d output / d x by central differences, one column per element of ``x``."""
    array = x._plain()
    columns: list[list[np.ndarray]] = []
    for index in np.ndindex(array.shape):
        before = array[index].copy()
        sides = []
        for step in (eps, -eps):
            array[index] = before + step
            enabled, mode.enabled = mode.enabled, False
            try:
                sides.append([o._a.astype(np.float64).ravel() for o in _outputs(function, inputs)])
            finally:
                mode.enabled = enabled
                array[index] = before
        columns.append([(a - b) / (2 * eps) for a, b in zip(*sides, strict=True)])
    count = len(_outputs(function, inputs))
    return [np.stack([c[i] for c in columns], axis=1) if columns else np.zeros((0, 0)) for i in range(count)]


def _analytical(output: Any, x: Any) -> np.ndarray:
    """The matrix d output / d x by one walk per row."""
    rows = []
    for i in range(output._a.size):
        seed = np.zeros(output._a.size, output._a.dtype)
        seed[i] = 1
        (g,) = grad(output, x, wrap(seed.reshape(output._a.shape)), retain_graph=True, allow_unused=True)
        rows.append(np.zeros(x._a.size) if g is None else np.asarray(g._a, dtype=np.float64).ravel())
    return np.stack(rows) if rows else np.zeros((0, x._a.size))


def gradcheck(
    func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
    raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True, check_grad_dtypes: bool = False,
    check_batched_grad: bool = False, check_batched_forward_grad: bool = False, check_forward_ad: bool = False,
    check_backward_ad: bool = True, fast_mode: bool = False, masked: Any = None,
) -> bool:  # fmt: skip
    """Compare the gradients of ``func`` at ``inputs`` with central differences of step ``eps``.

    Inputs that require a gradient should be float64. A difference above ``atol + rtol·|numerical|`` raises
    ``GradcheckError`` (or returns ``False`` with ``raise_exception=False``).
    """
    if check_forward_ad or check_batched_grad or check_batched_forward_grad:
        raise NotImplementedError(
            "gradcheck checks backward gradients only: forward-mode and batched gradients are not available"
        )
    inputs = _tuple(inputs)
    wanted = [x for x in inputs if isinstance(x, Variable) and x._requires]
    if not wanted:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the them have requires_grad=True."
        )
    for x in wanted:
        if x._a.dtype not in (np.float64, np.complex128):
            warnings.warn(
                "An input requires gradient and is not a double precision floating point. This check will likely fail if all the "
                "inputs are not of double precision floating point.",
                stacklevel=2,
            )
    if any(isinstance(x, Variable) and x._a.dtype.kind == "c" for x in inputs):
        func, inputs = _in_real_numbers(func, inputs)
        wanted = [x for x in inputs if isinstance(x, Variable) and x._requires]
    try:
        _compare(func, inputs, wanted, eps, atol, rtol, nondet_tol)
        if check_undefined_grad:
            _check_undefined(func, inputs, wanted)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _in_real_numbers(func: Callable[..., Any], inputs: tuple) -> tuple[Callable[..., Any], tuple]:
    """A function of complex numbers as one of their real and imaginary parts, and its inputs.

    PyTorch's gradient of a complex number is that of its real part plus i times that of its imaginary part, so the check
    of the one function is the check of the other.
    """
    from lamina import ops

    def is_complex(x: Any) -> bool:
        return isinstance(x, Variable) and x._a.dtype.kind == "c"

    which = [is_complex(x) for x in inputs]
    parts = []
    for x, split in zip(inputs, which, strict=True):
        part = wrap(np.stack([x._a.real, x._a.imag], -1)) if split else x
        if split:
            part._requires = x._requires
        parts.append(part)

    def function(*given: Any) -> tuple:
        enabled, mode.enabled = mode.enabled, True
        try:
            joined = [ops.view_as_complex(x) if split else x for x, split in zip(given, which, strict=True)]
        finally:
            mode.enabled = enabled
        return tuple([ops.view_as_real(o) if is_complex(o) else o for o in _outputs(func, tuple(joined))])

    return function, tuple(parts)


def _compare(
    func: Callable[..., Any],
    inputs: tuple,
    wanted: Sequence[Any],
    eps: float,
    atol: float,
    rtol: float,
    nondet: float,
) -> None:
    outputs = _outputs(func, inputs)
    if not outputs or not any(o._requires for o in outputs):
        raise ValueError("gradcheck expects at least one output that requires a gradient")
    for n, x in enumerate(wanted):
        numerical = _numerical(func, inputs, x, eps)
        for i, output in enumerate(outputs):
            exact = _analytical(output, x) if output._requires else np.zeros((output._a.size, x._a.size))
            if exact.size == 0:
                continue
            if output._requires and np.abs(_analytical(output, x) - exact).max(initial=0) > nondet:
                raise GradcheckError(
                    "Backward is not reentrant, i.e., running backward twice gives different gradients"
                )
            wrong = ~(np.abs(exact - numerical[i]) <= atol + rtol * np.abs(numerical[i]))
            if wrong.any():
                raise GradcheckError(
                    f"Jacobian mismatch for output {i} with respect to input {n},\nnumerical:{numerical[i]}\nanalytical:{exact}\n"
                )


def _check_undefined(func: Callable[..., Any], inputs: tuple, wanted: Sequence[Any]) -> None:
    """With several outputs, a gradient of only one of them must work as well."""
    outputs = [o for o in _outputs(func, inputs) if o._requires]
    if len(outputs) > 1:
        for o in outputs:
            try:
                grad(o, wanted, wrap(np.ones_like(o._a)), retain_graph=True, allow_unused=True)
            except (TypeError, AttributeError) as error:
                raise GradcheckError(
                    f"Expected backward function to handle undefined output grads: {error}"
                ) from error


def gradgradcheck(
    func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False, raise_exception: bool = True, nondet_tol: float = 0.0,
    check_undefined_grad: bool = True, check_grad_dtypes: bool = False, check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False, check_rev_over_rev: bool = True, fast_mode: bool = False, masked: bool = False,
) -> bool:  # fmt: skip
    """Compare the gradients of the gradients of ``func`` with central differences; arguments as for :func:`gradcheck`."""
    inputs = _tuple(inputs)
    outputs = [o for o in _outputs(func, inputs) if o._requires]
    if grad_outputs is None:
        rng = np.random.default_rng(0)  # fixed, so that a failure repeats
        vectors = []
        for o in outputs:
            v = rng.standard_normal(o._a.shape).astype(o._a.dtype)
            v = wrap(v + 1j * rng.standard_normal(o._a.shape) if v.dtype.kind == "c" else v)
            v._requires = True
            vectors.append(v)
    else:
        vectors = list(_tuple(grad_outputs))
    count = len(inputs)

    def first(*everything: Any) -> tuple:
        return _first_gradients(func, everything[:count], everything[count:])

    return gradcheck(
        first, (*inputs, *vectors), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception, nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad,
    )  # fmt: skip


def _first_gradients(func: Callable[..., Any], inputs: tuple, vectors: tuple) -> tuple:
    enabled, mode.enabled = mode.enabled, True  # numerical differences call this without recording
    try:
        results = [o for o in _outputs(func, inputs) if o._requires]
        wanted = [x for x in inputs if isinstance(x, Variable) and x._requires]
        found = grad(results, wanted, vectors, create_graph=True, allow_unused=True)
        return tuple(
            wrap(np.zeros_like(x._a)) if g is None else g for g, x in zip(found, wanted, strict=True)
        )
    finally:
        mode.enabled = enabled
