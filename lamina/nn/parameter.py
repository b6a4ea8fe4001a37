"""Tensors that a module registers when they are assigned to it: `Parameter` and `Buffer`."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from lamina import _dtypes as dtypes
from lamina._tensor import _BOOKKEEPING, Tensor
from lamina.autograd.graph import Version

__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter", "UninitializedTensorMixin", "is_lazy"]


def _leaf(cls: type, array: np.ndarray, requires_grad: bool) -> Any:
    t: Any = object.__new__(cls)
    t._a = array
    if requires_grad:
        t.requires_grad_(True)
    return t


def _share(cls: type, data: Tensor | None, requires_grad: bool) -> Any:
    """A leaf of class `cls` over the memory of `data` (over no elements for None)."""
    if data is None:
        return _leaf(cls, np.empty(0, dtypes.to_numpy(dtypes.get_default_dtype())), requires_grad)
    if not isinstance(data, Tensor):
        raise TypeError(f"{cls.__name__}(): argument 'data' must be a Tensor, not {type(data).__name__}")
    t = _leaf(cls, data._plain(), requires_grad)
    if data._writes is None:
        data._writes = Version()
    t._writes = data._writes
    return t


class Parameter(Tensor):
    """A tensor that is trained: assigned to a module, it appears among `parameters()`.

    It shares memory with `data` and is a leaf of the graph.

    Args:
        data (Tensor, optional): the values; none for a parameter without elements.
        requires_grad (bool): whether gradients are recorded for it.

    Raises:
        RuntimeError: gradients are asked for an integer or bool tensor.
    """

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Any:
        return _share(cls, data, requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = twin = _leaf(type(self), self._plain().copy(order="K"), self.requires_grad)
            for name, value in self.__dict__.items():
                if name not in _BOOKKEEPING:
                    twin.__dict__[name] = copy.deepcopy(value, memo)
        return memo[id(self)]

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return "Parameter containing:\n" + super().__repr__()


class Buffer(Tensor):
    """A tensor that is state but not trained: assigned to a module, it appears among `buffers()`.

    Args:
        data (Tensor, optional): the values, whose memory is shared.
        persistent (bool): whether it is part of the module's `state_dict()`.
    """

    persistent: bool

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Any:
        t = _share(cls, data, data is not None and data.requires_grad)
        t.persistent = persistent
        return t


_UNINITIALIZED = (
    "Attempted to use an uninitialized parameter or buffer: its shape is known after a first call of its module, which also "
    "initializes it. Run a forward with a dummy batch before anything else."
)


class UninitializedTensorMixin:
    """A tensor without a shape and memory, which can only change its dtype and be materialized.

    Everything else raises ``ValueError``: what a tensor computes, it computes with its array, and there is none.
    """

    cls_to_become: type = Tensor
    _numpy: np.dtype  # the dtype that it will have

    @property
    def _a(self) -> np.ndarray:
        raise ValueError(_UNINITIALIZED)

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Give the tensor its shape and fresh memory; it becomes an ordinary Parameter or Tensor.

        Args:
            shape (tuple of ints): the shape that the first input has told.
            device, dtype: as for `empty`; those of this tensor by default.

        Raises:
            RuntimeError: a negative size.
        """
        dtypes.check_device(device)
        sizes = tuple(shape)
        if any(n < 0 for n in sizes):
            raise RuntimeError(f"Trying to create tensor with negative dimension {min(sizes)}: {list(sizes)}")
        array = np.empty(sizes, self._numpy if dtype is None else dtypes.to_numpy(dtype))
        del self._numpy
        self.__class__ = self.cls_to_become
        self._a = array  # type: ignore[misc]  # which is a plain attribute now

    @property
    def shape(self) -> Any:
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer: it is known after a first call of the "
            "module. A state dict with uninitialized entries loads into uninitialized parameters only."
        )

    def share_memory_(self) -> Any:
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to initialize the parameters before "
            "calling `module.share_memory()`."
        )

    # -- what does not need an array ---------------------------------------------------------------------------

    def size(self) -> Any:
        return dtypes.Size((0,))

    @property
    def dtype(self) -> Any:
        return dtypes.BY_NUMPY[self._numpy]

    def is_floating_point(self) -> bool:
        return self._numpy.kind in "fV"

    def is_complex(self) -> bool:
        return self._numpy.kind == "c"

    @property
    def data(self) -> Any:
        return self

    @data.setter
    def data(self, value: Any) -> None:
        if not isinstance(value, UninitializedTensorMixin):
            raise ValueError(_UNINITIALIZED)
        self._numpy = value._numpy

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """The same with another dtype, which may come from a tensor."""
        for value in (*args, *kwargs.values()):
            if isinstance(value, (dtypes.dtype, Tensor)):
                return self._twin(dtypes.to_numpy(value if isinstance(value, dtypes.dtype) else value.dtype))
        return self

    def float(self) -> Any:
        return self.to(dtypes.float32)

    def double(self) -> Any:
        return self.to(dtypes.float64)

    def half(self) -> Any:
        return self.to(dtypes.float16)

    def bfloat16(self) -> Any:
        return self.to(dtypes.bfloat16)

    def cpu(self) -> Any:
        return self

    def copy_(self, src: Any, non_blocking: bool = False) -> Any:
        """Takes nothing from another uninitialized tensor; ValueError for any other."""
        if not isinstance(src, UninitializedTensorMixin):
            raise ValueError(_UNINITIALIZED)
        return self

    def _twin(self, kind: np.dtype) -> Any:
        twin: Any = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, _numpy=kind)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = self._twin(self._numpy)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _unpickle, (type(self), self.__dict__)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"<{type(self).__name__}>"


def _unpickle(cls: type, attributes: dict[str, Any]) -> Any:
    t: Any = object.__new__(cls)
    t.__dict__.update(attributes)
    return t


def _uninitialized(cls: type, requires_grad: bool, device: Any, dtype: Any) -> Any:
    dtypes.check_device(device)
    kind = dtypes.to_numpy(dtypes.get_default_dtype() if dtype is None else dtype)
    return _unpickle(cls, {"_numpy": kind, "_requires": requires_grad})


class UninitializedParameter(UninitializedTensorMixin, Parameter):  # type: ignore[misc, override]
    """A parameter whose shape the first input decides, as the lazy layers have it.

    Args:
        requires_grad (bool): whether gradients are recorded once it is materialized.
        device, dtype: as for `empty`.
    """

    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        return _uninitialized(cls, requires_grad, device, dtype)


class UninitializedBuffer(UninitializedTensorMixin, Tensor):  # type: ignore[misc, override]
    """A buffer whose shape the first input decides.

    Args:
        requires_grad (bool): whether gradients are recorded once it is materialized.
        device, dtype: as for `empty`.
        persistent (bool): whether it is part of the module's `state_dict()`.
    """

    persistent: bool

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> Any:
        t = _uninitialized(cls, requires_grad, device, dtype)
        t.persistent = persistent
        return t


def is_lazy(param: Any) -> bool:
    """Whether `param` is an uninitialized parameter or buffer."""
    return isinstance(param, UninitializedTensorMixin)
