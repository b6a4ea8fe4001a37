"""L-BFGS, with a line search if wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lamina._tensor import Tensor
from lamina.autograd import set_grad_enabled
from lamina.autograd.graph import bump, wrap
from lamina.engine import kernels as k
from lamina.optim.optimizer import Optimizer, check_at_least_zero, check_one_element, number

__all__ = ["LBFGS"]

ndarray = np.ndarray
_STATE = ("d", "t", "old_dirs", "old_stps", "ro", "H_diag", "prev_flat_grad", "prev_loss", "al")


class LBFGS(Optimizer):
    r"""The limited-memory method of Broyden, Fletcher, Goldfarb and Shanno: steps along :math:`-H \nabla f`, where :math:`H`
    estimates the inverse Hessian from the last steps and how the gradient changed along each.

    A step needs a closure that computes the loss and the gradients anew, and calls it several times. All parameters are one
    vector here, so there is one parameter group; the memory holds `history_size` pairs of such vectors.

    Args:
        params (iterable): parameters.
        lr (float or Tensor): the length of a step in units of the direction, or the first that is tried. Default: 1.
        max_iter (int): iterations per step. Default: 20.
        max_eval (int, optional): calls of the closure per step. Default: ``max_iter * 5 // 4``.
        tolerance_grad (float): the step ends when no gradient is greater. Default: 1e-7.
        tolerance_change (float): the step ends when neither the loss nor a parameter changes by more. Default: 1e-9.
        history_size (int): the number of steps remembered. Default: 100.
        line_search_fn (str, optional): ``"strong_wolfe"``, or None for steps of fixed length. Default: None.

    Raises:
        ValueError: a negative learning rate, or several parameter groups.
        RuntimeError: at a step, a line search of another name.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_one_element(lr=lr)
        check_at_least_zero(learning__rate=lr)
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    @property
    def _params(self) -> list[Any]:
        return self.param_groups[0]["params"]

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Minimise for up to `max_iter` iterations; returns the loss before the first.

        Args:
            closure (callable): computes the loss and its gradients, and returns the loss.

        If the closure raises, parameters and state are as they were.
        """
        if len(self.param_groups) != 1:
            raise AssertionError(f"Expected exactly one param_group, but got {len(self.param_groups)}")
        group = self.param_groups[0]
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise RuntimeError(f"only 'strong_wolfe' is supported, but line_search_fn is {group['line_search_fn']!r}")
        state = self.state[self._params[0]]
        before = {name: list(v) if isinstance(v, list) else v for name, v in state.items()}
        place = [p._a.copy() for p in self._params]
        warnings = np.geterr()

        def evaluate() -> Any:
            with set_grad_enabled(True), np.errstate(**warnings):
                return closure()

        try:
            with set_grad_enabled(False), np.errstate(all="ignore"):
                return self._minimise(evaluate, group, state)
        except BaseException:
            self._put(place)
            state.clear()
            state.update(before)
            if not before:
                del self.state[self._params[0]]
            raise

    def _minimise(self, evaluate: Callable[[], Any], group: dict[str, Any], state: dict[str, Any]) -> Any:
        lr, max_iter, max_eval = number(group["lr"]), group["max_iter"], group["max_eval"]
        flat_enough, too_small = group["tolerance_grad"], group["tolerance_change"]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first = evaluate()
        loss, evaluations = float(first), 1
        state["func_evals"] += 1
        grad = self._gradient()
        if grad.size == 0 or abs(grad).max() <= flat_enough:
            return first
        d, t, changes, steps, ro, scale, old_grad, old_loss, al = (_bare(state.get(name)) for name in _STATE)
        for iteration in range(1, max_iter + 1):
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                d, changes, steps, ro, scale = -grad, [], [], [], 1
            else:
                y, s = grad - old_grad, d * t
                ys = y.dot(s)
                if ys > 1e-10:
                    if len(changes) == group["history_size"]:
                        for memory in (changes, steps, ro):
                            memory.pop(0)
                    changes.append(y)
                    steps.append(s)
                    ro.append(1.0 / ys)
                    scale = ys / y.dot(y)
                al = [None] * group["history_size"] if al is None else al
                d = _direction(grad, changes, steps, ro, scale, al)
            old_grad, old_loss = grad, loss
            t = min(1.0, 1.0 / abs(grad).sum()) * lr if state["n_iter"] == 1 else lr
            slope = grad.dot(d)
            if slope > -too_small:
                break
            calls = 0
            if group["line_search_fn"] is not None:

                def probe(t: Any, d: ndarray = d) -> Point:
                    place = [p._a.copy() for p in self._params]
                    self._move(t, d)
                    value = float(evaluate())
                    g = self._gradient()
                    self._put(place)
                    return Point(t, value, g, g.dot(d))

                start = Point(0, loss, grad, slope)
                found, calls = strong_wolfe(probe, start, t, abs(d).max(), too_small, max_eval - evaluations)
                t, loss, grad = found.t, found.value, found.grad
                self._move(t, d)
            else:
                self._move(t, d)
                if iteration != max_iter:
                    loss, calls = float(evaluate()), 1
                    grad = self._gradient()
            evaluations += calls
            state["func_evals"] += calls
            if iteration == max_iter or evaluations >= max_eval or abs(grad).max() <= flat_enough:
                break
            if abs(d * t).max() <= too_small or abs(loss - old_loss) < too_small:
                break
        for name, value in zip(_STATE, (d, t, changes, steps, ro, scale, old_grad, old_loss, al), strict=True):
            if name != "al" or value is not None:
                state[name] = _kept(value)
        return first

    # -- the parameters as one vector ------------------------------------------------------------------------------

    def _gradient(self) -> ndarray:
        parts = []
        for p in self._params:
            grad = p._grad
            if grad is None:
                part = np.zeros(p._a.size, p._a.dtype)
            else:
                part = (grad._dense() if grad.is_sparse else grad._a).reshape(-1)
                if part.size != p._a.size:
                    raise RuntimeError(f"LBFGS: the gradient of a parameter {list(p.shape)} is {list(grad.shape)}")
            parts.append(part.view(part.real.dtype) if part.dtype.kind == "c" else part)
        return np.concatenate(parts)

    def _move(self, t: Any, d: ndarray) -> None:
        """Add t·d to the parameters."""
        start = 0
        for p in self._params:
            a = p._a
            size = a.size * (2 if a.dtype.kind == "c" else 1)
            part = d[start : start + size].view(a.dtype).reshape(a.shape)
            k.sgd_update(a, part, None, -float(t), 0.0, 0.0, 0.0, False, False, False)
            bump(p)
            start += size

    def _put(self, place: list[ndarray]) -> None:
        for p, a in zip(self._params, place, strict=True):
            p._a[...] = a
            bump(p)


def _bare(value: Any) -> Any:
    """An entry of a state with arrays and numbers in place of tensors."""
    if isinstance(value, list):
        return [_bare(v) for v in value]
    return value._a[()] if isinstance(value, Tensor) else value


def _kept(value: Any) -> Any:
    """An entry of a state with tensors in place of arrays and NumPy's numbers."""
    if isinstance(value, list):
        return [_kept(v) for v in value]
    return wrap(value) if isinstance(value, (ndarray, np.generic)) else value


