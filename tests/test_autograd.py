"""The graph and the walk: accumulation, hooks, modes, in-place rules, custom functions, long chains."""

from __future__ import annotations

import ctypes
import gc
import threading
import warnings

import numpy as np
import pytest
from support import assert_same, compare, need_torch, same_error

import lamina
from lamina.autograd import Function, grad, gradcheck, gradgradcheck


def leaf(*values, dtype=lamina.float64):
    return lamina.tensor(values, dtype=dtype, requires_grad=True)


# -- accumulation and the two entries ------------------------------------------------------------------------------


def test_backward_accumulates_in_place():
    x = leaf(1.0, 2.0)
    (x * x).sum().backward()
    first = x.grad
    assert first.tolist() == [2.0, 4.0]
    (x * 3).sum().backward()
    assert x.grad is first, "the gradient tensor keeps its identity"
    assert first.tolist() == [5.0, 7.0]


def test_two_leaves_never_share_a_gradient_array():
    x, y = leaf(1.0), leaf(2.0)
    (x + y).backward()
    x.grad.mul_(10)
    assert y.grad.item() == 1.0
    v = lamina.ones(1, dtype=lamina.float64)
    z = leaf(3.0)
    (z + 0).backward(v)
    z.grad.mul_(7)
    assert v.item() == 1.0, "the caller's vector is not taken over"


def test_grad_returns_and_does_not_accumulate():
    x, y = leaf(3.0), leaf(4.0)
    gx, gy = grad(x * x * y, (x, y))
    assert gx.item() == 24.0 and gy.item() == 9.0
    assert x.grad is None and y.grad is None


def test_grad_with_respect_to_an_intermediate_result():
    x = leaf(2.0)
    y = x * 3
    z = y * y
    (gy,) = grad(z, y, retain_graph=True)
    assert gy.item() == 12.0
    gz, gx = grad(z, (z, x))
    assert gz.item() == 1.0 and gx.item() == 36.0


def test_backward_inputs_limits_what_is_accumulated():
    x, y = leaf(2.0), leaf(5.0)
    (x * y).backward(inputs=[x])
    assert x.grad.item() == 5.0 and y.grad is None


def test_unused_input():
    x, y = leaf(1.0), leaf(1.0)
    with pytest.raises(RuntimeError, match="allow_unused"):
        grad(x * 2, (x, y))
    assert grad(x * 2, (x, y), allow_unused=True)[1] is None
    assert grad(x * 2, (x, y), materialize_grads=True)[1].item() == 0.0


def test_second_backward_needs_retain_graph():
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 8.0
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()


def test_backward_of_what_has_no_gradient():
    x = lamina.ones(2)
    with pytest.raises(RuntimeError, match="does not require grad"):
        x.sum().backward()
    y = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="scalar outputs"):
        (y * 2).backward()
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        (y * 2).backward(lamina.ones(3, dtype=lamina.float64))


def test_diamond_and_reuse():
    compare(lambda t, x: (lambda a: (a * a.exp() + a.sin() * x + a).sum())(x * 2), np.array([0.3, -1.2, 2.0]))


def test_broadcasting_is_undone():
    rng = np.random.default_rng(0)
    for s, t in [
        ((3, 4), (4,)),
        ((3, 1), (1, 4)),
        ((2, 3, 4), (3, 1)),
        ((), (2, 2)),
        ((1, 1), (5,)),
        ((0, 3), (1, 3)),
        ((2, 0), (1, 1)),
    ]:
        compare(lambda m, x, y: x * y + y, rng.standard_normal(s), rng.standard_normal(t))


def test_promotion_is_undone():
    x32 = np.array([1.5, 2.5], "float32")
    compare(lambda t, x, y: x * y, x32, np.array([2.0, 3.0]))
    compare(lambda t, x: x.to(t.float64) * 2, x32)
    compare(lambda t, x: x.half() * 2, x32)


