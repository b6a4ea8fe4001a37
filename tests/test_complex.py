"""Complex numbers: values, gradients (PyTorch's conjugated ones), errors and printing."""

import numpy as np
import pytest
from support import need_torch

import lamina

CASES = """
x+y | x-y | x*y | x/y | x+1 | x*2.5 | x*1j | 1/x | x**2 | x**0.5 | x**y | -x | x.abs() | x.angle() | x.conj() | x.real
x.imag | x.exp() | x.log() | x.sqrt() | x.sin() | x.cos() | x.tan() | x.sinh() | x.cosh() | x.tanh() | x.asin()
x.acos() | x.atan() | x.asinh() | x.acosh() | x.atanh() | x.sigmoid() | x.reciprocal() | x.rsqrt() | x.square()
x.sgn() | x.log2() | x.log10() | x.log1p() | x.exp2() | x.expm1() | x.sum() | x.sum(0) | x.mean() | x.mean(1) | x.prod()
x.prod(1) | x.cumsum(0) | x.cumprod(1) | x.var() | x.std() | x.norm() | t.linalg.norm(x) | t.linalg.vector_norm(x,dim=1)
x@y.t() | t.mm(x,y.mH) | t.bmm(x[None],y.mT[None]) | t.dot(x[0],y[0]) | t.vdot(x[0],y[0]) | x@y[0] | t.outer(x[0],y[0])
t.einsum('ij,kj->ik',x,y) | t.addmm(x@y.t(),x,y.t()) | t.kron(x,y) | t.trace(x) | t.linalg.inv(s) | t.linalg.det(s)
t.linalg.slogdet(s)[1] | t.linalg.solve(s,x.t()[:3,:3]) | t.linalg.qr(s)[0].abs() | t.linalg.svdvals(s)
t.linalg.eigvalsh(h) | t.linalg.pinv(s) | t.linalg.matrix_power(s,3) | t.matrix_exp(s) | t.linalg.eigh(h)[0]
t.linalg.matrix_norm(s) | t.linalg.cond(s) | t.linalg.multi_dot([s,h,s]) | t.view_as_real(x)
t.view_as_complex(t.view_as_real(x)) | t.complex(x.real,y.imag) | t.polar(x.abs(),x.angle()) | x.resolve_conj()
x.conj().resolve_conj() | x.isnan() | x.isfinite() | x==y | x!=y | x.is_complex() | x.to(t.complex64)
x.to(t.complex128) | x.cfloat() | x.cdouble() | t.where(m,x,y) | x.masked_fill(m,1j) | t.cat([x,y]) | t.stack([x,y])
x.flip(0) | x.roll(1,0) | x.t() | x.H | x.mH | x[1] | x[m] | x.gather(1,i) | x.index_select(0,t.tensor([1])) | x.tril()
x.diag() | x.repeat(2,1) | x.tolist() | x.isclose(y) | t.allclose(x,x) | t.equal(x,y) | x.clone() | x.isreal()
t.is_complex(x) | x.addcmul(y,y) | x.addcdiv(y,y) | x.lerp(y,0.5) | F.linear(x,y) | F.linear(x,y,y[:,0])
F.conv1d(x[None],y.reshape(2,3,2)) | F.conv2d(x[None,None],y[None,None,:2,:2]) | F.pad(x,(1,1)) | x.logical_not()
x.bool() | x.positive() | x.scatter(1,i,y) | x.scatter_add(1,i,y) | x.index_add(0,t.tensor([0,0]),y[:2])
t.tensor(1+2j) | t.tensor([1,2j]) | t.full((2,),1j) | t.linspace(0,1,3,dtype=t.complex64) | t.eye(2,dtype=t.complex64)
t.zeros(2,dtype=t.complex128) | x.count_nonzero() | x.any() | x.all() | x.diff() | x.frac() | x.max() | x.sort()
x.erf() | t.real(x) | t.imag(x) | t.real(x.real) | t.imag(x.real) | x.T | t.cross(x[:,:3],y[:,:3],dim=1)
t.tensordot(x,y.t(),1) | t.cdist(x,y) | t.cosine_similarity(x,y)
"""
CASES = [c.strip() for line in CASES.strip().splitlines() for c in line.split("|")]