def _direction(grad: ndarray, changes: list, steps: list, ro: list, scale: Any, al: list) -> ndarray:
    """−H·grad by the two loops over the memory."""
    q = -grad
    for i in reversed(range(len(changes))):
        al[i] = steps[i].dot(q) * ro[i]
        _add(q, -al[i], changes[i])
    q *= scale
    for i in range(len(changes)):
        _add(q, al[i] - changes[i].dot(q) * ro[i], steps[i])
    return q


def _add(x: ndarray, factor: Any, y: ndarray) -> None:
    """x ← x + factor·y"""
    k.sgd_update(x, y, None, -float(factor), 0.0, 0.0, 0.0, False, False, False)


# -- the line search -----------------------------------------------------------------------------------------------


class Point(NamedTuple):
    """Where a line search was: how far along the direction, with the loss, the gradient, and the slope along it."""

    t: Any
    value: float
    grad: ndarray
    slope: Any


def strong_wolfe(
    probe: Callable[[Any], Point], start: Point, t: Any, longest: Any, tolerance: float, limit: int,
    c1: float = 1e-4, c2: float = 0.9,
) -> tuple[Point, int]:  # fmt: skip
    """A point along the direction that is low enough (c1) and flat enough (c2), and how often `probe` was called.

    First steps grow until they bracket such a point, then the bracket shrinks around it; `limit` is on both together, `longest`
    the greatest element of the direction.
    """

    def high(x: Point) -> bool:
        return bool(x.value > start.value + c1 * x.t * start.slope)

    def flat(x: Point) -> bool:
        return bool(abs(x.slope) <= -c2 * start.slope)

    last, new, calls, rounds = start, probe(t), 1, 0
    ends = [start, new]
    while rounds < limit:
        if high(new) or (rounds > 1 and new.value >= last.value):
            ends = [last, new]
            break
        if flat(new):
            return new, calls
        if new.slope >= 0:
            ends = [last, new]
            break
        t = cubic_minimum(last, new, (new.t + 0.01 * (new.t - last.t), new.t * 10))
        last, new = new, probe(t)
        calls += 1
        rounds += 1
        ends = [start, new]

    stalled = False
    low = 0 if ends[0].value <= ends[1].value else 1
    while rounds < limit:
        near, far = sorted(x.t for x in ends)
        if (far - near) * longest < tolerance:
            break
        t = cubic_minimum(ends[0], ends[1])
        margin = 0.1 * (far - near)
        if min(far - t, t - near) < margin:  # close to an end: once is no harm
            if stalled or t >= far or t <= near:
                t = far - margin if abs(t - far) < abs(t - near) else near + margin
                stalled = False
            else:
                stalled = True
        else:
            stalled = False
        new = probe(t)
        calls += 1
        rounds += 1
        if high(new) or new.value >= ends[low].value:
            ends[1 - low] = new
            low = 0 if ends[0].value <= ends[1].value else 1
            continue
        done = flat(new)
        if not done and new.slope * (ends[1 - low].t - ends[low].t) >= 0:
            ends[1 - low] = ends[low]
        ends[low] = new
        if done:
            break
    return ends[low], calls


def cubic_minimum(a: Point, b: Point, bounds: tuple[Any, Any] | None = None) -> Any:
    """Where the cubic through two points with their slopes is least, within bounds, or between the points."""
    if a.t > b.t:
        a, b = b, a
    lower, upper = bounds or (a.t, b.t)
    middle = a.slope + b.slope - 3 * (a.value - b.value) / (a.t - b.t)
    square = middle**2 - a.slope * b.slope
    if not square >= 0:
        return (lower + upper) / 2.0
    root = square**0.5
    least = b.t - (b.t - a.t) * ((b.slope + root - middle) / (b.slope - a.slope + 2 * root))
    return min(max(least, lower), upper)