def test_leaf_without_graph_can_be_its_own_root():
    x = leaf(2.0)
    x.backward()
    assert x.grad.item() == 1.0


# -- gradients of gradients ----------------------------------------------------------------------------------------


def test_create_graph():
    x = leaf(2.0)
    (g,) = grad(x**3, x, create_graph=True)
    (gg,) = grad(g, x, create_graph=True)
    (ggg,) = grad(gg, x)
    assert (g.item(), gg.item(), ggg.item()) == (12.0, 12.0, 6.0)


def test_backward_with_create_graph_leaves_a_differentiable_gradient():
    x = leaf(3.0)
    (x**3).backward(create_graph=True)
    assert x.grad.requires_grad
    (g,) = grad(x.grad, x)
    assert g.item() == 18.0


def test_gradient_penalty():
    rng = np.random.default_rng(0)

    def penalty(t, x, w):
        (g,) = t.autograd.grad((t.tanh(x * w)).sum(), x, create_graph=True)
        return ((g * g).sum() - 1) ** 2

    compare(penalty, rng.standard_normal((3, 2)), rng.standard_normal((3, 2)))


def test_batched_vectors():
    x = leaf(1.0, 2.0, 3.0)
    (rows,) = grad(x * x, x, lamina.eye(3, dtype=lamina.float64), is_grads_batched=True)
    assert rows.tolist() == [[2.0, 0, 0], [0, 4.0, 0], [0, 0, 6.0]]


# -- long chains ---------------------------------------------------------------------------------------------------


def test_a_chain_of_100000_operations_neither_recurses_nor_leaks():
    gc.collect()
    before = len(gc.get_objects())
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 0.0
    y.backward()
    assert x.grad.item() == 1.0
    del y, x
    gc.collect()
    assert len(gc.get_objects()) < before + 1000


def test_an_unused_graph_is_freed_without_recursion():
    y = leaf(1.0)
    for _ in range(100_000):
        y = y * 1.0
    del y


def test_no_reference_cycle_keeps_results_alive():
    import weakref

    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0)
        y = lamina.sigmoid(x * 2).exp()
        reference = weakref.ref(y)
        array = weakref.ref(y._a)
        y.backward()
        del y
        assert reference() is None and array() is None
    finally:
        gc.enable()


# -- modes ---------------------------------------------------------------------------------------------------------


def test_no_grad_and_enable_grad():
    x = leaf(1.0)
    with lamina.no_grad():
        assert not (x * 2).requires_grad
        with lamina.enable_grad():
            assert (x * 2).requires_grad
        assert not lamina.is_grad_enabled()
    assert (x * 2).requires_grad


def test_modes_as_decorators():
    x = leaf(1.0)

    @lamina.no_grad()
    def a():
        return x * 2

    @lamina.no_grad
    def b():
        return x * 2

    @lamina.set_grad_enabled(False)
    def c():
        return x * 2

    @lamina.no_grad()
    def steps():
        for _ in range(3):
            yield (x * 2).requires_grad, lamina.is_grad_enabled()

    assert not a().requires_grad and not b().requires_grad and not c().requires_grad
    seen = []
    for made, _ in steps():
        seen.append((made, lamina.is_grad_enabled()))
    assert seen == [(False, True)] * 3


def test_set_grad_enabled_acts_at_once_and_as_a_block():
    try:
        lamina.set_grad_enabled(False)
        assert not lamina.is_grad_enabled()
        with lamina.set_grad_enabled(True):
            assert lamina.is_grad_enabled()
        assert not lamina.is_grad_enabled()
    finally:
        lamina.set_grad_enabled(True)


def test_inference_mode():
    x = leaf(1.0)
    with lamina.inference_mode():
        y = x * 2
        assert lamina.is_inference_mode_enabled() and y.is_inference() and not y.requires_grad
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        x * y  # noqa: B018
    assert (x + y).requires_grad
    with lamina.inference_mode(False):
        assert (x * 2).requires_grad