def complex_values(rng, *shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def arrays():
    rng = np.random.default_rng(0)
    s = complex_values(rng, 3, 3)
    x, y = complex_values(rng, 3, 4), complex_values(rng, 3, 4)
    return {"x": x, "y": y, "s": s + 3 * np.eye(3), "h": s @ s.conj().T + np.eye(3)}


def first(r):
    return next((z for z in (r if isinstance(r, (tuple, list)) else [r]) if getattr(z, "requires_grad", False)), None)


def run(t, text, dtype):
    leaves = {n: t.from_numpy(a.astype(dtype)).requires_grad_() for n, a in arrays().items()}
    index, mask = np.array([[0, 2, 1, 3], [3, 1, 0, 2], [1, 1, 2, 0]]), np.arange(12).reshape(3, 4) % 3 == 0
    space = leaves | {"t": t, "F": t.nn.functional, "i": t.from_numpy(index), "m": t.from_numpy(mask)}
    try:
        result = eval(text, space)  # noqa: S307
    except Exception as error:  # noqa: BLE001  # whatever torch raises
        return type(error).__name__, {}
    z = first(result)
    if z is not None:
        rng = np.random.default_rng(5)
        g = complex_values(rng, *z.shape) if z.is_complex() else rng.standard_normal(tuple(z.shape))
        z.backward(t.from_numpy(np.asarray(g)).to(z.dtype))
    return result, {n: v.grad for n, v in leaves.items() if v.grad is not None}


def same(a, b, rtol, what):
    if isinstance(b, (tuple, list)):
        for p, q in zip(a, b, strict=True):
            same(p, q, rtol, what)
    elif hasattr(b, "dtype"):
        assert repr(a.dtype) == repr(b.dtype) and tuple(a.shape) == tuple(b.shape), what
        wanted = b.detach().resolve_conj().numpy()
        atol = rtol * max(1.0, np.abs(wanted).max(initial=0))
        np.testing.assert_allclose(a.detach().numpy(), wanted, rtol=rtol, atol=atol, err_msg=what)
    else:
        assert a == b or abs(a - b) < rtol, what


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("dtype, rtol", [("complex64", 3e-4), ("complex128", 1e-9)])
@pytest.mark.parametrize("text", CASES)
def test_values_and_gradients(text, dtype, rtol):
    (ours, our_grads), (theirs, their_grads) = run(lamina, text, dtype), run(need_torch(), text, dtype)
    same(ours, theirs, rtol, text)
    for name, b in their_grads.items():
        if name in our_grads:
            same(our_grads[name], b, 10 * rtol, f"{text}: gradient of {name}")
        else:
            assert not b.abs().any(), f"{text}: no gradient of {name}"


ANALYTIC = """
exp log sqrt sin cos tan sinh cosh tanh asin acos atan asinh acosh atanh sigmoid reciprocal rsqrt square log2 log10 log1p
exp2 expm1 abs sgn conj angle
""".split()


@pytest.mark.parametrize("name", ANALYTIC)
def test_gradcheck(name):
    x = lamina.from_numpy(arrays()["x"][:2, :2].copy() + 0.3).requires_grad_()

    def function(x):
        return getattr(x, name)()

    assert lamina.autograd.gradcheck(function, (x,))
    assert lamina.autograd.gradgradcheck(function, (x,))


def test_gradcheck_of_powers_and_products():
    x, y = (lamina.from_numpy(arrays()[n][:2, :2].copy()).requires_grad_() for n in "xy")
    for function in (
        lambda x, y: x * y, lambda x, y: x / y, lambda x, y: x**y, lambda x, y: x @ y, lambda x, y: x * (2 - 1j) + y * 1j,
        lambda x, y: (2 + 1j) ** x * y**2, lambda x, y: 1j / x - y / (1 + 1j),
        lambda x, y: lamina.view_as_real(x) * 2 + y.real[..., None],
    ):  # fmt: skip
        assert lamina.autograd.gradcheck(function, (x, y))
        assert lamina.autograd.gradgradcheck(function, (x, y))


@pytest.mark.parametrize(
    "text",
    [
        "[1+2j,3.5-1j]", "1j", "[complex('nan'),complex('inf')]", "[-0.5j,1.25+1e-3j]", "[]", "[100+2.5j,-3j]",
        "[[1j,2],[3,4.5]]", "[1e5+1j,1e-5j]",
    ],
)  # fmt: skip
def test_printing(text):
    torch = need_torch()
    for dtype in ("complex64", "complex128"):
        ours, theirs = (repr(t.tensor(eval(text), dtype=getattr(t, dtype))) for t in (lamina, torch))  # noqa: S307
        assert ours == theirs


def test_a_real_leaf_gets_a_real_gradient():
    x = lamina.ones(3, requires_grad=True)
    (x * (1 + 2j)).abs().sum().backward()
    assert x.grad.dtype is lamina.float32
    with pytest.raises(RuntimeError, match="real scalar outputs"):
        (x * 1j).sum().backward()
