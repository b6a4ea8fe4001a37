"""Memory as an object, and methods that go under the tensor: new, set_, map_, apply_, as_subclass."""

from __future__ import annotations

import numpy as np
import pytest
from support import need_torch, same_error

import lamina

pytestmark = pytest.mark.filterwarnings(
    "ignore:TypedStorage is deprecated:UserWarning", "ignore:Sparse invariant checks:UserWarning"
)


def facts(t):
    x = t.arange(6.0).view(2, 3)
    whole, typed = x.untyped_storage(), x.storage()
    rows = x[1:]
    other = t.empty(0)
    other.set_(x)
    part = t.empty(0).set_(typed, 1, (2,), (2,))
    raw = t.UntypedStorage(8)
    raw.fill_(0)
    copy = whole.clone()
    copy.fill_(0)
    yield from (whole.nbytes(), whole.size(), len(whole), typed.size(), typed.tolist(), typed[2], typed.element_size())
    yield from (rows.untyped_storage().data_ptr() == whole.data_ptr(), rows.storage().size(), typed.data_ptr() == x.data_ptr())
    yield from (rows.detach().untyped_storage().nbytes(), x.t().untyped_storage().data_ptr() == whole.data_ptr())
    yield from (other.data_ptr() == x.data_ptr(), part.tolist(), raw.tolist(), copy[0], x.tolist(), str(typed.dtype))
    typed[0] = 7.0
    yield x[0, 0].item()
    part.fill_(9)
    yield x.tolist()
    yield from (t.empty(2).set_().shape, whole.tolist()[:4], repr(typed))


def test_storages():
    assert list(facts(lamina)) == list(facts(need_torch()))


def others(t):
    x = t.tensor([1.0, 2.0], dtype=t.float64)
    yield from (tuple(x.new(2, 3).shape), x.new([1, 2]).tolist(), str(x.new([1]).dtype), tuple(x.new().shape))
    yield from (x.clone().apply_(lambda a: a * 2).tolist(), x.clone().map_(x + 1, lambda a, b: a * b).tolist())
    yield x.clone().map2_(x, x, lambda a, b, c: a + b * c).tolist()
    yield from (t.ones(2, 3).dim_order(), t.ones(2, 3).t().dim_order())


def test_methods():
    assert list(others(lamina)) == list(others(need_torch()))
    for bad in (
        lambda t: t.ones(2, requires_grad=True).apply_(abs), lambda t: t.ones(2).as_subclass(int),
        lambda t: t.empty(0).set_(t.ones(2).double()),
    ):  # fmt: skip
        same_error(bad)
    with pytest.raises(RuntimeError, match="out of bounds"):  # torch makes the storage larger
        lamina.empty(0).set_(lamina.ones(2).untyped_storage(), 0, (3,))


def test_sparse_mask_and_return_types():
    for t in (lamina, need_torch()):
        x = t.arange(6.0).view(2, 3)
        mask = t.sparse_coo_tensor(t.tensor([[0, 1], [2, 0]]), t.tensor([9.0, 9.0]), (2, 3)).coalesce()
        assert x.sparse_mask(mask).to_dense().tolist() == [[0.0, 0.0, 2.0], [3.0, 0.0, 0.0]]
        assert isinstance(x.max(0), t.return_types.max) and isinstance(t.linalg.svd(x), t.return_types.linalg_svd)
    same_error(lambda t: t.ones(2, 3).sparse_mask(t.ones(2, 3)))


def test_as_subclass():
    for t in (lamina, need_torch()):

        class Mine(t.Tensor):
            pass

        x = t.ones(2, requires_grad=True)
        y = (x * 2).as_subclass(Mine)
        assert type(y) is Mine and y.requires_grad
        y.sum().backward()
        assert x.grad.tolist() == [2.0, 2.0]
        z = t.zeros(2)
        z.as_subclass(Mine).fill_(1)
        assert z.tolist() == [1.0, 1.0]
    assert np.asarray(z).sum() == 2