def test_modes_are_per_thread():
    seen = []
    with lamina.no_grad():
        thread = threading.Thread(target=lambda: seen.append(lamina.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


# -- in-place writes -----------------------------------------------------------------------------------------------


def test_in_place_on_a_leaf_is_refused_and_leaves_it_alone():
    x = leaf(1.0, 2.0)
    with pytest.raises(
        RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation"
    ):
        x.add_(1)
    with pytest.raises(RuntimeError, match="a view of a leaf Variable"):
        x[0].add_(1)
    assert x.tolist() == [1.0, 2.0]
    with lamina.no_grad():
        x.add_(1)
    assert x.tolist() == [2.0, 3.0] and x.requires_grad and x.is_leaf


def test_a_saved_value_that_changes_raises():
    x = leaf(1.0, 2.0)
    y = x * 2
    z = y * y
    y.add_(1)
    with pytest.raises(
        RuntimeError,
        match=r"modified by an inplace operation: \[torch.DoubleTensor \[2\]\], which is output 0",
    ):
        z.sum().backward()
    y = (x * 2).exp()
    y.mul_(2)
    with pytest.raises(RuntimeError, match="is at version 1; expected version 0"):
        y.sum().backward()
    w = lamina.tensor([1.0, 2.0], dtype=lamina.float64)
    z = (x * w).sum()
    w.detach().zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


def test_data_is_not_watched():
    x = leaf(1.0, 2.0)
    w = lamina.tensor([1.0, 2.0], dtype=lamina.float64)
    z = (x * w).sum()
    w.data.zero_()
    z.backward()
    assert x.grad.tolist() == [0.0, 0.0]


IN_PLACE = {
    "add": lambda t, x, y: (x * 2).add_(y).sin(),
    "mul": lambda t, x, y: (x * 2).mul_(y),
    "div": lambda t, x, y: (x * 2).div_(y),
    "pow": lambda t, x, y: (x.abs() + 1).pow_(2),
    "relu": lambda t, x, y: t.relu_(x * y),
    "sigmoid": lambda t, x, y: (x * y).sigmoid_() * 2,
    "chain": lambda t, x, y: (x * 1).mul_(y).add_(x).exp_(),
    "augmented": lambda t, x, y: _augmented(t, x, y),
    "into zeros": lambda t, x, y: t.zeros(4, dtype=x.dtype).add_(x).mul(y),
    "copy": lambda t, x, y: t.zeros(4, dtype=x.dtype).copy_(x) * y,
}


def _augmented(t, x, y):
    a = x * 1
    a += y
    a *= 3
    a -= x
    a /= 2
    return a


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_history(name):
    rng = np.random.default_rng(0)
    compare(IN_PLACE[name], rng.standard_normal(4), rng.standard_normal(4) + 3)


def _write(t, x, y, how):
    a = x * 1
    how(t, a, y)
    return a


VIEW_WRITES = {
    "row": lambda t, a, y: a[0].mul_(y),
    "row assigned": lambda t, a, y: a.__setitem__(0, y),
    "column": lambda t, a, y: a[:, 1].copy_(y[:3]),
    "view of view": lambda t, a, y: a.t()[1].add_(y[:3]),
    "viewed flat": lambda t, a, y: a.view(-1)[2:6].mul_(y),
    "number": lambda t, a, y: a[1].fill_(5.0),
    "twice": lambda t, a, y: (a[0].mul_(y), a[1].add_(a[0])),
    "then base": lambda t, a, y: (a[0].mul_(y), a.mul_(2)),
    "narrow": lambda t, a, y: a.narrow(1, 1, 2).mul_(3),
    "diagonal": lambda t, a, y: a.diagonal().add_(y[:3]),
    "transposed whole": lambda t, a, y: a.t().mul_(2),
    "unsqueezed": lambda t, a, y: a.unsqueeze(0)[0, 1].mul_(y),
    "mask": lambda t, a, y: a.__setitem__(a.detach() > 0, 2.0),
    "integer array": lambda t, a, y: a.__setitem__(t.tensor([0, 2]), y),
}


@pytest.mark.parametrize("name", VIEW_WRITES)
def test_writes_through_views_change_the_base_s_history(name):
    rng = np.random.default_rng(1)
    compare(
        lambda t, x, y: _write(t, x, y, VIEW_WRITES[name]),
        rng.standard_normal((3, 4)),
        rng.standard_normal(4),
    )


def test_a_view_sees_the_new_history_of_its_base():
    def f(t, x):
        a = x * 2
        v = a[1]
        a.mul_(3)
        return v * v

    compare(f, np.arange(6.0).reshape(2, 3) + 1)


def test_writing_a_differentiable_value_into_zeros():
    def f(t, x):
        out = t.zeros(3, 2, dtype=x.dtype)
        for i in range(3):
            out[i] = x[i] ** 2
        return out

    compare(f, np.arange(6.0).reshape(3, 2) + 1)


@pytest.mark.parametrize("size", [4, 1 << 16])  # a large tensor takes the result's array for its own
@pytest.mark.parametrize("name", ["relu_", "sigmoid_", "hardtanh_", "mul_"])
def test_writing_to_what_was_computed_in_place(name, size):
    torch = need_torch()

    def run(t):
        x = t.tensor(np.linspace(-2, 2, size, dtype=np.float32), requires_grad=True)
        y = x * 1.5
        {"hardtanh_": t.nn.functional.hardtanh_, "mul_": lambda y: y.mul_(3)}.get(name, lambda y: getattr(y, name)())(y)
        y.add_(1)
        try:
            (y * y).sum().backward()
        except RuntimeError as error:
            return str(error)[:80]
        return x.grad.numpy()

    ours, theirs = run(lamina), run(torch)
    assert type(ours) is type(theirs)
    if isinstance(ours, str):
        assert ours == theirs
    else:
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("view", [lambda y: y[3:], lambda y: y.detach(), lambda y: y.numpy(), lambda y: y.view(2, -1).t()])
@pytest.mark.parametrize("record", [False, True])
def test_whoever_shares_memory_sees_what_is_written_in_place(view, record):
    y = lamina.linspace(-2, 2, 1 << 16)
    first = view(y)
    if record:
        y.add_(lamina.zeros(1, requires_grad=True))
    y.relu_()
    if record and isinstance(first, np.ndarray):
        assert np.shares_memory(first, y.detach().numpy())
    assert float(first.min()) == 0.0 and float(first.max()) == 2.0
    part = y[10:].detach()
    y.mul_(2)
    assert float(part.max()) == 4.0


@pytest.mark.parametrize("how", ["data_ptr", "data_ptr of a view", "numpy", "storage"])
def test_an_address_that_was_asked_for_stays(how):
    """Whoever holds the address alone, as C code does, finds there what is written in place, as in PyTorch."""
    y = lamina.linspace(-2, 2, 1 << 16)
    address = {
        "data_ptr": lambda: y.data_ptr(),
        "data_ptr of a view": lambda: y[5:].data_ptr() - 20,
        "numpy": lambda: y.numpy().ctypes.data,
        "storage": lambda: y.untyped_storage().data_ptr(),
    }[how]()
    y.relu_()
    y.clamp_(0.5, 1.5)
    assert y.data_ptr() == address
    there = np.frombuffer((ctypes.c_char * (4 << 16)).from_address(address), np.float32)
    np.testing.assert_array_equal(there, y.numpy())


def test_in_place_result_must_fit():
    same_error(lambda t, x, y: x.add_(y), np.ones((1, 3)), np.ones((2, 3)))
    same_error(lambda t, x: x.add_(1.5), np.ones(3, "int64"))
    same_error(lambda t, x: x.expand(4, 3).add_(1), np.ones(3))
    x = lamina.ones(3, dtype=lamina.int64)
    with pytest.raises(RuntimeError, match="result type Float can't be cast to the desired output type Long"):
        x.add_(1.5)
    assert x.tolist() == [1, 1, 1]


def test_out_with_gradients_is_refused():
    same_error(lambda t, x: t.add(x.requires_grad_(), 1, out=t.empty(3, dtype=x.dtype)), np.ones(3))


# -- leaves --------------------------------------------------------------------------------------------------------


def test_requires_grad_rules():
    same_error(lambda t, x: x.requires_grad_(), np.ones(3, "int64"))
    same_error(lambda t, x: (x.requires_grad_() * 2).requires_grad_(False), np.ones(3))
    same_error(lambda t, x: setattr(x, "grad", t.ones(4, dtype=x.dtype)), np.ones(3))
    same_error(lambda t, x: setattr(x, "grad", t.ones(3, dtype=t.float32)), np.ones(3))
    same_error(lambda t, x: setattr(x, "grad", 3), np.ones(3))
    same_error(lambda t, x: x.requires_grad_().numpy(), np.ones(3))
    x = leaf(1.0)
    x.grad = lamina.ones(1, dtype=lamina.float64)
    (x * 2).backward()
    assert x.grad.item() == 3.0


def test_detach_shares_memory_and_version():
    x = leaf(1.0, 2.0)
    d = x.detach()
    assert not d.requires_grad and d._a is x._a
    y = x * 2
    d2 = y.detach_()
    assert d2 is y and y.is_leaf and not y.requires_grad


def test_retain_grad():
    x = leaf(1.0)
    y = x * 3
    y.retain_grad()
    (y * y).backward()
    assert y.grad.item() == 6.0 and y.retains_grad


# -- hooks ---------------------------------------------------------------------------------------------------------


def test_tensor_hooks_see_and_replace():
    x = leaf(1.0)
    seen = []
    y = x * 2
    handle = y.register_hook(lambda g: seen.append(g.item()))
    y.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g + 1)
    (y * 3).backward()
    assert seen == [3.0] and x.grad.item() == 61.0
    handle.remove()
    y = x * 2
    with pytest.raises(RuntimeError, match="doesn't require gradient"):
        x.detach().register_hook(print)


def test_a_leaf_hook_runs_once_on_the_sum():
    x = leaf(1.0)
    seen = []
    x.register_hook(lambda g: seen.append(g.item()))
    (x * 2 + x * 3).backward()
    assert seen == [5.0]


def test_post_accumulate_hook():
    x = leaf(1.0)
    seen = []
    x.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.item()))
    (x * 2).backward()
    (x * 2).backward()
    assert seen == [2.0, 4.0]


def test_node_hooks():
    x = leaf(1.0)
    y = x * 2
    y.grad_fn.register_prehook(lambda gs: (gs[0] * 5,))
    y.grad_fn.register_hook(lambda ins, outs: (ins[0] + 100, ins[1]))
    y.backward()
    assert x.grad.item() == 110.0


def test_grad_fn_names_and_edges():
    torch = need_torch()

    def names(t):
        x = t.ones(2, 2, requires_grad=True)
        made = [
            x + 1,
            x - 1,
            x * 2,
            x / 2,
            x**2,
            x.exp(),
            x.sum(),
            x.mean(),
            x @ x,
            x.t(),
            x.view(4),
            x[0],
            t.sigmoid(x),
            x.relu(),
        ]
        return [m.grad_fn.name() for m in made]

    ours, theirs = names(lamina), names(torch)
    assert ours == theirs
    x = leaf(1.0)
    (following, index), _ = (x * 2).grad_fn.next_functions
    assert following.variable is x and index == 0 and following.name() == "torch::autograd::AccumulateGrad"


# -- functions of the user's own -----------------------------------------------------------------------------------


def make_functions(t):
    class Cube(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x**3
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            return g * 3 * x**2

    class Two(t.autograd.Function):
        @staticmethod
        def forward(x, scale, flag):
            return x * scale, x + scale

        @staticmethod
        def setup_context(ctx, inputs, output):
            x, scale, flag = inputs
            ctx.save_for_backward(x)
            ctx.scale, ctx.flag = scale, flag

        @staticmethod
        def backward(ctx, a, b):
            assert ctx.needs_input_grad == (True, False, False)
            return a * ctx.scale + b, None, None

    class InPlace(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 2

    return Cube, Two, InPlace


def test_custom_functions():
    x = np.array([1.0, -2.0, 3.0])
    compare(lambda t, x: make_functions(t)[0].apply(x) * x, x)
    compare(lambda t, x: make_functions(t)[1].apply(x, 3.0, "flag"), x)
    compare(lambda t, x: make_functions(t)[1].apply(x, 3.0, "flag")[0], x)
    compare(lambda t, x: make_functions(t)[2].apply(x * 1) * x, x)


def test_custom_function_second_derivative():
    cube = make_functions(lamina)[0].apply
    assert gradcheck(cube, leaf(0.5, -1.5)) and gradgradcheck(cube, leaf(0.5, -1.5))


def test_custom_function_errors():
    class Short(Function):
        @staticmethod
        def forward(ctx, x, y):
            return x * y

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(RuntimeError, match="incorrect number of gradients"):
        Short.apply(leaf(1.0), leaf(2.0)).backward()
    with pytest.raises(RuntimeError, match="should not be instantiated"):
        Short()

    class Once(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @lamina.autograd.once_differentiable
        def backward(ctx, g):
            return g * 2 * ctx.saved_tensors[0]

    x = leaf(2.0)
    (g,) = grad(Once.apply(x) * x, x, create_graph=True)
    assert g.item() == 12.0
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.backward()


def test_non_differentiable_output_and_unmaterialised_gradients():
    class Parts(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            sign = x.sign()
            ctx.mark_non_differentiable(sign)
            return x * 1, sign, x * 2

        @staticmethod
        def backward(ctx, a, b, c):
            assert a is None and b is None
            return c * 2

    x = leaf(1.0, -1.0)
    _, sign, double = Parts.apply(x)
    assert not sign.requires_grad
    double.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


# -- anomalies and checks ------------------------------------------------------------------------------------------


def test_detect_anomaly():
    x = leaf(0.0)
    with pytest.warns(UserWarning, match="Anomaly Detection has been enabled"):
        context = lamina.autograd.detect_anomaly()
    with context, pytest.warns(UserWarning, match="Traceback of forward call"):
        y = lamina.sqrt(x) * 0
        with pytest.raises(
            RuntimeError, match="Function 'SqrtBackward0' returned nan values in its 0th output"
        ):
            y.backward()


def test_gradcheck_finds_a_wrong_rule():
    class Wrong(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 3

    with pytest.raises(
        lamina.autograd.GradcheckError, match="Jacobian mismatch for output 0 with respect to input 0"
    ):
        gradcheck(Wrong.apply, leaf(1.0))
    assert not gradcheck(Wrong.apply, leaf(1.0), raise_exception=False)
    with pytest.raises(ValueError, match="at least one input tensor to require gradient"):
        gradcheck(lambda x: x * 2, lamina.ones(2))


def test_nan_and_inf_pass_through():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare(
            lambda t, x: (x / x).exp() + t.sqrt(x) - x.log(),
            np.array([0.0, -1.0, np.inf, -np.inf, np.nan, 2.0]),
        )


def test_backward_from_several_threads():
    x = lamina.ones(50, dtype=lamina.float64, requires_grad=True)

    def work():
        for _ in range(50):
            (x * 2).sum().backward()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert_same(x.grad, np.full(50, 400.0))


def test_writing_a_leaf_s_values_does_not_make_the_target_that_leaf():
    x, y = leaf(1.0, 2.0), lamina.zeros(2, dtype=lamina.float64)
    lamina.autograd.graph.overwrite(y, x)
    assert y.requires_grad and not y.is_leaf
    (y * 3).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0] and y.tolist() == [1.0, 2.0]


# -- what a rule does not need may be overwritten ------------------------------------------------------------------


def _products(t):
    f = t.nn.functional
    return {
        "mul": (lambda x, y: x * y, (3, 4), (3, 4)),
        "matmul": (lambda x, y: x @ y, (3, 4), (4, 2)),
        "matrix and vector": (lambda x, y: x @ y, (3, 4), (4,)),
        "batches": (lambda x, y: x @ y, (2, 3, 4), (2, 4, 5)),
        "batch and matrix": (lambda x, y: x @ y, (2, 3, 4), (4, 5)),
        "dot": (t.dot, (4,), (4,)),
        "outer": (t.outer, (4,), (3,)),
        "einsum": (lambda x, y: t.einsum("ij,jk->ik", x, y), (3, 4), (4, 2)),
        "addmm": (lambda x, y: t.addmm(t.zeros(2, dtype=t.float64), x, y), (3, 4), (4, 2)),
        "linear": (f.linear, (3, 4), (2, 4)),
        "conv2d": (f.conv2d, (1, 2, 5, 5), (3, 2, 3, 3)),
        "conv_transpose2d": (f.conv_transpose2d, (1, 2, 5, 5), (2, 3, 3, 3)),
        "fmod": (t.fmod, (3, 4), (3, 4)),
        "remainder": (t.remainder, (3, 4), (3, 4)),
    }


@pytest.mark.parametrize("name", _products(lamina))
@pytest.mark.parametrize("wants", [(True, True), (True, False), (False, True)], ids=["both", "first", "second"])
@pytest.mark.parametrize("changed", [0, 1])
def test_a_factor_that_no_gradient_needs_may_change(name, wants, changed):
    torch = need_torch()
    outcomes, gradients = [], []
    for t in (lamina, torch):
        function, *shapes = _products(t)[name]
        rng = np.random.default_rng(0)
        leaves = [t.from_numpy(rng.uniform(0.5, 1.5, s)) for s in shapes]
        leaves = [x.requires_grad_() if w else x for x, w in zip(leaves, wants, strict=True)]
        given = [x * 1 if w else x for x, w in zip(leaves, wants, strict=True)]
        y = function(*given)
        with t.no_grad():
            given[changed].mul_(2)
        try:
            y.sum().backward()
            outcomes.append("right")
            gradients.append([x.grad for x in leaves])
        except RuntimeError as error:
            assert "modified by an inplace operation" in str(error)
            outcomes.append("refused")
    assert outcomes[0] == outcomes[1]
    if gradients:
        assert_same(*gradients)


@pytest.mark.parametrize("name", ["neg", "sign", "floor", "ceil", "trunc", "deg2rad", "rad2deg"])
def test_functions_whose_slope_is_constant_keep_nothing(name):
    x = lamina.ones(3, requires_grad=True)
    z = x * 1
    y = getattr(lamina, name)(z)
    z.mul_(2)
    y.sum().backward()


# -- memory order of results ---------------------------------------------------------------------------------------

ORDERS = {
    "transposed": lambda t: t.arange(12.0).view(4, 3).t(),
    "expanded": lambda t: t.arange(3.0).view(1, 3).expand(4, 3),
    "expanded columns": lambda t: t.arange(4.0).view(4, 1).expand(4, 3),
    "channels last": lambda t: t.arange(120.0).view(2, 3, 4, 5).to(memory_format=t.channels_last),
}
FLAT = {
    "clone": lambda t, x: x.clone(),
    "double": lambda t, x: x.double(),
    "bool": lambda t, x: x.bool(),
    "exp": lambda t, x: x.exp(),
    "erf": lambda t, x: x.erf(),
    "zeros_like": lambda t, x: t.zeros_like(x),
    "rand_like": lambda t, x: t.rand_like(x),
    "softmax": lambda t, x: x.softmax(1),
    "log_softmax": lambda t, x: x.log_softmax(0),
    "masked_fill": lambda t, x: x.masked_fill(x > 1, 0.0),
    "where": lambda t, x: t.where(x > 1, x, 0.0),
    "dropout": lambda t, x: t.nn.functional.dropout(x, 0.5),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", FLAT)
def test_what_pytorch_can_view_flat_can_be_viewed_flat(order, name):
    torch = need_torch()
    theirs = FLAT[name](torch, ORDERS[order](torch))
    ours = FLAT[name](lamina, ORDERS[order](lamina))
    assert ours.is_contiguous() == theirs.is_contiguous()
    if theirs.is_contiguous():
        assert ours.view(-1).shape == theirs.view(-1).shape and ours.stride() == theirs.stride()


# -- modes and writes ----------------------------------------------------------------------------------------------


def test_inference_tensors_are_written_in_inference_mode_only():
    for write in (lambda a: a.add_(1), lambda a: a.zero_(), lambda a: a.__setitem__(0, 3.0), lambda a: a.view(2).mul_(2)):

        def outside(t, write=write):
            with t.inference_mode():
                a = t.ones(2)
            with t.no_grad():
                write(a)

        same_error(outside, match="Inplace update to inference tensor")
        with lamina.inference_mode():
            write(lamina.ones(2))
    a = lamina.ones(2)
    with lamina.inference_mode():
        made, part = lamina.ones(2), a[0]
    assert made.detach().is_inference() and made[0].is_inference() and not part.is_inference()


def test_constants_may_be_written_into_an_expanded_tensor():
    for t in (lamina, need_torch()):
        x = t.ones(1, 3).expand(2, 3)
        assert x.fill_(2).tolist() == [[2.0] * 3] * 2 and x.zero_().sum() == 0
    same_error(lambda t: t.ones(1, 3).expand(2, 3).mul_(2))
    same_error(lambda t: t.ones(2, 3).t().mul_(t.ones(2, 4)))
    same_error(lambda t: t.ones(3).mul_(t.ones(2, 3)))


def test_the_gradient_of_a_tensor_that_keeps_none_warns():
    for t in (lamina, need_torch()):
        y = t.ones(2, requires_grad=True) * 2
        with pytest.warns(UserWarning, match="not a leaf"):
            assert y.grad is None
        y.retain_grad()
        assert y.grad is None and t.ones(2).grad is None


def test_version_counts_writes_to_the_memory():
    for t in (lamina, need_torch()):
        x = t.ones(4)
        part, other = x[:2], x.detach()
        counts = [x._version]
        for write in (lambda x: x.add_(1), lambda x: x[0].mul_(2), lambda x: x.zero_(), lambda x: x.__setitem__(1, 5.0)):
            write(x)
            counts.append(x._version)
        assert counts == [0, 1, 2, 3, 4] and part._version == other._version == 4 and x.clone()._version == 0


def test_numpy_is_there_where_gradients_are_off():
    class Sine(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return lamina.from_numpy(np.sin(x.numpy()))

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0].cos()

    x = leaf(0.3, 1.2)
    assert gradcheck(Sine.apply, x)
    for t in (lamina, need_torch()):
        w = t.ones(2, requires_grad=True)
        with t.no_grad():
            assert w.numpy().tolist() == [1.0, 1.0] and np.asarray(w).sum() == 2
    same_error(lambda t: t.ones(2, requires_grad=True).numpy())


def test_what_hooks_may_not_return():
    for wrong in (lambda t: t.ones(5), lambda t: 5):

        def at_leaf(t, wrong=wrong):
            x = t.ones(2, requires_grad=True)
            x.register_hook(lambda g: wrong(t))
            x.sum().backward()

        def between(t, wrong=wrong):
            y = t.ones(2, requires_grad=True) * 2
            y.register_hook(lambda g: wrong(t))
            y.sum().backward()

        same_error(at_leaf)
        same_error(between)
    same_error(lambda t: t.autograd.grad(t.ones(2, requires_grad=True).sum(), []))
    same_error(lambda t: t.set_grad_enabled("a"))
